"""Intervals of a mean difference over seeds, over test samples, and over both."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.formatting import MIN_SEEDS
from ranksim.exceptions import require_optional

RESAMPLES = 2_000
_CHUNK = 4_000_000  # draws held at a time
_MOST_SEEDS = 1_000


@dataclass(frozen=True)
class TwoWayInterval:
    r"""A difference over S seeds and n test samples, each seed with every sample.

    With :math:`d_{si} = \mu + a_s + b_i + e_{si}` (seeds, samples and rest at random), the mean
    :math:`\bar d` has the variance
    :math:`\sigma_a^2/S + \sigma_b^2/n + \sigma_e^2/(Sn)`, in which the rest counts once. The mean
    squares estimate

    .. math::  E[A] = \sigma_e^2 + n \sigma_a^2, \quad E[B] = \sigma_e^2 + S \sigma_b^2, \quad
               E[R] = \sigma_e^2

    and the interval at confidence :math:`1 - \alpha` is :math:`\bar d \pm h`,

    .. math::  S n \, h^2 = \max \left( t_{S-1}^2 A, \;
               t_{S-1}^2 \max(A - R, 0) + t_{n-1}^2 B \right)

    with t the quantile of Student's distribution at :math:`1 - \alpha/2`. The first is the paired
    interval over seeds, than which it is never narrower; the second adds the samples. Where one
    part is small the other decides, with its own degrees of freedom. It covers 95 % where seeds
    differ, and more where they do not: two degrees of freedom cannot tell (``docs/reliability.md`` has
    figures).

    Args:
        mean: of all differences.
        seeds, samples: S and n, at least 2.
        by_seed, by_sample, rest: the mean squares A, B and R.

    Source: the two-way layout at random without replication, as in Searle, Casella and McCulloch,
    "Variance Components" (1992), section 4.
    """

    mean: float
    seeds: int
    samples: int
    by_seed: float
    by_sample: float
    rest: float

    @classmethod
    def of(cls, difference: NDArray[np.float64]) -> TwoWayInterval:
        """From differences ``(S, n)``.

        Example:
            >>> found = TwoWayInterval.of(np.array([[1.0, 3.0], [2.0, 6.0]]))
            >>> found.mean, found.by_seed, found.by_sample, found.rest
            (3.0, 4.0, 9.0, 1.0)
        """
        seeds, samples = difference.shape
        mean = difference.mean()
        seed, sample = difference.mean(axis=1) - mean, difference.mean(axis=0) - mean
        rest = difference - mean - seed[:, None] - sample
        return cls(
            *(float(mean), seeds, samples),
            samples * float(seed @ seed) / (seeds - 1),
            seeds * float(sample @ sample) / (samples - 1),
            float(np.square(rest).sum()) / ((seeds - 1) * (samples - 1)),
        )

    def half(self, level: float) -> float:
        """Half the width of the interval at a confidence such as 0.95."""
        seed, sample = quantile(level, self.seeds - 1), quantile(level, self.samples - 1)
        both = seed**2 * max(self.by_seed - self.rest, 0.0) + sample**2 * self.by_sample
        return math.sqrt(max(seed**2 * self.by_seed, both) / (self.seeds * self.samples))

    def seeds_needed(self, level: float) -> int | None:
        """Seeds with which the interval would leave out zero if mean and variances stayed.

        Three at least, as nothing is called better with fewer; ``None`` where a thousand would not
        do: there are too few test samples.
        """
        seed = max(self.by_seed - self.rest, 0.0)
        sample = max(self.by_sample - self.rest, 0.0) / self.seeds

        def shows(seeds: int) -> bool:
            more = TwoWayInterval(
                *(self.mean, seeds, self.samples),
                *(self.rest + seed, self.rest + seeds * sample, self.rest),
            )
            return more.half(level) < abs(self.mean)

        numbers = range(max(self.seeds, MIN_SEEDS), _MOST_SEEDS + 1)
        place = bisect.bisect_left(numbers, True, key=shows)  # the interval narrows with each seed
        return numbers[place] if place < len(numbers) else None


def aggregate_by_cluster(
    difference: NDArray[np.float64], groups: NDArray[np.int64] | None
) -> NDArray[np.float64]:
    r"""Differences of samples to those of their groups, of the same mean for each seed.

    .. math::  z_{sg} = \bar d_s + \frac{G}{n} \sum_{i \in g} (d_{si} - \bar d_s)

    Samples of one day or person err alike, so that groups are what is drawn independently; the
    variance of the mean of z over groups is that of a mean over clusters of unequal sizes.

    Args:
        difference: ``(S, n)``.
        groups: of each sample, ``(n,)``; ``None``: each stands for itself.

    Returns:
        ``(S, G)``.

    Example:
        >>> aggregate_by_cluster(np.array([[1.0, 3.0, 5.0, 5.0]]), np.array([7, 7, 8, 8])).tolist()
        [[2.0, 5.0]]

    Source: Cochran, "Sampling Techniques" (1977), section 9A.
    """
    if groups is None:
        return difference
    names, place = np.unique(groups, return_inverse=True)
    mean = difference.mean(axis=1, keepdims=True)
    sums = [np.bincount(place, each, len(names)) for each in difference - mean]
    made: NDArray[np.float64] = mean + np.stack(sums) * (len(names) / len(groups))
    return made


def bootstrap(
    values: NDArray[np.float64], level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Bootstrap intervals of means, samples drawn with replacement.

    At each side the farther of two ends: the percentile of the means m* of the draws, and that of
    the studentised bootstrap,

    .. math::  \left[ m - s \, q_{(1 + \ell)/2}, \; m - s \, q_{(1 - \ell)/2} \right],
               \quad q \text{ of } t^* = (m^* - m) / s^*

    with m and s the mean and standard deviation (over n) of the samples, and m* and s* of a draw.
    Alone, percentiles cover too little where values are skewed, as squared errors are (82 to 93 %),
    and the studentised where they are heavy-tailed on both sides, as differences of them are
    (93 %); together 95 % of both (``docs/reliability.md``). A draw counts with
    :math:`s^* \ge s / \sqrt n`, as a handful of samples may be drawn all alike.

    Args:
        values: a column for each mean, ``(n, C)``; all are drawn alike.
        level: the confidence.

    Returns:
        Lower and upper ends, ``(C,)``, of 2,000 draws with a fixed seed.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), sections 12.5, 13.3.
    """
    count = len(values)
    draw = np.random.default_rng(0)
    mean, spread = values.mean(axis=0), values.std(axis=0)
    apart = values - mean
    both = np.concatenate([apart, np.square(apart)], axis=1)
    shifts, ratios = [], []
    for start in range(0, RESAMPLES, each := max(_CHUNK // count, 1)):
        rows = min(each, RESAMPLES - start)
        chosen = draw.integers(0, count, (rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(chosen.ravel(), minlength=rows * count).reshape(rows, count)
        shift, square = np.split(times @ both / count, 2, axis=1)
        own = np.sqrt(np.maximum(square - np.square(shift), np.square(spread) / count))
        shifts.append(shift)
        ratios.append(np.divide(shift, own, out=np.zeros_like(shift), where=own > 0))
    ends = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(np.concatenate(shifts), ends, axis=0)
    left, right = spread * np.quantile(np.concatenate(ratios), ends, axis=0)
    return mean + np.minimum(low, -right), mean + np.maximum(high, -left)


@cache
def quantile(level: float, freedom: int) -> float:
    """Of Student's t with so many degrees of freedom, two-sided: 0.95 asks for that at 0.975."""
    return float(require_optional("scipy.stats", "train").t.ppf((1 + level) / 2, freedom))
