"""Builders of the losses on predictions, see :data:`ranksim.training.parts.PARTS`."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ranksim.exceptions import UsageError, require_optional
from ranksim.imbalance import (
    LDS,
    DensityRelevance,
    KernelDensity,
    PchipRelevance,
)
from ranksim.imbalance.smoothing import smooth
from ranksim.losses import BalancedMSELoss, CCCLoss, DILALoss, DistLoss, GARLoss, SERALoss
from ranksim.training.part_modules import PartContext
from ranksim.training.parts import parse_points

Floats = NDArray[np.float64]
_QUANTILES = 4_096  # of the label distribution in Dist loss
_MIXTURE_SAMPLES = 10_000  # quantiles to which a mixture is fitted, if there are more labels
_GRID = 257  # points between which relevance is interpolated
_ROUNDING = 1e-9  # of a mean relevance
_KERNEL_REACH = 36  # steps of a quarter of the bandwidth, beyond which a kernel is 0


class _WithoutWeights(nn.Module):
    """A loss term that sample weights do not change."""

    def __init__(self, term: nn.Module) -> None:
        super().__init__()
        self.term = term

    def forward(self, preds: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        value: Tensor = self.term(preds, target)
        return value


class _WithoutLabels(_WithoutWeights):
    """A loss term of predictions alone."""

    def forward(self, preds: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        value: Tensor = self.term(preds)
        return value


def make_bmse(context: PartContext) -> nn.Module:
    """Return Balanced MSE, whose label distribution is fitted to the training labels."""
    settings = context.settings("bmse")
    mixture: tuple[Tensor | None, ...] = (None, None, None)
    if settings["variant"] == "gai":
        mixture = tuple(map(torch.from_numpy, fit_mixture(context.targets, settings["components"])))
    elif settings["variant"] == "bni":
        centers = (context.edges[:-1] + context.edges[1:]) / 2
        mixture = torch.from_numpy(centers), None, torch.from_numpy(_count_labels(context))
    means, variances, weights = mixture
    loss = BalancedMSELoss(
        settings["variant"],
        sigma=settings["sigma"],
        label_std=context.label_std,
        means=means,
        variances=variances,
        weights=weights,
    )
    loss.requires_grad_(settings["learn_sigma"])
    loss.learning_rate = settings["lr"]
    return loss


def _count_labels(context: PartContext) -> Floats:
    """Return the counts of training labels in bins, smoothed by LDS if the technique uses it."""
    recipe = context.recipe
    counts = context.bins.histogram(context.targets * recipe.label_scale).astype(np.float64)
    if not context.technique.lds:
        return counts
    lds = LDS(recipe.lds_kernel, recipe.lds_kernel_size, recipe.lds_sigma)  # type: ignore[arg-type]
    return smooth(counts, lds.window, "zero")


def fit_mixture(labels: Floats, components: int) -> tuple[Floats, Floats, Floats]:
    """Return means, variances and weights of a Gaussian mixture of labels ``(N,)``, each ``(K,)``.

    The better of two fits counts, which start at quantiles and at equal distances and so depend on
    no seed. K is smaller than ``components`` if there are fewer different labels.
    """
    if len(labels) > _MIXTURE_SAMPLES:
        labels = np.quantile(labels, (np.arange(_MIXTURE_SAMPLES) + 0.5) / _MIXTURE_SAMPLES)
    mean, std = float(labels.mean()), float(labels.std())
    if std == 0:
        return np.array([mean]), np.zeros(1), np.ones(1)
    standardized = (labels - mean) / std
    distinct = np.unique(standardized)
    levels = (np.arange(min(components, len(distinct))) + 0.5) / min(components, len(distinct))
    grid = distinct[0] + levels * (distinct[-1] - distinct[0])
    fits = [_fit_mixture(standardized, start) for start in (np.quantile(distinct, levels), grid)]
    model = max(fits, key=lambda each: float(each.score(standardized[:, None])))
    variances = model.covariances_[:, 0, 0] * std**2
    return model.means_[:, 0] * std + mean, variances, model.weights_.astype(np.float64)


def _fit_mixture(labels: Floats, means: Floats) -> Any:
    """Fit scikit-learn's mixture from these first means ``(K,)``."""
    mixture, count = require_optional("sklearn.mixture", "cpu"), len(means)
    model = mixture.GaussianMixture(
        count,
        means_init=means[:, None],
        weights_init=np.full(count, 1 / count),
        precisions_init=np.full((count, 1, 1), float(count**2)),
        max_iter=200,
        random_state=0,
    )
    with warnings.catch_warnings():  # of slow convergence and of fewer labels than components
        warnings.simplefilter("ignore")
        model.fit(labels[:, None])
    return model


