"""What several pictures do with an axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim.evaluation.report.figures.style import COLOURS, LINE, REST, SOFT, short, spread

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """A method's line: NaN where it has no value.

    Args:
        name: told at its end; empty: it is one of those in the background.
        colour: of the line.
        x, y: of shape ``(N,)``.
        width: in points.
    """

    name: str
    colour: str
    x: Floats
    y: Floats
    width: float = 1.6


def draw_curves(axis: Any, curves: Sequence[Curve], *, dots: bool = True) -> None:
    """Lines with their names at their right ends, the first one on top."""
    for order, curve in enumerate(reversed(curves)):
        axis.plot(
            curve.x,
            curve.y,
            color=curve.colour,
            linewidth=curve.width if curve.name else 0.7,
            marker="o" if dots and curve.name else None,
            markersize=2.6,
            solid_capstyle="round",
            zorder=3 + order / 100,
        )


def name_ends(axis: Any, curves: Sequence[Curve], *, size: float = 7.0) -> None:
    """Names beside the right ends of lines, apart from each other; the limits must be set."""
    ends = []
    for curve in curves:
        known = np.flatnonzero(np.isfinite(curve.y))
        if curve.name and len(known):
            ends.append((curve, float(curve.x[known[-1]]), float(curve.y[known[-1]])))
    low, high = axis.get_ylim()
    height = axis.figure.get_figheight() * axis.get_position().height * 72
    gap = (high - low) * size * 1.25 / height
    places = spread([y for _, _, y in ends], gap, low, high)
    for (curve, x, y), place in zip(ends, places, strict=True):
        axis.annotate(
            short(curve.name, 30),
            (x, min(max(y, low), high)),
            (1.025, place),
            textcoords=("axes fraction", "data"),
            color=curve.colour,
            fontsize=size,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": curve.colour,
                "linewidth": 0.4,
                "relpos": (0, 0.5),
                "shrinkB": 3,
            },
        )


def draw_density(
    axis: Any, edges: Floats, counts: NDArray[np.int64], regions: Sequence[str] | None
) -> Any:
    """Counts as pale bars behind everything, a third of the axis high; returns their axis."""
    behind = axis.twinx()
    colours = [COLOURS.get(r, REST) for r in regions] if regions else [REST] * len(counts)
    shown = counts > 0
    behind.bar(
        edges[:-1][shown],
        counts[shown],
        width=np.diff(edges)[shown],
        align="edge",
        color=[c for c, s in zip(colours, shown, strict=True) if s],
        alpha=0.28,
        linewidth=0,
    )
    behind.set_ylim(0, 3 * max(int(counts.max(initial=0)), 1))
    behind.set_yticks([])
    behind.spines[:].set_visible(False)
    axis.set_zorder(behind.get_zorder() + 1)
    axis.patch.set_visible(False)
    axis.set_facecolor("none")
    return behind


def tame(axis: Any, values: Floats) -> None:
    """From zero to what nearly all values need, so that one that ran away hides no other."""
    known = values[np.isfinite(values)]
    if not len(known):
        return
    usual = float(np.quantile(known, 0.98))
    top = float(known.max())
    axis.set_ylim(0, (top if top < 1.6 * usual or usual <= 0 else 1.25 * usual) * 1.06 or 1)


def grid(axis: Any, which: str = "y") -> None:
    """Faint lines, and no line or tick where they suffice."""
    axis.grid(axis=which, color=LINE, linewidth=0.6)
    if which in ("y", "both"):
        axis.spines["left"].set_visible(False)
        axis.tick_params(axis="y", length=0)


def plain_numbers(value: float, _: int | None = 0, *, digits: int = 4) -> str:
    """A number without powers, with so many digits that count: 12,000 and 0.05.

    Example:
        >>> plain_numbers(12000.0), plain_numbers(0.05), plain_numbers(-2.0)
        ('12,000', '0.05', '−2')
    """
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e7 or size < 1e-4:
        return f"{value:.1e}".replace("-", "−")
    decimals = max(0, digits - 1 - math.floor(math.log10(size)))
    text = f"{value:,.{decimals}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")


def remark(axis: Any, text: str) -> None:
    """What there is to say in the middle of an empty panel."""
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center", color=SOFT)
