"""Ranks of similarities and label distances by sorting one integer per value with NumPy."""

import math
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ranksim.functional._kernels.reference import RankSimInputs
from ranksim.functional.similarity import GRID, pairwise_similarity

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Ranks = NDArray[np.int32]

RANK_BLOCK = 2**17  # similarities ranked at a time, 1 MiB
COUNT_LIMIT = 32  # up to this many columns, comparing all pairs is faster than a sort
_SCALES = 1.0, 2.0**30  # for integer labels, and for float32 labels that are not tiny
_BASE = 2.0**12  # from here to twice this, float64 numbers are GRID apart


def bit_length(size: int) -> int:
    """Return the number of bits that hold every integer below ``size``."""
    return max(size - 1, 1).bit_length()


class RowOrder:
    """The sort order of each row of codes ``(R, M)``.

    Each word holds a code in its upper bits and its flat index in R × M below, so that one sort
    gives values and order, several times faster than argsort. Equal codes are sorted by column.
    Codes are non-negative integers, ranked from the smallest; they are overwritten.
    """

    def __init__(self, codes: NDArray[Any]) -> None:
        self.bits = bit_length(codes.size)
        self.words = self._sort(codes, np.arange(codes.size, dtype=codes.dtype))

    @classmethod
    def from_similarities(cls, values: Floats, bound: float) -> Self:
        """Round similarities (|values| ≤ bound) to ``GRID`` and sort rows in descending order."""
        return cls(_descending_codes(values, bound, bit_length(values.size)))

    def sort_rows(self, rows: Ints, values: Floats, bound: float) -> None:
        """Sort some rows again after replacing their similarities with float64 ``values``."""
        size = self.words.shape[1]
        index = rows[:, None] * size + np.arange(size)
        self.words[rows] = self._sort(_descending_codes(values, bound, self.bits), index)

    def _sort(self, codes: NDArray[Any], index: NDArray[Any]) -> NDArray[Any]:
        """Add the flat index to the codes and sort each row."""
        codes <<= self.bits
        codes |= index.reshape(codes.shape)
        codes.sort(axis=1)
        return codes

    def ranks(self, ties: str) -> Ranks:
        """Return ranks from 1 by the rules of :func:`ranksim.functional.rank`.

        For ``average`` they are doubled, so that they are integers.
        """
        size, factor = self.words.shape[1], 2 if ties == "average" else 1
        in_order: NDArray[Any] = np.arange(factor, factor * size + 1, factor, dtype=np.int32)
        if ties != "ordinal":
            codes = self.words >> self.bits
            equals_previous = codes[:, 1:] == codes[:, :-1]
            if equals_previous.any():
                in_order = _tied_ranks(equals_previous, ties)
        ranks = np.empty(self.words.size, dtype=np.int32)
        ranks[self.words & ((1 << self.bits) - 1)] = in_order
        return ranks.reshape(self.words.shape)


def rank_codes(codes: NDArray[Any], ties: str) -> Ranks:
    """Rank rows of non-negative integers, the smallest first; the codes are overwritten."""
    if codes.shape[1] <= COUNT_LIMIT:
        return count_ranks(codes, ties)
    return RowOrder(codes).ranks(ties)


def count_ranks(values: NDArray[Any], ties: str) -> Ranks:
    """Rank rows, the smallest first, by comparing all pairs; doubled for ``average``."""
    one, other = values[:, :, None], values[:, None, :]
    ranks: Ranks = (other < one).sum(axis=2, dtype=np.int32)
    if ties == "min":
        ranks += 1
    elif ties == "average":
        ranks += (other <= one).sum(axis=2, dtype=np.int32)
        ranks += 1
    else:
        column = np.arange(values.shape[1])
        not_later = (other == one) & (column <= column[:, None])
        ranks += not_later.sum(axis=2, dtype=np.int32)
    return ranks


