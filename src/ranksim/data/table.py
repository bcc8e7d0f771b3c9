"""Tables of user data: columns read on demand, with line numbers for error messages."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ranksim._utils import storage
from ranksim._utils.formatting import format_list, format_value
from ranksim.data.cells import describe_lines, parse_numbers
from ranksim.exceptions import DataError

_MAX_LABEL = 1e38  # the range of float32
_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d+,\d+\s*")


@dataclass(frozen=True, eq=False)
class Table:
    """A table whose columns are read on demand, and the line of the file of each row.

    Args:
        name: name in messages: the path, or the name of a data set.
        names: column names in order.
        read: returns the cells of a column by name: strings for a text file, ``""`` if missing;
            Python values for any other source, None if missing.
        lines: line of each row, counted from 1.
        line_unit: unit of ``lines``: ``"line"`` or ``"row"``.
        file: file whose bytes identify the table; None to identify it by its values.
        root: folder that relative paths in the table start from.

    Example:
        >>> table = Table.from_columns("ages", {"age": ["31", "", "47.5"]})
        >>> table.n_rows, table.column("age"), table.describe_rows([1, 2])
        (3, ['31', '', '47.5'], 'ages, rows 2, 3')
    """

    name: str
    names: Sequence[str]
    read: Callable[[str], list[Any]]
    lines: Sequence[int]
    line_unit: str = "line"
    file: Path | None = None
    root: Path | None = None

    @classmethod
    def from_columns(cls, name: str, columns: Mapping[str, list[Any]]) -> Table:
        """Create a table from columns of equal length."""
        lengths = {len(values) for values in columns.values()}
        if len(lengths) != 1:
            raise ValueError(f"columns must have the same length, got {sorted(lengths)}")
        lines = range(1, lengths.pop() + 1)
        return cls(name, list(columns), columns.__getitem__, lines, "row")

    @property
    def n_rows(self) -> int:
        """Number of rows, without the header."""
        return len(self.lines)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file's bytes; without a file, of the column names and values."""
        if self.file is not None:
            return storage.sha256(self.file)
        digest = hashlib.sha256()
        for name in self.names:
            digest.update(repr((name, self.read(name))).encode())
        return digest.hexdigest()

    def column(self, name: str) -> list[Any]:
        """Return the cells of a column, one per row.

        Raises:
            DataError: no column, or more than one, has this name.
        """
        if name not in self.names:
            raise DataError(
                f"{self.name} has no column {name!r}: choose one of {format_list(self.names)}."
            )
        if self.names.count(name) > 1:
            raise DataError(f"{self.name} has two columns {name!r}: rename one of them.")
        return self.read(name)

    def describe_rows(self, rows: Iterable[int]) -> str:
        """Return the table's name and the lines of the first five of these rows."""
        return describe_lines(self.name, self.line_unit, [self.lines[row] for row in rows])

    def raise_for_rows(self, rows: Iterable[int], problem: str, remedy: str) -> None:
        """Raise a DataError that names the lines of these rows, if there are any."""
        if rows := list(rows):
            raise DataError(f"{self.describe_rows(rows)}: {problem}; {remedy}.")


def read_numbers(
    table: Table, name: str, *, missing: Literal["raise", "nan"] = "raise"
) -> NDArray[np.float64]:
    """Return a column of numbers, float64 ``(N,)``, parsed by :func:`parse_numbers`.

    Args:
        table: the table.
        name: column name.
        missing: raise an error for missing values, or return NaN for them.

    Raises:
        DataError: the column does not exist, or contains text, infinite numbers or, with
            ``missing="raise"``, missing values.

    Example:
        >>> ages = Table.from_columns("ages", {"age": ["31", "?"]})
        >>> read_numbers(ages, "age", missing="nan").tolist()
        [31.0, nan]
    """
    values = table.column(name)
    parsed = parse_numbers(values)
    for mask, kind in ((parsed.text, "not a number"), (parsed.infinite, "infinite")):
        if mask.any():
            first = values[int(np.argmax(mask))]
            table.raise_for_rows(
                np.flatnonzero(mask),
                f"column {name!r} contains {format_value(first)}, which is {kind}",
                "write decimals with a point"
                if _DECIMAL_COMMA.fullmatch(str(first))
                else "correct these values or remove these rows",
            )
    if missing == "raise":
        table.raise_for_rows(
            np.flatnonzero(parsed.missing),
            f"column {name!r} has no value",
            "fill it in or remove these rows",
        )
    return parsed.values


def read_labels(
    table: Table, name: str, *, missing: Literal["raise", "nan"] = "raise"
) -> NDArray[np.float64]:
    """Return a column of labels or predictions: :func:`read_numbers` limited to ±1e38.

    Raises:
        DataError: as for :func:`read_numbers`, or a number is outside the range of float32.

    Example:
        >>> read_labels(Table.from_columns("ages", {"age": ["31", "1e40"]}), "age")
        Traceback (most recent call last):
        ranksim.exceptions.DataError: ages, row 2: column 'age' contains a number beyond ±1e38, the
        range of float32; convert the column to another unit.
    """
    values = read_numbers(table, name, missing=missing)
    table.raise_for_rows(
        np.flatnonzero(np.abs(values) > _MAX_LABEL),
        f"column {name!r} contains a number beyond ±1e38, the range of float32",
        "convert the column to another unit",
    )
    return values