def make_dist(context: PartContext) -> nn.Module:
    """Return the distance of predictions from quantiles of a kernel density of the labels."""
    table = torch.from_numpy(density_quantiles(context.targets))
    return _WithoutLabels(DistLoss(table, label_std=context.label_std, **context.settings("dist")))


def density_quantiles(labels: Floats) -> Floats:
    """Return quantiles of a kernel density of labels ``(N,)``, within the range of the labels."""
    low, high = float(labels.min()), float(labels.max())
    if low == high:
        return np.array([low])
    density = KernelDensity.from_labels(labels)
    # a grid around the labels alone: rare ones can lie many bandwidths from the others
    step = density.bandwidth / 4
    places = np.unique(np.rint((labels - low) / step).astype(np.int64))
    offsets = np.arange(-_KERNEL_REACH, _KERNEL_REACH + 1)
    grid = low + step * np.unique((places[:, None] + offsets).ravel())
    values = density.evaluate(grid)
    areas = np.concatenate([[0.0], np.cumsum(np.diff(grid) * (values[1:] + values[:-1]) / 2)])
    levels = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    return np.clip(np.interp(levels, areas / areas[-1], grid), low, high)


def make_ccc(context: PartContext) -> nn.Module:
    """Return the concordance term."""
    return CCCLoss(**context.settings("ccc"))


def make_gar(context: PartContext) -> nn.Module:
    """Return Gradient Aligned Regression, in units of the labels' standard deviation."""
    return GARLoss(**context.settings("gar"), label_std=context.label_std)


def make_dila(context: PartContext) -> nn.Module:
    """Return the distance correlation of errors with a kernel density of the labels."""
    labels = context.targets
    density = np.ones(len(labels))
    if labels.min() < labels.max():
        density = KernelDensity.from_labels(labels).evaluate(labels)
    tables = torch.from_numpy(labels), torch.from_numpy(density)
    return _WithoutWeights(DILALoss(*tables, **context.settings("dila")))


def make_sera(context: PartContext) -> nn.Module:
    """Return the squared error times relevance, whose mean over the training labels is one."""
    scale = context.recipe.label_scale
    labels = context.targets * scale
    points = parse_points(context.recipe.sera_points)
    relevance = fit_sera_relevance(labels, points)
    values = relevance(labels)
    knots = labels
    if points:  # beyond the training labels, too
        grid = np.linspace(points[0][0], points[-1][0], _GRID)
        knots = np.concatenate([labels, grid])
    mean = float(values.mean())
    if mean < _ROUNDING:
        raise UsageError(_describe_irrelevance(labels, points))
    tables = torch.from_numpy(knots / scale), torch.from_numpy(relevance(knots))
    return SERALoss(*tables, weight=1 / mean)


def _describe_irrelevance(labels: Floats, points: list[tuple[float, float]]) -> str:
    """Return why no training label ``(N,)`` has a relevance, and what to do."""
    if not points:
        return (
            "sera needs rare training labels, and all are equally frequent: set sera_points, or "
            "leave out sera."
        )
    return (
        f"sera_points gives no training label a relevance above 0, and these labels are from "
        f"{labels.min():g} to {labels.max():g}: set points of a relevance above 0 among them."
    )


def fit_sera_relevance(
    labels: Floats, points: list[tuple[float, float]]
) -> PchipRelevance | DensityRelevance:
    """Return the relevance of SERA from control points, or else from training labels ``(N,)``.

    Without labels beyond the fences of the box plot, relevance follows the density of the labels.
    If all are equal, all are equally relevant.
    """
    if points:
        return PchipRelevance(np.array([y for y, _ in points]), np.array([v for _, v in points]))
    if labels.min() == labels.max():
        return PchipRelevance(labels[0] + np.array([0.0, 1.0]), np.ones(2))
    try:
        return PchipRelevance.from_fences(labels)
    except ValueError:  # no outliers
        return DensityRelevance.from_labels(labels)
