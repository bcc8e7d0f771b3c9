"""Cells of a column as Arrow stores them, without a Python object for each.

The functions of this module take the cells of any table. Those of a Parquet file are read as
numbers at once, or once for each distinct name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ranksim.data.cells import is_missing
from ranksim.exceptions import require_optional

_MAX_EXACT = 2**53  # float64 holds all smaller integers
_CHUNK = 10_000  # cells that are Python objects at a time

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


class ArrowCells(Sequence[Any]):
    """A sequence of the cells of an Arrow column, ``None`` where missing.

    Args:
        column: a ``pyarrow.ChunkedArray``.
    """

    def __init__(self, column: Any) -> None:
        self.column = column

    def __len__(self) -> int:
        return len(self.column)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> ArrowCells: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return ArrowCells(self.column.slice(start, max(stop - start, 0)))
            return self.take(np.arange(start, stop, step))
        return self.column[int(index)].as_py()

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self), _CHUNK):
            yield from self.column.slice(start, _CHUNK).to_pylist()

    @cached_property
    def is_exact(self) -> bool:
        """Whether all numbers are equal to their float64."""
        types = require_optional("pyarrow.types", "train")
        if not types.is_int64(self.column.type) and not types.is_uint64(self.column.type):
            return True
        numbers = self.to_numbers()
        return bool(np.nanmax(np.abs(numbers), initial=0) < _MAX_EXACT)

    def take(self, rows: Ints) -> ArrowCells:
        """Return the cells of these rows ``(N,)``."""
        if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
            return self[int(rows[0]) : int(rows[-1]) + 1]  # without a copy
        array = require_optional("pyarrow", "train").array
        return ArrowCells(self.column.take(array(rows)))

    @cached_property
    def is_number(self) -> bool:
        """Whether the cells are integers or floating-point numbers."""
        types = require_optional("pyarrow.types", "train")
        kind = self.column.type
        return bool(types.is_integer(kind) or types.is_floating(kind))

    @cached_property
    def is_name(self) -> bool:
        """Whether the cells are texts, booleans or dates, so that distinct ones can be counted."""
        types = require_optional("pyarrow.types", "train")
        kind = self.column.type
        if types.is_dictionary(kind):
            kind = kind.value_type
        checks = (types.is_string, types.is_large_string, types.is_boolean, types.is_date)
        return any(check(kind) for check in (*checks, types.is_timestamp))

    def to_numbers(self) -> NDArray[np.float64]:
        """Return the numbers ``(N,)``, NaN where missing."""
        numbers = np.empty(len(self))
        start = 0
        for chunk in self.column.chunks:
            part = numbers[start : start + len(chunk)]
            start += len(chunk)
            if chunk.null_count:
                part[:] = chunk.fill_null(0).to_numpy(zero_copy_only=False)
                part[chunk.is_null().to_numpy(zero_copy_only=False)] = np.nan
            else:
                part[:] = chunk.to_numpy(zero_copy_only=False)
        return numbers

    @cached_property
    def _encoded(self) -> tuple[list[Any], NDArray[np.int32]]:
        """The distinct cells in order of occurrence, and the position of each cell among them."""
        column = self.column
        if not hasattr(column.type, "value_type"):  # is no dictionary
            column = column.dictionary_encode()
        column = column.unify_dictionaries()
        codes, start = np.full(len(column), -1, dtype=np.int32), 0
        for chunk in column.chunks:
            part = codes[start : start + len(chunk)]
            part[:] = chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False)
            start += len(chunk)
        values = column.chunk(0).dictionary.to_pylist() if column.num_chunks else []
        used = np.bincount(codes[codes >= 0], minlength=len(values)) > 0
        has_missing = bool((codes < 0).any())
        if not used.all() or len(set(values)) < len(values) or None in values:
            return _renumber([*values, None], codes)
        if has_missing:
            codes[codes < 0] = len(values)
            values = [*values, None]
        return values, codes

    @property
    def distinct(self) -> list[Any]:
        """The distinct cells ``(K,)``."""
        return self._encoded[0]

    @property
    def codes(self) -> NDArray[np.int32]:
        """The position of each cell among the distinct ones ``(N,)``."""
        return self._encoded[1]


def _renumber(values: list[Any], codes: NDArray[np.int32]) -> tuple[list[Any], NDArray[np.int32]]:
    """Return distinct values that occur, and their codes; the last one is that of code -1."""
    order: dict[Any, int] = {}
    places = np.zeros(len(values), dtype=np.int32)
    for place in np.unique(codes).tolist():
        places[place] = order.setdefault(values[place], len(order))
    return list(order), places[codes]


def take_cells(values: Sequence[Any], rows: Ints) -> Sequence[Any]:
    """Return the cells of some rows ``(N,)``."""
    if isinstance(values, ArrowCells):
        return values.take(rows)
    return [values[row] for row in rows]


def count_cells(values: Sequence[Any]) -> tuple[Sequence[Any], Ints]:
    """Return cells and how often each occurs: distinct ones of names, else all of them once."""
    if isinstance(values, ArrowCells) and values.is_name:
        return values.distinct, np.bincount(values.codes, minlength=len(values.distinct))
    return values, np.ones(len(values), dtype=np.int64)


def map_cells(values: Sequence[Any], function: Callable[[Any], Any], dtype: Any) -> NDArray[Any]:
    """Return the result of a function for each cell ``(N,)``."""
    if isinstance(values, ArrowCells) and values.is_name:
        results = np.array([function(value) for value in values.distinct], dtype=dtype)
        return results[values.codes] if len(results) else np.zeros(0, dtype=dtype)
    return np.array([function(value) for value in values], dtype=dtype)


def find_missing(values: Sequence[Any]) -> Mask:
    """Return which cells are missing ``(N,)``."""
    if isinstance(values, ArrowCells) and values.is_number:
        return np.isnan(values.to_numbers())
    return map_cells(values, is_missing, np.bool_)
