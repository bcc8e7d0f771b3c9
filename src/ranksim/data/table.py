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
    """A table whose columns are read on demand, with the line of each row.

    Example:
        >>> table = Table.from_columns("ages", {"age": ["31", "", "47.5"]})
        >>> table.n_rows, table.column("age"), table.describe_rows([1, 2])
        (3, ['31', '', '47.5'], 'ages, rows 2, 3')
    """

    name: str  # path or data set, for messages
    names: Sequence[str]  # of the columns
    read: Callable[[str], list[Any]]  # returns the cells of a column; "" or None if missing
    lines: Sequence[int]  # of the rows, counted from 1
    line_unit: str = "line"  # or "row"
    file: Path | None = None  # whose bytes identify the table; None: the values do
    root: Path | None = None  # of relative paths in the table

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
        """Return the cells of a column; raise a DataError unless exactly one has this name."""
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
    """Return a column of numbers, float64 ``(N,)``; raise a DataError for other cells.

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
            has_comma = _DECIMAL_COMMA.fullmatch(str(first))
            table.raise_for_rows(
                np.flatnonzero(mask),
                f"column {name!r} contains {format_value(first)}, which is {kind}",
                "write decimals with a point"
                if has_comma
                else "correct these values or remove these rows",
            )
    if missing == "raise":
        problem, remedy = f"column {name!r} has no value", "fill it in or remove these rows"
        table.raise_for_rows(np.flatnonzero(parsed.missing), problem, remedy)
    return parsed.values


def read_labels(
    table: Table, name: str, *, missing: Literal["raise", "nan"] = "raise"
) -> NDArray[np.float64]:
    """Return a column of labels or predictions: numbers within ±1e38, the range of float32."""
    values = read_numbers(table, name, missing=missing)
    table.raise_for_rows(
        np.flatnonzero(np.abs(values) > _MAX_LABEL),
        f"column {name!r} contains a number beyond ±1e38, the range of float32",
        "convert the column to another unit",
    )
    return values
