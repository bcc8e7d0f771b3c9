"""Section 8: coverage and width of prediction intervals, by predicted and by true region."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ranksim._utils.formatting import format_percent
from ranksim.evaluation.coverage import MAIN_WAY
from ranksim.evaluation.report import plotting as plot
from ranksim.evaluation.report.page.elements import (
    DataTable,
    Record,
    Section,
    SweepResults,
    format_number,
    to_floats,
)
from ranksim.evaluation.summary import method_key
from ranksim.metrics import SHOT_NAMES

SCORES = {
    "residual": "one width within a region",
    "scale": "widths in proportion to the predicted scale",
    "quantiles": "widths from the predicted quantiles",
}
_NOTE = (
    "Above: coverage against the nominal level, on the diagonal if both agree. Below: mean "
    "width. Both by the region of the prediction, which is known before the label. By the region "
    "of the true label nothing guarantees the coverage, so the table shows it as measured."
)


def intervals_section(sweep: SweepResults) -> Section | None:
    """Return section 8: reliability and sharpness by region; None without intervals."""
    described = {method_key(row): row["intervals"] for row in sweep.rows if row.get("intervals")}
    if not described:
        return None
    level = next(iter(described.values()))["level"]
    title = f"{format_percent(level, '', 0)} prediction intervals"
    listing = DataTable(
        "intervals",
        "Coverage by predicted and by true region, and mean width",
        ["method", "threshold", "regions", "region", "samples", "coverage", "from", "to", "width"],
        [cells for name, each in described.items() for cells in _list_cells(name, each)],
    )
    return Section(
        "intervals",
        title,
        list(_describe(sweep, described)),
        [_draw_reliability(sweep, described)],
        tables=[listing],
        note=_NOTE,
    )


def _list_cells(method: str, described: Record) -> Iterator[tuple[Any, ...]]:
    for way, scores in described["ways"].items():
        for by, cells in scores.items():
            for region, cell in cells.items():
                ends = cell["ci"] or (None, None)
                yield method, way, by, region, cell["n"], cell["coverage"], *ends, cell["width"]


def _describe(sweep: SweepResults, described: Mapping[str, Record]) -> Iterator[str]:
    """Yield sentences on the baseline: coverage in all regions, and given rare true labels."""
    baseline = sweep.baseline or ""
    method = baseline if baseline in described else next(iter(described))
    intervals = described[method]
    cells, split = intervals["ways"][MAIN_WAY], intervals["ways"]["split"]
    shares = [
        f"{format_percent(cells['predicted'][name]['coverage'], '', 0)} in {name}"
        for name in ("all", *SHOT_NAMES)
        if name in cells["predicted"]
    ]
    yield (
        f"{intervals['calibration']:,} samples that no training and no checkpoint has used "
        f"calibrate the intervals. Those of {method} ({SCORES[intervals['score']]}) cover "
        f"{', '.join(shares)} of the test samples, by predicted region."
    )
    if rare := cells["true"].get("few"):
        plain = split["true"]["few"]
        yield (
            f"Of the labels that are few-shot in truth they cover "
            f"{format_percent(rare['coverage'], '', 0)}, at a mean width of "
            f"{format_number(rare['width'])}; with one threshold for all regions it would be "
            f"{format_percent(plain['coverage'], '', 0)} at {format_number(plain['width'])}."
        )


def _draw_reliability(sweep: SweepResults, described: Mapping[str, Record]) -> plot.Picture:
    """Draw coverage and mean width against the level: a panel per predicted region."""
    methods = [method for method in sweep.focus if method in described]
    methods = [method for method in methods if method in sweep.highlighted] or methods
    regions = [
        name
        for name in ("all", *SHOT_NAMES)
        if any(v is not None for m in methods for v in described[m]["curve"]["coverage"][name])
    ]

    def paint(figure: Any) -> None:
        axes = figure.subplots(2, len(regions), squeeze=False, sharex=True, sharey="row")
        figure.subplots_adjust(
            left=0.075, right=0.985, bottom=0.16, top=0.93, wspace=0.1, hspace=0.16
        )
        for column, region in zip(axes.T, regions, strict=True):
            column[0].plot([0, 1], [0, 1], color=plot.LINE, linewidth=1.2)
            for method in reversed(methods):
                curve, color = described[method]["curve"], sweep.colors[method]
                levels = np.asarray(curve["levels"])
                for axis, part in zip(column, ("coverage", "width"), strict=True):
                    values = to_floats(curve[part][region])
                    axis.plot(levels, values, "o-", color=color, markersize=2.4, linewidth=1.2)
            column[0].set_title(region, color=plot.REGION_COLORS.get(region, plot.INK))
            column[0].set(xlim=(0.45, 1.0), ylim=(0.0, 1.02))
            column[1].set_ylim(0, None)
            column[1].set_xlabel("level")
            for axis in column:
                plot.finish_axes(axis)
        axes[0][0].set_ylabel("coverage")
        axes[1][0].set_ylabel("mean width")
        for place, method in enumerate(methods):
            x = 0.075 + 0.91 * place / max(len(methods), 4)
            color, name = sweep.colors[method], plot.shorten(method, 22)
            figure.text(x, 0.015, name, color=color, fontsize=7, va="bottom")

    description = "Coverage and mean width of prediction intervals by level and predicted region."
    return plot.render_picture("08-intervals", description, (plot.WIDTH, 3.9), paint)
