"""Relevance of labels between 0 (common) and 1 (rare): from a box plot, points or a density."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ranksim._utils.checks import check_positive, describe_value
from ranksim.imbalance.bins import label_vector, to_real_array
from ranksim.imbalance.density import KernelDensity, LabelDensity

RelevanceFunction = Callable[[NDArray[np.float64]], NDArray[np.float64]]
_ROUNDING = 1e-9  # of the range of the labels; a label this close to a fence lies on it


@dataclass(frozen=True, eq=False)
class PchipRelevance:
    """Relevance φ(y) interpolated monotonically (PCHIP) between control points.

    With control points (y_k, φ_k), h_k = y_{k+1} − y_k, d_k = (φ_{k+1} − φ_k) / h_k and, between
    y_k and y_{k+1}, t = (y − y_k) / h_k::

        φ(y) = (1 + 2t)(1 − t)² φ_k + t²(3 − 2t) φ_{k+1} + h_k t(1 − t) [(1 − t) m_k − t m_{k+1}]

        m_k  = 0                                               if d_{k−1} d_k ≤ 0
        m_k  = 3 (h_{k−1} + h_k) / [(2h_k + h_{k−1}) / d_{k−1} + (h_k + 2h_{k−1}) / d_k]   otherwise

    Outside the control points φ is constant, so the slope m is 0 at the first and the last one.

    Args:
        labels: of the control points, ascending, shape ``(K,)`` with K ≥ 2, in the label's unit.
        relevance: φ at the control points, from 0 to 1, shape ``(K,)``.

    Raises:
        TypeError: the points are not real numbers.
        ValueError: fewer than two points, not ascending, not finite, or a relevance outside [0, 1].

    Example:
        >>> relevance = PchipRelevance([100.0, 180.0], [0.0, 1.0])  # hyperglycaemia is rare
        >>> relevance([90.0, 140.0, 160.0, 300.0]).tolist()
        [0.0, 0.5, 0.84375, 1.0]

    References:
        Ribeiro, "Utility-based Regression" (PhD thesis, University of Porto, 2011); Ribeiro, Moniz,
        "Imbalanced regression and extreme value prediction" (Machine Learning 2020); slopes:
        Fritsch, Butland (SIAM J. Sci. Stat. Comput. 1984).
    """

    labels: NDArray[np.float64]
    relevance: NDArray[np.float64]

    def __post_init__(self) -> None:
        labels = label_vector(self.labels)
        if len(labels) < 2 or not (labels[1:] > labels[:-1]).all():
            raise ValueError(
                f"labels must be at least two ascending numbers, got {describe_value(self.labels)}"
            )
        relevance = to_real_array(self.relevance, "relevance").astype(np.float64)
        if relevance.shape != labels.shape or not ((relevance >= 0) & (relevance <= 1)).all():
            raise ValueError(
                f"relevance must be {len(labels)} numbers from 0 to 1, one per label, got "
                f"{describe_value(self.relevance)}"
            )
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "relevance", relevance)

    @classmethod
    def from_box_plot(cls, labels: ArrayLike, whisker: float = 1.5) -> PchipRelevance:
        """Return the relevance of extremes: 0 at the median, 1 from the ends of the whiskers on.

        A label is an outlier if it lies more than ``whisker`` times the interquartile range beyond
        a quartile; a whisker ends at the last label that does not. A side without outliers has
        relevance 0. If a whisker ends at the median, as with half of the labels equal, the nearest
        outlier takes its place. Quartiles are interpolated linearly, as in ``numpy.quantile``.

        Args:
            labels: training labels, shape ``(N,)``, at least one.
            whisker: length of the whiskers, above 0, in interquartile ranges.

        Raises:
            TypeError: the labels are not real numbers.
            ValueError: the labels are empty, not finite or without outliers, or the whisker is not
                above 0.

        Example:
            >>> relevance = PchipRelevance.from_box_plot([1, 2, 3, 4, 5, 6, 7, 30])
            >>> relevance.labels.tolist(), relevance([4, 6, 7, 30]).round(3).tolist()
            ([4.5, 7.0], [0.0, 0.648, 1.0, 1.0])
        """
        width = check_positive("whisker", whisker)
        values = _check_range(label_vector(labels))
        # numbers of Python overflow to infinity without a warning
        lower, median, upper = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
        reach = width * (upper - lower) + _ROUNDING * float(values.max() - values.min())
        low = values < lower - reach
        high = values > upper + reach
        if not (low | high).any():
            raise ValueError(
                f"labels must have outliers beyond whiskers of {width:g} interquartile ranges, got "
                f"none among {len(values)}: pass a smaller whisker, or use DensityRelevance"
            )
        points = {median: 0.0}
        if low.any():
            end = float(values[~low].min())
            points[end if end < median else float(values[low].max())] = 1.0
        if high.any():
            end = float(values[~high].max())
            points[end if end > median else float(values[high].min())] = 1.0
        control = sorted(points.items())
        return cls(np.array([y for y, _ in control]), np.array([value for _, value in control]))

    @classmethod
    def from_fences(cls, labels: ArrayLike, coefficient: float = 1.5) -> PchipRelevance:
        """Return the relevance of SERA: 0 at the median, 1 from the fences on.

        The fences of the box plot adjusted for skewness lie ``coefficient`` · e^(aM) interquartile
        ranges beyond the quartiles, with the medcouple M of the labels and a = −4 below and 3
        above for M ≥ 0, else −3 and 4. A side without labels beyond its fence has relevance 0. If
        a fence lies at the median, as with half of the labels equal, the nearest label beyond it
        takes its place.

        Args:
            labels: training labels, shape ``(N,)``, at least one.
            coefficient: above 0.

        Raises:
            TypeError: the labels are not real numbers.
            ValueError: the labels are empty, not finite or all within the fences, or the
                coefficient is not above 0.

        Example:
            >>> relevance = PchipRelevance.from_fences([1, 2, 3, 4, 5, 6, 7, 80])
            >>> relevance.labels.round(2).tolist(), relevance([4, 80]).round(3).tolist()
            ([4.5, 11.5], [0.0, 1.0])

        References:
            Hubert, Vandervieren, "An adjusted boxplot for skewed distributions" (Computational
            Statistics & Data Analysis 2008).
        """
        coefficient = check_positive("coefficient", coefficient)
        values = _check_range(label_vector(labels))
        lower, median, upper = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
        skew = medcouple(values)
        factors = (-4, 3) if skew >= 0 else (-3, 4)
        reach = [coefficient * np.exp(factor * skew) * (upper - lower) for factor in factors]
        points = {median: 0.0}
        low, high = values[values < lower - reach[0]], values[values > upper + reach[1]]
        if len(low):
            points[lower - reach[0] if lower - reach[0] < median else low.max()] = 1.0
        if len(high):
            points[upper + reach[1] if upper + reach[1] > median else high.min()] = 1.0
        if len(points) == 1:
            raise ValueError(
                f"labels must have outliers beyond fences of {coefficient:g} interquartile ranges, "
                f"got none among {len(values)}: pass a smaller coefficient, or use DensityRelevance"
            )
        control = sorted(points.items())
        return cls(np.array([y for y, _ in control]), np.array([value for _, value in control]))

    def __call__(self, labels: ArrayLike) -> NDArray[np.float64]:
        """Return the relevance of each label ``(N,)``."""
        values = np.clip(label_vector(labels, allow_empty=True), self.labels[0], self.labels[-1])
        piece = np.clip(np.searchsorted(self.labels, values, "right") - 1, 0, len(self.labels) - 2)
        width, slopes = np.diff(self.labels), self._slopes()
        h, t = width[piece], (values - self.labels[piece]) / width[piece]
        start, end = self.relevance[piece], self.relevance[piece + 1]
        curve = (1 + 2 * t) * (1 - t) ** 2 * start + t**2 * (3 - 2 * t) * end
        curve += h * t * (1 - t) * ((1 - t) * slopes[piece] - t * slopes[piece + 1])
        return np.clip(curve, 0.0, 1.0)

    def _slopes(self) -> NDArray[np.float64]:
        """Return m (K,): weighted harmonic means of the slopes of the two adjacent pieces."""
        h = np.diff(self.labels)
        d = np.diff(self.relevance) / h
        before, after = d[:-1], d[1:]
        slopes = np.zeros(len(self.labels))
        same = before * after > 0
        weight_before, weight_after = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
        inverse = weight_before[same] / before[same] + weight_after[same] / after[same]
        slopes[1:-1][same] = (weight_before + weight_after)[same] / inverse
        return slopes


@dataclass(frozen=True, eq=False)
class DensityRelevance:
    """Relevance φ(y) = 1 − n(y) / max n: 0 where labels are densest, 1 where there are none.

    The maximum is taken over the training labels. A label with relevance 0.8 has a fifth of the
    samples nearby that the most frequent label has. This also rates bounded labels, gaps between
    two modes and labels without box-plot outliers. Labels of equal frequency are all common, while
    a density that is scaled to [0, 1] would call its smallest value rare, however large it is.

    Args:
        density: n, in samples.
        peak: largest n of a training label, above 0.

    Example:
        >>> relevance = DensityRelevance.from_labels([1.0, 1.0, 1.0, 1.0, 9.0], bandwidth=0.5)
        >>> relevance([1.0, 9.0, 5.0]).round(3).tolist()
        [0.0, 0.75, 1.0]

    References:
        Steininger et al., "Density-based weighting for imbalanced regression" (Machine Learning
        2021), whose weights are 1 − α n(y) with n scaled to [0, 1].
    """

    density: LabelDensity
    peak: float

    def __post_init__(self) -> None:
        if not callable(getattr(self.density, "evaluate", None)):
            raise TypeError(
                f"density must have a method evaluate, got {describe_value(self.density)}: use "
                "DensityRelevance.from_labels"
            )
        check_positive("peak", self.peak)

    @classmethod
    def from_labels(cls, labels: ArrayLike, bandwidth: float | None = None) -> DensityRelevance:
        """Fit to training labels ``(N,)`` with a :class:`KernelDensity` of this bandwidth.

        None for :func:`silverman_bandwidth`, which needs labels that differ. Errors are those of
        :meth:`KernelDensity.from_labels`.
        """
        values = label_vector(labels)
        density = KernelDensity.from_labels(values, bandwidth)
        return cls(density, float(density.evaluate(values).max()))

    def __call__(self, labels: ArrayLike) -> NDArray[np.float64]:
        """Return the relevance of each label ``(N,)``."""
        return 1 - np.clip(self.density.evaluate(labels) / self.peak, 0.0, 1.0)


def medcouple(labels: ArrayLike) -> float:
    """Return the medcouple of labels ``(N,)``, a robust skewness from −1 to 1, in N log N time.

    It is the median, over pairs of a label u above and v below the median m, both included, of
    ((u − m) − (m − v)) / (u − v). A pair of labels at the median, the i-th and j-th of k from
    below, counts as the sign of i + j − k − 1.

    Example:
        >>> medcouple([1, 2, 3, 4, 10]), medcouple([1.0, 1.0])
        (0.0, 0.0)

    References:
        Brys, Hubert, Struyf, "A Robust Measure of Skewness" (Journal of Computational and Graphical
        Statistics 2004).
    """
    values = label_vector(labels)
    median = float(np.median(values))
    above, below = np.sort(values[values >= median] - median), median - values[values <= median]
    ties = int(np.count_nonzero(above == 0))
    count = len(above) * len(below)

    def count_up_to(limit: float) -> int:
        """Return the number of pairs whose kernel is at most a limit in (−1, 1)."""
        # (u − v) / (u + v) ≤ t for distances u and v from the median
        far = below[below > 0] * ((1 + limit) / (1 - limit))
        pairs = int(np.searchsorted(above, far, "right").sum())
        zeros = ties * (ties - 1) // 2 + (ties if limit >= 0 else 0)
        return pairs + zeros

    ranks = [(count - 1) // 2, count // 2]
    return sum(_find_kernel(count_up_to, rank) for rank in ranks) / 2


def _find_kernel(count_up_to: Callable[[float], int], rank: int) -> float:
    """Return the kernel of a rank, from 0, by bisection to the precision of float64."""
    low, high = -1.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        if count_up_to(middle) > rank:
            high = middle
        else:
            low = middle
    return round(high, 15)


def fit_relevance(labels: ArrayLike) -> PchipRelevance | DensityRelevance:
    """Return the relevance function of training labels ``(N,)``.

    It is :meth:`PchipRelevance.from_box_plot`, the standard of the field, on labels with box-plot
    outliers. It would be 0 everywhere on others, for example bounded scores or evenly distributed
    ages, and :meth:`DensityRelevance.from_labels` takes its place there.

    Raises:
        TypeError: the labels are not real numbers.
        ValueError: the labels are empty, not finite or all equal.

    Example:
        >>> fit_relevance([1, 2, 3, 4, 5, 6, 7, 30]).labels.tolist()
        [4.5, 7.0]
        >>> type(fit_relevance([0, 1, 2, 2, 2, 2, 3, 4])).__name__
        'PchipRelevance'
        >>> type(fit_relevance([0, 1, 1, 2, 2, 3, 3, 4])).__name__
        'DensityRelevance'
    """
    values = _check_range(label_vector(labels))
    if values.min() == values.max():
        raise ValueError(
            f"labels must differ for some to be rare, all {len(values)} are {float(values[0])!r}"
        )
    try:
        return PchipRelevance.from_box_plot(values)
    except ValueError:  # no outliers
        return DensityRelevance.from_labels(values)


def _check_range(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Raise a ValueError if differences of the labels overflow."""
    if not np.isfinite(float(values.max()) - float(values.min())):
        raise ValueError("labels must span a finite range, got a range beyond 1.8e308")
    return values
