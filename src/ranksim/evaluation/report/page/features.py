"""Sections 5 and 6: the order of label bins in feature space, and projections of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ranksim._utils.formatting import format_compact, format_count, join_names
from ranksim.evaluation.report import plotting as plot
from ranksim.evaluation.report.page.elements import (
    DataTable,
    Section,
    SweepResults,
    missing_section,
)
from ranksim.exceptions import require_optional

_MAX_PANELS = 9
_MIN_DIFFERENCE = 0.01  # of agreements that count as different
_HEAD, _FOOT = 0.22, 0.62  # inches above each row of panels, and below all of them
_MAX_METHODS, _COLUMNS, _NEIGHBORS = 6, 4, 10
_COLORMAP_END = 0.94  # the last yellow of viridis is invisible on white
Panel = tuple[str, plot.Floats, float | None]  # title, ranks (B, B), agreement with label space
Points = Mapping[str, plot.Floats | None]  # by method


def ranks_section(sweep: SweepResults) -> Section:
    """Return section 5: the order of label bins in label space and in each feature space."""
    slug, title = "ranks", "Does feature space keep the order of labels?"
    results = sweep.results_with("ranks")
    if not results:
        return missing_section(slug, title, "rank matrices")
    centers, (by_label, *panels) = summarize_ranks(sweep)
    agreement = {method: value for method, _, value in panels}
    by_seed = {m: [result["ranks"]["agreement"] for result in results[m]] for m in agreement}
    main = [by_label, *panels[:_MAX_PANELS]]
    pictures = [_draw_ranks("05-ranks", main, centers, sweep.quantity, 5)]
    collapsed = []
    if rest := panels[_MAX_PANELS:]:
        collapsed.append(_draw_ranks("05-ranks-rest", rest, centers, sweep.quantity, 6))
    spaces = {name: ranks for name, ranks, _ in (by_label, *panels)}
    agreements: dict[str, Any] = {"method": list(agreement), "agreement": list(agreement.values())}
    agreements |= {"by seed": list(by_seed.values())}
    rows = {
        "space": np.repeat(list(spaces), len(centers)),
        "anchor bin at": np.tile(centers, len(spaces)),
        "ranks of all bins": np.concatenate(list(spaces.values())),
    }
    return Section(
        slug,
        title,
        _describe_agreement(sweep, agreement, by_seed),
        pictures,
        collapsed,
        tables=(
            DataTable.from_columns("agreement", "Agreement with label space", agreements),
            DataTable.from_columns("ranks", "Rank matrices, one row per anchor", rows),
        ),
        note=f"One test sample per bin is the anchor; the {len(centers)} bins are ranked by the "
        "cosine similarity of features, 1 for the most similar, and averaged over draws and seeds. "
        "Agreement is the mean Spearman correlation with the ranks by label: at most 1, and "
        f"{chance_agreement(len(centers)):.2f} by chance, because an anchor is most similar to "
        "itself in both.",
    )


def summarize_ranks(sweep: SweepResults) -> tuple[plot.Floats, list[Panel]]:
    """Return the centers of label bins ``(B,)``, and the rank matrix of each space.

    The first one is that by label, without an agreement; the others are means over seeds.
    """
    results = sweep.results_with("ranks")
    ranks = {m: [result["ranks"] for result in results[m]] for m in sweep.focus if m in results}
    first = next(iter(ranks.values()))[0]
    panels: list[Panel] = [("labels", np.asarray(first["label"]), None)]
    for method, group in ranks.items():
        matrix = np.mean([run["feature"] for run in group], axis=0)
        panels.append((method, matrix, _mean_known([run["agreement"] for run in group])))
    return np.asarray(first["centres"]), panels


def features_section(sweep: SweepResults) -> Section:
    """Return section 6: PCA and t-SNE of the features of several methods, on the same samples."""
    slug, title = "features", "Features in two dimensions"
    runs = {
        method: projected[0]
        for method in sweep.focus
        if (projected := [run for run in sweep.runs(method) if run["result"].get("projection")])
    }
    if not runs:
        return missing_section(slug, title, "feature projections")
    projections = {m: run["result"]["projection"] for m, run in list(runs.items())[:_MAX_METHODS]}
    labels = np.asarray(next(iter(projections.values()))["labels"], dtype=np.float64)
    pca, tsne = (
        {m: None if p[kind] is None else np.asarray(p[kind], float) for m, p in projections.items()}
        for kind in ("pca", "tsne")
    )
    seeds = sorted({int(run["identity"]["seed"]) for run in runs.values()})
    columns: dict[str, Any] = {sweep.quantity: labels}
    for method in pca:
        for kind, points in (("PCA", pca[method]), ("t-SNE", tsne[method])):
            columns[f"{method}, {kind}"] = [None] * len(labels) if points is None else points
    return Section(
        slug,
        title,
        _describe_projections(labels, pca, tsne),
        (_draw_projections(pca, tsne, labels, sweep.quantity),),
        tables=(DataTable.from_columns("features", "Coordinates of the samples", columns),),
        note=f"{format_count(len(labels), 'test sample')}, the same for all methods, from one run "
        f"per method (seed {' or '.join(map(str, seeds))}). A projection is an illustration, not a "
        "measurement: t‑SNE preserves neighborhoods, not distances.",
    )


def chance_agreement(num_bins: int) -> float:
    """Return the rank agreement expected by chance, if features do not depend on labels.

    Both rankings put the anchor first. With the first of B ranks shared and the others in random
    order, Spearman's correlation is 3 / (B + 1) on average.
    """
    return 3 / (num_bins + 1)


def _draw_ranks(
    name: str, panels: Sequence[Panel], centers: plot.Floats, quantity: str, columns: int
) -> plot.Picture:
    """Draw one rank matrix per panel: each row ranks all label bins by similarity to one bin."""
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
            axis = _add_square(figure, 0.5 + column * side, bottom, side - 0.12, side - 0.12)
            size = 6.6 if columns > 3 else 7.5
            image = paint_ranks(axis, (plot.shorten(title, int(side * 15)), ranks, agreement), size)
            label_bins(axis, centers, column == 0, i + columns >= len(panels))
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


def paint_ranks(axis: Any, panel: Panel, size: float = 7.5) -> Any:
    """Draw a rank matrix on an axis, with its agreement in the corner; return the image."""
    title, ranks, agreement = panel
    image = axis.imshow(
        ranks, cmap="YlGnBu_r", vmin=1, vmax=max(len(ranks), 2), interpolation="none"
    )
    axis.set_title(title, fontsize=size, pad=3)
    if agreement is not None:
        axis.text(
            0.97, 0.96, f"{agreement:.2f}", transform=axis.transAxes, ha="right", va="top",
            fontsize=7, bbox=plot.WHITE_BOX | {"alpha": 0.85},
        )  # fmt: skip
    return image


def _draw_projections(
    pca: Points, tsne: Points, labels: plot.Floats, quantity: str
) -> plot.Picture:
    """Draw PCA above t-SNE for each method, colored by label."""
    columns = len(pca) if len(pca) <= _COLUMNS else 3
    blocks = -(-len(pca) // columns)
    side = (plot.WIDTH - 0.35) / max(columns, 3)
    height = blocks * (2 * side + 0.15) + 0.5
    order = np.random.default_rng(0).permutation(len(labels))  # no label is always on top

    def paint(figure: Any) -> None:
        viridis = require_optional("matplotlib", "plot").colormaps["viridis"]
        colors = require_optional("matplotlib.colors", "plot").ListedColormap(
            viridis(np.linspace(0, _COLORMAP_END, 256))
        )
        dots = None
        for i, name in enumerate(pca):
            block, column = divmod(i, columns)
            top = height - block * (2 * side + 0.15) - 0.2
            for k, (kind, points) in enumerate((("PCA", pca[name]), ("t-SNE", tsne[name]))):
                bottom = top - (k + 1) * (side - 0.1) - k * 0.06
                axis = _add_square(figure, 0.3 + column * side, bottom, side - 0.12, side - 0.14)
                axis.set(xticks=[], yticks=[], facecolor="#fefefe")  # light on dark screens too
                axis.spines[:].set(visible=True, color=plot.GRAY, linewidth=0.4)
                axis.margins(0.06)
                if k == 0:
                    axis.set_title(plot.shorten(name, int(side * 15)), pad=4)
                if column == 0:
                    axis.set_ylabel(kind, fontsize=8)
                if points is None:
                    axis.text(
                        0.5, 0.5, "no t-SNE", transform=axis.transAxes, ha="center", va="center",
                        color=plot.GRAY,
                    )  # fmt: skip
                    continue
                dots = axis.scatter(
                    *points[order].T, c=labels[order], cmap=colors, vmin=labels.min(),
                    vmax=labels.max(), s=7, linewidth=0, alpha=0.9, rasterized=True,
                )  # fmt: skip
        bar = plot.draw_colorbar(
            figure, dots, plot.shorten(quantity), (0.3, 0.24, 2.2), format=plot.format_tick
        )
        bar.locator_params(axis="x", nbins=5)

    description = (
        "Features of the same test samples in two dimensions by PCA and t-SNE, colored by label, "
        "one column per method."
    )
    return plot.render_picture("06-features", description, (plot.WIDTH, height), paint)


def _add_square(figure: Any, *box: float) -> Any:
    """Add axes to a figure; ``box`` is left, bottom, width and height in inches."""
    return figure.add_axes(np.array(box) / np.tile(figure.get_size_inches(), 2))


def label_bins(
    axis: Any, centers: plot.Floats, has_y_labels: bool = True, has_x_labels: bool = True
) -> None:
    """Write the first, the middle and the last label beside the axes of a rank matrix."""
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


def _describe_projections(labels: plot.Floats, pca: Points, tsne: Points) -> list[str]:
    correlations = (
        f"{_axis_correlation(points, labels):.2f} for {method}"
        for method, points in pca.items()
        if points is not None
    )
    findings = [
        "The absolute Pearson correlation of the first principal component with the label is "
        f"{join_names(correlations, _MAX_METHODS)}."
    ]
    distances = [
        f"{_neighbor_difference(points, labels):.3g} for {method}"
        for method, points in tsne.items()
        if points is not None
    ]
    if distances:
        chance = float(np.abs(labels[:, None] - labels).mean())
        findings.append(
            f"In t‑SNE, the labels of a sample and its {min(_NEIGHBORS, len(labels) - 1)} nearest "
            f"neighbors differ by {join_names(distances, _MAX_METHODS)} on average, and by "
            f"{chance:.3g} by chance."
        )
    return findings


def _axis_correlation(points: plot.Floats, labels: plot.Floats) -> float:
    """Return |Pearson r| of first coordinate and label; 0 if either is constant."""
    if not points[:, 0].std() * labels.std():
        return 0.0
    return abs(float(np.corrcoef(points[:, 0], labels)[0, 1]))


def _neighbor_difference(points: plot.Floats, labels: plot.Floats) -> float:
    """Return the mean absolute difference between a point's label and its neighbors' labels."""
    distance = ((points[:, None] - points) ** 2).sum(-1)
    np.fill_diagonal(distance, np.inf)
    nearest = np.argsort(distance, axis=1, kind="stable")[:, : min(_NEIGHBORS, len(points) - 1)]
    return float(np.abs(labels[nearest] - labels[:, None]).mean()) if len(points) > 1 else 0.0
