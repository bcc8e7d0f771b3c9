"""What a cell of a table means, and how a fault in one is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.formatting import format_value
from ranksim.data.table import Table, is_missing, parse_numbers

# raises an error that names these rows, what is wrong with them and what to do; without rows it
# does nothing, as :meth:`ranksim.data.table.Table.refuse`
RowErrorFactory = Callable[[Iterable[int], str, str], None]


def make_row_error(rows: Iterable[int], what: str, remedy: str) -> None:
    """An error that names rows by their number, counted from 1, where no file's lines are known.

    Example:
        >>> make_row_error([4], "no number", "correct it")
        Traceback (most recent call last):
        ranksim.exceptions.DataError: The data, row 5: no number; correct it.
    """
    at = list(rows)
    lines = range(1, max(at, default=0) + 2)
    Table("The data", (), lambda _: [], lines, "row").refuse(at, what, remedy)


def parse_finite_numbers(
    values: Sequence[Any], name: str, refuse: RowErrorFactory
) -> NDArray[np.float64]:
    """Cells of a column as numbers, float64 ``(N,)``, NaN where missing.

    Raises:
        DataError: a cell that holds something else, or an infinity.
    """
    read = parse_numbers(values)
    wrong = np.flatnonzero(read.text | read.infinite)
    if len(wrong):
        what = f"column {name!r} holds {format_value(values[wrong[0]])}, which is no finite number"
        refuse(wrong.tolist(), what, "correct these values or leave them empty")
    return read.values


def parse_seconds(value: Any) -> float | None:
    """An ISO date or date-time to seconds since 1970; None for what is none.

    A moment without a time zone is taken as it stands, so that no clock ever jumps.

    Example:
        >>> parse_seconds("1970-01-02"), parse_seconds("1970-01-01 01:00:30"), parse_seconds("soon")
        (86400.0, 3630.0, None)
    """
    moment = _moment(value)
    return None if moment is None else _seconds(moment)


def _moment(value: Any) -> datetime | None:
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day)
    return value if isinstance(value, datetime) and not is_missing(value) else None


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def parse_finite_seconds(
    values: Sequence[Any], name: str, refuse: RowErrorFactory
) -> NDArray[np.float64]:
    """Cells of a column as ISO moments in seconds, float64 ``(N,)``, NaN where missing.

    Raises:
        DataError: a cell that holds something else, or times with a time zone among times without.
    """
    there = [row for row, value in enumerate(values) if not is_missing(value)]
    moments = {row: _moment(values[row]) for row in there}
    if wrong := [row for row in there if moments[row] is None]:
        what = f"column {name!r} holds {format_value(values[wrong[0]])}, which is no ISO date"
        refuse(wrong, what, "write it as 2010-03-24 or 2010-03-24 09:51:00, or leave it empty")
    found = np.full(len(values), np.nan)
    zoned = []
    for row, moment in moments.items():
        assert moment is not None
        zoned.append(moment.tzinfo is not None)
        found[row] = _seconds(moment)
    if any(zoned) and not all(zoned):
        bare = [row for row, known in zip(there, zoned, strict=True) if not known]
        first = format_value(values[bare[0]])
        what = f"column {name!r} holds {first} without a time zone, and others with one"
        refuse(bare, what, "write all of them with a time zone, as 2010-03-24T09:51:00Z, or none")
    return found