def dense_codes(values: Floats) -> Ints:
    """Return dense ranks of the numbers in each row."""
    order = values.argsort(axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    steps = np.zeros(values.shape, dtype=np.int64)
    np.not_equal(ordered[:, 1:], ordered[:, :-1], out=steps[:, 1:])
    np.cumsum(steps, axis=1, out=steps)
    codes = np.empty_like(steps)
    np.put_along_axis(codes, order, steps, axis=1)
    return codes


def _descending_codes(values: Floats, bound: float, bits: int) -> Ints:
    """Return integer codes in descending order of similarity, with ``bits`` low bits free."""
    room = 2.0 ** math.ceil(math.log2(bound))
    if 2 * room > 2.0 ** min(12, 23 - bits):
        return dense_codes(-np.rint(values / GRID))
    # the sum rounds to the grid, and its mantissa is the code
    return np.subtract(_BASE + room, values).view(np.int64)


def _tied_ranks(equals_previous: NDArray[np.bool_], ties: str) -> Ints:
    """Return ranks of sorted rows; ties share the first rank or twice the mean rank."""
    rows, size = equals_previous.shape[0], equals_previous.shape[1] + 1
    starts = np.ones((rows, size), dtype=bool)
    np.logical_not(equals_previous, out=starts[:, 1:])
    first = np.flatnonzero(starts)
    lengths = np.empty_like(first)
    np.subtract(first[1:], first[:-1], out=lengths[:-1])
    lengths[-1] = starts.size - first[-1]
    first %= size
    first += 1
    if ties == "average":
        first += first + lengths - 1
    return np.repeat(first, lengths).reshape(rows, size)


class LabelCodes:
    """Integer codes of the label distances from anchors to all samples; smaller is closer.

    ``finite`` is True if all labels, or all of ``inputs.target``, are finite.
    """

    def __init__(self, inputs: RankSimInputs, similarity: str) -> None:
        self.labels = inputs.labels.detach().double()
        self.target, self.similarity, self.anchors = inputs.target, similarity, inputs.anchors
        values = (self.labels if self.target is None else self.target).numpy()
        self.smallest = float(values.min(initial=np.inf))
        self.largest = float(values.max(initial=-np.inf))
        self.finite = math.isfinite(self.largest - self.smallest) or not values.size
        self.integers = self._to_integers() if self.target is None and self.finite else None

    def has_order(self) -> bool:
        """Return True if any two similarities differ; otherwise there is no order to learn."""
        if self.target is not None or self.integers is not None:
            return self.smallest != self.largest
        if self.similarity != "cosine":
            return bool((self.labels != self.labels[:1]).any())
        rows = max(RANK_BLOCK // max(len(self.labels), 1), 1)
        first = pairwise_similarity(self.labels[:1], self.labels[:1], self.similarity).numpy()
        return any(
            (self._similarities(slice(i, min(i + rows, self.anchors))) != first).any()
            for i in range(0, self.anchors, rows)
        )

    def rows(self, part: slice) -> NDArray[Any]:
        """Return a new array of non-negative codes ``(R, M)`` for a slice of the anchors."""
        if self.integers is None:
            return dense_codes(-self._similarities(part))
        codes: NDArray[Any] = np.subtract(self.integers[part, None], self.integers)
        np.abs(codes, out=codes)
        return codes

    def _similarities(self, part: slice) -> NDArray[Any]:
        """Return float64 similarities ``(R, M)`` for a slice of the anchors."""
        if self.target is not None:
            return self.target[part].double().numpy()
        return pairwise_similarity(self.labels[part], self.labels, self.similarity).numpy()

    def _to_integers(self) -> NDArray[Any] | None:
        """Return integer labels with the same distances, or ``None`` if that is not exact."""
        if self.labels.shape[1] != 1 or self.similarity == "cosine":
            return None
        labels: NDArray[Any] = self.labels.numpy()[:, 0]
        index_bits = bit_length(max(RANK_BLOCK, len(labels)))  # a code shares its word with these
        magnitude, span = max(self.largest, -self.smallest), self.largest - self.smallest
        for scale in _SCALES:
            scaled = labels * scale
            exact = magnitude * scale < 2.0**53 and np.array_equal(np.rint(scaled), scaled)
            if exact and span * scale < 2.0 ** (62 - index_bits):
                scaled -= self.smallest * scale
                small = span * scale < 2.0 ** (31 - index_bits)
                integers: NDArray[Any] = scaled.astype(np.int32 if small else np.int64)
                return integers
        return None
