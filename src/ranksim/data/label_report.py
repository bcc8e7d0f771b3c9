"""What anyone's labels look like: how they are spread, what is rare, what is not there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.formatting import format_value
from ranksim.data.binning import BinSuggestion, suggest_bins
from ranksim.data.cells import parse_numbers
from ranksim.data.table import Table
from ranksim.exceptions import DataError
from ranksim.imbalance import LabelBins
from ranksim.imbalance.label_range import LabelRange
from ranksim.metrics.shot_regions import ShotRegions

__all__ = ["BinSuggestion", "Fault", "LabelReport", "make_label_report", "suggest_bins"]
_LISTED = 5  # lines, values, rarest bins and labels
_QUANTILES = (1, 5, 25, 50, 75, 95, 99)


@dataclass(frozen=True)
class Fault:
    """Rows whose target cannot be used: how many, the lines and values of the first five."""

    count: int
    lines: list[int]
    values: list[str]


@dataclass(frozen=True)
class LabelReport:
    """What stands in a table's target column; in the unit of the label where not said otherwise.

    Args:
        data: name of the table.
        target: name of the column.
        rows: of the table.
        counted: what the lines of faults count: ``"line"`` or ``"row"``.
        missing, not_numbers, infinite: rows without a usable target.
        duplicates: rows that equal an earlier one in all columns.
        labels: usable ones, ``count``, ``distinct``, ``min``, ``max`` and ``quantiles``, which
            are labels themselves, by per cent.
        dropped: ranges that are left out, as text, and how many labels lie in them.
        bins: edges ``(K + 1,)``; counts ``(K,)`` without what is dropped; regions ``(K,)``.
        regions: of many, medium and few: how many bins with samples, samples, and their share.
        named: own regions: range, its ends, samples and share.
        rarest_bins: bins with the fewest samples, ``low``, ``high`` and ``count``.
        rarest_labels: labels that occur least often, the outermost first; empty where nearly all
            labels are distinct.
        gaps: stretches without a sample between the smallest and the largest label, widest first:
            ``low`` and ``high`` of the empty bins, and the next labels ``below`` and ``above``.
        to_rarest, to_median: samples of the fullest bin over those of the rarest and of the median
            bin that is not empty.
        suggestion: width, many, few and the reason.
    """

    data: str
    target: str
    rows: int
    counted: str
    missing: Fault
    not_numbers: Fault
    infinite: Fault
    duplicates: int
    labels: dict[str, Any]
    dropped: dict[str, Any]
    bins: dict[str, Any]
    regions: dict[str, dict[str, Any]]
    named: dict[str, dict[str, Any]]
    rarest_bins: list[dict[str, float]]
    rarest_labels: list[dict[str, float]]
    gaps: list[dict[str, float | None]]
    to_rarest: float
    to_median: float
    suggestion: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return dataclasses.asdict(self)


def make_label_report(
    columns: Table,
    target: str,
    *,
    width: float | None = None,
    many: int | None = None,
    few: int | None = None,
    drop: Sequence[LabelRange] = (),
    named: Mapping[str, LabelRange] | None = None,
) -> LabelReport:
    """Look at a table's target column; what is missing or no number is told and left out.

    Args:
        columns: the table.
        target: name of the column.
        width: of label bins; without it, as for the next two, what :func:`suggest_bins` says.
        many: bins with more samples are many-shot.
        few: bins with fewer samples are few-shot.
        drop: ranges of labels that are to be left out of training.
        named: own regions.

    Raises:
        DataError: the column is not there, holds no two labels that differ, or nothing is left.
        ValueError: width or thresholds that cannot be used.

    Example:
        >>> found = make_label_report(Table.from_columns("ages", {"age": ["1", "2", "2", "?", "x"]}), "age")
        >>> found.labels["count"], found.missing.lines, found.not_numbers.values
        (3, [4], ["'x'"])
    """
    values = columns.column(target)
    read = parse_numbers(values)
    labels = read.values[~np.isnan(read.values)]
    if not len(np.unique(labels)) > 1:
        what = f"one value alone, {labels[0]:g}" if len(labels) else "no number"
        raise DataError(
            f"{columns.name} holds {what} in column {target!r}: choose a column of labels that "
            "differ."
        )
    found = suggest_bins(labels, width=width, many=many, few=few)
    dropped = np.zeros(len(labels), dtype=bool)
    for each in drop:
        dropped |= each.contains(labels)
    kept = labels[~dropped]
    if not len(kept):
        raise DataError(
            f"All labels of column {target!r} of {columns.name} lie in "
            f"{','.join(each.text for each in drop)}: drop fewer of them."
        )
    regions = ShotRegions.by_rule(found.bins, kept, many=found.many, few=found.few)
    seen = np.sort(regions.counts[regions.counts > 0])
    return LabelReport(
        data=columns.name,
        target=target,
        rows=columns.n_rows,
        counted=columns.line_unit,
        missing=_fault(columns, values, read.missing),
        not_numbers=_fault(columns, values, read.text),
        infinite=_fault(columns, values, read.infinite),
        duplicates=_duplicates(columns),
        labels=_summary(labels),
        dropped={"ranges": [each.text for each in drop], "count": int(dropped.sum())},
        bins={
            "edges": [_shortest(edge) for edge in found.bins.edges],
            "counts": regions.counts.tolist(),
            "regions": list(regions.names),
        },
        regions=_shares(regions),
        named={
            name: {
                "range": each.text,
                "low": each.low,
                "high": each.high,
                **_share(int(each.contains(kept).sum()), len(kept)),
            }
            for name, each in (named or {}).items()
        },
        rarest_bins=_rarest_bins(found.bins, regions.counts),
        rarest_labels=_rarest_labels(kept),
        gaps=_gaps(found.bins, labels, kept, regions.counts),
        to_rarest=float(seen[-1] / seen[0]),
        to_median=float(seen[-1] / np.median(seen)),
        suggestion={name: getattr(found, name) for name in ("width", "many", "few", "reason")},
    )


def _fault(columns: Table, values: list[Any], where: NDArray[np.bool_]) -> Fault:
    rows = np.flatnonzero(where)
    first = rows[:_LISTED].tolist()
    return Fault(
        len(rows), [columns.lines[k] for k in first], [format_value(values[k]) for k in first]
    )


def _duplicates(columns: Table) -> int:
    names = [name for name in columns.names if columns.names.count(name) == 1]
    # as text: values of a data set may be lists
    rows = map(repr, zip(*map(columns.read, names), strict=True))
    return columns.n_rows - len(set(rows))


def _summary(labels: NDArray[np.float64]) -> dict[str, Any]:
    quantiles = np.percentile(labels, _QUANTILES, method="inverted_cdf").tolist()
    return {
        "count": len(labels),
        "distinct": len(np.unique(labels)),
        "min": float(labels.min()),
        "max": float(labels.max()),
        "quantiles": dict(zip(map(str, _QUANTILES), quantiles, strict=True)),
    }


def _share(count: int, of: int) -> dict[str, float]:
    return {"count": count, "share": count / of}


def _shares(regions: ShotRegions) -> dict[str, dict[str, Any]]:
    names, counts = np.asarray(regions.names), regions.counts
    return {
        name: {
            "bins": int(np.count_nonzero((names == name) & (counts > 0))),
            **_share(int(counts[names == name].sum()), int(counts.sum())),
        }
        for name in ("many", "medium", "few")
    }


def _rarest_bins(bins: LabelBins, counts: NDArray[np.int64]) -> list[dict[str, float]]:
    order = [k for k in np.argsort(counts, kind="stable").tolist() if counts[k]]
    return [{**_ends(bins, k, k), "count": int(counts[k])} for k in order[:_LISTED]]


def _rarest_labels(labels: NDArray[np.float64]) -> list[dict[str, float]]:
    values, counts = np.unique(labels, return_counts=True)
    if len(values) > len(labels) / 2:
        return []
    median = np.percentile(labels, 50, method="inverted_cdf")
    with np.errstate(over="ignore"):  # farther than float64 reaches
        outward = np.abs(values - median)
    order = np.lexsort((-outward, counts))[:_LISTED]
    return [{"label": float(values[k]), "count": int(counts[k])} for k in order]


def _gaps(
    bins: LabelBins,
    labels: NDArray[np.float64],
    kept: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> list[dict[str, float | None]]:
    """Runs of empty bins, and the nearest labels that are seen; one at an end has none beyond."""
    first, last = bins.index([labels.min(), labels.max()])
    empty = np.flatnonzero(counts[first : last + 1] == 0) + first
    runs = np.split(empty, np.flatnonzero(np.diff(empty) > 1) + 1) if len(empty) else []
    index, gaps = bins.index(kept), []
    for run in sorted(runs, key=lambda run: bins.edges[run[0]] - bins.edges[run[-1] + 1]):
        below, above = kept[index < run[0]], kept[index > run[-1]]
        beside = {
            "below": float(below.max()) if len(below) else None,
            "above": float(above.min()) if len(above) else None,
        }
        gaps.append({**_ends(bins, run[0], run[-1]), **beside})
    return gaps


def _ends(bins: LabelBins, first: int, last: int) -> dict[str, float]:
    return {"low": _shortest(bins.edges[first]), "high": _shortest(bins.edges[last + 1])}


def _shortest(edge: np.float32) -> float:
    """0.2 and not 0.20000000298, which is the same number in float32."""
    return float(str(edge))
