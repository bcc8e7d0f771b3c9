"""Choose label bins and shot thresholds for user data, by a rule or from command-line options."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ranksim._utils.formatting import format_count
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
_GRID_TOLERANCE = 0.05  # steps between a label and the grid value that it is counted as
_MAX_DIVISOR = 10  # steps in the smallest difference of two labels
_MIN_GRID_VALUES = 5  # values that form a grid although other labels lie between them
_GRID_SHARE = 2 / 3  # of the labels on such a grid, beyond the share that chance explains


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

    The rule does not depend on the unit: labels that are multiplied by a number or shifted get the
    same bins, multiplied and shifted alike.

    Labels on a grid (integers, tenths, twelfths) of fewer than 1,000 values get one bin per value
    if there are on average at least 10 samples per value, and at least as many as values. Otherwise
    the width 2 · IQR · N^(−1/3) (Freedman and Diaconis, 1981) is limited to 20 to 100 bins, which
    begin at the smallest label. On a grid, the width is the nearest of 1, 2 or 5 times a power of
    ten grid steps, and no bin is narrower than a step; the grid may be that of most labels, with
    some labels between its values. These limits ignore far outliers: labels more than 10
    interquartile ranges of the distinct labels beyond the quartiles. If outliers would need more
    than 1,000 bins, they get one wide bin on either side. Labels beyond ±1e38, the range of
    float32, are clipped.

    Thresholds: 100 and 20, as published (Yang et al., ICML 2021), unless less than a third of the
    samples would be many-shot. Then ``many`` is the largest number (a multiple of 5 from 10 on) for
    which at least a third is, and ``few`` is a fifth of it, at least 2.
    """
    values = label_vector(labels)
    if values.min() == values.max():
        raise ValueError(f"all {len(values)} labels are {values[0]:g}; pass labels that differ")
    values = np.clip(values, -_MAX_LABEL, _MAX_LABEL)
    if width is None:
        bins, width, reason = _choose_bins(values)
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


def _choose_bins(values: Floats) -> tuple[LabelBins, float, str]:
    """Choose bins for labels by the rule of :func:`suggest_bins`; return bins, width and reason."""
    distinct, counts = np.unique(values, return_counts=True)
    is_near = _are_near(distinct)
    near, near_counts = distinct[is_near], counts[is_near]
    low, high = float(near[0]), float(near[-1])
    min_width = max(_MIN_WIDTH, max(-low, high) / _FLOAT32_STEPS)
    first, third = np.percentile(values, (25, 75))
    by_rule = 2 * (third - first) * len(values) ** (-1 / 3)
    limited = min(max(by_rule, (high - low) / _MAX_BINS), (high - low) / _MIN_BINS) or min_width
    step = _find_grid_step(near, near_counts)
    if step is None:
        bin_count = max(1, min(round((high - low) / limited), int((high - low) / min_width)))
        width = max((high - low) / bin_count, min_width)
        reason = f"{format_count(bin_count, 'bin')} by the limited rule of Freedman and Diaconis"
        tolerance = 1e-9 * width
        bins = _make_bins(distinct, near, width, bin_count, tolerance=tolerance, closed=True)
        return bins, width, reason
    grid, total = round((high - low) / step) + 1, int(near_counts.sum())
    enough = total >= max(_SAMPLES_PER_VALUE, grid) * grid
    if grid < _MAX_ALL_BINS and enough and step >= min_width:
        mean = total / grid
        multiple = 1
        reason = f"one bin for each of {grid:,} values, {mean:,.0f} samples per value"
    else:
        multiple = _round_multiple(max(limited, min_width) / step, min_width / step)
        reason = f"{limited:.3g} by the limited rule of Freedman and Diaconis, "
        reason += f"as a multiple of {step:.6g}, the step of the labels"
    width, bin_count = multiple * step, (grid - 1) // multiple + 1
    precision = 4 * max(-low, high) / _FLOAT32_STEPS
    tolerance = min(max(1e-3 * step, precision), _GRID_TOLERANCE * step)
    bins = _make_bins(distinct, near, width, bin_count, tolerance=tolerance)
    return bins, width, reason


def _are_near(distinct: Floats) -> NDArray[np.bool_]:
    """Return a mask of the distinct labels that are no far outliers.

    Distinct labels, because repeats could make the quartiles equal.
    """
    first, third = np.percentile(distinct, (25, 75))
    reach = (_OUTLIER_IQRS + 1e-6) * (third - first)  # the same in any unit despite rounding
    near: NDArray[np.bool_] = (distinct >= first - reach) & (distinct <= third + reach)
    return near


