"""Confidence intervals of a mean difference: over seeds, over test samples, or over both."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim.exceptions import require_optional

MIN_SEEDS = 3  # common seeds of a comparison; two leave one degree of freedom, useless intervals
RESAMPLES = 2_000
_CHUNK = 4_000_000  # resampled indices in memory at a time
_MAX_KEPT = 2**23  # counts of rows in resamples that are kept for other methods
_MAX_SEEDS = 1_000


@dataclass(frozen=True)
class TwoWayInterval:
    r"""A confidence interval of a mean difference, measured with S seeds on the same n samples.

    With :math:`d_{si} = \mu + a_s + b_i + e_{si}` (seeds, samples and residuals at random), the
    mean :math:`\bar d` has the variance
    :math:`\sigma_a^2/S + \sigma_b^2/n + \sigma_e^2/(Sn)`, in which the residual counts once. The
    mean squares estimate

    .. math::  E[A] = \sigma_e^2 + n \sigma_a^2, \quad E[B] = \sigma_e^2 + S \sigma_b^2, \quad
               E[R] = \sigma_e^2

    and the interval at confidence :math:`1 - \alpha` is :math:`\bar d \pm h`,

    .. math::  S n \, h^2 = \max \left( t_{S-1}^2 A, \;
               t_{S-1}^2 \max(A - R, 0) + t_{n-1}^2 B \right)

    with t the quantile of Student's distribution at :math:`1 - \alpha/2`. The first term is the
    paired interval over seeds, which this interval is never narrower than; the second adds the
    samples. Its coverage is 95 % if seeds differ, and higher if they do not, which two degrees of
    freedom cannot detect (``docs/reliability.md`` reports simulated coverage).

    References:
        Searle, Casella and McCulloch, "Variance Components" (1992), section 4 (two-way random
        layout without replication).
    """

    mean: float
    num_seeds: int  # S, at least 2
    num_samples: int  # n, at least 2
    seed_square: float  # A
    sample_square: float  # B
    residual_square: float  # R
    num_effective: int | None = None  # samples that count, if they are weighted, at least 2

    @classmethod
    def from_differences(
        cls, differences: NDArray[np.float64], num_effective: int | None = None
    ) -> TwoWayInterval:
        """Estimate the mean squares from differences of shape ``(S, n)``.

        The quantile over samples has ``num_effective`` - 1 degrees of freedom, by default n - 1.
        """
        seeds, samples = differences.shape
        mean = differences.mean()
        seed, sample = differences.mean(axis=1) - mean, differences.mean(axis=0) - mean
        residual = differences - mean - seed[:, None] - sample
        return cls(
            *(float(mean), seeds, samples),
            samples * float(seed @ seed) / (seeds - 1),
            seeds * float(sample @ sample) / (samples - 1),
            float(np.square(residual).sum()) / ((seeds - 1) * (samples - 1)),
            num_effective,
        )

    def half_width(self, level: float) -> float:
        """Return half the width of the interval at a confidence level such as 0.95."""
        num_effective = self.num_effective or self.num_samples
        seed, sample = quantile(level, self.num_seeds - 1), quantile(level, num_effective - 1)
        excess = max(self.seed_square - self.residual_square, 0.0)
        total = seed**2 * excess + sample**2 * self.sample_square
        square = max(seed**2 * self.seed_square, total)
        return math.sqrt(square / (self.num_seeds * self.num_samples))

    def ends(self, level: float) -> list[float]:
        """Return the lower and the upper end of the interval at a confidence level."""
        half = self.half_width(level)
        return [self.mean - half, self.mean + half]

    def seeds_needed(self, level: float) -> int | None:
        """Return the smallest number of seeds, at least three, whose interval excludes zero.

        ``None`` if a thousand seeds would not suffice, because there are too few test samples.
        """
        residual = self.residual_square
        seed = max(self.seed_square - residual, 0.0)
        sample = max(self.sample_square - residual, 0.0) / self.num_seeds

        def excludes_zero(seeds: int) -> bool:
            squares = (residual + seed, residual + seeds * sample, residual)
            interval = TwoWayInterval(
                self.mean, seeds, self.num_samples, *squares, self.num_effective
            )
            return interval.half_width(level) < abs(self.mean)

        candidates = range(max(self.num_seeds, MIN_SEEDS), _MAX_SEEDS + 1)
        # the interval narrows with each seed, so bisection applies
        index = bisect.bisect_left(candidates, True, key=excludes_zero)
        return candidates[index] if index < len(candidates) else None


def aggregate_by_cluster(
    differences: NDArray[np.float64],
    groups: NDArray[np.int64] | None,
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    r"""Sum differences ``(S, n)`` within groups to ``(S, G)``, scaled to keep each seed's mean.

    .. math::  z_{sg} = \bar d_s + \frac{G}{n} \sum_{i \in g} w_i (d_{si} - \bar d_s)

    The weights ``(n,)`` have mean one (``None``: all are one), and :math:`\bar d_s` is the
    weighted mean, so that the variance of z is that of a weighted mean (linearized ratio).

    Errors within one day or person are correlated, so that groups are the independent units
    (``None``: samples are). The variance of the mean of z over groups is that of a mean over
    clusters of unequal sizes (Cochran, "Sampling Techniques", 1977, section 9A).
    """
    if weights is not None:
        mean = (differences * weights).mean(axis=1, keepdims=True)
        differences = mean + weights * (differences - mean)
    if groups is None:
        return differences
    names, index = np.unique(groups, return_inverse=True)
    mean = differences.mean(axis=1, keepdims=True)
    sums = [np.bincount(index, row, len(names)) for row in differences - mean]
    return np.asarray(mean + np.stack(sums) * (len(names) / len(groups)))


def count_effective(
    weights: NDArray[np.float64] | None, groups: NDArray[np.int64] | None
) -> int | None:
    r"""Return the number of samples, or groups, that count if they are weighted; else None.

    It is :math:`(\sum_g w_g)^2 / \sum_g w_g^2` with the sum of the weights of each group, rounded
    down, and at least 2 (Kish, "Survey Sampling", 1965).
    """
    if weights is None:
        return None
    sums = weights
    if groups is not None:
        sums = np.bincount(np.unique(groups, return_inverse=True)[1], weights).astype(np.float64)
    count = float(sums.sum()) ** 2 / float(sums @ sums)
    return max(2, math.floor(count + 1e-9))


def bootstrap(
    values: NDArray[np.float64], level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Compute bootstrap intervals of the column means of an array ``(n, C)``.

    Resamples rows 2,000 times, with a fixed seed; returns lower and upper ends, ``(C,)``. Each is
    the wider of two: the percentile of the resampled means m*, and the end of the studentized
    bootstrap,

    .. math::  \left[ m - s \, q_{(1 + \ell)/2}, \; m - s \, q_{(1 - \ell)/2} \right],
               \quad q \text{ of } t^* = (m^* - m) / s^*

    with m and s the mean and standard deviation (over n) of the rows, and m* and s* of a
    resample. Percentiles alone cover too little if values are skewed, as squared errors are (82
    to 93 %), and the studentized interval if both tails are heavy, as those of their differences
    are (93 %); together they cover 95 % of both (``docs/reliability.md``). s* is bounded below by
    :math:`s / \sqrt n`, because a resample of a few values may be constant.

    References:
        Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), sections 12.5, 13.3.
    """
    count = len(values)
    mean, std = values.mean(axis=0), values.std(axis=0)
    centered = values - mean
    moments = np.concatenate([centered, np.square(centered)], axis=1)
    shifts, ratios = [], []
    is_small = RESAMPLES * count <= _MAX_KEPT
    for weights in _keep_resamples(count) if is_small else _draw_resamples(count):
        shift, square = np.split(weights.astype(np.float64) @ moments / count, 2, axis=1)
        std_resampled = np.sqrt(np.maximum(square - np.square(shift), np.square(std) / count))
        shifts.append(shift)
        ratio = np.zeros_like(shift)
        ratios.append(np.divide(shift, std_resampled, out=ratio, where=std_resampled > 0))
    ends = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(np.concatenate(shifts), ends, axis=0)
    ratio_low, ratio_high = std * np.quantile(np.concatenate(ratios), ends, axis=0)
    return mean + np.minimum(low, -ratio_high), mean + np.maximum(high, -ratio_low)


