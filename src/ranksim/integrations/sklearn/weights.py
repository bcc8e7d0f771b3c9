"""Density weights for any estimator's ``sample_weight``."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ranksim.exceptions import require_optional
from ranksim.imbalance import LDS, DensityWeights, LabelBins, Scheme

base = require_optional("sklearn.base", "train")
validation = require_optional("sklearn.utils.validation", "train")


class DensitySampleWeight(base.BaseEstimator):  # type: ignore[misc, name-defined]
    """Weights that are the larger the fewer training labels are near (INV, SQINV, LDS).

    Fitted to the training labels alone, it gives the weight of any label; the mean over the
    training labels is 1. What it computes is :class:`ranksim.imbalance.DensityWeights`.

    Args:
        bins: what is counted: label bins, or a number of equal ones over the range of the training
            labels; None for a kernel density.
        scheme: ``"inverse"``, ``"sqrt_inverse"``, or ``"none"`` for weights of 1.
        clip: smallest and largest count.
        lds: smooths the counts; it needs bins.
        bandwidth: of the kernel density, in the unit of the label; None for Silverman's rule.

    Raises (when fitted):
        TypeError: labels are not numbers, or an argument is of another type.
        ValueError: labels are empty or not finite, or an argument is outside its range.

    Example:
        >>> from sklearn.linear_model import Ridge
        >>> y = [1.0, 1.2, 1.1, 1.3, 9.0]
        >>> weight = DensitySampleWeight(bins=4).fit(y).transform(y)
        >>> weight.tolist()
        [0.625, 0.625, 0.625, 0.625, 2.5]
        >>> model = Ridge().fit([[0], [1], [2], [3], [9]], y, sample_weight=weight)

    Source: Yang et al. (ICML 2021), sections 3.1 and 4.
    """

    def __init__(
        self,
        bins: LabelBins | int | None = None,
        *,
        scheme: Scheme = "inverse",
        clip: tuple[float, float] | None = None,
        lds: LDS | None = None,
        bandwidth: float | None = None,
    ) -> None:
        self.bins = bins
        self.scheme = scheme
        self.clip = clip
        self.lds = lds
        self.bandwidth = bandwidth

    def fit(self, y: ArrayLike) -> DensitySampleWeight:
        """Learn from the training labels ``(N,)``."""
        bins = self.bins
        if isinstance(bins, int | np.integer):  # of NumPy too, as searches give it
            bins = LabelBins.of_count(y, int(bins))
        self.weights_ = DensityWeights.fit(
            y,
            bins=bins,
            scheme=self.scheme,
            clip=self.clip,
            lds=self.lds,
            bandwidth=self.bandwidth,
        )
        return self

    def transform(self, y: ArrayLike) -> NDArray[np.float64]:
        """The weight of each label ``(N,)``, which need not be a training label."""
        validation.check_is_fitted(self)
        found: NDArray[np.float64] = self.weights_(y)
        return found

    def fit_transform(self, y: ArrayLike) -> NDArray[np.float64]:
        """The weights of the training labels themselves ``(N,)``, their mean 1."""
        return self.fit(y).transform(y)
