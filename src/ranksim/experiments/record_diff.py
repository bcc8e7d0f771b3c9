"""Exact comparison of two run records or two ``results.json``, apart from timing and memory."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

_MEASUREMENTS = ("seconds", "peak_memory_mb", "seconds_median")
# fields that differ between equal runs
MEASURED = (*_MEASUREMENTS, *(f"result.{name}" for name in _MEASUREMENTS))
# the software and hardware that produced a record
MADE_BY = tuple(f"provenance.{name}" for name in ("versions", "commit", "machine", "threads"))


def diff_records(
    a: Mapping[str, Any], b: Mapping[str, Any], ignore: Collection[str] = (), *, new: bool = True
) -> list[str]:
    """Return the names of the fields in which two records differ, to the last bit.

    Timing and memory (``MEASURED``) are ignored. Numbers are compared as JSON writes them: NaN
    equals NaN, and 0.0 differs from -0.0.

    Args:
        a: a run record or a summary row, in memory or read from a file.
        b: the other one.
        ignore: further fields to ignore, with all that they contain, such as ``MADE_BY``.
        new: also report fields that only ``b`` has.

    Returns:
        Names joined by dots, in the order of ``a``; empty if the records are equal.

    Example:
        >>> one = {"status": "done", "result": {"mse": 0.5, "n": 60, "seconds": 3.1}}
        >>> diff_records(one, {"status": "done", "result": {"mse": 0.25, "n": 60}})
        ['result.mse']
    """
    ignored = (*MEASURED, *ignore)
    left, right = (
        {
            name: text
            for name, text in _json_values(record)
            if not any(f"{name}.".startswith(f"{prefix}.") for prefix in ignored)
        }
        for record in (a, b)
    )
    names = dict.fromkeys((*left, *right) if new else left)
    return [name for name in names if left.get(name) != right.get(name)]


def diff_results(
    a: Mapping[str, Any], b: Mapping[str, Any], ignore: Collection[str] = ()
) -> list[str]:
    """Return the names of the fields in which two ``results.json`` differ, to the last bit.

    Args:
        a: the content of one.
        b: the content of the other.
        ignore: fields to ignore at the top level, in runs and in rows, such as ``command``.

    Example:
        >>> run = {"identity": {"method": "inv", "seed": 0}, "result": {"steps": 7}}
        >>> diff_results({"runs": [run]}, {"runs": [run | {"result": {"steps": 8}}]})
        ['runs: inv seed 0: result.steps']
    """
    differences = []
    for part in ("runs", "summary"):
        left, right = ({_row_name(row): row for row in each.get(part, [])} for each in (a, b))
        if list(left) != list(right):
            differences.append(f"{part}: {sorted(left.keys() ^ right.keys()) or 'order'}")
        for name in left.keys() & right.keys():
            names = diff_records(left[name], right[name], ignore)
            differences += [f"{part}: {name}: {field}" for field in names]
    return sorted(differences) + diff_records(a, b, ("runs", "summary", *ignore))


def _row_name(row: Mapping[str, Any]) -> str:
    """Return ``method seed n`` of a run, or the method of a summary row."""
    identity = row.get("identity")
    return f"{identity['method']} seed {identity['seed']}" if identity else str(row["method"])


def _json_values(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted name and JSON text of each value; a list of plain values is one value."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _json_values(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(item, dict) for item in value):
        for k, item in enumerate(value):
            yield from _json_values(item, f"{name}.{k}")
    else:
        yield name, json.dumps(value)