def _find_grid_step(distinct: Floats, counts: Ints) -> float | None:
    """Return the largest step of a grid that most labels lie on; None if there is no grid."""
    step: float | None = None
    exact: float | None = None  # step of a grid that all labels lie on
    least = 1
    while least <= counts.max():
        frequent = distinct[counts >= least]
        if least > 1 and len(frequent) < _MIN_GRID_VALUES:
            break
        candidate = _find_common_step(frequent)
        if least == 1:
            step = exact = candidate
        elif candidate is not None:
            positions = (distinct - frequent[0]) / candidate
            is_on_grid = np.abs(positions - np.rint(positions)) <= _GRID_TOLERANCE
            share = counts[is_on_grid].sum() / counts.sum()
            chance = 0.0 if exact is None else min(exact / candidate, 1.0)
            if share >= chance + _GRID_SHARE * (1 - chance):
                step = candidate
        least *= 2
    return step


def _find_common_step(distinct: Floats) -> float | None:
    """Return the largest step that divides all differences of ascending labels, or None."""
    gaps = np.diff(distinct)
    if not len(gaps):
        return None
    smallest = float(gaps.min())
    if smallest * 2.0**53 < gaps.max():  # a ratio that floating point cannot count
        return None
    for divisor in range(1, _MAX_DIVISOR + 1):
        multiples = np.rint(gaps / smallest * divisor)
        step = float((distinct[-1] - distinct[0]) / multiples.sum())
        if (np.abs(gaps - multiples * step) <= _GRID_TOLERANCE * step).all():
            return _round_step(step)
    return None


def _round_step(step: float) -> float:
    """Remove the rounding error of labels such as 0.1 in float32 from a step."""
    rounded = float(f"{step:.5g}")
    return rounded if math.isclose(rounded, step, rel_tol=1e-7) else step


def _round_multiple(target: float, least: float) -> int:
    """Return the nearest of 1, 2 or 5 times a power of ten that is at least ``least``."""
    powers = range(max(0, math.floor(math.log10(target))) + 2)
    multiples: list[int] = [m * 10**k for k in powers for m in (1, 2, 5) if m * 10**k >= least]
    return min(multiples, key=lambda multiple: abs(math.log(multiple / target)))


def _make_bins(
    distinct: Floats,
    near: Floats,
    width: float,
    count: int,
    *,
    tolerance: float,
    closed: bool = False,
) -> LabelBins:
    """Return ``count`` bins from the smallest near label, and further ones that cover all labels.

    An edge within ``tolerance`` of a label is that label, so that rounding decides no bin. If
    ``closed``, the last of the ``count`` bins ends at the largest near label and includes it.
    """
    lowest, highest, origin = distinct[0], distinct[-1], near[0]
    first = math.floor((lowest - origin + tolerance) / width)
    last = count
    if highest > near[-1]:
        last = max(last, math.floor((highest - origin + tolerance) / width) + 1)
    is_regular = last - first <= _MAX_ALL_BINS
    is_regular &= max(-lowest, highest) <= _FLOAT32_STEPS * width
    if not is_regular:
        first, last = 0, count
    edges = _snap(origin + np.arange(first, last + 1) * width, distinct, tolerance)
    edges = edges.astype(np.float32)
    if closed:
        top = np.float32(near[-1])
        edges[count - first] = np.nextafter(top, np.float32(np.inf)) if highest > top else top
    if not is_regular:
        edges = np.concatenate([edges, _wide_edges(distinct, near, width)])
    if len(np.unique(edges)) == 1:  # labels that float32 cannot distinguish
        edges = np.array([edges[0], np.nextafter(edges[0], np.float32(np.inf))])
    return LabelBins(np.unique(edges))


def _snap(edges: Floats, distinct: Floats, tolerance: float) -> Floats:
    """Replace each edge by the nearest label if that is within ``tolerance``."""
    above = np.searchsorted(distinct, edges).clip(1, len(distinct) - 1)
    is_closer = edges - distinct[above - 1] < distinct[above] - edges
    nearest = distinct[np.where(is_closer, above - 1, above)]
    return np.where(np.abs(nearest - edges) <= tolerance, nearest, edges)


def _wide_edges(distinct: Floats, near: Floats, width: float) -> NDArray[np.float32]:
    """Return the edges of one wide bin for the far outliers on either side."""
    edges: list[Any] = []
    for outliers in (distinct[distinct < near[0]], distinct[distinct > near[-1]]):
        if len(outliers):
            last = np.float32(outliers[-1])
            end = max(np.float32(outliers[-1] + width), np.nextafter(last, np.float32(np.inf)))
            edges += [outliers[0], end]
    return np.array(edges, dtype=np.float32)


def _choose_thresholds(counts: Ints) -> tuple[int, int, str]:
    descending = np.sort(counts)[::-1]
    third = int(np.searchsorted(np.cumsum(descending), counts.sum() / 3))
    many = int(descending[third]) - 1
    if many >= MANY:
        return MANY, FEW, f"{MANY} and {FEW} samples as published"
    many -= many % 5 if many >= 10 else 0
    few = max(2, many // 5)
    return max(many, few), few, "thresholds for which a third of the samples are many-shot"
