"""Tables with lazily read columns, and readers of numbers, dates, times and groups in them."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from ranksim._utils import storage
from ranksim._utils.formatting import format_count, format_name, format_value, join_names
from ranksim.data.arrow_cells import (
    ArrowCells,
    DistinctValues,
    EncodedCells,
    count_cells,
    find_missing,
    iterate_distinct,
    map_cells,
    mask_cells,
    remember_encoded,
    take_cells,
)
from ranksim.data.cells import (
    describe_odd_character,
    is_missing,
    parse_datetime,
    parse_number,
    parse_seconds,
    simplify_characters,
    to_canonical_text,
)
from ranksim.data.data_report import DataReport
from ranksim.data.number_format import (
    PLAIN,
    FormatProblem,
    NumberCell,
    NumberFormat,
    NumberSigns,
    check_plain_numbers,
    detect_number_format,
)
from ranksim.data.spec import ReadOptions
from ranksim.exceptions import DataError

DAY = 86_400.0  # seconds
TIME_UNITS = {1.0: "seconds", 1e3: "milliseconds", 1e6: "microseconds", 1e9: "nanoseconds"}
_DATES = (3.15e8, 4.1e9)  # 1980 and 2100, in seconds since 1970
# dates that are written as whole numbers, by their number of digits
_CALENDAR = {
    6: ("%Y%m", "%y%m%d"),
    8: ("%Y%m%d", "%y%m%d%H"),
    10: ("%Y%m%d%H", "%y%m%d%H%M"),
    12: ("%Y%m%d%H%M", "%y%m%d%H%M%S"),
    14: ("%Y%m%d%H%M%S",),
}
_LETTERS = {"%Y": "YYYY", "%y": "YY", "%m": "MM", "%d": "DD", "%H": "HH", "%M": "MM", "%S": "SS"}
_YEARS = (1900, 2100)  # of such dates
_MAX_LISTED, _MAX_NAMES = 5, 20  # line numbers and columns in a message
_MAX_LABEL = 1e38  # the range of float32
_CODE = re.compile(r"[-+]?0\d+")  # 007
_POINT_AND_THREE = re.compile(r"[-+]?[1-9]\d{0,2}\.\d{3}")  # 1.234, which may be 1234

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Missing = Literal["raise", "nan"]


@dataclass(frozen=True, eq=False)
class ParsedNumbers:
    """The cells of a column as finite numbers or NaN ``(N,)``, with masks of invalid cells."""

    values: Floats
    missing: NDArray[np.bool_]
    text: NDArray[np.bool_]
    infinite: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Table:
    """A table with lazily read columns that records the line of the file for each row."""

    name: str  # path or data set, for messages
    names: Sequence[str]  # of the columns
    read: Callable[[str], Sequence[Any]]  # returns the cells of a column; "" or None if missing
    lines: Sequence[int]  # of the rows, counted from 1
    line_unit: str = "line"  # or "row"
    file: Path | None = None  # whose bytes identify the table; None: the values do
    root: Path | None = None  # of relative paths in the table
    reading: ReadOptions = ReadOptions()
    notes: tuple[str, ...] = ()  # sentences on what reading the file left out
    whole: Table | None = None  # the table that this one is a part of
    formats: dict[str, NumberFormat | None] = field(default_factory=dict)  # as far as known

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
            digest.update(repr((name, list(self.read(name)))).encode())
        return digest.hexdigest()

    def take(self, rows: Ints) -> Table:
        """Return a table of the selected rows, which keep their line numbers."""
        if len(rows) == self.n_rows and (np.diff(rows, prepend=-1) == 1).all():
            return replace(self, whole=self.whole or self)

        def read(name: str) -> Sequence[Any]:
            return take_cells(self.read(name), rows)

        lines = SelectedLines(self.lines, rows)
        return replace(self, read=remember_encoded(read), lines=lines, whole=self.whole or self)

    def apply_options(self, reading: ReadOptions) -> Table:
        """Return the table as these options read it; ``missing`` values become None.

        These are compared as text. In a column of numbers they are compared by value, too, unless
        some of its numbers have leading zeros, as codes such as 007 have.
        """
        words = {to_canonical_text(word).lower() for word in reading.missing}
        numbers = [n for n in map(parse_number, reading.missing) if n is not None]
        signs = NumberSigns(reading.decimal, reading.thousands)
        are_numeric: dict[str, bool] = {}  # columns that have been read

        def is_word(value: Any) -> bool:
            return to_canonical_text(value).lower() in words

        def is_named(value: Any) -> bool:
            text = value.replace(",", ".") if isinstance(value, str) else value  # -99,90 is -99.9
            number = parse_number(text)
            return number is not None and bool(are_absent(np.array([number]), numbers)[0])

        def read(name: str) -> Sequence[Any]:
            values = self.read(name)
            if words:
                values = mask_cells(values, map_cells(values, is_word, np.bool_))
            if numbers and name not in are_numeric:
                are_numeric[name] = _contains_quantities(values, signs)
            if are_numeric.get(name):
                values = mask_cells(values, map_cells(values, is_named, np.bool_))
            return values

        return replace(self, read=remember_encoded(read), reading=reading, whole=None, formats={})

    def mask_numbers(self, name: str, numbers: Collection[float]) -> Table:
        """Return the table with None for these numbers in a column, if it has the column."""
        if not numbers or name not in self.names:
            return self
        number_format = self.number_format(name) or PLAIN

        def read(column: str) -> Sequence[Any]:
            values = self.read(column)
            if column != name:
                return values
            mask = are_absent(parse_numbers(values, number_format).values, [*numbers])
            return mask_cells(values, mask)

        return replace(self, read=remember_encoded(read))

    def column(self, name: str) -> Sequence[Any]:
        """Return the cells of a column; raise a DataError if the name is missing or not unique."""
        if name not in self.names:
            names = join_names(map(format_name, self.names), _MAX_NAMES)
            near = find_near_name(name, self.names)
            hint = f"did you mean {near!r}? Its columns are" if near else "choose one of"
            raise DataError(f"{self.name} has no column {name!r}: {hint} {names}.")
        if self.names.count(name) > 1:
            raise DataError(f"{self.name} has two columns {name!r}: rename one of them.")
        return self.read(name)

    def number_format(self, name: str) -> NumberFormat | None:
        """Return the form of the numbers in a column of the whole table; None if it has none.

        Raises a DataError for numbers with two possible readings, or in several forms.
        """
        if name not in self.formats:
            whole = self.whole or self
            signs = NumberSigns(self.reading.decimal, self.reading.thousands)
            values = whole.column(name)
            form = _detect_number_format(values, signs)
            if isinstance(form, FormatProblem):
                raise _format_error(whole, name, form)
            if form == PLAIN and signs == NumberSigns():
                _reject_thousands_points(whole, name, values)
            self.formats[name] = form
        return self.formats[name]

    def parse_numbers(self, name: str) -> ParsedNumbers:
        """Parse the cells of a column as numbers, in the form in which they are written."""
        return parse_numbers(self.column(name), self.number_format(name) or PLAIN)

    @property
    def report(self) -> DataReport:
        """Report of what reading the file left out, and of numbers that are not plain."""
        whole = self.whole or self
        sentences = [
            text
            for name, form in sorted(self.formats.items())
            if form not in (None, PLAIN) and (text := _describe_format(whole, name, form))
        ]
        notes = {"File": "; ".join(self.notes)} if self.notes else {}
        return DataReport(notes=notes | ({"Forms": "; ".join(sentences)} if sentences else {}))

    def raise_for_rows(self, rows: Iterable[int], problem: str, remedy: str) -> None:
        """Raise a DataError with the lines of the first five of ``rows``, unless it is empty."""
        if listed := list(rows):
            raise self.row_error(listed, problem, remedy)

    def row_error(self, rows: Sequence[int], problem: str, remedy: str) -> DataError:
        """Return a DataError with the lines of the first five of ``rows``."""
        lines = [self.lines[row] for row in rows]
        place = f"{self.name}, {self.line_unit}{'s' * (len(lines) > 1)} "
        place += ", ".join(map(str, lines[:_MAX_LISTED]))
        if len(lines) > _MAX_LISTED:
            place += f" and {len(lines) - _MAX_LISTED:,} more"
        return DataError(f"{place}: {problem}; {remedy}.")


@dataclass(frozen=True, eq=False)
class SelectedLines(Sequence[int]):
    """The line numbers of some rows, without a Python object for each.

    Args:
        lines: of all rows.
        rows: selected ones ``(N,)``.
    """

    lines: Sequence[int]
    rows: Ints

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> SelectedLines: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return SelectedLines(self.lines, self.rows[index])
        return self.lines[int(self.rows[index])]


def read_lines(table: Table, rows: Ints) -> Ints:
    """Return the line numbers of rows ``(N,)``."""
    if isinstance(table.lines, range):
        return table.lines.start + table.lines.step * rows
    return np.array(table.lines, dtype=np.int64)[rows]


def read_numbers(
    table: Table,
    name: str,
    *,
    missing: Missing = "raise",
    hint: str = "",
    parsed: ParsedNumbers | None = None,
) -> Floats:
    """Read a column as finite numbers ``(N,)``; missing cells raise a DataError or become NaN."""
    values = table.column(name)
    parsed = table.parse_numbers(name) if parsed is None else parsed
    wrong = np.flatnonzero(parsed.text | parsed.infinite)
    if len(wrong):
        first, form = values[wrong[0]], table.formats.get(name) or PLAIN
        problem = f"column {name!r} contains {format_value(first)}, which is not a finite number"
        problem += f" with {form.describe()}" if form != PLAIN else ""
        if (odd := describe_odd_character(first)) is not None:
            simple = simplify_characters(first)
            is_cause = np.isfinite(parse_numbers([simple], form).values[0])
            problem += f" because of {odd}" if is_cause else ""
        remedy = "remove these rows" if missing == "raise" else "leave them empty"
        table.raise_for_rows(wrong, problem, f"correct these values or {remedy}{hint}")
    if missing == "raise":
        _reject_missing(table, name, parsed.missing, "value")
    return parsed.values


def _reject_missing(table: Table, name: str, missing: NDArray[np.bool_], noun: str) -> None:
    """Raise a DataError for the rows of missing cells in a column."""
    rows = np.flatnonzero(missing)
    if len(rows):
        first = table.column(name)[rows[0]]
        word = f" ({format_value(first)})" if isinstance(first, str) and first.strip() else ""
        problem = f"column {name!r} has no {noun}{word}"
        table.raise_for_rows(rows, problem, "fill it in or remove these rows")


def read_labels(table: Table, name: str, *, missing: Missing = "raise") -> Floats:
    """Read a column of labels or predictions; raise a DataError for numbers beyond ±1e38."""
    values = read_numbers(table, name, missing=missing)
    if len(rows := np.flatnonzero(np.abs(values) > _MAX_LABEL)):
        first = format_value(table.column(name)[rows[0]])
        problem = f"column {name!r} contains {first}, beyond ±1e38, the range of float32"
        table.raise_for_rows(rows, problem, "convert the column to another unit")
    return values


def read_targets(
    table: Table, name: str, absent: Sequence[float] = (), *, missing: Missing = "raise"
) -> Floats:
    """Read a column of targets ``(N,)``; those that equal one of ``absent`` become NaN.

    The other missing targets raise a DataError, or become NaN, too.
    """
    values = read_labels(table, name, missing=missing)
    return np.where(are_absent(values, absent), np.nan, values) if absent else values


def are_absent(values: Floats, absent: Sequence[float]) -> NDArray[np.bool_]:
    """Return which values ``(N,)`` are among ``absent``, or are them as rounded to float32."""
    with np.errstate(over="ignore"):
        rounded = np.array(absent, dtype=np.float32)
    mask: NDArray[np.bool_] = np.isin(values, [*absent, *rounded.tolist()])
    return mask


def read_seconds(table: Table, name: str, *, hint: str = "") -> Floats:
    """Read a column of ISO dates as seconds since 1970 ``(N,)``; missing cells become NaN."""
    values = table.column(name)
    present = [row for row, value in enumerate(values) if not is_missing(value)]
    moments = {row: parse_datetime(values[row]) for row in present}
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

    Numbers are dates if all of them are written as 20200131 or 200131, or milliseconds,
    microseconds or nanoseconds since 1970 if all of them then lie between 1980 and 2100; otherwise
    seconds.
    """
    are_dates = contains_dates(table, name)
    read = read_seconds if are_dates else partial(read_numbers, missing="nan")
    seconds = read(table, name)
    if not are_dates:
        dates = parse_calendar_numbers(seconds)
        seconds = seconds / (_find_scale(table, name, seconds) or 1.0) if dates is None else dates
    _reject_missing(table, name, np.isnan(seconds), "time")
    return seconds


