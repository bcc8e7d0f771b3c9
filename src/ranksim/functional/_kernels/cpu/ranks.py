"""Ranks of rows of numbers on a CPU, by NumPy's vectorised sort of one word a number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim.functional.similarity import GRID

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Ranks = NDArray[np.int32]

RANKED = 2**17  # similarities that are ranked at a time, 1 MiB
COUNTED = 32  # so few columns are ranked faster by comparing all than by a sort
_BASE = 2.0**12  # from here to twice this, float64 is spaced by GRID


def bits_of(size: int) -> int:
    """Bits that hold a number below ``size``."""
    return max(size - 1, 1).bit_length()


class Order:
    """The order of each row of words, shape ``(R, M)``: a code above, the place in R × M below.

    One sort of words gives values and order; that is several times faster than an argsort. Equal
    codes stand by their column.
    """

    def __init__(self, codes: NDArray[Any]) -> None:
        """The smallest code first; codes are not negative, and are overwritten."""
        self.bits = bits_of(codes.size)
        self.words = self._sorted(codes, np.arange(codes.size, dtype=codes.dtype))

    @classmethod
    def of_similarities(cls, values: Floats, reach: float) -> Order:
        """The largest first, by multiples of ``GRID``; |values| ≤ ``reach``."""
        return cls(_descending(values, reach, bits_of(values.size)))

    def sort_again(self, rows: Ints, values: Floats, reach: float) -> None:
        """Some rows by other similarities."""
        size = self.words.shape[1]
        places = rows[:, None] * size + np.arange(size)
        self.words[rows] = self._sorted(_descending(values, reach, self.bits), places)

    def _sorted(self, codes: NDArray[Any], places: NDArray[Any]) -> NDArray[Any]:
        codes <<= self.bits
        codes |= places.reshape(codes.shape)
        codes.sort(axis=1)
        return codes

    def places(self) -> Ints:
        """Where in R × M each word comes from."""
        return self.words & ((1 << self.bits) - 1)

    def ranks(self, ties: str) -> Ranks:
        """Ranks from 1 by :func:`ranksim.functional.rank`'s rules; twice that for ``average``."""
        size, twice = self.words.shape[1], 2 if ties == "average" else 1
        at: NDArray[Any] = np.arange(twice, twice * size + 1, twice, dtype=np.int32)
        if ties != "ordinal":
            codes = self.words >> self.bits
            same = codes[:, 1:] == codes[:, :-1]
            if same.any():
                at = _shared(same, ties)
        ranks = np.empty(self.words.size, dtype=np.int32)
        ranks[self.places()] = at
        return ranks.reshape(self.words.shape)


def ranks_of(codes: NDArray[Any], ties: str) -> Ranks:
    """Ranks of rows of whole numbers, the smallest first; codes are overwritten."""
    return counted(codes, ties) if codes.shape[1] <= COUNTED else Order(codes).ranks(ties)


def counted(values: NDArray[Any], ties: str) -> Ranks:
    """Ranks of rows, the smallest first, by the definition: for few columns the fastest."""
    one, other = values[:, :, None], values[:, None, :]
    smaller: Ranks = (other < one).sum(axis=2, dtype=np.int32)
    if ties == "min":
        smaller += 1
    elif ties == "average":
        smaller += (other <= one).sum(axis=2, dtype=np.int32)
        smaller += 1
    else:
        column = np.arange(values.shape[1])
        before = (other == one) & (column <= column[:, None])
        smaller += before.sum(axis=2, dtype=np.int32)
    return smaller


def _descending(values: Floats, reach: float, bits: int) -> Ints:
    """Codes of similarities, the smaller the larger they are, with room for ``bits`` below."""
    room = 2.0 ** math.ceil(math.log2(reach))
    if 2 * room > 2.0 ** min(12, 23 - bits):
        return codes_of(-np.rint(values / GRID))
    # the sum rounds to the grid, and its mantissa is the number
    return np.subtract(_BASE + room, values).view(np.int64)


def _shared(same: NDArray[np.bool_], ties: str) -> Ints:
    """Places from 1 that runs of equal values share, their first or twice their mean.

    ``same`` says of each value but a row's first whether it equals the one before.
    """
    rows, size = same.shape[0], same.shape[1] + 1
    begins = np.ones((rows, size), dtype=bool)
    np.logical_not(same, out=begins[:, 1:])
    first = np.flatnonzero(begins)
    lengths = np.empty_like(first)
    np.subtract(first[1:], first[:-1], out=lengths[:-1])
    lengths[-1] = begins.size - first[-1]
    first %= size
    first += 1
    if ties == "average":
        first += first + lengths - 1
    return np.repeat(first, lengths).reshape(rows, size)


def codes_of(values: Floats) -> Ints:
    """Ascending codes of real numbers, equal ones alike: one sort of rows, then a count."""
    order = values.argsort(axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    steps = np.zeros(values.shape, dtype=np.int64)
    np.not_equal(ordered[:, 1:], ordered[:, :-1], out=steps[:, 1:])
    np.cumsum(steps, axis=1, out=steps)
    codes = np.empty_like(steps)
    np.put_along_axis(codes, order, steps, axis=1)
    return codes
