"""Tables with lazily read columns, and parsers for numbers, dates and times in their cells."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cached_property, partial
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ranksim._utils import storage
from ranksim._utils.formatting import format_name, format_value, join_names
from ranksim.exceptions import DataError

MISSING_WORDS = frozenset(("", "na", "n/a", "nan", "null", "none", "-", "?"))  # in lower case
DAY = 86_400.0  # seconds
TIME_UNITS = {1.0: "seconds", 1e3: "milliseconds", 1e6: "microseconds", 1e9: "nanoseconds"}
_DATES = (3.15e8, 4.1e9)  # 1980 and 2100, in seconds since 1970
_MAX_LISTED, _MAX_NAMES = 5, 20  # line numbers and columns in a message
_MAX_LABEL = 1e38  # the range of float32
_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d+,\d+\s*")

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Missing = Literal["raise", "nan"]


@dataclass(frozen=True, eq=False)
class Table:
    """A table with lazily read columns that records the line of the file for each row."""

    name: str  # path or data set, for messages
    names: Sequence[str]  # of the columns
    read: Callable[[str], list[Any]]  # returns the cells of a column; "" or None if missing
    lines: Sequence[int]  # of the rows, counted from 1
    line_unit: str = "line"  # or "row"
    file: Path | None = None  # whose bytes identify the table; None: the values do
    root: Path | None = None  # of relative paths in the table

    @classmethod
    def from_columns(cls, name: str, columns: Mapping[str, list[Any]]) -> Table:
        """Create a table from in-memory columns of equal length."""
        lengths = {len(values) for values in columns.values()}
        if len(lengths) != 1:
            raise ValueError(f"columns must have the same length, got {sorted(lengths)}")
        lines = range(1, lengths.pop() + 1)
        return cls(name, list(columns), columns.__getitem__, lines, "row")

    @property
    def n_rows(self) -> int:
        """Number of rows, not counting the header."""
        return len(self.lines)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, or of the column names and values if there is no file."""
        if self.file is not None:
            return storage.sha256(self.file)
        digest = hashlib.sha256()
        for name in self.names:
            digest.update(repr((name, self.read(name))).encode())
        return digest.hexdigest()

    def take(self, rows: Ints) -> Table:
        """Return a table of the selected rows, which keep their line numbers."""

        def read(name: str) -> list[Any]:
            values = self.read(name)
            return [values[row] for row in rows]

        return replace(self, read=read, lines=[self.lines[row] for row in rows])

    def column(self, name: str) -> list[Any]:
        """Return the cells of a column; raise a DataError if the name is missing or not unique."""
        if name not in self.names:
            names = join_names(map(format_name, self.names), _MAX_NAMES)
            raise DataError(f"{self.name} has no column {name!r}: choose one of {names}.")
        if self.names.count(name) > 1:
            raise DataError(f"{self.name} has two columns {name!r}: rename one of them.")
        return self.read(name)

    def raise_for_rows(self, rows: Iterable[int], problem: str, remedy: str) -> None:
        """Raise a DataError with the lines of the first five of ``rows``, unless it is empty."""
        if lines := [self.lines[row] for row in rows]:
            place = f"{self.name}, {self.line_unit}{'s' * (len(lines) > 1)} "
            place += ", ".join(map(str, lines[:_MAX_LISTED]))
            if len(lines) > _MAX_LISTED:
                place += f" and {len(lines) - _MAX_LISTED:,} more"
            raise DataError(f"{place}: {problem}; {remedy}.")


def read_numbers(table: Table, name: str, *, missing: Missing = "raise", hint: str = "") -> Floats:
    """Read a column as finite numbers ``(N,)``; missing cells raise a DataError or become NaN."""
    values = table.column(name)
    parsed = parse_numbers(values)
    wrong = np.flatnonzero(parsed.text | parsed.infinite)
    if len(wrong):
        first = format_value(values[wrong[0]])
        problem = f"column {name!r} contains {first}, which is not a finite number"
        remedy = "remove these rows" if missing == "raise" else "leave them empty"
        remedy = f"correct these values or {remedy}"
        if _DECIMAL_COMMA.fullmatch(str(values[wrong[0]])):
            remedy = "write decimals with a point"
        table.raise_for_rows(wrong, problem, remedy + hint)
    if missing == "raise":
        problem, remedy = f"column {name!r} has no value", "fill it in or remove these rows"
        table.raise_for_rows(np.flatnonzero(parsed.missing), problem, remedy)
    return parsed.values


def read_labels(table: Table, name: str, *, missing: Missing = "raise") -> Floats:
    """Read a column of labels or predictions; raise a DataError for numbers beyond ±1e38."""
    values = read_numbers(table, name, missing=missing)
    table.raise_for_rows(
        np.flatnonzero(np.abs(values) > _MAX_LABEL),
        f"column {name!r} contains a number beyond ±1e38, the range of float32",
        "convert the column to another unit",
    )
    return values