def contains_dates(table: Table, name: str) -> bool:
    """Return True if most cells of a column of times are texts or dates, and no numbers."""
    is_text = table.parse_numbers(name).text
    return bool(2 * np.count_nonzero(is_text) > len(is_text))


def find_time_scale(table: Table, name: str) -> float:
    """Return how many units of a column of times make a second; 0 for numbers without dates.

    1 for ISO dates and seconds since 1970, 1,000 for milliseconds, and so on.
    """
    parsed = table.parse_numbers(name)
    if contains_dates(table, name) or parse_calendar_numbers(parsed.values) is not None:
        return 1.0
    return _find_scale(table, name, parsed.values)


def describe_times(table: Table, name: str) -> str:
    """Describe how the numbers in a column of times are read; empty if that is evident."""
    if contains_dates(table, name):
        return ""
    numbers = table.parse_numbers(name).values
    forms = _find_calendar_forms(numbers)
    if not forms:
        unit = TIME_UNITS.get(_find_scale(table, name, numbers), "seconds")
        return "" if unit == "seconds" else f"numbers, read as {unit} since 1970"
    if len(forms) == 1 and forms[0].startswith("%Y"):
        return ""
    first = numbers[np.isfinite(numbers)][0]
    letters = re.sub("%.", lambda sign: _LETTERS[sign[0]], forms[0])
    moment = datetime.strptime(f"{first:.0f}", forms[0])
    return f"numbers, read as {letters}: {first:.0f} is {moment}"


