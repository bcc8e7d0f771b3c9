"""Cosine similarities whose order is that of float64 at the price of float32."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranksim.functional._kernels.cpu.matmul import product
from ranksim.functional._kernels.cpu.ranks import COUNTED, Floats, Ints, Order, Ranks, counted
from ranksim.functional.similarity import GRID

_SAFE = 8.0  # how many standard deviations an error is taken to be at most
_PARTIAL = 0.25  # what partial sums add to a similarity's size, by which its error grows
_MANY = 100  # one in so many that is settled costs as much as the product in float64


class TooCloseError(Exception):
    """More similarities are closer than float32 tells than float64 throughout would cost."""


class Cosine:
    """Cosine similarities of some anchors to all M samples, from one product.

    Those of float32 have an ``error``, in units of their own size + ``_PARTIAL``, and blocks of
    them settle in float64 what it leaves open; float64 features have none.

    Args:
        features: float32 or float64, shape ``(M, D)``, contiguous.
        inverse: 1 / ‖z‖ of each, 0 for a zero vector.
        rows: the anchors.
    """

    def __init__(self, features: Tensor, inverse: Floats, rows: slice) -> None:
        self.features, self.inverse, self.rows = features, inverse, rows
        self.products = product(features[rows], features.T).numpy()
        exact = features.dtype == torch.float64
        self.error = 0.0 if exact else self._error()

    def block(self, part: slice) -> Block:
        """Those of some of the anchors."""
        at = slice(part.start - self.rows.start, part.stop - self.rows.start)
        values = self.products[at] * self.inverse
        values *= self.inverse[part, None]
        if self.error:
            diagonal = np.arange(len(values))
            values[diagonal, part.start + diagonal] = self.inverse[part] > 0
        return Block(self, part, values)

    def _error(self) -> float:
        """Bound of the error of a float32 similarity s, in units of |s| + _PARTIAL.

        Errors grow with the partial sums of a product. Those of the diagonal, whose terms are all
        positive and whose value is known, show how much; sums that go up and down again before
        they come to a small s reach half as far at most, and rarely half of that.
        """
        inverse = self.inverse[self.rows]
        own = self.products[:, self.rows].diagonal() * inverse * inverse - (inverse > 0)
        deviation = math.sqrt(own.dot(own) / max(np.count_nonzero(inverse), 1))
        return _SAFE * max(deviation, float(np.abs(own).max()) / 3, 2.0**-26)

    def between(self, one: Ints, other: Ints) -> Floats:
        """Of pairs of samples, in float64."""
        wide = self.wide
        made = [wide[i].dot(wide[j]) for i, j in zip(one.tolist(), other.tolist(), strict=True)]
        close: Floats = np.array(made) * (self.inverse[one] * self.inverse[other])
        return close

    @functools.cached_property
    def wide(self) -> Floats:
        """The features in float64."""
        wide: Floats = self.features.double().numpy()
        return wide


class Block:
    """Similarities of some anchors to all samples, ``values`` of shape ``(R, M)``.

    Those of float32 that stand closer to their neighbour in a ranking than both may be off are
    settled in float64 before the ranking counts: all others are in the right order as they are.
    """

    def __init__(self, cosine: Cosine, part: slice, values: Floats) -> None:
        self.cosine, self.part, self.values = cosine, part, values
        self.settled: NDArray[np.bool_] | None = None
        absent = cosine.inverse == 0
        if cosine.error and absent.any():  # zero vectors are similar to nothing, exactly
            self.settled = self._diagonal() | absent | absent[part, None]

    def ranks(self, ties: str, shift: Floats | None = None, reach: float = 0.0) -> Ranks:
        """Ranks of ``values + shift``, |shift| ≤ ``reach``, the largest first (see ``Order``)."""
        if self.values.shape[1] <= COUNTED:
            return counted(np.rint(self._shifted(shift) / -GRID), ties)
        reach += 1.01  # what a similarity may be, rounding included
        order = Order.of_similarities(self._shifted(shift), reach)
        if self.cosine.error:
            row, one, other, tied = self._unsure(order)
            if len(row):
                self._settle(row, one, other)
                values = self._shifted(shift)
                wrong = tied | (values[row, one] - values[row, other] <= GRID)
                if wrong.any():
                    again = np.unique(row[wrong])
                    order.sort_again(again, values[again], reach)
        return order.ranks(ties)

    def _shifted(self, shift: Floats | None) -> Floats:
        return self.values if shift is None else self.values + shift

    def _unsure(self, order: Order) -> tuple[Ints, Ints, Ints, NDArray[np.bool_]]:
        """Pairs side by side that may stand wrongly: anchors, both samples, whether they tie."""
        words, size = order.words, self.values.shape[1]
        bound = self.cosine.error / GRID
        most = (int(bound * (1 + _PARTIAL)) + 2) << order.bits
        row, place = np.divmod(np.flatnonzero(words[:, 1:] - words[:, :-1] <= most), size - 1)
        if not len(row):
            return row, row, row, row == 0
        first, second = words[row, place], words[row, place + 1]
        mask, start = (1 << order.bits) - 1, row * size
        one, other = (first & mask) - start, (second & mask) - start
        apart = (second >> order.bits) - (first >> order.bits)
        larger = np.maximum(np.abs(self.values[row, one]), np.abs(self.values[row, other]))
        unsure = apart <= bound * (larger + _PARTIAL) + 2
        if self.settled is not None:
            unsure &= ~(self.settled[row, one] & self.settled[row, other])
        return row[unsure], one[unsure], other[unsure], apart[unsure] == 0

    def _diagonal(self) -> NDArray[np.bool_]:
        rows, columns = self.values.shape
        return np.eye(rows, columns, self.part.start, dtype=bool)

    def _settle(self, row: Ints, one: Ints, other: Ints) -> None:
        if len(row) * _MANY > self.values.size:
            raise TooCloseError
        size = self.values.shape[1]
        if self.settled is None:
            self.settled = self._diagonal()
        flat = np.concatenate([row * size + one, row * size + other])
        row, column = np.divmod(flat[~self.settled.ravel()[flat]], size)
        self.values[row, column] = self.cosine.between(row + self.part.start, column)
        self.settled[row, column] = True