def read_seconds(table: Table, name: str, *, hint: str = "") -> Floats:
    """Read a column of ISO dates as seconds since 1970 ``(N,)``; missing cells become NaN."""
    values = table.column(name)
    present = [row for row, value in enumerate(values) if not is_missing(value)]
    moments = {row: _parse_datetime(values[row]) for row in present}
    if wrong := [row for row, moment in moments.items() if moment is None]:
        problem = f"column {name!r} contains {format_value(values[wrong[0]])}, which is not a date"
        remedy = "write it as 2010-03-24 or 2010-03-24 09:51:00, or leave it empty"
        table.raise_for_rows(wrong, problem, remedy + hint)
    naive = [row for row, moment in moments.items() if moment is not None and not moment.tzinfo]
    if 0 < len(naive) < len(present):
        first = format_value(values[naive[0]])
        problem = f"column {name!r} contains {first} without a time zone, but other times with one"
        remedy = "write all times with a time zone, as in 2010-03-24T09:51:00Z, or none of them"
        table.raise_for_rows(naive, problem, remedy + hint)
    return np.array([parse_seconds(value) for value in values], dtype=np.float64)


def read_times(table: Table, name: str) -> Floats:
    """Read a column of times as seconds ``(N,)``: ISO dates, or numbers.

    Numbers are milliseconds, microseconds or nanoseconds since 1970 if all of them then lie
    between 1980 and 2100; otherwise seconds.
    """
    is_text = parse_numbers(table.column(name)).text
    are_dates = 2 * np.count_nonzero(is_text) > len(is_text)
    read = read_seconds if are_dates else partial(read_numbers, missing="nan")
    seconds = read(table, name)
    if not are_dates:
        seconds = seconds / (_find_scale(table, name, seconds) or 1.0)
    problem, remedy = f"column {name!r} has no time", "fill it in or remove these rows"
    table.raise_for_rows(np.flatnonzero(np.isnan(seconds)), problem, remedy)
    return seconds


def find_time_scale(table: Table, name: str) -> float:
    """Return how many units of a column of times make a second; 0 for numbers without dates.

    1 for ISO dates and seconds since 1970, 1,000 for milliseconds, and so on.
    """
    parsed = parse_numbers(table.column(name))
    is_date = 2 * np.count_nonzero(parsed.text) > len(parsed.text)
    return 1.0 if is_date else _find_scale(table, name, parsed.values)


def _find_scale(table: Table, name: str, numbers: Floats) -> float:
    """Return the scale of numeric times; raise a DataError if they have different units."""
    known = np.flatnonzero(np.isfinite(numbers))
    scales = np.zeros(len(known))
    for scale in TIME_UNITS:
        first, last = (scale * seconds for seconds in _DATES)
        scales[(numbers[known] >= first) & (numbers[known] < last)] = scale
    if not len(known) or not scales.all():
        return 0.0
    values, counts = np.unique(scales, return_counts=True)
    usual = float(values[counts.argmax()])
    problem = f"column {name!r} contains a time in {TIME_UNITS[float(values[counts.argmin()])]}"
    table.raise_for_rows(
        known[scales != usual],
        f"{problem}, but others in {TIME_UNITS[usual]}",
        "write all times in one unit",
    )
    return usual


@dataclass(frozen=True, eq=False)
class ParsedNumbers:
    """The cells of a column as finite numbers or NaN ``(N,)``, with masks of invalid cells."""

    values: Floats
    missing: NDArray[np.bool_]
    text: NDArray[np.bool_]
    infinite: NDArray[np.bool_]


def parse_numbers(values: Sequence[Any]) -> ParsedNumbers:
    """Parse cells as numbers such as ``1``, ``1e3`` and `` 3.5 ``, not booleans or dates."""
    parsed = [_parse_number(value) for value in values]
    numbers = np.array(parsed, dtype=np.float64)  # None becomes NaN
    is_text = [n is None and not is_missing(v) for n, v in zip(parsed, values, strict=True)]
    text, infinite = np.array(is_text, dtype=np.bool_), np.isinf(numbers)
    missing = np.isnan(numbers) & ~text
    return ParsedNumbers(np.where(infinite, np.nan, numbers), missing, text, infinite)


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


def is_missing(value: Any) -> bool:
    """Return True if a cell has no value: None, NaN, or a word such as ``n/a``."""
    if isinstance(value, str):
        return value.strip().lower() in MISSING_WORDS
    try:
        return value is None or bool(value != value)
    except (TypeError, ArithmeticError):  # pandas' NA, a signaling NaN
        return True
    except ValueError:  # an array
        return False


def parse_seconds(value: Any) -> float | None:
    """Parse an ISO date or time (by default UTC) as seconds since 1970; return None if invalid."""
    moment = _parse_datetime(value)
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _parse_datetime(value: Any) -> datetime | None:
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day)
    return value if isinstance(value, datetime) and not is_missing(value) else None


def format_times(times: Floats, example: Any, scale: float = 1.0) -> list[Any]:
    """Format times in seconds as ISO text or as numbers, whichever form ``example`` has.

    Numbers are multiplied by ``scale``, that of :func:`find_time_scale`.
    """
    if not parse_numbers([example]).text[0]:
        return list((times * (scale or 1.0)).tolist())
    parsed = _parse_datetime(example)
    zone = UTC if parsed is not None and parsed.tzinfo else None
    return [str(datetime.fromtimestamp(time, UTC).replace(tzinfo=zone)) for time in times.tolist()]


def day_index(times: Floats) -> Ints:
    """Convert times in seconds since 1970 to whole days since 1970."""
    return np.floor(times / DAY).astype(np.int64)