def parse_calendar_numbers(numbers: Floats) -> Floats | None:
    """Parse numbers such as 20200131, 200131 or 202001312359 as seconds since 1970; NaN remains.

    None if one of them is not such a date, or if they have different numbers of digits. Years of
    two digits are those from 1969 to 2068.
    """
    forms = _find_calendar_forms(numbers)
    if not forms:
        return None
    moments = [
        datetime.strptime(f"{number:.0f}", forms[0]).replace(tzinfo=UTC).timestamp()
        if np.isfinite(number)
        else np.nan
        for number in numbers.tolist()
    ]
    return np.array(moments, dtype=np.float64)


def _find_calendar_forms(numbers: Floats) -> list[str]:
    """Return the forms of dates in which all numbers may be written, the most likely one first."""
    known = np.unique(numbers[np.isfinite(numbers)])
    digits = {len(f"{number:.0f}") for number in known.tolist()}
    if len(digits) != 1 or (known % 1 != 0).any():
        return []
    forms = _CALENDAR.get(digits.pop(), ())
    return [form for form in forms if all(_is_date(number, form) for number in known.tolist())]


def _is_date(number: float, form: str) -> bool:
    try:
        return _YEARS[0] <= datetime.strptime(f"{number:.0f}", form).year < _YEARS[1]
    except ValueError:
        return False


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
    if len(other := np.flatnonzero(scales != usual)):
        example = format_value(table.column(name)[known[other[0]]])
        unit = TIME_UNITS[float(scales[other[0]])]
        problem = f"column {name!r} contains {example}, a time in {unit}, but others in "
        remedy = "write all times in one unit"
        table.raise_for_rows(known[other], problem + TIME_UNITS[usual], remedy)
    return usual


