"""Summarize the labels of a table: distribution, rare labels, gaps and unusable values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.formatting import format_value
from ranksim.data.binning import suggest_bins
from ranksim.data.cells import parse_numbers
from ranksim.data.table import Table
from ranksim.exceptions import DataError
from ranksim.imbalance import LabelBins
from ranksim.imbalance.label_range import LabelRange
from ranksim.metrics.shot_regions import ShotRegions

_MAX_LISTED = 5  # lines, values, rarest bins and labels
_QUANTILES = (1, 5, 25, 50, 75, 95, 99)


@dataclass(frozen=True)
class UnusableRows:
    """Rows whose target cannot be used: their number, and lines and values of the first five."""

    count: int
    lines: list[int]
    values: list[str]


@dataclass(frozen=True)
class LabelReport:
    """Summary of the target column of a table, in the unit of the label."""

    data: str  # name of the table
    target: str
    rows: int
    line_unit: str  # of the lines of unusable rows: "line" or "row"
    missing: UnusableRows
    not_numbers: UnusableRows
    infinite: UnusableRows
    duplicates: int  # rows that equal an earlier one in all columns
    labels: dict[str, Any]  # count, distinct, min, max and quantiles by percentage
    dropped: dict[str, Any]  # ranges as text, and the number of labels in them
    bins: dict[str, Any]  # edges (K + 1,), counts and regions (K,) of the remaining labels
    regions: dict[str, dict[str, Any]]  # non-empty bins, samples and share of many, medium, few
    named: dict[str, dict[str, Any]]  # range, ends, samples and share of each named region
    rarest_bins: list[dict[str, float]]
    rarest_labels: list[dict[str, float]]  # outermost first; empty if most labels occur once
    gaps: list[dict[str, float | None]]  # runs of empty bins and the nearest labels, widest first
    imbalance_ratio: float  # largest count of a bin / smallest count above 0
    max_to_median: float  # largest count of a bin / median of the counts above 0
    suggestion: dict[str, Any]  # width, many, few and reason

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return dataclasses.asdict(self)


def make_label_report(
    table: Table,
    target: str,
    *,
    width: float | None = None,
    many: int | None = None,
    few: int | None = None,
    drop: Sequence[LabelRange] = (),
    named: Mapping[str, LabelRange] | None = None,
) -> LabelReport:
    """Summarize the labels in the target column; unusable values are counted and left out.

    Raises:
        DataError: the column does not exist or has fewer than two different labels, or all labels
            are dropped.
        ValueError: the width or thresholds cannot be used (see :func:`suggest_bins`).

    Example:
        >>> ages = Table.from_columns("ages", {"age": ["1", "2", "2", "?", "x"]})
        >>> report = make_label_report(ages, "age")
        >>> report.labels["count"], report.missing.lines, report.not_numbers.values
        (3, [4], ["'x'"])
    """
    values = table.column(target)
    parsed = parse_numbers(values)
    labels = parsed.values[~np.isnan(parsed.values)]
    if len(np.unique(labels)) < 2:
        problem = f"only the value {labels[0]:g}" if len(labels) else "no numbers"
        raise DataError(
            f"{table.name} has {problem} in column {target!r}: choose a column with at least two "
            "different labels."
        )
    suggestion = suggest_bins(labels, width=width, many=many, few=few)
    is_dropped = np.zeros(len(labels), dtype=bool)
    for label_range in drop:
        is_dropped |= label_range.contains(labels)
    remaining = labels[~is_dropped]
    ranges = [label_range.text for label_range in drop]
    if not len(remaining):
        raise DataError(
            f"All labels of column {target!r} of {table.name} lie in {','.join(ranges)}: drop "
            "fewer of them."
        )
    bins = suggestion.bins
    regions = ShotRegions.from_counts(bins, remaining, many=suggestion.many, few=suggestion.few)
    positive = np.sort(regions.counts[regions.counts > 0])
    return LabelReport(
        data=table.name,
        target=target,
        rows=table.n_rows,
        line_unit=table.line_unit,
        missing=_find_unusable(table, values, parsed.missing),
        not_numbers=_find_unusable(table, values, parsed.text),
        infinite=_find_unusable(table, values, parsed.infinite),
        duplicates=_count_duplicates(table),
        labels=_summarize(labels),
        dropped={"ranges": ranges, "count": int(is_dropped.sum())},
        bins={
            "edges": [_round_edge(edge) for edge in bins.edges],
            "counts": regions.counts.tolist(),
            "regions": list(regions.names),
        },
        regions=_summarize_regions(regions),
        named={name: _summarize_named(r, remaining) for name, r in (named or {}).items()},
        rarest_bins=_find_rarest_bins(bins, regions.counts),
        rarest_labels=_find_rarest_labels(remaining),
        gaps=_find_gaps(bins, labels, remaining, regions.counts),
        imbalance_ratio=float(positive[-1] / positive[0]),
        max_to_median=float(positive[-1] / np.median(positive)),
        suggestion={name: getattr(suggestion, name) for name in ("width", "many", "few", "reason")},
    )


def _find_unusable(table: Table, values: list[Any], mask: NDArray[np.bool_]) -> UnusableRows:
    rows = np.flatnonzero(mask)
    first = rows[:_MAX_LISTED].tolist()
    return UnusableRows(
        len(rows), [table.lines[k] for k in first], [format_value(values[k]) for k in first]
    )


def _count_duplicates(table: Table) -> int:
    names = [name for name in table.names if table.names.count(name) == 1]
    # compared as text, because values of a Hugging Face data set may be lists
    rows = map(repr, zip(*map(table.read, names), strict=True))
    return table.n_rows - len(set(rows))


def _summarize(labels: NDArray[np.float64]) -> dict[str, Any]:
    quantiles = np.percentile(labels, _QUANTILES, method="inverted_cdf").tolist()
    return {
        "count": len(labels),
        "distinct": len(np.unique(labels)),
        "min": float(labels.min()),
        "max": float(labels.max()),
        "quantiles": dict(zip(map(str, _QUANTILES), quantiles, strict=True)),
    }


def _summarize_regions(regions: ShotRegions) -> dict[str, dict[str, Any]]:
    names, counts, total = np.asarray(regions.names), regions.counts, int(regions.counts.sum())
    summary = {}
    for name in ("many", "medium", "few"):
        region = counts[names == name]
        count = int(region.sum())
        summary[name] = {
            "bins": int(np.count_nonzero(region)),
            "count": count,
            "share": count / total,
        }
    return summary


def _summarize_named(region: LabelRange, labels: NDArray[np.float64]) -> dict[str, Any]:
    count = int(region.contains(labels).sum())
    return {
        "range": region.text,
        "low": region.low,
        "high": region.high,
        "count": count,
        "share": count / len(labels),
    }


def _find_rarest_bins(bins: LabelBins, counts: NDArray[np.int64]) -> list[dict[str, float]]:
    order = [k for k in np.argsort(counts, kind="stable").tolist() if counts[k]]
    return [{**_edges(bins, k, k), "count": int(counts[k])} for k in order[:_MAX_LISTED]]


def _find_rarest_labels(labels: NDArray[np.float64]) -> list[dict[str, float]]:
    values, counts = np.unique(labels, return_counts=True)
    if len(values) > len(labels) / 2:
        return []
    median = np.percentile(labels, 50, method="inverted_cdf")
    with np.errstate(over="ignore"):  # differences may exceed float64
        distances = np.abs(values - median)
    order = np.lexsort((-distances, counts))[:_MAX_LISTED]
    return [{"label": float(values[k]), "count": int(counts[k])} for k in order]


def _find_gaps(
    bins: LabelBins,
    labels: NDArray[np.float64],
    remaining: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> list[dict[str, float | None]]:
    """Return runs of empty bins within the range of all labels; None beyond the last label."""
    first, last = bins.digitize([labels.min(), labels.max()])
    empty = np.flatnonzero(counts[first : last + 1] == 0) + first
    runs = np.split(empty, np.flatnonzero(np.diff(empty) > 1) + 1) if len(empty) else []
    index, gaps = bins.digitize(remaining), []
    for run in sorted(runs, key=lambda run: bins.edges[run[0]] - bins.edges[run[-1] + 1]):
        below, above = remaining[index < run[0]], remaining[index > run[-1]]
        neighbors = {
            "below": float(below.max()) if len(below) else None,
            "above": float(above.min()) if len(above) else None,
        }
        gaps.append({**_edges(bins, run[0], run[-1]), **neighbors})
    return gaps


def _edges(bins: LabelBins, first: int, last: int) -> dict[str, float]:
    return {"low": _round_edge(bins.edges[first]), "high": _round_edge(bins.edges[last + 1])}


def _round_edge(edge: np.float32) -> float:
    """Return the shortest number equal to the edge in float32: 0.2, not 0.20000000298."""
    return float(str(edge))
