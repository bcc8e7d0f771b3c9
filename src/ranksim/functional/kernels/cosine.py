"""Cosine similarities whose order is that of float64 at the price of float32."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranksim.functional.kernels.product import product
from ranksim.functional.kernels.ranks import Floats, Ints, Order, Ranks, bits_of, codes_of

GRID = 2.0**40  # similarities are compared as multiples of its inverse, so that what is equal ties
_FEW = 2**10  # so few similarities cost more to settle than to make in float64
_SAFE = 8.0  # how many times the error that the diagonal shows a float32 product may be off
_PARTIAL = 0.125  # the least size of the partial sums that round, beside the similarity's own


class Cosine:
    """Cosine similarities ``(M, M)`` of features ``(M, D)``, made in rows.

    Args:
        features: float32 or float64, contiguous.
        inverse: 1 / ‖z‖ of each, 0 for a zero vector.
        exact: float64 throughout, where float32 features are many.
    """

    def __init__(self, features: Tensor, inverse: Floats, exact: bool) -> None:
        self.features, self.inverse = features, inverse
        few = len(features) ** 2 <= _FEW
        self.exact = exact or few or features.dtype == torch.float64
        self.wide = features.double() if self.exact else None

    def rows(self, part: slice) -> Block:
        """Those of some anchors."""
        if self.wide is not None:
            return Block(self, part, self._scaled(self.wide[part] @ self.wide.T, part), None)
        close = self._scaled(product(self.features[part], self.features.T), part)
        diagonal = np.arange(part.start, part.stop)
        own = close[diagonal - part.start, diagonal]
        exists = self.inverse[part] > 0
        off = np.where(exists, own - 1.0, 0.0)
        error = _SAFE * max(float(np.sqrt(np.mean(off * off))), 2.0**-25)
        close[diagonal - part.start, diagonal] = exists
        return Block(self, part, close, error)

    def between(self, one: Ints, other: Ints) -> Floats:
        """Of pairs of samples, in float64."""
        features, made = self.features.numpy(), np.empty(len(one))
        for at in range(0, len(one), 256):
            part = slice(at, at + 256)
            left, right = features[one[part]].astype(float), features[other[part]].astype(float)
            np.einsum("kd,kd->k", left, right, out=made[part])
        return made * (self.inverse[one] * self.inverse[other])

    def _scaled(self, products: Tensor, part: slice) -> Floats:
        values = products.numpy().astype(np.float64, copy=False)
        values *= self.inverse
        values *= self.inverse[part, None]
        return values


class Block:
    """Similarities of some anchors to all samples, ``values`` of shape ``(R, M)``.

    Those of float32 that stand closer to their neighbour in a ranking than both may be off are
    settled in float64 before the ranking counts: all others are in the right order as they are.
    """

    def __init__(self, cosine: Cosine, part: slice, values: Floats, error: float | None) -> None:
        self.cosine, self.part, self.values, self.error = cosine, part, values, error
        self.settled: NDArray[np.bool_] | None = None

    def ranks(self, ties: str, shift: Floats | None = None) -> Ranks:
        """Ranks of ``values``, or of ``values + shift``, the largest first (see ``Order``)."""
        order = self._order(shift, slice(None))
        if self.error is not None:
            row, one, other = self._unsure(order, 0.0 if shift is None else float(np.ptp(shift)))
            if len(row):
                self._settle(row, one, other)
                order = self._order(shift, slice(None))
        return order.ranks(ties)

    def _order(self, shift: Floats | None, rows: slice) -> Order:
        values = self.values[rows] if shift is None else self.values[rows] + shift[rows]
        values = values * -GRID
        np.rint(values, out=values)
        if shift is not None and values.size:
            least, most = float(values.min()), float(values.max())
            if max(most, -least) * 2.0 ** (bits_of(values.shape[1]) + 1) >= 2.0**63:
                return Order(codes_of(values))
        return Order(values.astype(np.int64))

    def _unsure(self, order: Order, spread: float) -> tuple[Ints, Ints, Ints]:
        """Pairs that stand side by side and may stand wrongly: anchors, and both samples."""
        assert self.error is not None
        words, size = order.words, self.values.shape[1]
        most = int(2 * self.error * (1 + _PARTIAL) * GRID) + 2
        near = np.flatnonzero((words[:, 1:] - words[:, :-1]) <= (most << order.bits))
        row, place = np.divmod(near, max(size - 1, 1))
        mask = (1 << order.bits) - 1
        first, second = words[row, place], words[row, place + 1]
        one, other = first & mask, second & mask
        larger = np.maximum(np.abs(self.values[row, one]), np.abs(self.values[row, other]))
        bound = 2 * self.error * (larger + _PARTIAL) * GRID + 2
        unsure = ((second >> order.bits) - (first >> order.bits)) <= bound
        if self.settled is not None:
            unsure &= ~(self.settled[row, one] & self.settled[row, other])
        return row[unsure], one[unsure], other[unsure]

    def _settle(self, row: Ints, one: Ints, other: Ints) -> None:
        if len(row) * 100 > self.values.size:  # the whole product is cheaper
            wide = self.cosine.features.double()
            self.values = self.cosine._scaled(wide[self.part] @ wide.T, self.part)
            self.error = None
            return
        size = self.values.shape[1]
        if self.settled is None:
            self.settled = np.eye(len(self.values), size, self.part.start, dtype=bool)
        flat = np.unique(np.concatenate([row * size + one, row * size + other]))
        row, column = np.divmod(flat[~self.settled.ravel()[flat]], size)
        self.values[row, column] = self.cosine.between(row + self.part.start, column)
        self.settled[row, column] = True