def read_groups(table: Table, name: str) -> list[str]:
    """Read a column of groups as text that all forms of a value share; none may be missing."""
    values = table.column(name)
    _reject_missing(table, name, find_missing(values), "group")
    return map_cells(values, to_canonical_text, object).tolist()  # type: ignore[no-any-return]


def parse_numbers(values: Sequence[Any], number_format: NumberFormat = PLAIN) -> ParsedNumbers:
    """Parse cells as numbers such as ``1``, ``1e3`` and `` 3.5 ``, not booleans or dates."""
    if isinstance(values, ArrowCells) and values.is_number:
        numbers = values.to_numbers()
        infinite, missing = np.isinf(numbers), np.isnan(numbers)
        numbers[infinite] = np.nan
        return ParsedNumbers(numbers, missing, np.zeros(len(numbers), np.bool_), infinite)
    if isinstance(values, EncodedCells):
        parse = partial(_parse_distinct, number_format=number_format)
        distinct = values.values.compute_once(number_format, parse)
        return ParsedNumbers(*(each[values.places] for each in vars(distinct).values()))
    is_plain = number_format == PLAIN
    parsed = [_parse_cell(value, number_format, is_plain) for value in values]
    numbers = np.array(parsed, dtype=np.float64)  # None becomes NaN
    is_text = [n is None and not is_missing(v) for n, v in zip(parsed, values, strict=True)]
    text, infinite = np.array(is_text, dtype=np.bool_), np.isinf(numbers)
    missing = np.isnan(numbers) & ~text
    return ParsedNumbers(np.where(infinite, np.nan, numbers), missing, text, infinite)


