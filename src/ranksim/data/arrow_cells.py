"""Cells of a column as Arrow stores them, without a Python object for each.

The functions of this module take the cells of any table. Numbers of a Parquet file are read at
once; texts, booleans and dates, also those of a CSV file, once for each distinct one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cached_property
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from ranksim.data.arrow_arrays import make_array
from ranksim.data.cells import is_missing
from ranksim.exceptions import require_optional

_MAX_EXACT = 2**53  # float64 holds all smaller integers
_CHUNK = 10_000  # cells that are Python objects at a time
# texts that Arrow and Python read as the same number, which is neither infinite nor rounded to 0
_PLAIN_NUMBER = r"^-?(?:[0-9]{1,99}(?:\.[0-9]{0,99})?|\.[0-9]{1,99})(?:[eE][-+]?[0-9]{1,2})?$"

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
T = TypeVar("T")


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
        return ArrowCells(self.column.take(make_array(rows)))

    @cached_property
    def is_number(self) -> bool:
        """Whether the cells are integers or floating-point numbers."""
        types = require_optional("pyarrow.types", "train")
        kind = self.column.type
        return bool(types.is_integer(kind) or types.is_floating(kind))

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


class DistinctValues:
    """The distinct values of a column, which become Python objects when they are first used.

    Args:
        array: a ``pyarrow.Array``.
    """

    def __init__(self, array: Any) -> None:
        self._array = array
        self._results: dict[Hashable, Any] = {}

    @classmethod
    def from_list(cls, values: list[Any]) -> DistinctValues:
        """Return distinct Python objects."""
        distinct = cls(None)
        distinct.objects = values
        return distinct

    def __len__(self) -> int:
        return len(self.objects if self._array is None else self._array)

    @cached_property
    def objects(self) -> list[Any]:
        """The values as Python objects ``(K,)``, ``None`` where missing."""
        return self._array.to_pylist()  # type: ignore[no-any-return]

    def select(self, places: Ints) -> list[Any]:
        """Return some values as Python objects."""
        if self._array is None or "objects" in vars(self):
            return [self.objects[place] for place in places.tolist()]
        return self._array.take(make_array(places)).to_pylist()  # type: ignore[no-any-return]

    @property
    def max_bytes(self) -> int:
        """The number of bytes of the longest text."""
        lengths = require_optional("pyarrow.compute", "train").binary_length(self._array)
        return int(np.max(lengths.to_numpy(), initial=0))

    def compute_once(self, name: Hashable, function: Callable[[DistinctValues], T]) -> T:
        """Return what a function of these values does, which is called once for each ``name``."""
        if name not in self._results:
            self._results[name] = function(self)
        result: T = self._results[name]
        return result

    def parse_plain_numbers(self) -> tuple[NDArray[np.float64], Mask]:
        """Return numbers ``(K,)``, and which values are texts of plain numbers such as 2.5."""
        numbers, is_plain = np.full(len(self), np.nan), np.zeros(len(self), np.bool_)
        if self._array is None:
            return numbers, is_plain
        arrow, types, compute = (
            require_optional(name, "train")
            for name in ("pyarrow", "pyarrow.types", "pyarrow.compute")
        )
        array = self._array
        if types.is_string(array.type) or types.is_large_string(array.type):
            matches = compute.match_substring_regex(array, _PLAIN_NUMBER).fill_null(False)
            is_plain = matches.to_numpy(zero_copy_only=False)
            numbers[is_plain] = array.filter(matches).cast(arrow.float64()).to_numpy()
        return numbers, is_plain


class EncodedCells(Sequence[Any]):
    """A sequence of cells as codes of distinct values, ``None`` where missing.

    Args:
        values: the distinct ones of a whole column, of which these cells may be a part.
        places: of each cell among the values ``(N,)``.
    """

    def __init__(self, values: DistinctValues, places: NDArray[np.int32]) -> None:
        self.values, self.places = values, places

    @classmethod
    def from_column(cls, column: Any) -> EncodedCells:
        """Encode a ``pyarrow.ChunkedArray`` of texts, booleans or dates."""
        arrow = require_optional("pyarrow", "train")
        if not hasattr(column.type, "value_type"):  # is no dictionary
            whole = column.combine_chunks()  # a dictionary for each chunk would be merged slowly
            column = arrow.chunked_array(getattr(whole, "chunks", [whole])).dictionary_encode()
        column = column.unify_dictionaries()
        empty = arrow.nulls(0, column.type.value_type)
        array = column.chunk(0).dictionary if column.num_chunks else empty
        places, start = np.full(len(column), len(array), dtype=np.int32), 0
        for chunk in column.chunks:
            part = places[start : start + len(chunk)]
            part[:] = chunk.indices.fill_null(len(array)).to_numpy(zero_copy_only=False)
            start += len(chunk)
        if (places == len(array)).any():
            array = arrow.concat_arrays([array, arrow.nulls(1, array.type)])
        if len(array.unique()) < len(array):  # as dictionaries of other programs may be
            return cls._merge(array.to_pylist(), places)
        return cls(DistinctValues(array), places)

    @classmethod
    def _merge(cls, values: Sequence[Any], places: NDArray[np.int32]) -> EncodedCells:
        """Encode cells by values that may be equal."""
        order: dict[tuple[type, Any], int] = {}
        keys = [(type(value), value) for value in values]  # True is no 1
        merged = np.array([order.setdefault(key, len(order)) for key in keys], dtype=np.int32)
        distinct = DistinctValues.from_list([value for _, value in order])
        return cls(distinct, merged[places] if len(merged) else places)

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> EncodedCells: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return EncodedCells(self.values, self.places[index])
        return self.values.objects[self.places[index]]

    def __iter__(self) -> Iterator[Any]:
        values = self.values.objects
        for start in range(0, len(self), _CHUNK):
            for place in self.places[start : start + _CHUNK].tolist():
                yield values[place]

    def take(self, rows: Ints) -> EncodedCells:
        """Return the cells of these rows ``(N,)``."""
        return EncodedCells(self.values, self.places[rows])

    @cached_property
    def _order(self) -> tuple[Ints, NDArray[np.int32]]:
        """The places of the values in order of occurrence, and the number of each in this order."""
        count = len(self)
        first = np.full(len(self.values), count, dtype=np.int64)
        first[self.places[::-1]] = np.arange(count - 1, -1, -1)  # the last one assigned holds
        used = np.flatnonzero(first < count)
        used = used[np.argsort(first[used])]
        numbers = np.zeros(len(first), dtype=np.int32)
        numbers[used] = np.arange(len(used))
        return used, numbers

    @cached_property
    def distinct(self) -> list[Any]:
        """The distinct cells in order of occurrence ``(K,)``."""
        return self.values.select(self._order[0])

    def iterate_distinct(self) -> Iterator[Any]:
        """Yield the distinct cells in order of occurrence."""
        order = self._order[0]
        for start in range(0, len(order), _CHUNK):
            yield from self.values.select(order[start : start + _CHUNK])

    @cached_property
    def codes(self) -> NDArray[np.int32]:
        """The position of each cell among the distinct ones ``(N,)``."""
        return self._order[1][self.places]

    def replace(self, function: Callable[[Any], Any]) -> EncodedCells:
        """Return the results of a function of a cell as cells."""
        return self._merge([function(value) for value in self.distinct], self.codes)


def make_cells(column: Any) -> ArrowCells | EncodedCells:
    """Return the cells of a ``pyarrow.ChunkedArray``."""
    types = require_optional("pyarrow.types", "train")
    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    checks = (types.is_string, types.is_large_string, types.is_boolean, types.is_date)
    if any(check(kind) for check in (*checks, types.is_timestamp)):
        return EncodedCells.from_column(column)
    return ArrowCells(column)


def remember_encoded(
    read: Callable[[str], Sequence[Any]],
) -> Callable[[str], Sequence[Any]]:
    """Return a function that reads each column of encoded cells once, as they take few bytes."""
    columns: dict[str, EncodedCells] = {}

    def read_once(name: str) -> Sequence[Any]:
        if name in columns:
            return columns[name]
        values = read(name)
        if isinstance(values, EncodedCells):
            columns[name] = values
        return values

    return read_once


def take_cells(values: Sequence[Any], rows: Ints) -> Sequence[Any]:
    """Return the cells of some rows ``(N,)``."""
    if isinstance(values, ArrowCells | EncodedCells):
        return values.take(rows)
    return [values[row] for row in rows]


def mask_cells(values: Sequence[Any], mask: Mask) -> Sequence[Any]:
    """Return the cells with None for those of a mask ``(N,)``."""
    if not isinstance(values, EncodedCells):
        return [None if m else v for m, v in zip(mask, values, strict=True)]
    distinct = [*values.distinct, None]
    return EncodedCells._merge(distinct, np.where(mask, len(distinct) - 1, values.codes))


def count_cells(values: Sequence[Any]) -> tuple[Sequence[Any], Ints]:
    """Return cells and how often each occurs: distinct ones if encoded, else all of them once."""
    if isinstance(values, EncodedCells):
        return values.distinct, np.bincount(values.codes, minlength=len(values.distinct))
    return values, np.ones(len(values), dtype=np.int64)


def iterate_distinct(values: Sequence[Any]) -> Iterator[Any]:
    """Yield the distinct cells if encoded, else all of them, without reading all at once."""
    return values.iterate_distinct() if isinstance(values, EncodedCells) else iter(values)


def map_cells(values: Sequence[Any], function: Callable[[Any], Any], dtype: Any) -> NDArray[Any]:
    """Return the result of a function for each cell ``(N,)``."""
    if isinstance(values, EncodedCells):
        results = np.array([function(value) for value in values.distinct], dtype=dtype)
        return results[values.codes]
    return np.array([function(value) for value in values], dtype=dtype)


def find_missing(values: Sequence[Any]) -> Mask:
    """Return which cells are missing ``(N,)``."""
    if isinstance(values, ArrowCells) and values.is_number:
        return np.isnan(values.to_numbers())
    if isinstance(values, EncodedCells):
        return values.values.compute_once("missing", _find_missing_values)[values.places]
    return map_cells(values, is_missing, np.bool_)


def _find_missing_values(values: DistinctValues) -> Mask:
    missing = np.zeros(len(values), np.bool_)
    others = np.flatnonzero(~values.parse_plain_numbers()[1])
    missing[others] = [is_missing(each) for each in values.select(others)]
    return missing
