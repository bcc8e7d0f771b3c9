"""Summarize the labels in a table: distribution, rare labels, gaps and unusable cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.formatting import format_value
from ranksim.data.binning import BinSuggestion, suggest_bins
from ranksim.data.data_report import DataReport
from ranksim.data.row_numbers import encode_cells, number_rows
from ranksim.data.table import Floats, Ints, ParsedNumbers, Table, are_absent
from ranksim.exceptions import DataError
from ranksim.imbalance import LabelBins
from ranksim.imbalance.bins import LabelRange
from ranksim.metrics.shot_regions import ShotRegions
from ranksim.user_data.identifiers import is_row_number
from ranksim.user_data.sentinels import describe_precision, describe_unused, find_sentinels

_MAX_LISTED = 5  # lines, values, rarest bins and labels
_QUANTILES = (1, 5, 25, 50, 75, 95, 99)


def make_label_report(
    table: Table,
    target: str,
    *,
    width: float | None = None,
    many: int | None = None,
    few: int | None = None,
    drop: Sequence[LabelRange] = (),
    named: Mapping[str, LabelRange] | None = None,
    absent: Sequence[float] = (),
) -> dict[str, Any]:
    """Summarize the labels in column ``target`` as JSON values; count and skip unusable cells.

    Numbers among ``absent`` stand for missing labels.

    Raises a DataError for fewer than two different labels or if all of them are dropped, and a
    ValueError for a width or thresholds that :func:`suggest_bins` cannot use.
    """
    values = table.column(target)
    parsed = table.parse_numbers(target)
    is_absent = are_absent(parsed.values, absent)
    labels = np.sort(parsed.values[~np.isnan(parsed.values) & ~is_absent])
    n_distinct = int(np.count_nonzero(np.diff(labels))) + bool(len(labels))
    if n_distinct < 2:
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
            f"All labels of column {target!r} of {table.name} would be dropped by "
            f"{','.join(ranges)}: choose narrower ranges."
        )

    def list_rows(mask: NDArray[np.bool_]) -> dict[str, Any]:
        """Return the number of selected rows, and the lines and values of the first five."""
        first = np.flatnonzero(mask)[:_MAX_LISTED].tolist()
        lines, cells = [table.lines[k] for k in first], [format_value(values[k]) for k in first]
        return {"count": int(mask.sum()), "lines": lines, "values": cells}

    quantiles = np.percentile(labels, _QUANTILES, method="inverted_cdf").tolist()
    return {
        "data": table.name,
        "target": target,
        "rows": table.n_rows,
        "line_unit": table.line_unit,  # of the lines of unusable rows: "line" or "row"
        "missing": list_rows(parsed.missing),
        "not_numbers": list_rows(parsed.text),
        "infinite": list_rows(parsed.infinite),
        "absent": list_rows(is_absent),  # numbers that stand for a missing label
        "duplicates": _count_duplicates(table),  # rows equal to an earlier one but for an index
        "labels": {
            "count": len(labels),
            "distinct": n_distinct,
            "min": float(labels[0]),
            "max": float(labels[-1]),
            "quantiles": dict(zip(map(str, _QUANTILES), quantiles, strict=True)),
        },
        "dropped": {"ranges": ranges, "count": int(is_dropped.sum())},
        **_summarize_bins(suggestion, labels, remaining),
        "named": {
            name: {
                "range": region.text,
                "low": region.low,
                "high": region.high,
                **_count_share(region.contains(remaining).sum(), len(remaining)),
            }
            for name, region in (named or {}).items()
        },
        "data_report": _report_reading(table, target, parsed, labels, absent).to_dict(),
        "suggestion": {k: getattr(suggestion, k) for k in ("width", "many", "few", "reason")},
    }


def _report_reading(
    table: Table, target: str, parsed: ParsedNumbers, labels: Floats, absent: Sequence[float]
) -> DataReport:
    """Report the rows with and without a label, and labels that may stand for missing ones."""
    masks = {
        f"no value in column {target!r}": parsed.missing,
        f"no number in column {target!r}": parsed.text | parsed.infinite,
        **{f"{target} is {n:.12g}": are_absent(parsed.values, [n]) for n in absent},
    }
    left_out = {reason: int(mask.sum()) for reason, mask in masks.items() if mask.any()}
    rows = {"used": len(labels)} | ({"left_out": left_out} if left_out else {})
    warnings = [each.describe(target) for each in find_sentinels(labels)]
    warnings += describe_precision(target, labels)
    warnings += describe_unused(target, parsed.values, absent)
    return table.report.combine(DataReport(rows=rows, warnings=warnings))


def _summarize_bins(suggestion: BinSuggestion, labels: Floats, remaining: Floats) -> dict[str, Any]:
    """Summarize the labels that are not dropped: bin counts, shot regions, rare labels and gaps."""
    bins = suggestion.bins
    regions = ShotRegions.from_counts(bins, remaining, many=suggestion.many, few=suggestion.few)
    counts, names = regions.counts, np.array(regions.names)
    total, positive = int(counts.sum()), np.sort(counts[counts > 0])
    rarest = np.argsort(counts, kind="stable")[len(counts) - len(positive) :][:_MAX_LISTED]
    return {
        "bins": {
            "edges": [_round_edge(edge) for edge in bins.edges],  # (K + 1,)
            "counts": counts.tolist(),
            "regions": list(regions.names),
        },
        "regions": {
            name: {
                "bins": int(np.count_nonzero(counts[names == name])),  # with samples
                **_count_share(counts[names == name].sum(), total),
            }
            for name in ("many", "medium", "few")
        },
        "rarest_bins": [{**_edges(bins, k, k), "count": int(counts[k])} for k in rarest],
        "rarest_labels": _find_rarest_labels(remaining),
        "gaps": _find_gaps(bins, labels, remaining, counts),
        "imbalance_ratio": float(positive[-1] / positive[0]),  # of the counts above 0
        "max_to_median": float(positive[-1] / np.median(positive)),
    }


def _count_duplicates(table: Table) -> int:
    """Count the rows that equal an earlier one but for a number of the row."""
    names = [name for name in table.names if table.names.count(name) == 1]
    compared = [name for name in names if not is_row_number(table, name, table.read(name))]
    if not compared:
        return table.n_rows - 1
    # compared as text, because values of a Hugging Face data set may be lists
    numbers = number_rows([(partial(table.read, name), encode_cells) for name in compared])
    return table.n_rows - int(numbers.max()) - 1


def _count_share(count: int, total: int) -> dict[str, float]:
    return {"count": int(count), "share": int(count) / total}


def _find_rarest_labels(labels: Floats) -> list[dict[str, float]]:
    """Return the rarest labels with counts; an empty list if most labels occur only once."""
    values, counts = np.unique(labels, return_counts=True)
    if len(values) > len(labels) / 2:
        return []
    median = np.percentile(labels, 50, method="inverted_cdf")
    with np.errstate(over="ignore"):  # differences may exceed float64
        distances = np.abs(values - median)
    order = np.lexsort((-distances, counts))[:_MAX_LISTED]
    return [{"label": float(values[k]), "count": int(counts[k])} for k in order]


def _find_gaps(
    bins: LabelBins, labels: Floats, remaining: Floats, counts: Ints
) -> list[dict[str, float | None]]:
    """Return runs of empty bins, widest first, with the nearest label below and above (or None).

    Labels are in ascending order.
    """
    first, last = bins.digitize(labels[[0, -1]])
    empty = np.flatnonzero(counts[first : last + 1] == 0) + first
    runs = np.split(empty, np.flatnonzero(np.diff(empty) > 1) + 1) if len(empty) else []
    index, gaps = bins.digitize(remaining), []
    for run in sorted(runs, key=lambda run: bins.edges[run[0]] - bins.edges[run[-1] + 1]):
        place = int(np.searchsorted(index, run[0]))
        below = float(remaining[place - 1]) if place else None
        above = float(remaining[place]) if place < len(remaining) else None
        gaps.append({**_edges(bins, run[0], run[-1]), "below": below, "above": above})
    return gaps


def _edges(bins: LabelBins, first: int, last: int) -> dict[str, float]:
    return {"low": _round_edge(bins.edges[first]), "high": _round_edge(bins.edges[last + 1])}


def _round_edge(edge: np.float32) -> float:
    """Return a float32 bin edge as its shortest decimal number: 0.2, not 0.20000000298."""
    return float(str(edge))
