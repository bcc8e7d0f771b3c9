"""What two results have in common: whether they are the same, but for what measures the machine."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

Record = dict[str, Any]
MEASURED = ("seconds", "peak_memory_mb", "seconds_median")  # of the machine, each time anew
MADE_BY = ("versions", "commit", "machine", "threads")  # what made a result, which decides it


def diff_records(a: Record, b: Record, but: Collection[str] = (), *, new: bool = True) -> list[str]:
    """Names of what differs between two records of runs, to the last bit.

    Left out are clocks and memory (``MEASURED``). A number differs from another where they are not
    written alike: NaN is NaN, and 0.0 is not -0.0.

    Args:
        a: a record, as it was made or as it was read; or a row of a summary.
        b: another.
        but: further fields to leave out, such as ``MADE_BY``.
        new: whether what ``a`` has not at all counts as well.

    Returns:
        Names joined by dots, in the order of ``a``; empty where the two are the same.

    Example:
        >>> one = {"seed": 0, "metrics": {"mse": 0.5, "n": 60}, "seconds": 3.1}
        >>> diff_records(one, {"seed": 0, "metrics": {"mse": 0.25, "n": 60}, "seconds": 4.2})
        ['metrics.mse']
    """
    left, right = ({k: v for k, v in each.items() if k not in {*MEASURED, *but}} for each in (a, b))
    own, other = dict(_written(left)), dict(_written(right))
    names = dict.fromkeys((*own, *other) if new else own)
    return [name for name in names if own.get(name) != other.get(name)]


def diff_results(a: Record, b: Record, but: Collection[str] = ()) -> list[str]:
    """The same of two ``results.json``: of the whole, each run and each row of the summary.

    Args:
        a: the content of one.
        b: of the other.
        but: fields of the whole and of runs to leave out, such as ``command`` and ``MADE_BY``.

    Example:
        >>> run = {"method": "vanilla", "seed": 0, "steps": 7}
        >>> diff_results({"runs": [run]}, {"runs": [run | {"steps": 8}]})
        ['runs: vanilla seed 0: steps']
    """
    found = []
    parts = {"runs": ("method", "seed"), "summary": ("method",)}
    for part, keys in parts.items():
        own, other = (
            {" seed ".join(str(row.get(key)) for key in keys): row for row in each.get(part, [])}
            for each in (a, b)
        )
        if list(own) != list(other):
            found.append(f"{part}: which there are")
        for name in own.keys() & other.keys():
            found += [f"{part}: {name}: {d}" for d in diff_records(own[name], other[name], but)]
    return sorted(found) + diff_records(a, b, (*parts, *but))


def _written(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Each value as JSON writes it, by its name; a list of single values is one value."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _written(each, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(each, dict) for each in value):
        for k, each in enumerate(value):
            yield from _written(each, f"{name}.{k}")
    else:
        yield name, json.dumps(value)
