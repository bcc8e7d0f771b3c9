"""Ranks of rows of integers on a CPU, by NumPy's vectorised sort of one word a number."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Ranks = NDArray[Any]  # int32 or int64
Floats = NDArray[np.float64]


def bits_of(size: int) -> int:
    """Bits that hold an index below ``size``."""
    return max(size - 1, 1).bit_length()


class Order:
    """The ascending order of each row of codes, shape ``(R, M)``, the lower index first.

    A code and its index share one 64-bit word, so that one sort of words gives values, order and,
    by a second sort, ranks; that is several times faster than an argsort. Codes need
    ``64 - bits_of(M)`` bits.
    """

    def __init__(self, codes: Ints) -> None:
        size = codes.shape[1]
        self.bits = bits_of(size)
        self.places = np.arange(size)
        words = codes << self.bits
        words |= self.places
        words.sort(axis=1)
        self.words = words

    def index(self) -> Ints:
        """The index of what stands at each place, shape ``(R, M)``."""
        return self.words & ((1 << self.bits) - 1)

    def codes(self) -> Ints:
        """The codes in order, shape ``(R, M)``."""
        return self.words >> self.bits

    def ranks(self, ties: str) -> Ranks:
        """Ranks from 1 by :func:`ranksim.functional.rank`'s rules; twice that for ``average``."""
        at = self.places
        if ties != "ordinal":
            codes = self.codes()
            begins = codes[:, 1:] != codes[:, :-1]
            if not begins.all():
                at = _shared(begins, ties)
        if ties == "average" and at is self.places:
            at = at * 2
        # to the order of the columns: by a sort of words too, of 32 bits where they do
        bits = self.bits + (ties == "average")
        small = self.bits + bits < 32
        words: Ranks = self.index().astype(np.int32 if small else np.int64)
        words <<= bits
        words |= at.astype(words.dtype)
        words.sort(axis=1)
        words &= (1 << bits) - 1
        words += 2 if ties == "average" else 1
        return words


def _shared(begins: NDArray[np.bool_], ties: str) -> Ints:
    """Places from 0 that equal values share, their first or twice their mean."""
    rows, size = begins.shape[0], begins.shape[1] + 1
    first = np.zeros((rows, size), dtype=np.int64)
    np.multiply(begins, np.arange(1, size), out=first[:, 1:])
    np.maximum.accumulate(first, axis=1, out=first)
    if ties == "min":
        return first
    last = np.full((rows, size), size - 1, dtype=np.int64)
    np.copyto(last[:, :-1], np.arange(size - 1), where=begins)
    backwards = last[:, ::-1]
    np.minimum.accumulate(backwards, axis=1, out=backwards)
    return first + last


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
