"""Section 6: the features of test samples in two dimensions, colored by label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.formatting import format_count, join_names
from ranksim.evaluation.report import plotting as plot
from ranksim.evaluation.report.page.elements import DataTable, Section
from ranksim.evaluation.report.page.sweep_results import SweepResults
from ranksim.exceptions import require_optional

_MAX_METHODS, _NEIGHBORS = 6, 10
_COLUMNS = 4
_COLORMAP_END = 0.94  # the last yellow of viridis is invisible on white
Points = Mapping[str, NDArray[np.float64] | None]  # by method


def features_section(sweep: SweepResults) -> Section:
    """Return PCA and t-SNE of the same test samples for several methods."""
    slug, title = "features", "Features in two dimensions"
    runs = {
        method: projected[0]
        for method in sweep.focus
        if (projected := [run for run in sweep.runs(method) if run["result"].get("projection")])
    }
    if not runs:
        missing = "This results.json has no feature projections; section 1 says how to get them."
        return Section(slug, title, missing=missing)
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
        (draw_projections(pca, tsne, labels, sweep.quantity),),
        tables=(DataTable.from_columns("features", "Coordinates of the samples", columns),),
        note=f"{format_count(len(labels), 'test sample')}, the same for all methods, from one run "
        f"per method (seed {' or '.join(map(str, seeds))}). A projection is an illustration, not a "
        "measurement: t‑SNE preserves neighborhoods, not distances.",
    )


def draw_projections(pca: Points, tsne: Points, labels: plot.Floats, quantity: str) -> plot.Picture:
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
                box = np.array([0.3 + column * side, bottom, side - 0.12, side - 0.14])
                axis = figure.add_axes(box / [plot.WIDTH, height, plot.WIDTH, height])
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
    """Return |Pearson| of the first coordinate and the label, 0 if one of them is constant."""
    a, b = points[:, 0] - points[:, 0].mean(), labels - labels.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return abs(float(a @ b)) / norm if norm else 0.0


def _neighbor_difference(points: plot.Floats, labels: plot.Floats) -> float:
    """Return the mean absolute label difference between a point and its nearest neighbors."""
    distance = ((points[:, None] - points) ** 2).sum(-1)
    np.fill_diagonal(distance, np.inf)
    nearest = np.argsort(distance, axis=1, kind="stable")[:, : min(_NEIGHBORS, len(points) - 1)]
    return float(np.abs(labels[nearest] - labels[:, None]).mean()) if len(points) > 1 else 0.0
