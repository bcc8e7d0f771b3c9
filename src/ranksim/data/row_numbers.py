"""Number the rows of several columns so that equal rows have equal numbers."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.progress import track
from ranksim.data.arrow_cells import ArrowCells, EncodedCells, Ints, take_cells

Codes = NDArray[np.int64]
CellCoder = Callable[[Sequence[object]], Codes]
"""Returns codes of cells ``(N,)`` that are equal if, and only if, the cells count as equal."""
_NAN = int(np.float64(np.nan).view(np.int64))  # codes from here are those of no number


def encode_numbers(numbers: NDArray[np.float64]) -> Codes:
    """Return a code of each number ``(N,)``, equal for equal ones; NaN is a number."""
    codes: Codes = np.where(np.isnan(numbers), np.nan, numbers + 0.0).view(np.int64)
    return codes


def encode_keys(keys: Sequence[Hashable]) -> Codes:
    """Return a code of each key ``(N,)`` that no number has."""
    order: dict[Hashable, int] = {}
    codes = [_NAN + 1 + order.setdefault(key, len(order)) for key in keys]
    return np.array(codes, dtype=np.int64)


def number_rows(columns: Sequence[tuple[Callable[[], Sequence[object]], CellCoder]]) -> Ints:
    """Number rows from 0 in order of first occurrence; equal rows have equal numbers.

    Rows are compared by a hash of their codes, and rows of the same hash cell by cell.

    Args:
        columns: functions that read the cells of a column, and that encode cells. A code may depend
            on the cells that are encoded together.
    """
    hashes = None
    for place, (read, encode) in enumerate(track(columns, "comparing rows")):
        mixed = _mix(encode(read()), place)
        hashes = mixed if hashes is None else hashes + mixed
    assert hashes is not None
    _, first, index = np.unique(hashes, return_index=True, return_inverse=True)
    if len(first) < len(hashes):
        same = first[index]
        repeated = np.flatnonzero(same != np.arange(len(same)))
        for read, encode in columns:
            cells = read()
            pairs = take_cells(cells, np.concatenate([repeated, same[repeated]]))
            codes = encode(pairs)
            if (codes[: len(repeated)] != codes[len(repeated) :]).any():
                return _number_exactly(columns)
    order = np.empty(len(first), dtype=np.int64)
    order[np.argsort(first, kind="stable")] = np.arange(len(first))
    return order[index]


def _mix(codes: Codes, place: int) -> NDArray[np.uint64]:
    """Return a hash of each code ``(N,)``, another one in each column."""
    with np.errstate(over="ignore"):
        values = codes.view(np.uint64) + np.uint64(0x9E3779B97F4A7C15) * np.uint64(place + 1)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            values ^= values >> np.uint64(shift)
            values *= np.uint64(factor)
        return values ^ (values >> np.uint64(31))


def _number_exactly(
    columns: Sequence[tuple[Callable[[], Sequence[object]], CellCoder]],
) -> Ints:
    """Number rows by all of their codes, if two of them have the same hash by chance."""
    codes = np.stack([encode(read()) for read, encode in columns], axis=1)
    numbers: dict[bytes, int] = {}
    rows = [numbers.setdefault(row.tobytes(), len(numbers)) for row in codes]
    return np.array(rows, dtype=np.int64)


def encode_cells(values: Sequence[object]) -> Codes:
    """Return a code of each cell ``(N,)``, equal for cells of the same ``repr``."""
    if isinstance(values, ArrowCells) and values.is_number and values.is_exact:
        numbers = values.to_numbers()
        codes = numbers.view(np.int64)
        is_nan = np.isnan(numbers)
        if is_nan.any():
            nulls = values.column.is_null().to_numpy()
            codes[is_nan] = np.where(nulls[is_nan], _NAN + 1, _NAN)
        return codes
    if isinstance(values, EncodedCells):
        return values.places.astype(np.int64)  # no two values have the same repr
    return encode_keys([repr(value) for value in values])
