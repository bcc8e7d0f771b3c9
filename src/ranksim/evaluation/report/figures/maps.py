"""Features in two dimensions, coloured by label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim.evaluation.report.figures.axes import plain_numbers, remark
from ranksim.evaluation.report.figures.style import SOFT, WIDTH, Picture, picture, short
from ranksim.exceptions import require_optional

Points = NDArray[np.float64]
_COLUMNS = 4
_LIGHT = 0.94  # of the colour map: its last yellow cannot be seen on white


def maps_figure(
    panels: Sequence[tuple[str, Points, Points | None]], labels: Points, quantity: str
) -> Picture:
    """PCA above t-SNE for each method, the same samples in all.

    Args:
        panels: name, PCA and t-SNE of shape ``(P, 2)``.
        labels: of the samples, shape ``(P,)``.
        quantity: what they are.
    """
    columns = len(panels) if len(panels) <= _COLUMNS else 3
    blocks = -(-len(panels) // columns)
    side = (WIDTH - 0.35) / max(columns, 3)
    height = blocks * (2 * side + 0.15) + 0.5

    def paint(figure: Any) -> None:
        dots = None
        viridis = require_optional("matplotlib", "plot").colormaps["viridis"]
        shades = require_optional("matplotlib.colors", "plot").ListedColormap(
            viridis(np.linspace(0, _LIGHT, 256))
        )
        for i, (name, pca, tsne) in enumerate(panels):
            block, column = divmod(i, columns)
            top = height - block * (2 * side + 0.15) - 0.2
            for k, (kind, points) in enumerate((("PCA", pca), ("t-SNE", tsne))):
                bottom = top - (k + 1) * (side - 0.1) - k * 0.06
                box = (0.3 + column * side, bottom, side - 0.12, side - 0.14)
                axis = figure.add_axes(
                    (box[0] / WIDTH, box[1] / height, box[2] / WIDTH, box[3] / height)
                )
                axis.set(xticks=[], yticks=[], facecolor="#fefefe")  # light in the dark too
                axis.spines[:].set(visible=True, color=SOFT, linewidth=0.4)
                axis.margins(0.06)
                if k == 0:
                    axis.set_title(short(name, int(side * 15)), pad=4)
                if column == 0:
                    axis.set_ylabel(kind, fontsize=8)
                if points is None:
                    remark(axis, "no t-SNE")
                    continue
                order = np.random.default_rng(0).permutation(len(points))  # none always on top
                dots = axis.scatter(
                    *points[order].T,
                    c=labels[order],
                    cmap=shades,
                    vmin=labels.min(),
                    vmax=labels.max(),
                    s=7,
                    linewidth=0,
                    alpha=0.9,
                    rasterized=True,
                )
        bar = figure.add_axes((0.3 / WIDTH, 0.24 / height, 2.2 / WIDTH, 0.09 / height))
        figure.colorbar(dots, cax=bar, orientation="horizontal", format=plain_numbers)
        bar.locator_params(axis="x", nbins=5)
        bar.tick_params(length=0, pad=2, labelsize=6.5)
        bar.spines[:].set_visible(False)
        figure.text(2.7 / WIDTH, 0.24 / height, short(quantity), color=SOFT, fontsize=7)

    told = (
        "Features of the same test samples in two dimensions, by PCA and by t-SNE, coloured by "
        "label, one column a method."
    )
    return picture("06-features", told, (WIDTH, height), paint)