def _parse_distinct(values: DistinctValues, number_format: NumberFormat) -> ParsedNumbers:
    """Parse the distinct values of a column, plain numbers all at once."""
    if number_format != PLAIN:
        return parse_numbers(values.objects, number_format)
    numbers, is_number = values.parse_plain_numbers()
    parsed = ParsedNumbers(numbers, *(np.zeros(len(numbers), np.bool_) for _ in range(3)))
    others = np.flatnonzero(~is_number)
    for target, part in zip(
        vars(parsed).values(), vars(parse_numbers(values.select(others))).values(), strict=True
    ):
        target[others] = part
    return parsed


def _parse_cell(value: Any, number_format: NumberFormat, is_plain: bool) -> float | None:
    if is_plain or not isinstance(value, str):
        number = parse_number(value)
        if number is not None or not isinstance(value, str):
            return number
    return None if is_missing(value) else number_format.parse(value)


def find_near_name(name: str, names: Iterable[str]) -> str | None:
    """Return the name that differs from ``name`` by case, spaces or a few letters; None if none.

    Invisible characters and the width of letters do not count.
    """
    simple = {simplify_characters(each).strip().casefold(): each for each in names if each.strip()}
    wanted = simplify_characters(name).strip().casefold()
    near = difflib.get_close_matches(wanted, list(simple), n=1, cutoff=0.7)
    return simple[near[0]] if near else None


def _detect_number_format(
    values: Sequence[Any], signs: NumberSigns
) -> NumberFormat | FormatProblem | None:
    """Return what :func:`detect_number_format` does, from distinct cells where it can."""
    if isinstance(values, ArrowCells) and values.is_number:
        return PLAIN
    is_encoded = isinstance(values, EncodedCells)
    if is_encoded and signs.allow_plain and not parse_numbers(values).text.any():
        texts = (each for each in iterate_distinct(values) if isinstance(each, str))
        return check_plain_numbers((each for each in texts if not is_missing(each)), signs)
    cells, counts = count_cells(values)
    return detect_number_format(cells, signs, counts.tolist())


def _contains_quantities(values: Sequence[Any], signs: NumberSigns) -> bool:
    """Return True if a column contains numbers, and none with leading zeros."""
    cells, counts = count_cells(values)
    is_code = any(isinstance(value, str) and _CODE.fullmatch(value.strip()) for value in cells)
    return not is_code and detect_number_format(cells, signs, counts.tolist()) is not None


