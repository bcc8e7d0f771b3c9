"""Tests and effect sizes of changes between a data set and a later one, column by column."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.formatting import format_compact, format_percent
from ranksim.evaluation.intervals import aggregate_by_cluster, count_effective
from ranksim.exceptions import require_optional

MODERATE_PSI, LARGE_PSI = 0.1, 0.25  # as is usual in credit scoring
LEVEL = 0.05  # probability of naming any change where there is none
FAMILIES = 7  # of tests that share it: inputs, errors, coverage; labels, predictions, their regions
MIN_RATIO = 1.25  # of two shares; smaller changes are not named, however sure
MIN_GROWTH = 0.1  # of an error
_MIN_POINT = 0.01  # of a coverage, and of a share of missing values that is mentioned
_BINS = 10  # of the PSI of numbers, and more where single values are frequent
_MIN_EXPECTED = 5  # samples of a category in a chi-square test; rarer ones are merged
_POINTS = 101  # that describe the distribution of a column
_DAY = 86_400
Floats = NDArray[np.float64]
Measure = Literal["number", "date"]


@dataclass(frozen=True)
class Change:
    """How far the distribution of a column has moved.

    Args:
        name: of the column.
        psi: population stability index.
        distance: Kolmogorov–Smirnov distance of numbers, total variation of categories.
        p_value: of the hypothesis that both samples have the same distribution.
        before: statistics by name, before.
        after: the same of the new data.
        outside: share of new values outside the earlier range, or of new categories.
        text: the change in words, without the name and the PSI.
        p_adjusted: p-value that accounts for all tests of a comparison, see :func:`adjust_changes`.
    """

    name: str
    psi: float
    distance: float
    p_value: float
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    outside: float
    text: str
    p_adjusted: float = 1.0

    @property
    def has_moved(self) -> bool:
        """Whether the change is sure, and large enough to matter."""
        return self.p_adjusted < LEVEL and self.psi >= MODERATE_PSI

    def __str__(self) -> str:
        return f"{self.name}: {self.text}, PSI {self.psi:.2f}"

    def to_dict(self) -> dict[str, Any]:
        """Return the change as JSON values."""
        return {**vars(self), "before": dict(self.before), "after": dict(self.after)} | {
            "moved": self.has_moved,
            "size": describe_psi(self.psi),
        }


@dataclass(frozen=True, eq=False)
class NumberSummary:
    """The distribution of numbers, by its values at equal steps of probability.

    Args:
        values: distinct numbers, ascending ``(K,)``; the first and last are the range.
        below: share of the numbers that are smaller than each, ``(K,)``.
        upto: share of the numbers that are not larger, ``(K,)``.
        mean: of the numbers.
        count: numbers, or their effective count if they are weighted.
        missing: missing numbers.
        measure: what they are; dates are in days since 1970.
    """

    kind: ClassVar[str] = "numbers"
    values: Floats
    below: Floats
    upto: Floats
    mean: float
    count: int
    missing: int
    measure: Measure = "number"

    @classmethod
    def from_values(
        cls,
        values: Floats,
        weights: Floats | None = None,
        *,
        points: int = _POINTS,
        measure: Measure = "number",
    ) -> NumberSummary:
        """Summarize numbers ``(N,)``, NaN where missing, by at most ``points`` of them."""
        is_known = np.isfinite(values)
        known = values[is_known]
        if not len(known):
            empty = np.zeros(0)
            return cls(empty, empty, empty, math.nan, 0, len(values), measure)
        weight = np.ones(len(known)) if weights is None else weights[is_known]
        distinct, index = np.unique(known, return_inverse=True)
        sums = np.cumsum(np.bincount(index, weight))
        upto = sums / sums[-1]
        levels = np.searchsorted(upto, np.linspace(0, 1, points)).clip(0, len(upto) - 1)
        places = (
            np.arange(len(upto)) if len(upto) <= points else np.unique([*levels, len(upto) - 1])
        )
        below = np.append(0.0, upto[:-1])
        count = len(known) if weights is None else count_effective(weight, None)
        assert count is not None
        mean = float(np.average(known, weights=weight))
        missing = len(values) - len(known)
        return cls(distinct[places], below[places], upto[places], mean, count, missing, measure)

    @property
    def median(self) -> float:
        """The smallest of ``values`` that at least half of the numbers do not exceed."""
        return float(self.values[np.searchsorted(self.upto, 0.5)]) if self.count else math.nan

    def compare(self, name: str, values: Floats) -> Change:
        """Compare new numbers ``(N,)``, NaN where missing, with these.

        The p-value comes from the two-sample Kolmogorov–Smirnov test; if numbers are missing, it is
        twice the smaller of this and the p-value of a chi-square test of their share.
        """
        stats = require_optional("scipy.stats", "cpu")
        after = NumberSummary.from_values(values, measure=self.measure)
        known = np.sort(values[np.isfinite(values)])
        counts = (self.count, self.missing), (after.count, after.missing)
        distance, p_value = 0.0, 1.0
        if self.count and len(known):
            upto = np.searchsorted(known, self.values, "right") / len(known)
            below = np.searchsorted(known, self.values, "left") / len(known)
            steps = np.abs(np.concatenate([upto - self.upto, below - self.below]))
            distance = float(steps.max())
            size = round(self.count * len(known) / (self.count + len(known)))
            p_value = float(stats.kstwo.sf(distance, max(size, 1)))
            p_value = max(p_value, _smallest_p_value(self.count, len(known)))
        if self.missing or after.missing:
            p_value = min(1.0, 2 * min(p_value, homogeneity_p_value(*counts)))
        bins = self._count_bins(known)
        is_outside = (known < self.values[0]) | (known > self.values[-1]) if self.count else known
        return Change(
            name,
            stability_index(*(np.append(row, m[1]) for row, m in zip(bins, counts, strict=True))),
            distance,
            p_value,
            self._describe(),
            after._describe(),
            float(np.mean(is_outside)) if len(known) and self.count else 0.0,
            _describe_numbers(self, after),
        )

    def _count_bins(self, numbers: Floats) -> tuple[Floats, Floats]:
        """Return the numbers before and now in bins between deciles and frequent values."""
        deciles = np.searchsorted(self.upto, np.arange(1, _BINS) / _BINS)
        frequent = np.flatnonzero(self.upto - self.below >= 1 / _BINS)
        places = np.concatenate([deciles[deciles < len(self.values) - 1], frequent, frequent - 1])
        places = np.unique(places).astype(np.int64)  # -1: the bin below all values
        edges = np.append(np.nextafter(self.values[:1], -np.inf), self.values)[places + 1]
        shares = np.diff(np.concatenate([[0.0], np.append(0.0, self.upto)[places + 1], [1.0]]))
        index = np.searchsorted(edges, numbers)  # bins include their upper end
        return shares * self.count, np.bincount(index, minlength=len(shares)).astype(np.float64)

    def _describe(self) -> dict[str, Any]:
        total = self.count + self.missing
        return {
            "count": self.count,
            "missing": self.missing / total if total else 0.0,
            "median": None if not self.count else self.median,
            "mean": None if not self.count else self.mean,
            "range": [float(self.values[0]), float(self.values[-1])] if self.count else None,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        arrays = {name: getattr(self, name).tolist() for name in ("values", "below", "upto")}
        mean = None if math.isnan(self.mean) else self.mean
        return {"kind": self.kind, **vars(self), **arrays, "mean": mean}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> NumberSummary:
        """Recreate the summary from the result of :meth:`to_dict`."""
        return cls(
            np.asarray(content["values"], np.float64),
            np.asarray(content["below"], np.float64),
            np.asarray(content["upto"], np.float64),
            math.nan if content["mean"] is None else float(content["mean"]),
            int(content["count"]),
            int(content["missing"]),
            content["measure"],
        )


@dataclass(frozen=True, eq=False)
class CategorySummary:
    """The distribution of categories.

    Args:
        names: of the categories, K of them.
        counts: samples of each category ``(K,)``.
        missing: samples without one.
    """

    kind: ClassVar[str] = "categories"
    names: tuple[str, ...]
    counts: NDArray[np.int64]
    missing: int

    @classmethod
    def from_codes(cls, codes: Floats, names: Sequence[str]) -> CategorySummary:
        """Count the codes ``(N,)`` of categories, from 0, and NaN where missing."""
        known = codes[codes >= 0].astype(np.int64)
        counts = np.bincount(known, minlength=len(names))
        return cls(tuple(names), counts, int(np.isnan(codes).sum()))

    def compare(self, name: str, codes: Floats) -> Change:
        """Compare the codes ``(N,)`` of new data, -1 for new categories, with these.

        The p-value comes from the chi-square test of homogeneity.
        """
        after = CategorySummary.from_codes(codes, self.names)
        num_new = int((codes == -1).sum())
        rows = [*self.counts, 0, self.missing], [*after.counts, num_new, after.missing]
        old, new = (np.array(row, dtype=np.float64) for row in rows)
        is_used = old + new > 0
        shares = [row / max(row.sum(), 1) for row in (old, new)]
        titles = (*self.names, "new", "missing")
        largest = int(np.abs(shares[1] - shares[0]).argmax())
        percent = [format_percent(float(share[largest]), "") for share in shares]
        title = repr(titles[largest]) if largest < len(self.names) else f"{titles[largest]} values"
        text = f"{title} {percent[0]} → {percent[1]}"
        if num_new and largest != len(self.names):
            text += f", {format_percent(float(shares[1][-2]), '')} new values"
        before, now = (
            dict(zip(titles, share.tolist(), strict=True)) | {"count": int(row.sum())}
            for share, row in zip(shares, (old, new), strict=True)
        )
        distance = float(np.abs(shares[1] - shares[0]).sum() / 2)
        p_value = homogeneity_p_value(old[is_used], new[is_used])
        psi = stability_index(old[is_used], new[is_used])
        return Change(name, psi, distance, p_value, before, now, float(shares[1][-2]), text)

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        counts = self.counts.tolist()
        content = {"names": list(self.names), "counts": counts, "missing": self.missing}
        return {"kind": self.kind, **content}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> CategorySummary:
        """Recreate the summary from the result of :meth:`to_dict`."""
        counts = np.asarray(content["counts"], np.int64)
        return cls(tuple(map(str, content["names"])), counts, int(content["missing"]))


Summary = NumberSummary | CategorySummary


def stability_index(before: Sequence[float] | Floats, after: Sequence[float] | Floats) -> float:
    r"""Return the population stability index (PSI) of two histograms ``(B,)``.

    .. math::  \sum_b (q_b - p_b) \ln \frac{q_b}{p_b}

    with the shares p before and q after, which are the symmetrized Kullback–Leibler divergence.
    Half a sample is added to each bin, as the index is infinite for empty ones. By convention,
    values below 0.1 are small, and those above 0.25 large. Bins without a sample in both
    histograms are left out.

    Example:
        >>> round(stability_index([500, 500], [700, 300]), 3)
        0.169

    References:
        Siddiqi, "Credit Risk Scorecards" (2006), chapter 9.
    """
    counts = np.array([before, after], dtype=np.float64)
    counts = counts[:, counts.sum(axis=0) > 0]
    if not counts.sum(axis=1).all():
        return 0.0
    counts += 0.5
    old, new = counts / counts.sum(axis=1, keepdims=True)
    return float(np.sum((new - old) * np.log(new / old)))


def _smallest_p_value(before: int, after: int) -> float:
    r"""Return the p-value of the Kolmogorov–Smirnov test of two samples without any overlap.

    It is :math:`2 / \binom{n + m}{m}`, not zero: all of few new numbers may be large by chance.
    """
    orders = math.lgamma(before + after + 1) - math.lgamma(before + 1) - math.lgamma(after + 1)
    return min(1.0, 2 * math.exp(-orders))


def describe_psi(psi: float) -> str:
    """Return ``small``, ``moderate`` or ``large``, see :func:`stability_index`."""
    return "large" if psi >= LARGE_PSI else "moderate" if psi >= MODERATE_PSI else "small"


def homogeneity_p_value(before: Sequence[float] | Floats, after: Sequence[float] | Floats) -> float:
    """Return the p-value of the chi-square test that two histograms ``(B,)`` have equal shares.

    Bins in which fewer than five samples are expected are merged; of two bins with as few, the
    p-value comes from Fisher's exact test. It is 1 if one of the samples, or all but one bin, is
    empty.
    """
    stats = require_optional("scipy.stats", "cpu")
    table = np.array([before, after], dtype=np.float64)
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2 or not table.sum(axis=1).all():
        return 1.0
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    is_rare = expected.min(axis=0) < _MIN_EXPECTED
    if is_rare.sum() > 1 and table.shape[1] > 2:
        table = np.column_stack([table[:, ~is_rare], table[:, is_rare].sum(axis=1)])
    if table.shape[1] < 2:
        return 1.0
    if table.shape[1] == 2 and is_rare.any():
        return float(stats.fisher_exact(np.rint(table).astype(np.int64)).pvalue)
    return float(stats.chi2_contingency(table, correction=False).pvalue)


def adjust_p_values(p_values: Sequence[float], families: int = 1) -> list[float]:
    """Return p-values that are corrected for their number, in the same order.

    Args:
        p_values: of one family of tests, which Holm's method corrects.
        families: that are tested beside it, by Bonferroni's method.

    Example:
        >>> adjust_p_values([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]

    References:
        Holm, "A Simple Sequentially Rejective Multiple Test Procedure" (1979).
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    factors = families * np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.maximum.accumulate(values[order] * factors).clip(max=1.0)
    return [float(value) for value in adjusted]


def adjust_changes(changes: Sequence[Change]) -> list[Change]:
    """Return changes with their adjusted p-values, those that moved first, by decreasing PSI.

    The p-values account for all changes, and for the other families of tests of a comparison.
    """
    adjusted = adjust_p_values([change.p_value for change in changes], FAMILIES)
    pairs = zip(changes, adjusted, strict=True)
    return sorted(
        (replace(change, p_adjusted=value) for change, value in pairs),
        key=lambda change: (not change.has_moved, -change.psi),
    )


def share_interval(
    count: int, total: int, level: float = 0.95, method: Literal["wilson", "exact"] = "wilson"
) -> list[float]:
    """Return the confidence interval of a share, [0, 1] without a sample.

    Args:
        count: samples that have a property.
        total: all samples.
        level: confidence.
        method: Wilson's, or the exact one of Clopper and Pearson, which is wider.
    """
    stats = require_optional("scipy.stats", "cpu")
    if not total:
        return [0.0, 1.0]
    interval = stats.binomtest(count, total).proportion_ci(level, method=method)
    return [float(interval.low), float(interval.high)]


def compare_shares(
    before: Mapping[str, int], total_before: int, after: Mapping[str, int], total_after: int
) -> dict[str, dict[str, Any]]:
    """Compare the shares of regions before and now, with 95 % intervals.

    ``change`` is ``unseen``, ``rarer``, ``more frequent`` or empty: a change is named if its
    p-value, adjusted for all tests of a comparison, is below 0.05, and the shares differ by a
    fourth.
    """
    rows: dict[str, dict[str, Any]] = {}
    p_values = []
    for name, old in before.items():
        new = after[name]
        p_values.append(homogeneity_p_value((old, total_before - old), (new, total_after - new)))
        rows[name] = {
            "before": old / total_before if total_before else 0.0,
            "before_interval": share_interval(old, total_before),
            "after": new / total_after if total_after else 0.0,
            "after_interval": share_interval(new, total_after),
            "samples": new,
        }
    adjusted = adjust_p_values(p_values, FAMILIES)
    for row, p_value in zip(rows.values(), adjusted, strict=True):
        row["p_adjusted"] = p_value
        low, high = sorted((row["before"], row["after"]))
        is_named = p_value < LEVEL and high >= MIN_RATIO * low
        word = "more frequent" if row["after"] > row["before"] else "rarer"
        row["change"] = ("unseen" if not row["samples"] else word) if is_named else ""
    return rows


def measure_coverage(
    covered: NDArray[np.bool_], masks: Mapping[str, NDArray[np.bool_]], level: float
) -> dict[str, Any]:
    """Compare the coverage of intervals in each region with the level that they are meant to have.

    ``too_low`` says whether the coverage is surely below the level, by the exact binomial interval
    at a confidence that accounts for all tests of a comparison, and at least one point below it.

    Args:
        covered: whether the interval of each sample contains its label ``(N,)``.
        masks: of the regions ``(N,)``; those without samples are left out.
        level: nominal coverage.
    """
    used = {name: mask for name, mask in masks.items() if mask.any()}
    confidence = 1 - LEVEL / (FAMILIES * max(len(used), 1))
    rows = {}
    for name, mask in used.items():
        count, total = int(covered[mask].sum()), int(mask.sum())
        high = share_interval(count, total, confidence, "exact")[1]
        rows[name] = {
            "samples": total,
            "coverage": count / total,
            "interval": share_interval(count, total, method="exact"),
            "too_low": high < level and count / total <= level - _MIN_POINT,
        }
    return {"level": level, "regions": rows}


def compare_errors(
    before: Floats, weights: Floats | None, after: Floats, level: float
) -> dict[str, Any]:
    """Compare mean absolute errors of two sets of samples, with an interval of the difference.

    The interval comes from Welch's t test, unpaired. ``grew`` says whether it lies above zero, and
    the error is at least a tenth larger.

    Args:
        before: absolute errors on held-out samples ``(M,)``.
        weights: of these samples, ``(M,)``; None: all are one.
        after: absolute errors on new samples ``(N,)``.
        level: confidence of the interval.
    """
    if weights is not None and len(before):
        weights = weights / weights.mean()
    means = [
        None if not len(errors) else float(np.average(errors, weights=weight))
        for errors, weight in ((before, weights), (after, None))
    ]
    row: dict[str, Any] = {"before": means[0], "after": means[1]}
    row |= {"samples_before": len(before), "samples": len(after), "interval": None, "grew": False}
    if min(len(before), len(after)) < 2:
        return row
    stats = require_optional("scipy.stats", "cpu")
    values = aggregate_by_cluster(before[None], None, weights)[0]
    difference = float(after.mean() - values.mean())
    ends = [difference, difference]
    if np.ptp(values) + np.ptp(after) > 0:
        test = stats.ttest_ind(after, values, equal_var=False)
        ends = [float(end) for end in test.confidence_interval(level)]
    is_relevant = float(after.mean()) >= (1 + MIN_GROWTH) * float(values.mean())
    return row | {"interval": ends, "grew": ends[0] > 0 and is_relevant}


def _describe_numbers(before: NumberSummary, after: NumberSummary) -> str:
    """Describe a change by the median, or the mean if medians are equal, and missing values."""
    parts = []
    if before.count and after.count:
        pairs = {"median": (before.median, after.median), "mean": (before.mean, after.mean)}
        format_number = _format_date if before.measure == "date" else format_compact
        for name, pair in pairs.items():
            texts = [format_number(value) for value in pair]
            parts = [f"{name} {texts[0]} → {texts[1]}"]
            if texts[0] != texts[1]:
                break
    shares = [each.missing / max(each.count + each.missing, 1) for each in (before, after)]
    if abs(shares[0] - shares[1]) >= _MIN_POINT:
        parts.append(f"missing {' → '.join(format_percent(share, '') for share in shares)}")
    return ", ".join(parts) or "no values"


def _format_date(days: float) -> str:
    """Format days since 1970 as a date."""
    try:
        return datetime.fromtimestamp(days * _DAY, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return f"{format_compact(days)} days"
