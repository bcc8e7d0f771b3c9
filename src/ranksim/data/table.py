"""Columns of anyone's table: read strictly, every fault named by its line."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ranksim._utils import storage
from ranksim._utils.formatting import format_list, format_value
from ranksim.exceptions import DataError, require_optional

MISSING = frozenset(("", "na", "n/a", "nan", "null", "none", "-", "?"))
"""What stands for a missing value, in any case."""
_LARGEST_LABEL = 1e38
_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d+,\d+\s*")


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of a table, and the line of the file that each row begins at.

    Args:
        name: what messages call it: the path, or the name of a data set.
        names: of the columns, in their order.
        read: values of a column by its name: strings of a text file, where ``""`` is missing, and
            Python values of any other source, where None is.
        lines: of each row, counted from 1.
        counted: what ``lines`` counts: ``"line"`` or ``"row"``.
        file: the file whose bytes identify the table; None where its values do.
        root: folder that paths in it are relative to.

    Example:
        >>> table = Table.of("ages", {"age": ["31", "", "47.5"]})
        >>> table.rows, table.column("age"), table.place([1, 2])
        (3, ['31', '', '47.5'], 'ages, rows 2, 3')
    """

    name: str
    names: Sequence[str]
    read: Callable[[str], list[Any]]
    lines: Sequence[int]
    counted: str = "line"
    file: Path | None = None
    root: Path | None = None

    @classmethod
    def of(cls, name: str, columns: Mapping[str, list[Any]]) -> Table:
        """Columns at hand, equally long."""
        lengths = {len(values) for values in columns.values()}
        if len(lengths) != 1:
            raise ValueError(f"columns must be equally long, got {sorted(lengths)}")
        count = lengths.pop()
        return cls(name, list(columns), columns.__getitem__, range(1, count + 1), "row")

    @property
    def rows(self) -> int:
        return len(self.lines)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file's bytes; without a file, of the columns' names and values."""
        if self.file is not None:
            return storage.sha256(self.file)
        digest = hashlib.sha256()
        for name in self.names:
            digest.update(repr((name, self.read(name))).encode())
        return digest.hexdigest()

    def column(self, name: str) -> list[Any]:
        """Values of a column, one a row."""
        if name not in self.names:
            raise DataError(
                f"{self.name} has no column {name!r}: choose among {format_list(self.names)}."
            )
        if self.names.count(name) > 1:
            raise DataError(f"{self.name} has two columns {name!r}: rename one of them.")
        return self.read(name)

    def place(self, rows: Iterable[int]) -> str:
        """Where the first five of these rows stand, and how many more there are."""
        lines = [self.lines[row] for row in rows]
        format_value = ", ".join(map(str, lines[:5]))
        more = f" and {len(lines) - 5:,} more" if len(lines) > 5 else ""
        return f"{self.name}, {self.counted}{'s' * (len(lines) > 1)} {format_value}{more}"

    def refuse(self, rows: Iterable[int], what: str, remedy: str) -> None:
        """An error that names the first five of these rows, if there are any."""
        if rows := list(rows):
            raise DataError(f"{self.place(rows)}: {what}; {remedy}.")


def read_parquet(path: Path) -> Table:
    """Read the columns of a Parquet file, each when it is asked for.

    Raises:
        DataError: the file is damaged; of a column's values, when the column is read.
    """
    arrow = require_optional("pyarrow.parquet", "train")
    try:
        names, count = arrow.read_schema(path).names, arrow.read_metadata(path).num_rows
    except Exception as error:  # a damaged file fails in many ways
        raise DataError(f"{path} is no readable Parquet file: save the table again.") from error

    def read(name: str) -> list[Any]:
        try:
            table = arrow.read_table(path, columns=[name], partitioning=None)
            values = list(table.column(0).to_pylist())
        except Exception as error:
            raise DataError(
                f"{path} is damaged in column {name!r}: save the table again."
            ) from error
        if len(values) != count:
            raise DataError(
                f"{path} holds {len(values):,} values of {count:,} in column {name!r}: save the "
                "table again."
            )
        return values

    return Table(str(path), names, read, range(1, count + 1), "row", path, path.parent)


@dataclass(frozen=True, eq=False)
class ParsedNumbers:
    """A column as numbers, and which of its values are none.

    Args:
        values: float64 ``(N,)``, NaN where there is no finite number.
        missing, text, infinite: bool ``(N,)``, at most one of them true for a value.
    """

    values: NDArray[np.float64]
    missing: NDArray[np.bool_]
    text: NDArray[np.bool_]
    infinite: NDArray[np.bool_]


def parse_numbers(values: Sequence[Any]) -> ParsedNumbers:
    """Read values as numbers, as people write them: ``1``, ``1e3``, `` 3.5 ``.

    Missing are None, NaN and, in any case, an empty string, NA, N/A, nan, null, None, ``-`` and
    ``?``. Booleans, dates and all other text are no numbers.

    Example:
        >>> read = parse_numbers(["1e3", "NA", "three", "inf", True])
        >>> read.values.tolist(), read.missing.sum(), read.text.sum(), read.infinite.sum()
        ([1000.0, nan, nan, nan, nan], np.int64(1), np.int64(2), np.int64(1))
    """
    read_numbers = np.full(len(values), np.nan)
    text = np.zeros(len(values), dtype=bool)
    for k, value in enumerate(values):
        if value is None:
            continue
        if isinstance(value, str):
            value = value.strip()
            if value.lower() in MISSING:
                continue
        number = _number(value)
        text[k] = number is None and not is_missing(value)
        if number is not None:
            read_numbers[k] = number
    infinite = np.isinf(read_numbers)
    read_numbers[infinite] = np.nan
    return ParsedNumbers(read_numbers, np.isnan(read_numbers) & ~text & ~infinite, text, infinite)


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: None, NaN, or a word for it.

    Example:
        >>> is_missing(" n/a "), is_missing(float("nan")), is_missing("none of them")
        (True, True, False)
    """
    if isinstance(value, str):
        return value.strip().lower() in MISSING
    try:
        return value is None or bool(value != value)
    except (TypeError, ArithmeticError):  # pandas' NA, a signalling NaN
        return True
    except ValueError:  # an array
        return False