def _draw_resamples(count: int) -> Iterator[NDArray[np.int64]]:
    """Yield how often each of ``count`` rows is in a resample, some resamples ``(B, n)`` a time."""
    generator = np.random.default_rng(0)
    chunk = max(_CHUNK // count, 1)
    for start in range(0, RESAMPLES, chunk):
        rows = min(chunk, RESAMPLES - start)
        chosen = generator.integers(0, count, (rows, count)) + count * np.arange(rows)[:, None]
        yield np.bincount(chosen.ravel(), minlength=rows * count).reshape(rows, count)


@lru_cache(maxsize=4)
def _keep_resamples(count: int) -> list[NDArray[np.uint16]]:
    """Return the resamples of a few rows, as each method of a comparison has the same ones."""
    return [weights.astype(np.uint16) for weights in _draw_resamples(count)]


@cache
def quantile(level: float, degrees_of_freedom: int) -> float:
    """Return the two-sided quantile of Student's t distribution (0.975 for ``level=0.95``)."""
    special = require_optional("scipy.special", "train")  # scipy.stats takes longer to import
    return float(special.stdtrit(degrees_of_freedom, (1 + level) / 2))


def is_significant(effect: Mapping[str, Any]) -> bool:
    """Return True if ``ci_adjusted``, corrected for multiple comparisons, excludes zero."""
    interval = effect.get("ci_adjusted")
    return interval is not None and excludes_zero(interval)


def excludes_zero(interval: tuple[float, float]) -> bool:
    """Return True if both ends of an interval have the same sign."""
    low, high = interval
    return low * high > 0
