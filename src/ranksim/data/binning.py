"""Bin width and region thresholds for labels that no one has published any for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ranksim.imbalance import LabelBins
from ranksim.imbalance._labels import label_vector
from ranksim.metrics.shot_regions import FEW, MANY

_FEWEST_BINS, _MOST_BINS = 20, 100
_ALL_BINS = 1000  # with those of far outliers
_A_VALUE = 10  # samples that a value must have on average, at least, to keep a bin
_FAR = 10  # interquartile ranges beyond the quartiles
_LARGEST, _SMALLEST = 1e38, 1e-36  # that float32 holds
_TOLD_APART = 2**23  # steps that float32 tells apart


@dataclass(frozen=True)
class BinSuggestion:
    """Bins and thresholds that suit some labels.

    Args:
        bins: over all labels.
        width: of a bin, in the unit of the label; those of far outliers are wider.
        many, few: a bin with more samples than ``many`` is many-shot, one with fewer than ``few``
            few-shot.
        reason: why, in words.
    """

    bins: LabelBins
    width: float
    many: int
    few: int
    reason: str


def suggest_bins(
    labels: ArrayLike,
    *,
    width: float | None = None,
    many: int | None = None,
    few: int | None = None,
) -> BinSuggestion:
    """Choose bin width and thresholds by rule: the same labels get the same answer.

    Width. Labels that lie on a grid (whole numbers, tenths, halves) of fewer than 1,000 values keep
    a bin each where a value has on average at least 10 samples, and at least as many as there are
    values. Else 2 · IQR · N^(−1/3), bounded to 20 to 100 bins, is made round: to the nearest of 1,
    2 or 5 times a power of ten that is a multiple of the grid's step. The bounds count bins over
    the labels without far outliers, those more than 10 interquartile ranges of the distinct labels
    from the quartiles; where outliers would ask for more than 1,000 bins, they get a wide one of
    their own on either side.

    Thresholds. 100 and 20, as published, unless less than a third of the samples would be
    many-shot: then ``many`` is the largest number (a multiple of 5 from 10 on) that leaves them a
    third, and ``few`` a fifth of it, at least 2.

    Args:
        labels: finite, with at least two distinct values, shape ``(N,)``. Those beyond ±1e38, where
            float32 ends, count as its ends.
        width: kept where it is given; bins are then :meth:`LabelBins.of_width`.
        many: kept where it is given.
        few: kept where it is given.

    Raises:
        TypeError: labels are not numbers.
        ValueError: labels are empty, all equal or not finite, the width is not usable, or ``few``
            is above ``many``.

    Example:
        >>> ages = suggest_bins(np.repeat(np.arange(20, 70), 60))
        >>> ages.width, ages.many, ages.few, len(ages.bins)
        (1.0, 55, 11, 50)

    Source: Freedman and Diaconis, "On the histogram as a density estimator" (1981); Yang et al.
    (ICML 2021), section 4.1, for 100 and 20.
    """
    values = label_vector(labels)
    if values.min() == values.max():
        raise ValueError(f"labels must differ, all {len(values)} are {values[0]:g}")
    values = np.clip(values, -_LARGEST, _LARGEST)
    distinct = np.unique(values)
    if width is None:
        width, why = _width(values, distinct)
        bins = _bins(values, distinct, width)
    else:
        bins, why = LabelBins.of_width(values, width), "the width as given"
    most, least, how = suggest_thresholds(bins.counts(values), many=many, few=few)
    return BinSuggestion(bins, width, most, least, f"{why}; {how}")


def suggest_thresholds(
    counts: NDArray[np.int64], *, many: int | None = None, few: int | None = None
) -> tuple[int, int, str]:
    """The thresholds of :func:`suggest_bins` for bins that are chosen already, and why.

    Args:
        counts: samples of each bin, int64 ``(K,)``, at least one of them above 0.
        many: kept where it is given.
        few: kept where it is given.

    Raises:
        ValueError: ``few`` is above ``many``.

    Example:
        >>> suggest_thresholds(np.array([60, 30, 10, 1]))[:2], suggest_thresholds(np.array([60, 30]), few=70)[:2]
        ((55, 11), (70, 70))
    """
    most, least, how = _third(counts)
    if many is not None or few is not None:
        how = "the thresholds as given"
        most = many if many is not None else max(most, few or 0)
        least = few if few is not None else min(least, most)
    if least > most:
        raise ValueError(f"few must be at most many, got {least} and {most}")
    return most, least, how


def _near(distinct: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without far outliers; of distinct values, as most labels may be the same one."""
    first, third = np.percentile(distinct, (25, 75))
    reach = _FAR * (third - first)
    near: NDArray[np.float64] = distinct[(distinct >= first - reach) & (distinct <= third + reach)]
    return near