def _format_error(table: Table, name: str, problem: FormatProblem) -> DataError:
    """Return the error for numbers with two possible readings, or in several forms."""
    values, (first, *others) = table.column(name), problem.cells
    text, digits = format_value(first.text.strip()), first.digits
    mark = next((sign for sign in digits if sign in ",."), "")
    as_category = "or pass the column with --categories"
    if problem.kind == "ambiguous":
        description = (
            f"{text} may be {digits.replace(mark, '')}, with thousands separators, or "
            f"{digits.replace(mark, '.')}, with decimals"
        )
        remedy = f"add --thousands '{mark}' or --decimal '{mark}'"
    elif problem.kind == "option":
        signs = NumberSigns(table.reading.decimal, table.reading.thousands)
        given = {"--decimal": signs.decimal, "--thousands": signs.thousands}
        options = " ".join(f"{option} {sign}" for option, sign in given.items() if sign)
        description, remedy = f"{text} does not fit {options}", f"correct the option, {as_category}"
    else:
        kind = "two units" if problem.kind == "units" else "two forms"
        other = others[0]
        place = f"{table.line_unit} {table.lines[values.index(other.text)]}"
        description = f"numbers have {kind}: {text} and, in {place}, {format_value(other.text)}"
        remedy = f"write all numbers of the column in one form, {as_category}"
    row = values.index(first.text)
    return table.row_error([row], f"column {name!r}: {description}", remedy)


def _reject_thousands_points(table: Table, name: str, values: Sequence[Any]) -> None:
    """Raise a DataError if all numbers are as 1.234, and another column has decimal commas."""
    if isinstance(values, ArrowCells) and values.is_number:
        return
    present = (value for value in iterate_distinct(values) if not is_missing(value))
    first = next(present, None)
    for value in chain((first,), present):
        if not isinstance(value, str) or not _POINT_AND_THREE.fullmatch(value.strip()):
            return
    for other in dict.fromkeys(table.names):
        if other == name or table.names.count(other) > 1:
            continue
        form = _detect_number_format(table.read(other), NumberSigns())
        if isinstance(form, NumberFormat) and form.decimal == ",":
            assert first is not None
            cell = NumberCell(first, 1, first.strip(), "")
            raise _format_error(table, name, FormatProblem("ambiguous", (cell,)))


def _describe_format(table: Table, name: str, form: NumberFormat) -> str:
    """Describe how many values of a column are not plain numbers, with the first one as example."""
    count, example = 0, ""
    for value, number_of_cells in zip(*count_cells(table.column(name)), strict=True):
        number = form.parse(value) if isinstance(value, str) and not is_missing(value) else None
        if number is not None and number != parse_number(value):
            example = example or f"{value.strip()!r} is {number:.12g}"
            count += int(number_of_cells)
    if not count:
        return ""
    return f"{format_name(name)}: {format_count(count, 'value')} with {form.describe()} ({example})"


def format_times(times: Floats, examples: Sequence[Any], scale: float = 1.0) -> list[Any]:
    """Format times in seconds as ISO text or as numbers, whichever form the ``examples`` have.

    Numbers are multiplied by ``scale``, that of :func:`find_time_scale`; if they are dates such as
    20200131, the times are ISO text.
    """
    parsed_examples = parse_numbers(examples)
    is_calendar = scale == 1 and bool(_find_calendar_forms(parsed_examples.values))
    if not parsed_examples.text[0] and not is_calendar:
        return list((times * (scale or 1.0)).tolist())
    parsed = parse_datetime(examples[0])
    zone = UTC if parsed is not None and parsed.tzinfo else None
    return [str(datetime.fromtimestamp(time, UTC).replace(tzinfo=zone)) for time in times.tolist()]


def day_index(times: Floats) -> Ints:
    """Convert times in seconds since 1970 to whole days since 1970."""
    return np.floor(times / DAY).astype(np.int64)
