"""Find columns that number or name the rows of a table instead of describing them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from ranksim.data.number_format import NumberFormat
from ranksim.data.table import TIME_UNITS, Floats, Table, parse_calendar_numbers, parse_numbers
from ranksim.exceptions import DataError
from ranksim.user_data.columns import has_no_name

INDEX: Literal["index"] = "index"
IDENTIFIER: Literal["identifier"] = "identifier"

_MIN_ROWS = 20
_MIN_INDEX_STEPS = 0.95  # share of the steps from row to row that are 1
_MIN_INTEGERS = 0.5  # share of the values; interpolated rows may lie between two integers
_MIN_REPEATS = 20.0  # expected number of repeated values, of which an identifier has none
_NEIGHBORS = 10  # values over which the density of a value is measured
_MAX_INTEGER = 2.0**64
_MIN_HASH = 1e8  # a random key has at least nine digits
_MAX_UNIFORM = 1.63  # distance to a uniform distribution, times √N: 99 % of such samples
_MORE_ROWS = 100_000  # show repeated values before all rows are read
_FIRST_ROWS = 200  # decide at once on most columns
_YEARS = (1800, 2100)
_DATES = (3.15e8, 4.1e9)  # 1980 and 2100, in seconds since 1970
_TIME_NAMES = {
    "time", "times", "timestamp", "ts", "t", "epoch", "unix", "date", "datetime", "year", "years",
    "yr", "month", "months", "week", "weeks", "day", "days", "hour", "hours", "minute", "minutes",
    "min", "second", "seconds", "sec", "quarter", "period",
}  # fmt: skip
_ID_NAMES = {
    "id", "ids", "uid", "uuid", "guid", "pid", "idx", "index", "key", "pk", "rowid", "rownum",
    "rownumber", "rownames", "identifier",
}  # fmt: skip
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")  # of order_id, orderId, PID


def classify_identifier(
    name: str, cells: Sequence[Any], number_format: NumberFormat
) -> Literal["index", "identifier"] | None:
    """Return what a column of numbers is if it numbers or identifies the rows, otherwise None.

    An index counts the rows, also in another order; see :func:`is_index`. An identifier has another
    integer in each row, as no measurement would; see :func:`is_identifier`. Columns of times are
    neither, unless their name says that they identify the rows.
    """
    first = parse_numbers(cells[:_FIRST_ROWS], number_format).values
    if len(cells) < _MIN_ROWS or not _may_identify(first):  # quickly decides on most columns
        return None
    if len(cells) > _MORE_ROWS:
        more = parse_numbers(cells[:_MORE_ROWS], number_format).values
        if len(np.unique(more)) < len(more):  # NaN repeats, too
            return None
    values = parse_numbers(cells, number_format).values
    if not _may_identify(values):
        return None
    is_named = bool(_split_name(name) & _ID_NAMES)
    if not is_named and (is_time_name(name) or is_calendar(values)):
        return None
    if is_index(values):
        return INDEX
    return IDENTIFIER if is_identifier(values, is_named=is_named) else None


def is_row_number(table: Table, name: str, cells: Sequence[Any]) -> bool:
    """Return True for a column without a name, and for one that numbers the rows of a table."""
    if has_no_name(name):
        return True
    try:
        number_format = table.number_format(name)
    except DataError:  # raised where the column is read
        return False
    return number_format is not None and classify_identifier(name, cells, number_format) == INDEX


def _may_identify(values: Floats) -> bool:
    """Return True if no value is missing or repeats, and most are integers."""
    if np.isnan(values).any() or (values % 1 == 0).mean() < _MIN_INTEGERS:
        return False
    if np.abs(values).max() > _MAX_INTEGER:  # all huge floats are integers
        return False
    return len(np.unique(values)) == len(values)


def is_time_name(name: str) -> bool:
    """Return True if a word of a name is that of a time, as in ``pickup_hour``."""
    return bool(_split_name(name) & _TIME_NAMES)


def _split_name(name: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(name)}


def is_index(values: Floats) -> bool:
    """Return True if distinct values ``(N,)`` count the rows.

    Either nearly all values follow that of the row above by 1, or all are consecutive integers in
    any order. They may start at any number, and descend.
    """
    steps = np.diff(values)
    n_ordered = max(np.count_nonzero(steps == 1), np.count_nonzero(steps == -1))
    if n_ordered >= _MIN_INDEX_STEPS * len(steps):
        return True
    is_integer = bool((values % 1 == 0).all())
    return is_integer and bool(np.ptp(values) == len(values) - 1)


def is_identifier(values: Floats, *, is_named: bool = False) -> bool:
    """Return True if distinct values ``(N,)`` are integers that most likely identify the rows.

    Integers that never repeat identify the rows if the column is named so (``is_named``), if
    measurements that lie as densely would repeat (at least 20 times by expectation, from the
    density at each value), or if they have nine digits and are spread evenly, as random keys are.
    """
    if (values % 1 != 0).any():
        return False
    ordered = np.sort(values)
    k = min(_NEIGHBORS, len(ordered) - 1)
    density = k / (ordered[k:] - ordered[:-k])  # of the values, at most 1
    if is_named or density.sum() / 2 >= _MIN_REPEATS:
        return True
    places = (ordered - ordered[0]) / (ordered[-1] - ordered[0])
    expected = np.linspace(0, 1, len(ordered))
    is_even = np.abs(places - expected).max() * np.sqrt(len(ordered)) <= _MAX_UNIFORM
    return bool(is_even and np.abs(ordered).max() >= _MIN_HASH and len(ordered) >= 5 * _MIN_ROWS)


def is_calendar(values: Floats) -> bool:
    """Return True if all numbers are years, dates such as 20200131, or times since 1970."""
    known = values[~np.isnan(values)]
    low, high = (known.min(), known.max()) if len(known) else (np.nan, np.nan)
    if _YEARS[0] <= low and high < _YEARS[1] and (known % 1 == 0).all():
        return True
    if any(scale * _DATES[0] <= low and high < scale * _DATES[1] for scale in TIME_UNITS):
        return True
    return len(known) > 0 and parse_calendar_numbers(known) is not None