def _width(values: NDArray[np.float64], distinct: NDArray[np.float64]) -> tuple[float, str]:
    near = _near(distinct)
    low, high = float(near[0]), float(near[-1])
    count = int(np.count_nonzero((values >= low) & (values <= high)))
    finest = max(_SMALLEST, max(-low, high) / _TOLD_APART)
    step = _step(near)
    if step is not None and step >= finest:
        grid = round((high - low) / step) + 1
        if grid < _ALL_BINS and count >= max(_A_VALUE, grid) * grid:
            return step, f"each of {grid:,} values has a bin, {count / grid:,.0f} samples a value"
    first, third = np.percentile(values, (25, 75))
    rule = 2 * (third - first) * len(values) ** (-1 / 3)
    bounded = min(max(rule, (high - low) / _MOST_BINS), (high - low) / _FEWEST_BINS)
    wanted = max(finest, bounded)
    widths = (w for w in _round_widths(wanted, step) if w >= finest)
    width = min(widths, key=lambda w: abs(math.log(w / wanted)))
    return width, f"{wanted:.3g} by the bounded rule of Freedman and Diaconis, made round"


def _step(distinct: NDArray[np.float64]) -> float | None:
    """The largest step whose multiples labels of at most six decimals are apart."""
    for decimals in range(7):
        scaled = distinct * 10.0**decimals
        if np.abs(scaled).max() > 2**53:
            break
        whole = np.rint(scaled)
        if (np.abs(scaled - whole) <= 1e-9 + 1e-7 * np.abs(scaled)).all():  # float32 is no nearer
            steps = int(np.gcd.reduce(np.diff(np.unique(whole.astype(np.int64)))))
            return float(f"{steps}e-{decimals}") if steps else None
    return None


def _round_widths(wanted: float, step: float | None) -> list[float]:
    """1, 2 and 5 times powers of ten around ``wanted``, as multiples of ``step``."""
    power = math.floor(math.log10(wanted))
    widths = [float(f"{m}e{power + k}") for k in range(-1, 4) for m in (1, 2, 5)]
    if step is None:
        return widths
    fitting = [w for w in widths if w >= step and math.isclose(w / step, round(w / step))]
    # no power of ten is a multiple of a step of 3
    power = max(0, math.floor(math.log10(wanted / step)))
    return fitting or [step * m * 10**k for k in range(power, power + 3) for m in (1, 2, 5)]


def _bins(values: NDArray[np.float64], distinct: NDArray[np.float64], width: float) -> LabelBins:
    if np.ptp(values) <= _ALL_BINS * width and np.abs(values).max() <= _TOLD_APART * width:
        return LabelBins.of_width(values, width)
    near = _near(distinct)
    edges: list[NDArray[Any]] = [LabelBins.of_width(near, width).edges]
    for far in (distinct[distinct < near[0]], distinct[distinct > near[-1]]):
        if len(far):
            last = np.float32(far[-1])
            end = max(np.float32(far[-1] + width), np.nextafter(last, np.float32(np.inf)))
            edges.append(np.array([far[0], end], dtype=np.float32))
    return LabelBins(np.unique(np.concatenate(edges)))


def _third(counts: NDArray[np.int64]) -> tuple[int, int, str]:
    fullest = np.sort(counts)[::-1]
    third = int(np.searchsorted(np.cumsum(fullest), counts.sum() / 3))
    many = int(fullest[third]) - 1
    if many >= MANY:
        return MANY, FEW, f"{MANY} and {FEW} samples as published"
    many -= many % 5 if many >= 10 else 0
    few = max(2, many // 5)
    return max(many, few), few, "thresholds that leave a third of the samples many-shot"
