"""Which bins are near which: in label space, and in the feature space of each method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim.evaluation.report.figures.axes import plain_numbers
from ranksim.evaluation.report.figures.style import SOFT, WIDTH, Picture, picture, short

_HEAD, _FOOT = 0.22, 0.62  # inches above each row of panels, and below all for the scale


def ranks_figure(
    name: str,
    panels: Sequence[tuple[str, NDArray[np.float64], float | None]],
    centres: NDArray[np.float64],
    quantity: str,
    columns: int,
) -> Picture:
    """Rank matrices on one scale: rows anchors, columns bins, dark what is most similar.

    Args:
        name: of the files.
        panels: title, ranks of shape ``(B, B)``, agreement with label space.
        centres: of the bins, shape ``(B,)``.
        quantity: what the labels are.
        columns: panels beside each other.
    """
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    side = (WIDTH - 0.55) / max(columns, 3)
    height = rows * (side + _HEAD - 0.12) + _FOOT

    def paint(figure: Any) -> None:
        shown = None
        for i, (title, ranks, agreement) in enumerate(panels):
            row, column = divmod(i, columns)
            left = 0.5 + column * side
            bottom = height - (row + 1) * (side + _HEAD - 0.12)
            axis = figure.add_axes(
                (left / WIDTH, bottom / height, (side - 0.12) / WIDTH, (side - 0.12) / height)
            )
            shown = axis.imshow(
                ranks, cmap="YlGnBu_r", vmin=1, vmax=max(len(centres), 2), interpolation="none"
            )
            axis.set_title(
                short(title, int(side * 15)), fontsize=6.6 if columns > 3 else 7.5, pad=3
            )
            if agreement is not None:
                axis.text(
                    0.97,
                    0.96,
                    f"{agreement:.2f}",
                    transform=axis.transAxes,
                    ha="right",
                    va="top",
                    fontsize=7,
                    bbox={"facecolor": "#ffffff", "alpha": 0.85, "linewidth": 0, "pad": 1.5},
                )
            _ticks(axis, centres, column == 0, row == rows - 1 or i + columns >= len(panels))
        _scale(figure, shown, height, len(centres), quantity)

    told = (
        "Matrices of ranks: for an anchor in each bin (rows), how near the other bins (columns) "
        "are, first by label, then in the features of each method. The figure in a corner is "
        "the agreement with label space, 1 at most."
    )
    return picture(name, told, (WIDTH, height), paint)


def _ticks(axis: Any, centres: NDArray[np.float64], left: bool, bottom: bool) -> None:
    places = sorted({0, len(centres) // 2, len(centres) - 1})
    names = [plain_numbers(float(centres[k]), digits=3) for k in places]
    axis.set_xticks(places, names if bottom else [""] * len(places), fontsize=6)
    axis.set_yticks(places, names if left else [""] * len(places), fontsize=6)
    for text, side in zip(axis.get_xticklabels(), ("left", "center", "right"), strict=False):
        text.set_ha(side)
    axis.tick_params(length=1.5, pad=1.5)
    axis.spines[:].set_visible(False)


def _scale(figure: Any, shown: Any, height: float, bins: int, quantity: str) -> None:
    bar = figure.add_axes((0.5 / WIDTH, 0.18 / height, 1.6 / WIDTH, 0.09 / height))
    figure.colorbar(shown, cax=bar, orientation="horizontal", ticks=[1, max(bins, 2)])
    bar.set_xticklabels(["1, most similar", f"{max(bins, 2)}"], fontsize=6.5)
    bar.tick_params(length=0, pad=2)
    for text, side in zip(bar.get_xticklabels(), ("left", "right"), strict=True):
        text.set_ha(side)
    bar.spines[:].set_visible(False)
    figure.text(
        2.35 / WIDTH,
        0.18 / height,
        f"rows: anchors, columns: bins, by {short(quantity)}; in the corner: agreement",
        color=SOFT,
        fontsize=7,
    )
