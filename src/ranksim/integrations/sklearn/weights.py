"""Density weights for the ``sample_weight`` of any estimator."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ranksim.exceptions import require_optional
from ranksim.imbalance import LDS, DensityWeights, LabelBins, Scheme

base = require_optional("sklearn.base", "train")
validation = require_optional("sklearn.utils.validation", "train")


class DensitySampleWeight(base.BaseEstimator):  # type: ignore[misc, name-defined]
    """Weights that are larger for rare labels (INV, SQINV, LDS), as a scikit-learn estimator.

    It is fitted to the training labels alone and returns the weight of any label; the mean over the
    training labels is 1. See :class:`ranksim.imbalance.DensityWeights` for the equations.

    Args:
        bins: label bins, or a number of equal bins over the range of the training labels; None for
            a kernel density.
        scheme: ``"inverse"``, ``"sqrt_inverse"``, or ``"none"`` for weights of 1.
        clip: smallest and largest count.
        lds: smooths the counts; needs bins.
        bandwidth: of the kernel density, in the unit of the label; None for Silverman's rule.

    Attributes:
        weights_: the fitted :class:`ranksim.imbalance.DensityWeights`.

    Example:
        >>> from sklearn.linear_model import Ridge
        >>> y = [1.0, 1.2, 1.1, 1.3, 9.0]
        >>> weight = DensitySampleWeight(bins=4).fit_transform(y)
        >>> weight.tolist()
        [0.625, 0.625, 0.625, 0.625, 2.5]
        >>> model = Ridge().fit([[0], [1], [2], [3], [9]], y, sample_weight=weight)

    References:
        Yang et al., "Delving into Deep Imbalanced Regression" (ICML 2021), sections 3.1 and 4.
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
        """Fit to the training labels ``(N,)``.

        Raises:
            TypeError: the labels are not numbers, or an argument has another type.
            ValueError: the labels are empty or not finite, or an argument is outside its range.
        """
        options = self.get_params()
        if isinstance(self.bins, int | np.integer):  # searches pass NumPy integers
            options["bins"] = LabelBins.from_count(y, int(self.bins))
        self.weights_ = DensityWeights.fit(y, **options)
        return self

    def transform(self, y: ArrayLike) -> NDArray[np.float64]:
        """Return the weight of each label ``(N,)``, which need not be a training label."""
        validation.check_is_fitted(self)
        weights: NDArray[np.float64] = self.weights_(y)
        return weights

    def fit_transform(self, y: ArrayLike) -> NDArray[np.float64]:
        """Return the weights of the training labels themselves, shape ``(N,)``, with mean 1."""
        return self.fit(y).transform(y)
