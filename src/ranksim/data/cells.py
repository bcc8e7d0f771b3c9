"""Parse table cells: missing values, numbers, dates and times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.formatting import format_value
from ranksim.exceptions import DataError

MISSING_WORDS = frozenset(("", "na", "n/a", "nan", "null", "none", "-", "?"))  # in lower case
_DAY = 86_400.0  # seconds
_MAX_LISTED = 5  # line numbers in a message

RaiseForRows = Callable[[Iterable[int], str, str], None]
"""Raises a DataError from row positions, the problem and a remedy; does nothing without rows."""


def describe_lines(name: str, unit: str, lines: Sequence[int]) -> str:
    """Return the name and the first five line numbers, as in ``ages, rows 2, 3 and 1 more``."""
    listed = ", ".join(map(str, lines[:_MAX_LISTED]))
    more = f" and {len(lines) - _MAX_LISTED:,} more" if len(lines) > _MAX_LISTED else ""
    return f"{name}, {unit}{'s' * (len(lines) > 1)} {listed}{more}"


def raise_for_rows(rows: Iterable[int], problem: str, remedy: str) -> None:
    """Raise a DataError that numbers rows from 1, for data without a file."""
    if numbers := [row + 1 for row in rows]:
        raise DataError(f"{describe_lines('The data', 'row', numbers)}: {problem}; {remedy}.")


@dataclass(frozen=True, eq=False)
class ParsedNumbers:
    """Cells parsed as numbers ``(N,)``, NaN unless finite, and masks of the other cells."""

    values: NDArray[np.float64]
    missing: NDArray[np.bool_]
    text: NDArray[np.bool_]
    infinite: NDArray[np.bool_]


def parse_numbers(values: Sequence[Any]) -> ParsedNumbers:
    """Parse cells as numbers such as ``1``, ``1e3`` and `` 3.5 ``; booleans and dates are text.

    Example:
        >>> parsed = parse_numbers(["1e3", "NA", "three", "inf", True])
        >>> parsed.values.tolist(), parsed.missing.sum(), parsed.text.sum(), parsed.infinite.sum()
        ([1000.0, nan, nan, nan, nan], np.int64(1), np.int64(2), np.int64(1))
    """
    numbers = np.full(len(values), np.nan)
    text = np.zeros(len(values), dtype=bool)
    for row, value in enumerate(values):
        number = _parse_number(value)
        if number is not None:
            numbers[row] = number
        else:
            text[row] = not is_missing(value)
    infinite = np.isinf(numbers)
    numbers[infinite] = np.nan
    return ParsedNumbers(numbers, np.isnan(numbers) & ~text & ~infinite, text, infinite)


def is_missing(value: Any) -> bool:
    """Return True for a cell without a value: None, NaN, or a word such as ``n/a``."""
    if isinstance(value, str):
        return value.strip().lower() in MISSING_WORDS
    try:
        return value is None or bool(value != value)
    except (TypeError, ArithmeticError):  # pandas' NA, a signaling NaN
        return True
    except ValueError:  # an array
        return False


def parse_finite_numbers(
    values: Sequence[Any], name: str, raise_for_rows: RaiseForRows
) -> NDArray[np.float64]:
    """Parse a column of finite numbers as float64 ``(N,)``, NaN for missing cells."""
    parsed = parse_numbers(values)
    wrong = np.flatnonzero(parsed.text | parsed.infinite)
    if len(wrong):
        first = format_value(values[wrong[0]])
        problem = f"column {name!r} contains {first}, which is not a finite number"
        raise_for_rows(wrong.tolist(), problem, "correct these values or leave them empty")
    return parsed.values


def parse_seconds(value: Any) -> float | None:
    """Parse an ISO date or time as seconds since 1970, UTC unless it has a zone; else None."""
    moment = _parse_datetime(value)
    return None if moment is None else _to_seconds(moment)


def parse_finite_seconds(
    values: Sequence[Any], name: str, raise_for_rows: RaiseForRows
) -> NDArray[np.float64]:
    """Parse a column of ISO dates as seconds, float64 ``(N,)``, NaN for missing cells."""
    moments = {
        row: _parse_datetime(value) for row, value in enumerate(values) if not is_missing(value)
    }
    if wrong := [row for row, moment in moments.items() if moment is None]:
        problem = f"column {name!r} contains {format_value(values[wrong[0]])}, which is not a date"
        remedy = "write it as 2010-03-24 or 2010-03-24 09:51:00, or leave it empty"
        raise_for_rows(wrong, problem, remedy)
    dates = {row: moment for row, moment in moments.items() if moment is not None}
    naive = [row for row, moment in dates.items() if moment.tzinfo is None]
    if 0 < len(naive) < len(dates):
        first = format_value(values[naive[0]])
        problem = f"column {name!r} contains {first} without a time zone, but other times with one"
        remedy = "write all times with a time zone, as in 2010-03-24T09:51:00Z, or none of them"
        raise_for_rows(naive, problem, remedy)
    seconds = np.full(len(values), np.nan)
    for row, moment in dates.items():
        seconds[row] = _to_seconds(moment)
    return seconds


def parse_times(
    values: Sequence[Any], raise_for_rows: RaiseForRows = raise_for_rows, name: str = "time"
) -> NDArray[np.float64]:
    """Parse a column of times as seconds: either all ISO dates, or all numbers of seconds.

    Example:
        >>> parse_times(["2010-03-24 09:51:00", "2010-03-24 09:56:00"]).tolist()
        [1269424260.0, 1269424560.0]
    """
    are_dates = len(values) > 0 and parse_numbers(values).text.mean() > 0.5
    parse = parse_finite_seconds if are_dates else parse_finite_numbers
    seconds = parse(values, name, raise_for_rows)
    missing = np.flatnonzero(np.isnan(seconds)).tolist()
    raise_for_rows(missing, f"column {name!r} has no time", "fill it in or remove these rows")
    return seconds


def format_times(times: NDArray[np.float64], example: Any) -> list[Any]:
    """Format times in seconds like ``example``, a cell of the column: as ISO text or numbers.

    Example:
        >>> format_times(np.array([1269424260.0]), "2010-03-24 09:51")
        ['2010-03-24 09:51:00']
    """
    seconds: list[float] = times.tolist()
    if not parse_numbers([example]).text[0]:
        return seconds
    parsed = _parse_datetime(example)
    zone = UTC if parsed is not None and parsed.tzinfo else None
    return [str(datetime.fromtimestamp(time, UTC).replace(tzinfo=zone)) for time in seconds]


def day_index(times: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the day of each time in seconds, counted from 1970."""
    return np.floor(times / _DAY).astype(np.int64)


def _parse_number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | Real | Decimal):
        return None
    if isinstance(value, str) and (is_missing(value) or "_" in value):
        return None  # only Python reads 1_000 as a number
    try:
        return float(value)
    except ValueError:
        return None
    except OverflowError:  # a huge int
        return float("inf")


def _parse_datetime(value: Any) -> datetime | None:
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day)
    return value if isinstance(value, datetime) and not is_missing(value) else None


def _to_seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
