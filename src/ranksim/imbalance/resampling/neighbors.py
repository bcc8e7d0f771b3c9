"""Distances between rows of numbers and categories (HEOM), and the nearest rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim.imbalance.resampling.columns import (
    column_name,
    find_categories,
    is_number_column,
    is_whole_column,
    read_codes,
    read_numbers,
    table_columns,
)

BLOCK = 2**16  # distances that are held at a time


@dataclass(frozen=True, eq=False)
class Rows:
    """Values that a distance compares: numbers in units of their range, and categories."""

    numbers: NDArray[np.float64]  # (P, ...), NaN where missing
    codes: NDArray[np.int64]  # (Q, ...), −1 where missing

    def along(self, axis: int) -> Rows:
        """Return rows (N,) with another axis, so that two of them broadcast to all pairs."""
        return Rows(np.expand_dims(self.numbers, axis), np.expand_dims(self.codes, axis))


@dataclass(frozen=True, eq=False)
class FeatureColumns:
    """The columns of a table as numbers and category codes."""

    number_places: NDArray[np.int64]  # positions of the P columns of numbers in the table
    code_places: NDArray[np.int64]  # of the Q columns of categories
    whole: NDArray[np.bool_]  # which columns of numbers hold integers, (P,)
    numbers: NDArray[np.float64]  # (P, N), NaN where missing
    codes: NDArray[np.int64]  # (Q, N), −1 where missing
    low: NDArray[np.float64]  # smallest value of each column of numbers, (P,)
    high: NDArray[np.float64]  # largest one

    @classmethod
    def read(cls, table: Any, categorical_features: Any = None) -> FeatureColumns:
        """Read a table (N, F); numbers are real and not among the given categories.

        Raises:
            TypeError: a column of numbers is sparse, or one of categories has unhashable values.
            ValueError: a column of numbers contains infinity, or a category does not exist.
        """
        columns, count = table_columns(table), len(table)
        is_category = find_categories(table, categorical_features)
        is_category |= np.array([not is_number_column(column) for column in columns])
        number_places, code_places = np.flatnonzero(~is_category), np.flatnonzero(is_category)
        whole = np.array([is_whole_column(columns[place]) for place in number_places], dtype=bool)
        numbers = np.empty((len(number_places), count))
        for target, place in zip(numbers, number_places, strict=True):
            name = column_name(table, int(place))
            if hasattr(columns[place].dtype, "fill_value"):
                raise TypeError(
                    f"X must not have sparse columns, got column {name!r}: pass X.sparse.to_dense()"
                )
            target[:] = read_numbers(columns[place])
            if np.isinf(target).any():
                row = int(np.flatnonzero(np.isinf(target))[0])
                raise ValueError(
                    f"X must be finite or missing, got {target[row]} in column {name!r}, row "
                    f"{row}: mark it as missing, or correct it"
                )
        codes = np.empty((len(code_places), count), dtype=np.int64)
        for category, place in zip(codes, code_places, strict=True):
            category[:] = read_codes(columns[place], column_name(table, int(place)))
        low, high = np.fmin.reduce(numbers, axis=1), np.fmax.reduce(numbers, axis=1)
        return cls(number_places, code_places, whole, numbers, codes, low, high)

    def scale(self, numbers: NDArray[np.float64], codes: NDArray[np.int64]) -> Rows:
        """Divide numbers (P, M) by the range of their columns."""
        low, high = self.low[:, None] / 2, self.high[:, None] / 2  # halves cannot overflow
        width = np.where(high > low, high - low, 1.0)
        return Rows((numbers / 2 - low) / width, codes)

    def rows(self, positions: NDArray[np.int64]) -> Rows:
        """Return rows of the table, their numbers in units of the range."""
        return self.scale(self.numbers[:, positions], self.codes[:, positions])


def heom_distance(first: Rows, second: Rows) -> NDArray[np.float64]:
    """Return the heterogeneous Euclidean-overlap distance of rows, broadcast.

    Over the columns that are present in both rows, of F columns c of them::

        d(a, b)² = F / c · Σ δ(a_j, b_j)²

        δ = |a_j − b_j| / range_j   for numbers
        δ = 0 if equal, else 1      for categories

    so missing values are ignored. If c = 0 the distance is its maximum, √F.

    References:
        Wilson, Martinez, "Improved heterogeneous distance functions" (JAIR 1997);
        the factor F / c as in scikit-learn's ``nan_euclidean_distances``.
    """
    shape = np.broadcast_shapes(first.numbers.shape[1:], second.numbers.shape[1:])
    total = np.zeros(shape)
    absent = np.zeros(shape, dtype=np.int32)
    for a, b in zip(first.numbers, second.numbers, strict=True):
        difference = a - b
        if np.isnan(a).any() or np.isnan(b).any():
            absent += np.isnan(difference)
            np.nan_to_num(difference, copy=False)
        difference *= difference
        total += difference
    for c, d in zip(first.codes, second.codes, strict=True):
        differs = c != d
        if (c < 0).any() or (d < 0).any():
            missing = (c < 0) | (d < 0)
            absent += missing
            differs &= ~missing
        total += differs
    if absent.any():
        count = len(first.numbers) + len(first.codes)
        present = count - absent
        total = np.where(present > 0, total * count / np.maximum(present, 1), count)
    return np.sqrt(total)


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The K nearest rows of each of B rows."""

    positions: NDArray[np.int64]  # nearest first, (B, K)
    distances: NDArray[np.float64]  # (B, K)
    median: NDArray[np.float64]  # distance to all other rows, (B,)


def nearest_neighbors(rows: Rows, queries: NDArray[np.int64], count: int) -> Neighbors:
    """Return the nearest other rows, of at least two, of the rows at the positions ``queries``.

    Distances are compared in float32: those that differ by rounding alone are equal, and of equal
    ones the first row is nearer, so that the unit of a column changes nothing.
    """
    size = rows.numbers.shape[1]
    count = min(count, size - 1)
    middle = [(size - 2) // 2, (size - 1) // 2]  # of the size − 1 other rows
    every = rows.along(1)
    step = max(1, BLOCK // size)
    blocks = []
    for start in range(0, len(queries), step):
        block = queries[start : start + step]
        distance = heom_distance(Rows(rows.numbers[:, block], rows.codes[:, block]).along(2), every)
        distance[np.arange(len(block)), block] = np.inf
        # distance above, position below: unique words whose order is that of the distances
        bits = distance.astype(np.float32).view(np.uint32).astype(np.uint64)
        words = (bits << np.uint64(32)) | np.arange(size, dtype=np.uint64)
        words.partition(sorted({count - 1, *middle}), axis=1)
        median = _distances(words[:, middle]).mean(axis=1)
        nearest = np.sort(words[:, :count], axis=1)
        position = (nearest & np.uint64(2**32 - 1)).astype(np.int64)
        blocks.append((position, _distances(nearest), median))
    positions, distances, medians = (np.concatenate(each) for each in zip(*blocks, strict=True))
    return Neighbors(positions, distances, medians)


def _distances(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return the distances in the upper halves of the words."""
    return (words >> np.uint64(32)).astype(np.uint32).view(np.float32).astype(np.float64)
