"""Section 5: the order of label bins in feature space, compared with label space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ranksim._utils.formatting import format_compact, format_count
from ranksim.evaluation.report import plotting as plot
from ranksim.evaluation.report.page.elements import DataTable, Section
from ranksim.evaluation.report.page.sweep_results import SweepResults

_MAX_PANELS = 9
_MIN_DIFFERENCE = 0.01  # of agreements that count as different
_HEAD, _FOOT = 0.22, 0.62  # inches above each row of panels, and below all of them
Panel = tuple[str, plot.Floats, float | None]  # title, ranks (B, B), agreement with label space


def ranks_section(sweep: SweepResults) -> Section:
    """Return the ranks of bins in label space and in the feature space of each method."""
    slug, title = "ranks", "Does feature space keep the order of labels?"
    results = sweep.results_with("ranks")
    if not results:
        missing = "This results.json has no rank matrices; section 1 says how to get them."
        return Section(slug, title, missing=missing)
    order = [method for method in sweep.focus if method in results]
    ranks = {method: [result["ranks"] for result in results[method]] for method in order}
    centers, by_label = (np.asarray(ranks[order[0]][0][key]) for key in ("centres", "label"))
    matrices = {m: np.mean([run["feature"] for run in ranks[m]], axis=0) for m in order}
    by_seed = {m: [run["agreement"] for run in ranks[m]] for m in order}
    agreement = {m: _mean_known(by_seed[m]) for m in order}
    panels: list[Panel] = [(method, matrices[method], agreement[method]) for method in order]
    first = [("labels", by_label, None), *panels[:_MAX_PANELS]]
    pictures = [draw_ranks("05-ranks", first, centers, sweep.quantity, 5)]
    collapsed = []
    if rest := panels[_MAX_PANELS:]:
        collapsed.append(draw_ranks("05-ranks-rest", rest, centers, sweep.quantity, 6))
    spaces = {"labels": by_label, **matrices}
    columns: dict[str, Any] = {"method": order, "agreement": list(agreement.values())}
    columns |= {"by seed": list(by_seed.values())}
    tables = [DataTable.from_columns("agreement", "Agreement with label space", columns)]
    columns = {"space": np.repeat(list(spaces), len(centers))}
    columns |= {"anchor bin at": np.tile(centers, len(spaces))}
    columns |= {"ranks of all bins": np.concatenate(list(spaces.values()))}
    tables += [DataTable.from_columns("ranks", "Rank matrices, one row per anchor", columns)]
    return Section(
        slug,
        title,
        _describe_agreement(sweep, agreement, by_seed),
        pictures,
        collapsed,
        tables,
        note=f"One test sample per bin is the anchor; the {len(centers)} bins are ranked by the "
        "cosine similarity of features, 1 for the most similar, and averaged over draws and seeds. "
        "Agreement is the mean Spearman correlation with the ranks by label: at most 1, and "
        f"{chance_agreement(len(centers)):.2f} by chance, because an anchor is most similar to "
        "itself in both.",
    )


def chance_agreement(num_bins: int) -> float:
    """Return the expected agreement of features that are independent of the labels.

    Both rankings put the anchor first. With the first of B ranks shared and the others in random
    order, Spearman's correlation is 3 / (B + 1) on average.

    Example:
        >>> chance_agreement(17)
        0.16666666666666666
    """
    return 3 / (num_bins + 1)


def draw_ranks(
    name: str, panels: Sequence[Panel], centers: plot.Floats, quantity: str, columns: int
) -> plot.Picture:
    """Draw rank matrices on one color scale: rows are anchors, columns bins."""
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    side = (plot.WIDTH - 0.55) / max(columns, 3)
    height = rows * (side + _HEAD - 0.12) + _FOOT
    most = max(len(centers), 2)

    def paint(figure: Any) -> None:
        image = None
        for i, (title, ranks, agreement) in enumerate(panels):
            row, column = divmod(i, columns)
            bottom = height - (row + 1) * (side + _HEAD - 0.12)
            box = np.array([0.5 + column * side, bottom, side - 0.12, side - 0.12])
            axis = figure.add_axes(box / [plot.WIDTH, height, plot.WIDTH, height])
            image = axis.imshow(ranks, cmap="YlGnBu_r", vmin=1, vmax=most, interpolation="none")
            size = 6.6 if columns > 3 else 7.5
            axis.set_title(plot.shorten(title, int(side * 15)), fontsize=size, pad=3)
            if agreement is not None:
                axis.text(
                    0.97, 0.96, f"{agreement:.2f}", transform=axis.transAxes, ha="right",
                    va="top", fontsize=7,
                    bbox={"facecolor": plot.PAPER, "alpha": 0.85, "linewidth": 0, "pad": 1.5},
                )  # fmt: skip
            _label_bins(axis, centers, column == 0, i + columns >= len(panels))
        caption = (
            f"rows: anchors, columns: bins of {plot.shorten(quantity)}; in the corner: agreement"
        )
        bar = plot.draw_colorbar(figure, image, caption, (0.5, 0.18, 1.6), ticks=[1, most])
        bar.set_xticklabels(["1, most similar", f"{most}"])
        for text, side_name in zip(bar.get_xticklabels(), ("left", "right"), strict=True):
            text.set_ha(side_name)

    description = (
        "Rank matrices: the similarity of all bins (columns) to an anchor in each bin (rows), by "
        "label and in the features of each method. The number in the corner is the agreement with "
        "label space, at most 1."
    )
    return plot.render_picture(name, description, (plot.WIDTH, height), paint)


def _label_bins(axis: Any, centers: plot.Floats, has_y_labels: bool, has_x_labels: bool) -> None:
    places = sorted({0, len(centers) // 2, len(centers) - 1})
    names = [format_compact(float(centers[k]), digits=3) for k in places]
    axis.set_xticks(places, names if has_x_labels else [""] * len(places), fontsize=6)
    axis.set_yticks(places, names if has_y_labels else [""] * len(places), fontsize=6)
    for text, side in zip(axis.get_xticklabels(), ("left", "center", "right"), strict=False):
        text.set_ha(side)
    axis.tick_params(length=1.5, pad=1.5)
    axis.spines[:].set_visible(False)


def _describe_agreement(
    sweep: SweepResults,
    means: Mapping[str, float | None],
    by_seed: Mapping[str, Sequence[float | None]],
) -> list[str]:
    base = sweep.baseline or ""
    agreement = {method: value for method, value in means.items() if value is not None}
    if base not in agreement or len(agreement) < 2:
        return [f"The agreement of {m} with label space is {v:.2f}." for m, v in agreement.items()]
    values = [value for value in by_seed[base] if value is not None]
    span = f" ({min(values):.2f} to {max(values):.2f} over seeds)" if len(values) > 1 else ""
    finding = f"The agreement of {base} with the order of labels is {agreement[base]:.2f}{span}"
    best = max(agreement, key=lambda method: agreement[method])
    if agreement[best] - agreement[base] < _MIN_DIFFERENCE:
        return [f"{finding}; no other mean is higher by {_MIN_DIFFERENCE} or more."]
    above = sum(value > agreement[base] for value in agreement.values())
    others = format_count(len(agreement) - 1, "other method")
    return [
        f"{finding}. The highest is that of {best}, {agreement[best]:.2f}; {above} of {others} "
        f"have a higher agreement than {base}.",
        "A higher agreement does not imply a lower error; section 2 compares errors.",
    ]


def _mean_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
