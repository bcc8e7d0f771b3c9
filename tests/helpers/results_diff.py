"""Exact comparison of two ``results.json``, apart from timing and memory."""

from collections.abc import Collection, Mapping
from typing import Any

from ranksim.experiments.reproduce import diff_records

# the software and hardware that produced a record
MADE_BY = tuple(f"provenance.{name}" for name in ("versions", "commit", "machine", "threads"))


def diff_results(
    a: Mapping[str, Any], b: Mapping[str, Any], ignore: Collection[str] = ()
) -> list[str]:
    """Return the names of the fields in which two ``results.json`` differ, to the last bit.

    ``ignore`` names fields at the top level, in runs and in rows, such as ``command``.
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
