r"""Conformal prediction intervals, by region and for shifted label distributions.

Every interval here widens a :class:`Band`, an uncalibrated interval :math:`[l(x), u(x)]` with a
unit :math:`\sigma(x)`, by a threshold t that calibration samples decide:

.. math::  C(x) = [l(x) - t \sigma(x), \; u(x) + t \sigma(x)], \qquad
           s(x, y) = \frac{\max(l(x) - y, \; y - u(x))}{\sigma(x)}

With :math:`l = u = \hat y` and :math:`\sigma = 1` the score s is the absolute residual; with a
scale it is the normalized residual; with quantiles it is the score of conformalized quantile
regression.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ranksim._utils.checks import check_level, check_positive, describe_value
from ranksim.imbalance.bins import label_vector, require_vector, to_real_array

Floats = NDArray[np.float64]
_ROUNDING = 1e-9  # a sum of masses this close to the level reaches it


def conformal_quantile(scores: ArrayLike, level: float) -> float:
    r"""Return the threshold of split conformal intervals.

    It is the k-th smallest of n scores, :math:`k = \lceil (n + 1) \ell \rceil`. If the scores of
    the calibration samples and of a new sample are exchangeable, the new one is at most the
    threshold with probability :math:`\ell` or more, and, without ties, with at most
    :math:`\ell + 1 / (n + 1)`.

    Args:
        scores: of the calibration samples ``(n,)``.
        level: coverage ℓ, between 0 and 1.

    Returns:
        The threshold, infinite if k exceeds n: fewer than ℓ / (1 − ℓ) samples allow no interval.

    Example:
        >>> conformal_quantile([3.0, 1.0, 2.0, 4.0], 0.6), conformal_quantile([3.0, 1.0], 0.9)
        (3.0, inf)

    References:
        Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World" (2005); Lei et al.,
        "Distribution-Free Predictive Inference for Regression" (JASA 2018).
    """
    values = np.sort(_read_scores(scores))
    level = check_level(level)
    k = math.ceil((len(values) + 1) * level - _ROUNDING)
    return float(values[k - 1]) if k <= len(values) else math.inf


def weighted_conformal_quantile(
    scores: ArrayLike, weights: ArrayLike, level: float, test_weight: float = 1.0
) -> float:
    r"""Return the threshold of weighted conformal intervals.

    It is the smallest score t for which the calibration samples with :math:`s_i \le t` have the
    share :math:`\ell` of the total weight :math:`\sum_i w_i + w`, in which the new sample counts
    with its own weight w and an infinite score. With equal weights this is
    :func:`conformal_quantile`.

    Args:
        scores: of the calibration samples ``(n,)``.
        weights: ratio of the densities of new and of calibration samples, at each
            calibration sample ``(n,)``, up to a factor.
        level: coverage ℓ, between 0 and 1.
        test_weight: the ratio w at the new sample, with the same factor.

    Returns:
        The threshold, infinite if the calibration samples have less than the share ℓ.

    Example:
        >>> weighted_conformal_quantile([1.0, 2.0, 3.0], [6.0, 1.0, 2.0], 0.6)
        1.0

    References:
        Tibshirani et al., "Conformal Prediction Under Covariate Shift" (NeurIPS 2019).
    """
    values, mass = _read_scores(scores), _read_masses("weights", weights)
    if len(values) != len(mass):
        raise ValueError(
            f"scores and weights must be equally long, got {len(values)} and {len(mass)}"
        )
    level, weight = check_level(level), check_positive("test_weight", test_weight, or_zero=True)
    total = mass.sum() + weight
    return _find_threshold(values, mass / total, level) if total else math.inf


@dataclass(frozen=True, eq=False)
class Band:
    """Uncalibrated intervals of N predictions, and the unit in which a threshold widens them.

    Args:
        lower, upper: ends ``(N,)``; both are the prediction without quantiles.
        unit: above 0 ``(N,)``; one without a scale.
    """

    lower: Floats
    upper: Floats
    unit: Floats

    @classmethod
    def from_predictions(cls, preds: ArrayLike, scale: ArrayLike | None = None) -> Band:
        """Create the band of predictions ``(N,)``, normalized by a positive scale ``(N,)`` if any.

        Example:
            >>> Band.from_predictions([1.0, 5.0], scale=[1.0, 2.0]).scores([3.0, 3.0]).tolist()
            [2.0, 1.0]
        """
        center = _vector("preds", preds)
        if scale is None:
            return cls(center, center, np.ones_like(center))
        unit = _vector("scale", scale)
        if len(unit) != len(center) or not (unit > 0).all():
            raise ValueError(
                f"scale must have a number above 0 for each of {len(center)} predictions, got "
                f"{describe_value(scale)}"
            )
        return cls(center, center, unit)

    @classmethod
    def from_quantiles(cls, lower: ArrayLike, upper: ArrayLike) -> Band:
        """Create the band between a lower and an upper predicted quantile, ``(N,)`` each.

        Ends that cross are exchanged.

        References:
            Romano, Patterson and Candès, "Conformalized Quantile Regression" (NeurIPS 2019).
        """
        ends = _vector("lower", lower), _vector("upper", upper)
        if len(ends[0]) != len(ends[1]):
            raise ValueError(
                f"lower and upper must be equally long, got {len(ends[0])} and {len(ends[1])}"
            )
        low, high = np.sort(np.stack(ends), axis=0)
        return cls(low, high, np.ones_like(low))

    def __len__(self) -> int:
        return len(self.lower)

    def scores(self, labels: ArrayLike) -> Floats:
        """Return how many units outside the band each label ``(N,)`` lies, below 0 inside."""
        values = _vector("labels", labels)
        if len(values) != len(self):
            raise ValueError(
                f"labels must be as many as the {len(self)} predictions, got {len(values)}"
            )
        outside = np.maximum(self.lower - values, values - self.upper)
        return np.asarray(outside / self.unit)

    def widen(self, thresholds: ArrayLike) -> tuple[Floats, Floats]:
        """Return lower and upper ends ``(N,)`` of the band, widened by thresholds, in units.

        A negative threshold narrows it; an interval that would be empty is its center.
        """
        shift = np.asarray(thresholds, dtype=np.float64) * self.unit
        low, high = self.lower - shift, self.upper + shift
        is_empty = low > high
        if is_empty.any():
            center = (self.lower + self.upper) / 2
            low, high = np.where(is_empty, center, low), np.where(is_empty, center, high)
        return low, high

    def take(self, rows: NDArray[np.int64]) -> Band:
        """Return the band of the predictions at positions ``rows``."""
        return Band(self.lower[rows], self.upper[rows], self.unit[rows])


@dataclass(frozen=True, eq=False)
class LabelShift:
    r"""Density ratios of labels by label bin, of new samples to calibration samples.

    Args:
        edges: ascending edges of K label bins ``(K + 1,)``; the outer bins extend to infinity.
        ratios: at least 0, ``(K,)``, up to a factor.

    Example:
        >>> LabelShift.from_counts([0.0, 1.0, 2.0, 3.0], [80, 18, 2], [10, 9, 0]).ratios.tolist()
        [8.0, 2.2222222222222223, 2.2222222222222223]
    """

    edges: Floats
    ratios: Floats

    @classmethod
    def from_counts(cls, edges: ArrayLike, new: ArrayLike, calibration: ArrayLike) -> LabelShift:
        """Return the ratios of two counts per label bin ``(K,)``.

        A bin without a calibration sample has the ratio of the nearest one with some, whose counts
        include its own.
        """
        limits = _vector("edges", edges)
        target, source = _read_masses("new", new), _read_masses("calibration", calibration)
        if not len(target) == len(source) == len(limits) - 1 or (np.diff(limits) <= 0).any():
            raise ValueError(
                "edges must ascend and be one more than the counts new and calibration, got "
                f"{len(limits)} edges and {len(target)} and {len(source)} counts"
            )
        if not target.any():
            raise ValueError("new must count at least one label, got zeros")
        filled = np.flatnonzero(source > 0)
        if not len(filled):
            return cls(limits, np.ones_like(target))
        distance = np.abs(np.arange(len(source))[:, None] - filled)
        nearest = filled[np.argmin(distance, axis=1)]
        sums = np.bincount(nearest, target, len(target))
        return cls(limits, sums[nearest] / source[nearest])

    def find_bins(self, labels: ArrayLike) -> NDArray[np.int64]:
        """Return the label bin of each label, ``(N,)``."""
        inner = self.edges[1:-1]
        return np.asarray(np.searchsorted(inner, _vector("labels", labels), side="right"))

    def weights(self, labels: ArrayLike) -> Floats:
        """Return the ratio at each label, ``(N,)``."""
        return np.asarray(self.ratios[self.find_bins(labels)])


@dataclass(frozen=True, eq=False)
class RegionConformal:
    r"""Conformal intervals with a threshold by predicted region, shrunk to that of all regions.

    In region r with :math:`n_r` of n calibration samples, the threshold is the smallest t with

    .. math::  \lambda_r \frac{\#\{i \in r: s_i \le t\}}{n_r + 1}
               + (1 - \lambda_r) \frac{\#\{i: s_i \le t\}}{n + 1} \ge \ell,
               \qquad \lambda_r = \frac{n_r}{n_r + k}

    - :math:`k = \infty`: split conformal intervals, which cover a new exchangeable sample with
      probability ℓ, over all regions together.
    - k = 0: Mondrian intervals, which cover it with probability ℓ also given its region. The region
      must be known before the label, such as that of the prediction. Regions with fewer than
      ℓ / (1 − ℓ) calibration samples have infinite intervals.
    - In between, the threshold lies between the two, and neither guarantee holds exactly: the
      deviation within a region is at most :math:`1 - \lambda_r`, and is largest where calibration
      samples are few. By default k = 1 / (1 − ℓ), 10 for 90 %: about as many samples as a finite
      threshold needs, so that thresholds are finite in every region unless there are few
      calibration samples over all. In simulations it is nearest to ℓ (``docs/intervals.md``).

    With ``shift``, each count is a sum of weights :math:`w(y_i)`, each 1 in a denominator is the
    weight w(y) of the new sample, and :math:`n_r` in λ is the effective number
    :math:`(\sum w)^2 / \sum w^2`. The label of the new sample decides its weight, so each label bin
    has its own threshold, and the interval is the hull of the labels of all bins within theirs. It
    has the coverage above for new samples whose labels have another density, if the density of the
    inputs given the label is the same and the ratios are right (label shift).

    Nothing here guarantees coverage given the true label: samples with rare labels are covered
    less, as long as their predictions resemble predictions of common ones.

    Args:
        scores: of the calibration samples ``(n,)``.
        regions: name of the region of each calibration sample's prediction ``(n,)``.
        weights: of the calibration samples ``(n,)``, all 1 without a label shift.
        shrinkage: k, at least 0; None: 1 / (1 − ℓ).
        shift: density ratios of labels, if new samples have others.

    Example:
        >>> band = Band.from_predictions(np.zeros(8))
        >>> labels, regions = [1, 2, 3, 4, 10, 20, 30, 40], ["many"] * 4 + ["few"] * 4
        >>> fitted = RegionConformal.fit(band, labels, regions, shrinkage=0.0)
        >>> [fitted.find_threshold(0.8, name) for name in ("many", "few")]
        [4.0, 40.0]

    References:
        Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World" (2005), section 4.5
        (Mondrian); Podkopaev and Ramdas, "Distribution-free uncertainty quantification for
        classification under label shift" (UAI 2021).
    """

    scores: Floats
    regions: NDArray[np.str_]
    weights: Floats
    shrinkage: float | None = None
    shift: LabelShift | None = None

    def __post_init__(self) -> None:
        if self.shrinkage is not None and not self.shrinkage >= 0:
            raise ValueError(f"shrinkage must be at least 0, got {self.shrinkage!r}")
        if not len(self.scores) == len(self.regions) == len(self.weights):
            raise ValueError(
                "scores, regions and weights must be equally long, got "
                f"{len(self.scores)}, {len(self.regions)} and {len(self.weights)}"
            )

    @classmethod
    def fit(
        cls,
        band: Band,
        labels: ArrayLike,
        regions: ArrayLike | None = None,
        *,
        shrinkage: float | None = None,
        shift: LabelShift | None = None,
    ) -> RegionConformal:
        """Score calibration samples.

        Args:
            band: of their predictions.
            labels: ``(n,)``.
            regions: names of the regions of the predictions ``(n,)``; None: all in one.
            shrinkage: k, see :class:`RegionConformal`.
            shift: density ratios of labels, if new samples have others.
        """
        values = _vector("labels", labels)
        names = _read_regions(regions, len(values))
        weights = np.ones(len(values)) if shift is None else shift.weights(values)
        return cls(band.scores(values), names, weights, shrinkage, shift)

    def find_threshold(self, level: float, region: str = "", test_weight: float = 1.0) -> float:
        """Return the threshold of a region for a new sample of the given weight, maybe infinite."""
        level = check_level(level)
        test_weight = check_positive("test_weight", test_weight, or_zero=True)
        is_in = self.regions == region
        inside, total = self.weights * is_in, self.weights.sum() + test_weight
        share = self._find_share(inside, level)
        masses = (1 - share) * self.weights / total
        if share:
            masses = masses + share * inside / (inside.sum() + test_weight)
        return _find_threshold(self.scores, masses, level)

    def _find_share(self, inside: Floats, level: float) -> float:
        """Return the weight λ of a region whose samples have the given weights, 0 if none."""
        shrinkage = 1 / (1 - level) if self.shrinkage is None else self.shrinkage
        if not inside.any() or shrinkage == math.inf:
            return 0.0
        count = float(inside.sum() ** 2 / np.square(inside).sum())
        return count / (count + shrinkage)

    def predict(
        self, band: Band, level: float, regions: ArrayLike | None = None
    ) -> tuple[Floats, Floats]:
        """Return the lower and upper ends ``(N,)`` of the intervals of new samples.

        Args:
            band: of their predictions.
            level: coverage, between 0 and 1.
            regions: names of the regions of the predictions ``(N,)``; None: all in one.
        """
        level, names = check_level(level), _read_regions(regions, len(band))
        lower, upper = np.empty(len(band)), np.empty(len(band))
        for name in np.unique(names):
            rows = np.flatnonzero(names == name)
            part = band.take(rows)
            if self.shift is None:
                ends = part.widen(self.find_threshold(level, str(name)))
            else:
                ends = self._find_hull(part, level, str(name), self.shift)
            lower[rows], upper[rows] = ends
        return lower, upper

    def _find_hull(
        self, band: Band, level: float, region: str, shift: LabelShift
    ) -> tuple[Floats, Floats]:
        """Return the hull of the labels within the thresholds of their bins, ends ``(N,)`` each."""
        ratios, position = np.unique(shift.ratios, return_inverse=True)
        thresholds = np.array([self.find_threshold(level, region, ratio) for ratio in ratios])
        starts = np.concatenate([[-np.inf], shift.edges[1:-1]])
        stops = np.concatenate([shift.edges[1:-1], [np.inf]])
        lower, upper = np.full(len(band), np.inf), np.full(len(band), -np.inf)
        for threshold, start, stop in zip(thresholds[position], starts, stops, strict=True):
            low, high = band.lower - threshold * band.unit, band.upper + threshold * band.unit
            low, high = np.maximum(low, start), np.minimum(high, stop)
            is_used = low <= high
            lower = np.where(is_used, np.minimum(lower, low), lower)
            upper = np.where(is_used, np.maximum(upper, high), upper)
        center = (band.lower + band.upper) / 2
        is_empty = lower > upper
        return np.where(is_empty, center, lower), np.where(is_empty, center, upper)


def _find_threshold(scores: Floats, masses: Floats, level: float) -> float:
    """Return the smallest score up to which the masses ``(n,)`` sum to the level, or infinity."""
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(masses[order]) >= level - _ROUNDING
    return float(scores[order][np.argmax(reached)]) if reached.any() else math.inf


def _read_scores(scores: ArrayLike) -> Floats:
    """Return scores ``(N,)`` as float64, infinite ones included; raise an error for NaN."""
    values = to_real_array(scores, "scores").astype(np.float64)
    require_vector("scores", values.shape)
    if np.isnan(values).any():
        raise ValueError(f"scores must not be NaN, got {np.isnan(values).sum()} NaN")
    return values


def _read_masses(name: str, values: ArrayLike) -> Floats:
    """Return weights or counts ``(N,)`` as float64; raise an error unless they are at least 0."""
    masses = _vector(name, values)
    if (masses < 0).any():
        raise ValueError(f"{name} must be at least 0, got {describe_value(masses.min())}")
    return masses


def _read_regions(regions: ArrayLike | None, count: int) -> NDArray[np.str_]:
    """Return the region of each of ``count`` samples, which is that of all if there are none."""
    names = np.full(count, "") if regions is None else np.asarray(regions, dtype=np.str_)
    if names.shape != (count,):
        raise ValueError(
            f"regions must name the region of each of {count} predictions, got shape {names.shape}"
        )
    return names


def _vector(name: str, values: ArrayLike) -> Floats:
    """Return finite numbers as a float64 array ``(N,)``; raise an error for others."""
    return label_vector(values, allow_empty=True, name=name)
