"""Training and test labels along the axis, with the regions and what is never seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ranksim.evaluation.report.figures.axes import Floats, grid, plain_numbers
from ranksim.evaluation.report.figures.style import (
    COLOURS,
    INK,
    SOFT,
    WIDTH,
    Picture,
    picture,
    short,
)
from ranksim.exceptions import require_optional

_RATIO = 60  # of the fullest bin to the median one: from here on bars need a logarithmic axis
Range = tuple[str, float | None, float | None]  # name, low, high


def labels_figure(
    labels: Mapping[str, Any], dropped: Sequence[Range], never: Sequence[tuple[float, float]]
) -> Picture:
    """Training samples a bin in the colour of its region, the test set as an outline.

    Args:
        labels: the block of ``results.json``.
        dropped: ranges of labels that training was kept from.
        never: from and to, where no training label lies.
    """
    edges = np.asarray(labels["edges"], dtype=np.float64)
    train, test = np.asarray(labels["train"]), np.asarray(labels["test"])
    seen = train[train > 0]
    logarithmic = len(seen) > 0 and bool(seen.max() > _RATIO * np.median(seen))
    named = [(name, low, high) for name, (low, high) in labels["named"].items()]
    height = 2.75 + 0.2 * len(named)

    def paint(figure: Any) -> None:
        above = (0.42 + 0.2 * len(named)) / height
        axis = figure.add_axes((0.075, 0.42 / height, 0.915, 1 - above - 0.42 / height))
        _hatch(axis, edges, dropped, never)
        for region, colour in COLOURS.items():
            chosen = np.array([r == region for r in labels["regions"]]) & (train > 0)
            axis.bar(
                edges[:-1][chosen],
                train[chosen],
                width=np.diff(edges)[chosen],
                align="edge",
                color=colour,
                edgecolor="#ffffff",
                linewidth=0.4 if len(train) <= 80 else 0,
            )
        axis.stairs(
            test, edges, color=INK, linewidth=0.9 if len(test) <= 80 else 0.6, baseline=None
        )
        if logarithmic:
            axis.set_yscale("log")
        axis.set_xlim(edges[0], edges[-1])
        axis.set_ylim(0.7 if logarithmic else 0, max(train.max(), test.max(), 1) * 1.12)
        for level in (labels["many"], labels["few"]):
            if level is not None and level < train.max():
                axis.axhline(level, color=SOFT, linewidth=0.6, linestyle=(0, (2, 2)))
        axis.yaxis.set_major_formatter(plain_numbers)
        axis.xaxis.set_major_formatter(plain_numbers)
        axis.minorticks_off()
        grid(axis)
        unit = f" ({short(labels['unit'])})" if labels["unit"] else ""
        axis.set_xlabel(short(labels["name"]) + unit)
        _legend(figure, labels["regions"], logarithmic, bool(never or dropped))
        for i, own in enumerate(named):
            y = 1.05 + 0.2 * i / (height * axis.get_position().height)
            _bracket(axis, edges, y, *own)

    told = (
        "Bars: training samples in each bin of the label, coloured by region. Outline: test "
        "samples. Hatched: labels that training never sees."
    )
    return picture("01-labels", told, (WIDTH, height), paint)


def _hatch(
    axis: Any, edges: Floats, dropped: Sequence[Range], never: Sequence[tuple[float, float]]
) -> None:
    for ends in never:
        axis.axvspan(*ends, facecolor="none", hatch="////", linewidth=0, zorder=0)
    for name, low, high in dropped:
        open_ends = [edges[0] if low is None else low, edges[-1] if high is None else high]
        start, end = np.clip(open_ends, edges[0], edges[-1])
        axis.axvspan(start, end, facecolor="none", hatch="////", linewidth=0, zorder=0)
        axis.text(
            (start + end) / 2,
            0.97,
            f"{short(name)}\ndropped",
            transform=axis.get_xaxis_transform(),
            ha="center",
            va="top",
            fontsize=7,
            color=INK,
            bbox={"facecolor": "#ffffff", "linewidth": 0, "pad": 1.5},
        )


def _bracket(
    axis: Any, edges: Floats, y: float, name: str, low: float | None, high: float | None
) -> None:
    start = max(edges[0], edges[0] if low is None else low)
    end = min(edges[-1], edges[-1] if high is None else high)
    if start > end:
        return
    place = axis.get_xaxis_transform()
    axis.plot([start, end], [y, y], color=INK, linewidth=1.6, transform=place, clip_on=False)
    right = (start + end) / 2 < (edges[0] + edges[-1]) / 2
    axis.annotate(
        short(name),
        (end if right else start, y),
        (4 if right else -4, 0),
        xycoords=place,
        textcoords="offset points",
        ha="left" if right else "right",
        va="center",
        fontsize=7,
        annotation_clip=False,
    )


def _legend(figure: Any, regions: Sequence[str], logarithmic: bool, never: bool) -> None:
    patches, lines = _handles()
    there = [name for name in COLOURS if name in regions]
    handles = [patches(color=COLOURS[name]) for name in there]
    names = [f"{name}-shot" for name in there]
    handles.append(lines([], [], color=INK, linewidth=0.9))
    names.append("test set")
    if never:
        handles.append(patches(facecolor="none", hatch="////", linewidth=0))
        names.append("never seen in training")
    figure.legend(
        handles,
        names,
        loc="upper left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=len(names),
        title="Samples in a bin" + (", logarithmic axis" if logarithmic else ""),
        alignment="left",
        title_fontsize=8,
        fontsize=7.5,
        handlelength=1.0,
        columnspacing=1.4,
        borderpad=0,
        borderaxespad=0.1,
        handletextpad=0.5,
    )


def _handles() -> tuple[Any, Any]:
    return require_optional("matplotlib.patches", "plot").Patch, require_optional(
        "matplotlib.lines", "plot"
    ).Line2D
