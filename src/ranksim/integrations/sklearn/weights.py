"""Density weights for the ``sample_weight`` of any estimator, and samples with such weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ranksim._utils.checks import describe_value
from ranksim.exceptions import require_optional
from ranksim.imbalance import LDS, DensityWeights, LabelBins, Scheme

base = require_optional("sklearn.base", "train")
validation = require_optional("sklearn.utils.validation", "train")

_MAX_COPIES = 10  # of a sample on average; above, weights are not expanded into copies
_PRECISION = 2.0**40  # relative; differences of weights below it are rounding


class DensitySampleWeight(base.BaseEstimator):  # type: ignore[misc, name-defined]
    """Weights that are larger for rare labels (INV, SQINV, LDS), as a scikit-learn estimator.

    It is fitted to the training labels alone and returns the weight of any label; the mean over the
    training labels is 1. See :class:`ranksim.imbalance.DensityWeights` for the equations.

    Args:
        bins: label bins, or a number of equal bins over the range of the training labels; None for
            a kernel density.
        scheme: ``"inverse"``, ``"sqrt_inverse"``, ``"denseweight"``, which needs a kernel density,
            or ``"none"`` for weights of 1.
        clip: smallest and largest count.
        lds: smooths the counts; needs bins.
        bandwidth: of the kernel density, in the unit of the label; None for Silverman's rule.
        alpha: α of ``"denseweight"``, at least 0.

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
        alpha: float = 1.0,
    ) -> None:
        self.bins, self.scheme, self.clip = bins, scheme, clip
        self.lds, self.bandwidth, self.alpha = lds, bandwidth, alpha

    def fit(self, y: ArrayLike) -> DensitySampleWeight:
        """Fit to the training labels ``(N,)``."""
        options = self.get_params()
        if isinstance(self.bins, int | np.integer) and not isinstance(self.bins, bool):
            options["bins"] = LabelBins.from_count(y, int(self.bins))  # searches pass NumPy's
        elif self.bins is not None and not isinstance(self.bins, LabelBins):
            raise TypeError(
                "bins must be LabelBins, a whole number of bins or None, got "
                f"{describe_value(self.bins)}"
            )
        self.weights_ = DensityWeights.fit(y, **options)
        return self

    def transform(self, y: ArrayLike) -> NDArray[np.float64]:
        """Return the weight of each label ``(N,)``, which need not be a training label."""
        validation.check_is_fitted(self)
        return self.weights_(y)

    def fit_transform(self, y: ArrayLike) -> NDArray[np.float64]:
        """Return the weights of the training labels themselves, shape ``(N,)``, with mean 1."""
        return self.fit(y).transform(y)


@dataclass(frozen=True, eq=False)
class WeightedSamples:
    """Weighted samples in sorted order, so that the order of a table's rows does not matter."""

    x: NDArray[np.float64]  # inputs (N, F)
    y: NDArray[np.float64]  # labels (N,)
    weight: NDArray[np.float64]  # relative, at least 1, (N,)
    group: NDArray[np.int64]  # ascending number, equal for equal inputs, (N,)
    row: NDArray[np.int64]  # row in the original table, (N,)

    @classmethod
    def from_arrays(
        cls, x: NDArray[np.float64], y: NDArray[np.float64], weight: NDArray[np.float64]
    ) -> WeightedSamples:
        """Sort samples, drop those of weight 0, and expand weights into copies.

        Weights are relative to the smallest one above 0. A sample of relative weight w becomes ⌊w⌋
        copies that share w, so that with a smallest weight of 1, an integer weight equals repeated
        rows exactly; relative weights above 10 on average are not expanded.
        """
        positive = np.flatnonzero(weight > 0)
        x, y, weight = x[positive], y[positive], _divide_by_smallest(weight[positive])
        copies = np.floor(weight)
        copies = (copies if copies.mean() <= _MAX_COPIES else np.ones_like(copies)).astype(np.int64)
        rows = np.column_stack([x, y, weight / copies]) + 0.0  # makes -0.0 equal to 0.0
        order = np.lexsort(rows.T[::-1])  # the first column is the primary key
        order = np.repeat(order, copies[order])
        rows = rows[order]
        x = rows[:, :-2]
        group = np.concatenate([[0], np.cumsum((x[1:] != x[:-1]).any(axis=1))])
        return cls(x, rows[:, -2], rows[:, -1], group, positive[order])

    def split(self, share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return training and validation positions; equal inputs are never separated.

        A ``share`` of the distinct inputs, at least one, is drawn for validation.
        """
        distinct = int(self.group[-1]) + 1
        count = min(max(round(share * distinct), 1), distinct - 1)
        drawn = np.random.default_rng(seed).permutation(distinct)[:count]
        validation = np.isin(self.group, drawn)
        return np.flatnonzero(~validation), np.flatnonzero(validation)


def _divide_by_smallest(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide weights by the smallest one, so that their unit changes nothing, to rounding."""
    mantissa, exponent = np.frexp(weight / weight.min())
    ratio: NDArray[np.float64] = np.ldexp(np.rint(mantissa * _PRECISION) / _PRECISION, exponent)
    return ratio
