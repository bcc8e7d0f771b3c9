"""Choose label bins and shot thresholds for user data, by a rule or from command-line options."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ranksim.data.spec import UserDataSpec
from ranksim.data.table import Floats, Ints
from ranksim.exceptions import UsageError
from ranksim.imbalance import LabelBins
from ranksim.imbalance.bins import label_vector, parse_named_range
from ranksim.metrics.shot_regions import FEW, MANY, ShotRegions

_MIN_BINS, _MAX_BINS = 20, 100  # of the rule, without the bins of far outliers
_MAX_ALL_BINS = 1000  # of the rule, with them
_MAX_REQUESTED_BINS = 10_000
_SAMPLES_PER_VALUE = 10  # needed on average for one bin per distinct value
_OUTLIER_IQRS = 10  # interquartile ranges between the quartiles and a far outlier
_MAX_LABEL, _MIN_WIDTH = 1e38, 1e-36  # range of float32
_FLOAT32_STEPS = 2**23  # steps between 0 and a number that float32 can distinguish


@dataclass(frozen=True)
class BinSuggestion:
    """Label bins and shot thresholds suggested for some labels, with the reason as text."""

    bins: LabelBins
    width: float  # in the unit of the label; the bins of far outliers are wider
    many: int  # a bin with more samples is many-shot
    few: int  # a bin with fewer samples is few-shot
    reason: str


def suggest_bins(
    labels: ArrayLike,
    *,
    width: float | None = None,
    many: int | None = None,
    few: int | None = None,
) -> BinSuggestion:
    """Suggest label bins and shot thresholds for labels ``(N,)``; arguments that are set are kept.

    Width: labels on a grid (integers, tenths, halves) of fewer than 1,000 values get one bin per
    value if there are on average at least 10 samples per value, and at least as many as values.
    Otherwise the width 2 · IQR · N^(−1/3) (Freedman and Diaconis, 1981), limited to 20 to 100 bins,
    is rounded to the nearest of 1, 2 or 5 times a power of ten that is a multiple of the grid step.
    These limits ignore far outliers: labels more than 10 interquartile ranges of the distinct
    labels beyond the quartiles. If outliers would need more than 1,000 bins, they get one wide bin
    on either side. Labels beyond ±1e38, the range of float32, are clipped.

    Thresholds: 100 and 20, as published (Yang et al., ICML 2021), unless less than a third of the
    samples would be many-shot. Then ``many`` is the largest number (a multiple of 5 from 10 on) for
    which at least a third is, and ``few`` is a fifth of it, at least 2.
    """
    values = label_vector(labels)
    if values.min() == values.max():
        raise ValueError(f"all {len(values)} labels are {values[0]:g}; pass labels that differ")
    values = np.clip(values, -_MAX_LABEL, _MAX_LABEL)
    if width is None:
        distinct = np.unique(values)
        width, reason = _choose_width(values, distinct)
        bins = _make_bins(values, distinct, width)
    else:
        bins, reason = LabelBins.from_width(values, width), "the requested width"
    many, few, threshold_reason = suggest_thresholds(bins.histogram(values), many=many, few=few)
    return BinSuggestion(bins, width, many, few, f"{reason}; {threshold_reason}")


def suggest_thresholds(
    counts: Ints, *, many: int | None = None, few: int | None = None
) -> tuple[int, int, str]:
    """Suggest shot thresholds for the sample count of each bin; return ``(many, few, reason)``."""
    many_by_rule, few_by_rule, reason = _choose_thresholds(counts)
    if many is None and few is None:
        return many_by_rule, few_by_rule, reason
    many = max(many_by_rule, few or 0) if many is None else many
    few = min(few_by_rule, many) if few is None else few
    if few > many:
        raise ValueError(f"few must be at most many, got few={few} and many={many}")
    return many, few, "the requested thresholds"


def make_label_bins(
    labels: Floats, *, count: int | None = None, width: float | None = None
) -> LabelBins:
    """Create bins by count, width or :func:`suggest_bins`; a single bin if all labels are equal."""
    if np.ptp(labels) == 0:
        return LabelBins.from_width(labels, 1.0)
    if count is not None:
        return LabelBins.from_count(labels, count)
    return suggest_bins(labels, width=width).bins


def choose_label_bins(labels: Floats, options: UserDataSpec) -> LabelBins:
    """Create bins for labels ``(N,)``: of the requested width, else by :func:`suggest_bins`."""
    width = options.bin_width
    if width is not None and width > 0 and np.ptp(labels) / width > _MAX_REQUESTED_BINS:
        raise UsageError(
            f"--bin-width {width:g} divides the labels in column {options.target!r} into "
            f"{np.ptp(labels) / width:,.0f} bins: choose a width that gives at most "
            f"{_MAX_REQUESTED_BINS:,}."
        )
    try:
        return make_label_bins(labels, width=width)
    except ValueError as error:
        raise UsageError(
            f"Label bins could not be chosen: {error}; correct --bin-width or --target."
        ) from error


def choose_shot_regions(
    bins: LabelBins, training: Floats, options: UserDataSpec
) -> tuple[ShotRegions, int, int]:
    """Compute shot regions from training labels ``(N,)``; return ``(regions, many, few)``."""
    counts = bins.histogram(training)
    try:
        named = dict(map(parse_named_range, options.region))
        many, few, _ = suggest_thresholds(counts, many=options.many, few=options.few)
    except ValueError as error:
        raise UsageError(
            f"The shot regions could not be set: {error}; correct --region, --many or --few."
        ) from error
    return ShotRegions.from_counts(bins, training, many=many, few=few, named=named), many, few


def _drop_outliers(distinct: Floats) -> Floats:
    """Remove far outliers from the distinct labels (repeats could make the quartiles equal)."""
    first, third = np.percentile(distinct, (25, 75))
    reach = _OUTLIER_IQRS * (third - first)
    near: Floats = distinct[(distinct >= first - reach) & (distinct <= third + reach)]
    return near


def _choose_width(values: Floats, distinct: Floats) -> tuple[float, str]:
    near = _drop_outliers(distinct)
    low, high = float(near[0]), float(near[-1])
    count = int(np.count_nonzero((values >= low) & (values <= high)))
    min_width = max(_MIN_WIDTH, max(-low, high) / _FLOAT32_STEPS)
    step = _grid_step(near)
    if step is not None and step >= min_width:
        grid = round((high - low) / step) + 1
        if grid < _MAX_ALL_BINS and count >= max(_SAMPLES_PER_VALUE, grid) * grid:
            mean = count / grid
            return step, f"one bin for each of {grid:,} values, {mean:,.0f} samples per value"
    first, third = np.percentile(values, (25, 75))
    by_rule = 2 * (third - first) * len(values) ** (-1 / 3)
    limited = min(max(by_rule, (high - low) / _MAX_BINS), (high - low) / _MIN_BINS)
    target = max(min_width, limited)
    widths = (w for w in _round_widths(target, step) if w >= min_width)
    width = min(widths, key=lambda w: abs(math.log(w / target)))
    return width, f"{target:.3g} by the limited rule of Freedman and Diaconis, rounded"


def _grid_step(distinct: Floats) -> float | None:
    """Return the largest step that divides all label differences; None if over six decimals."""
    for decimals in range(7):
        scaled = distinct * 10.0**decimals
        if np.abs(scaled).max() > 2**53:
            break
        integers = np.rint(scaled)
        tolerance = 1e-9 + 1e-7 * np.abs(scaled)  # the precision of float32
        if (np.abs(scaled - integers) <= tolerance).all():
            steps = int(np.gcd.reduce(np.diff(np.unique(integers.astype(np.int64)))))
            return float(f"{steps}e-{decimals}") if steps else None
    return None


def _round_widths(target: float, step: float | None) -> list[float]:
    """List round widths near ``target`` (1, 2 or 5 times 10^k) that are multiples of ``step``."""
    power = math.floor(math.log10(target))
    widths = [float(f"{m}e{power + k}") for k in range(-1, 4) for m in (1, 2, 5)]
    if step is None:
        return widths
    multiples = [w for w in widths if w >= step and math.isclose(w / step, round(w / step))]
    # a step such as 3 has none among them
    power = max(0, math.floor(math.log10(target / step)))
    return multiples or [step * m * 10**k for k in range(power, power + 3) for m in (1, 2, 5)]


def _make_bins(values: Floats, distinct: Floats, width: float) -> LabelBins:
    if np.ptp(values) <= _MAX_ALL_BINS * width and np.abs(values).max() <= _FLOAT32_STEPS * width:
        return LabelBins.from_width(values, width)
    near = _drop_outliers(distinct)
    edges: list[NDArray[Any]] = [LabelBins.from_width(near, width).edges]
    for outliers in (distinct[distinct < near[0]], distinct[distinct > near[-1]]):
        if len(outliers):
            last = np.float32(outliers[-1])
            end = max(np.float32(outliers[-1] + width), np.nextafter(last, np.float32(np.inf)))
            edges.append(np.array([outliers[0], end], dtype=np.float32))
    return LabelBins(np.unique(np.concatenate(edges)))


def _choose_thresholds(counts: Ints) -> tuple[int, int, str]:
    descending = np.sort(counts)[::-1]
    third = int(np.searchsorted(np.cumsum(descending), counts.sum() / 3))
    many = int(descending[third]) - 1
    if many >= MANY:
        return MANY, FEW, f"{MANY} and {FEW} samples as published"
    many -= many % 5 if many >= 10 else 0
    few = max(2, many // 5)
    return max(many, few), few, "thresholds for which a third of the samples are many-shot"