def read_numbers(
    columns: Table, name: str, *, missing: Literal["refuse", "nan"] = "refuse"
) -> NDArray[np.float64]:
    """A column of numbers, float64 ``(N,)``; :func:`parse_numbers` says what is one.

    Args:
        columns: the table.
        name: of the column.
        missing: whether missing values are refused or NaN.

    Raises:
        DataError: the column is not there, or holds text, infinities or refused missing values.

    Example:
        >>> read_numbers(Table.of("ages", {"age": ["31", "?"]}), "age", missing="nan").tolist()
        [31.0, nan]
    """
    values = columns.column(name)
    read = parse_numbers(values)
    faults = [
        (read.text, "what is no number", "correct these values or remove these rows"),
        (read.infinite, "an infinite number", "correct these values or remove these rows"),
        (read.missing & (missing == "refuse"), "no value", "fill it in or remove these rows"),
    ]
    for rows, what, remedy in faults:
        if rows.any():
            first = values[int(np.argmax(rows))]
            told = "" if what == "no value" else f", as {format_value(first)}"
            if _DECIMAL_COMMA.fullmatch(str(first)):
                remedy = "write decimals with a point"
            columns.refuse(np.flatnonzero(rows), f"column {name!r} holds {what}{told}", remedy)
    return read.values


def read_labels(
    columns: Table, name: str, *, missing: Literal["refuse", "nan"] = "refuse"
) -> NDArray[np.float64]:
    """A column of labels or predictions: :func:`read_numbers` within ±1e38, where float32 ends.

    Raises:
        DataError: as :func:`read_numbers`, or a number beyond.

    Example:
        >>> read_labels(Table.of("ages", {"age": ["31", "1e40"]}), "age")
        Traceback (most recent call last):
        ranksim.exceptions.DataError: ages, row 2: column 'age' holds a number beyond ±1e38, where
        float32 ends; give the column in another unit.
    """
    values = read_numbers(columns, name, missing=missing)
    columns.refuse(
        np.flatnonzero(np.abs(values) > _LARGEST_LABEL),
        f"column {name!r} holds a number beyond ±1e38, where float32 ends",
        "give the column in another unit",
    )
    return values


def _number(value: Any) -> float | None:
    """None for what is no number."""
    if isinstance(value, bool) or not isinstance(value, str | Real | Decimal):
        return None
    if isinstance(value, str) and "_" in value:
        return None  # Python alone reads 1_000
    try:
        return float(value)
    except ValueError:
        return None
    except OverflowError:  # of an int
        return float("inf")
