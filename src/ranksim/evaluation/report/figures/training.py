"""Training curves, and what each method costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ranksim.evaluation.report.figures.axes import (
    Curve,
    Floats,
    grid,
    name_ends,
    plain_numbers,
    tame,
)
from ranksim.evaluation.report.figures.style import INK, SOFT, WIDTH, Picture, picture, short

Bars = Sequence[tuple[str, str, Sequence[float]]]  # name, colour, a value a seed


def curves_figure(
    seeds: Sequence[tuple[str, Floats]], means: Sequence[Curve], monitor: str
) -> Picture:
    """Validation error by epoch: a thin line a run, a thick one where all seeds have a value.

    Args:
        seeds: colour and scores of each run.
        means: one a method, over its seeds.
        monitor: the score's name.
    """

    def paint(figure: Any) -> None:
        axis = figure.add_axes((0.075, 0.135, 0.71, 0.775))
        for colour, values in reversed(seeds):
            axis.plot(
                np.arange(1, len(values) + 1), values, color=colour, linewidth=0.5, alpha=0.45
            )
        for curve in reversed(means):
            axis.plot(curve.x, curve.y, color=curve.colour, linewidth=curve.width)
        values = np.concatenate([v for _, v in seeds] + [c.y for c in means])
        tame(axis, values)
        known = values[np.isfinite(values)]
        if len(known):
            axis.set_ylim(max(0.0, 0.9 * float(known.min())), None)
        axis.set_xlim(1, max(2, max(len(values) for _, values in seeds)))
        axis.set_title(f"Validation {monitor}", pad=8)
        axis.set_xlabel("validation")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.yaxis.set_major_formatter(plain_numbers)
        grid(axis)
        name_ends(axis, means)

    told = f"Validation {monitor} after each validation: thin lines seeds, thick lines their means."
    return picture("07-curves", told, (WIDTH, 3.3), paint)


def cost_figure(seconds: Bars, memory: Bars) -> Picture:
    """Time and peak memory of each method: bars are means, dots seeds."""
    panels = [("Training time, seconds", seconds)]
    if memory:
        panels.append(("Peak memory, MB", memory))
    height = 0.165 * len(seconds) + 0.55

    def paint(figure: Any) -> None:
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        figure.subplots_adjust(
            left=0.225, right=0.97, bottom=0.24 / height, top=1 - 0.26 / height, wspace=0.1
        )
        names = [name for name, _, _ in seconds]
        for axis, (title, bars) in zip(axes, panels, strict=True):
            for name, colour, values in bars:
                place = len(names) - 1 - names.index(name)
                axis.barh(place, float(np.mean(values)), height=0.66, color=colour)
                axis.plot(
                    values,
                    [place] * len(values),
                    "o",
                    color=INK,
                    markersize=2.4,
                    markeredgecolor="#ffffff",
                    markeredgewidth=0.4,
                )
            axis.set_title(title)
            axis.set_xlim(0, None)
            axis.xaxis.set_major_formatter(plain_numbers)
            axis.locator_params(axis="x", nbins=5)
            grid(axis, "x")
            axis.spines[["left", "bottom"]].set_visible(False)
            axis.tick_params(length=0)
        axes[0].set_yticks(range(len(names)), [short(name, 34) for name in reversed(names)])
        axes[0].set_ylim(-0.6, len(names) - 0.4)
        axes[0].tick_params(axis="y", labelcolor=INK)
        axes[0].tick_params(axis="x", labelcolor=SOFT)

    told = "Training time and peak memory of each method: bars are means, dots single seeds."
    return picture("07-cost", told, (WIDTH, height), paint)
