"""Errors of methods: their change by region, along the label axis, and inside gaps."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ranksim._utils.formatting import format_percent
from ranksim.evaluation.report.figures.axes import (
    Curve,
    draw_curves,
    draw_density,
    grid,
    name_ends,
    plain_numbers,
    tame,
)
from ranksim.evaluation.report.figures.style import (
    BETTER,
    COLOURS,
    INK,
    LINE,
    SOFT,
    WIDTH,
    WORSE,
    Picture,
    picture,
    short,
)

_ROOMY = 4  # panels beside each other whose titles have a line
Effect = tuple[float, float | None, float | None]  # relative change, low, high


def change_figure(
    methods: Sequence[str],
    changes: Mapping[str, Sequence[Effect | None]],
    told: str,
    note: str,
) -> Picture:
    """Relative change against the baseline: a line a method, a panel a region.

    Args:
        methods: names of the lines, from above.
        changes: by region, one for each method.
        told: what it shows.
        note: under the axis: what is compared, and which intervals.
    """
    crowded = len(changes) > _ROOMY
    titles = [textwrap.fill(short(r, 22), 14) if crowded else short(r, 22) for r in changes]
    head = 0.26 + 0.13 * max(title.count("\n") for title in titles)
    height = 0.165 * len(methods) + 0.59 + head

    def paint(figure: Any) -> None:
        panels = figure.subplots(1, len(changes), sharey=True, squeeze=False)[0]
        figure.subplots_adjust(
            left=0.225, right=0.975, bottom=0.5 / height, top=1 - head / height, wspace=0.12
        )
        places = np.arange(len(methods))[::-1]
        named = zip(panels, titles, changes.items(), strict=True)
        for axis, title, (region, effects) in named:
            axis.axvline(0, color=INK, linewidth=0.8)
            for place, effect in zip(places, effects, strict=True):
                if effect is not None:
                    _change(axis, float(place), effect)
            axis.set_title(title, color=COLOURS.get(region, INK))
            half = _reach([e for e in effects if e is not None])
            axis.set_xlim(-half, half)
            tick = _round((0.6 if crowded else 0.75) * half)
            axis.set_xticks([-tick, tick] if crowded else [-tick, 0, tick])  # the line is at zero
            axis.xaxis.set_major_formatter(_signed_per_cent)
            axis.spines["left"].set_visible(False)
            axis.tick_params(axis="y", length=0)
            axis.grid(axis="y", color=LINE, linewidth=0.6)
        panels[0].set_yticks(places, [short(name, 34) for name in methods])
        panels[0].set_ylim(-0.7, len(methods) - 0.3)
        panels[0].tick_params(axis="y", labelcolor=INK)
        figure.text(0.5, 0.01, note, ha="center", va="bottom", color=SOFT, fontsize=7)

    return picture("02-change", told, (WIDTH, height), paint)


def along_figure(
    curves: Sequence[Curve], labels: Mapping[str, Any], quantity: str, error: str
) -> Picture:
    """Test error along the label axis, training density behind it."""

    def paint(figure: Any) -> None:
        axis = figure.add_axes((0.075, 0.135, 0.71, 0.775))
        edges = np.asarray(labels["edges"], dtype=np.float64)
        draw_density(axis, edges, np.asarray(labels["train"]), labels["regions"])
        draw_curves(axis, curves)
        axis.set_xlim(edges[0], edges[-1])
        _finish(axis, curves, f"Test {error}, and training samples a bin behind it")
        axis.set_xlabel(short(quantity))

    told = (
        f"Test {error} of each method along the label axis; pale bars: training samples in each "
        "bin, coloured by region."
    )
    return picture("03-error", told, (WIDTH, 3.5), paint)


def gaps_figure(panels: Sequence[tuple[str, Sequence[Curve], Any, Any]], error: str) -> Picture:
    """Test error inside gaps of the training labels against the distance to the nearest one.

    Args:
        panels: title, curves, edges of the groups of distances, test samples in each; one a sweep.
        error: its name.
    """

    def paint(figure: Any) -> None:
        for i, (title, curves, edges, counts) in enumerate(panels):
            # from above; each as high as the others
            bottom = (len(panels) - 1 - i) / len(panels)
            axis = figure.add_axes((0.075, bottom + 0.16 / len(panels), 0.71, 0.7 / len(panels)))
            draw_density(axis, edges, counts, None)
            draw_curves(axis, curves)
            axis.set_xlim(0, edges[-1])
            _finish(axis, curves, short(title, 110))
            axis.set_xlabel("distance to the nearest training label; bars: test samples")

    told = (
        f"Test {error} of each method on labels that training never saw, by the distance to the "
        "nearest label that it saw; pale bars: test samples."
    )
    return picture("04-gaps", told, (WIDTH, 2.8 * len(panels)), paint)


def _finish(axis: Any, curves: Sequence[Curve], title: str) -> None:
    tame(axis, np.concatenate([curve.y for curve in curves]))
    axis.set_title(title, pad=8)
    axis.yaxis.set_major_formatter(plain_numbers)
    axis.xaxis.set_major_formatter(plain_numbers)
    grid(axis)
    name_ends(axis, curves)


def _change(axis: Any, place: float, effect: Effect) -> None:
    mean, low, high = effect
    colour = SOFT
    if low is not None and high is not None:
        colour = BETTER if high < 0 else WORSE if low > 0 else SOFT
        axis.plot([low, high], [place, place], color=colour, alpha=0.5, linewidth=2)
    axis.plot(mean, place, "o", color=colour, markersize=3.6)


def _reach(effects: Sequence[Effect]) -> float:
    """How far an axis goes: means whole, intervals as far as they are not far wider."""
    if not effects:
        return 0.1
    means = np.array([e[0] for e in effects])
    ends = np.array([v for e in effects for v in e[1:] if v is not None] or [0.0])
    reach = max(float(np.abs(means).max()), 0.01)
    wide = min(float(np.abs(ends).max()), 2 * float(np.quantile(np.abs(ends), 0.75)))
    return max(1.1 * reach, min(1.05 * wide, 5 * reach))


def _round(value: float) -> float:
    """The largest number with one digit that counts that is not above a positive one.

    Example:
        >>> _round(0.43), _round(3.0), _round(0.019)
        (0.4, 3.0, 0.01)
    """
    power = 10.0 ** math.floor(math.log10(value))
    return float(f"{math.floor(value / power * (1 + 1e-9)) * power:.1g}")


def _signed_per_cent(value: float, _: int) -> str:
    if abs(value) < 1e-9:
        return "0"
    return format_percent(value, digits=0 if abs(value) >= 0.00999 else 1)
