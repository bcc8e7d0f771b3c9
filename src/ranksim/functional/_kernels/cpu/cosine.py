"""Cosine similarities ordered as in float64, mostly at the price of float32."""

import functools
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranksim.functional._kernels.cpu.ranks import (
    COUNT_LIMIT,
    Floats,
    Ints,
    Ranks,
    RowOrder,
    count_ranks,
)
from ranksim.functional.similarity import GRID

_DEVIATIONS = 8.0  # bound of an error, in standard deviations
_PARTIAL_SUM = 0.25  # partial sums of a product add this to the size that its error grows with
_FEW_ROWS = 24  # up to this many rows, calling oneDNN takes longer than the product
_EXACT_COST = 100  # an exact similarity costs as much as this many in a float64 product


class TooCloseError(Exception):
    """Raised when a float64 product costs less than recomputing similarities one by one."""


class Cosine:
    """Cosine similarities of some anchors to all M samples, by one product.

    Similarities of float32 features have errors up to ``error`` · (|s| + ``_PARTIAL_SUM``); a
    block recomputes in float64 those whose order the error leaves open. ``features`` ``(M, D)`` are
    contiguous, ``inverse`` is 1/‖z‖ of each sample, 0 for a zero vector, and ``rows`` the anchors.
    """

    def __init__(self, features: Tensor, inverse: Floats, rows: slice) -> None:
        self.features, self.inverse, self.rows = features, inverse, rows
        self.features64: Floats | None = None
        self.products = matmul(features[rows], features.T).numpy()
        self.error = 0.0 if features.dtype == torch.float64 else self._estimate_error()

    def block(self, part: slice) -> "CosineBlock":
        """Return the similarities of the anchors in ``part``."""
        offset = self.rows.start
        values = self.products[part.start - offset : part.stop - offset] * self.inverse
        values *= self.inverse[part, None]
        if self.error:
            diagonal = np.arange(len(values))
            values[diagonal, part.start + diagonal] = self.inverse[part] > 0
        return CosineBlock(self, part, values)

    def exact(self, one: Ints, other: Ints) -> Floats:
        """Compute the similarities of pairs of samples in float64."""
        if self.features64 is None:
            self.features64 = self.features.double().numpy()
        z, pairs = self.features64, zip(one.tolist(), other.tolist(), strict=True)
        products: Floats = np.array([z[i].dot(z[j]) for i, j in pairs])
        return products * (self.inverse[one] * self.inverse[other])

    def _estimate_error(self) -> float:
        """Return the error bound of a float32 similarity s, in units of |s| + ``_PARTIAL_SUM``.

        Errors grow with the partial sums of a product. The diagonal, a sum of positive terms with
        a known value, shows how much; the partial sums of a small s reach half as far at most.
        """
        inverse = self.inverse[self.rows]
        errors = self.products[:, self.rows].diagonal() * inverse * inverse - (inverse > 0)
        deviation = math.sqrt(errors.dot(errors) / max(np.count_nonzero(inverse), 1))
        return _DEVIATIONS * max(deviation, float(np.abs(errors).max()) / 3, 2.0**-26)


class CosineBlock:
    """Similarities of some anchors to all samples, ``values`` of shape ``(R, M)``.

    Before float32 similarities are ranked, neighbors in the ranking that are closer than their
    errors are replaced by exact values; the order of all others is certain.
    """

    def __init__(self, cosine: Cosine, part: slice, values: Floats) -> None:
        self.cosine, self.part, self.values = cosine, part, values
        self.is_exact: NDArray[np.bool_] | None = None
        zero = cosine.inverse == 0
        if cosine.error and zero.any():  # similarities of zero vectors are exactly 0
            self.is_exact = self._diagonal() | zero | zero[part, None]

    def ranks(self, ties: str, shift: Floats | None = None, max_shift: float = 0.0) -> Ranks:
        """Rank ``values + shift``, the largest first; |shift| ≤ ``max_shift``."""
        values = self.values if shift is None else self.values + shift
        if values.shape[1] <= COUNT_LIMIT:
            return count_ranks(np.rint(values / -GRID), ties)
        bound = max_shift + 1.01  # a similarity is at most 1, plus rounding
        order = RowOrder.from_similarities(values, bound)
        if self.cosine.error:
            row, one, other, tied = self._find_uncertain(order)
            if len(row):
                self._make_exact(row, one, other)
                values = self.values if shift is None else self.values + shift
                wrong = tied | (values[row, one] - values[row, other] <= GRID)
                if wrong.any():
                    rows = np.unique(row[wrong])
                    order.sort_rows(rows, values[rows], bound)
        return order.ranks(ties)

    def _find_uncertain(self, order: RowOrder) -> tuple[Ints, Ints, Ints, NDArray[np.bool_]]:
        """Return adjacent pairs of uncertain order: rows, both columns, and whether they tie."""
        words, size = order.words, self.values.shape[1]
        bound = self.cosine.error / GRID
        max_gap = (int(bound * (1 + _PARTIAL_SUM)) + 2) << order.bits
        row, column = np.divmod(np.flatnonzero(words[:, 1:] - words[:, :-1] <= max_gap), size - 1)
        if not len(row):
            return row, row, row, row == 0
        first, second = words[row, column], words[row, column + 1]
        mask, start = (1 << order.bits) - 1, row * size
        one, other = (first & mask) - start, (second & mask) - start
        gap = (second >> order.bits) - (first >> order.bits)
        larger = np.maximum(np.abs(self.values[row, one]), np.abs(self.values[row, other]))
        uncertain = gap <= bound * (larger + _PARTIAL_SUM) + 2
        if self.is_exact is not None:
            uncertain &= ~(self.is_exact[row, one] & self.is_exact[row, other])
        return row[uncertain], one[uncertain], other[uncertain], gap[uncertain] == 0

    def _make_exact(self, row: Ints, one: Ints, other: Ints) -> None:
        """Replace the values of pairs of columns by float64 similarities."""
        if len(row) * _EXACT_COST > self.values.size:
            raise TooCloseError
        size = self.values.shape[1]
        if self.is_exact is None:
            self.is_exact = self._diagonal()
        flat = np.concatenate([row * size + one, row * size + other])
        row, column = np.divmod(flat[~self.is_exact.ravel()[flat]], size)
        self.values[row, column] = self.cosine.exact(row + self.part.start, column)
        self.is_exact[row, column] = True

    def _diagonal(self) -> NDArray[np.bool_]:
        """Return a mask of each anchor's similarity to itself."""
        rows, columns = self.values.shape
        return np.eye(rows, columns, self.part.start, dtype=bool)


def matmul(left: Tensor, right: Tensor) -> Tensor:
    """Compute ``left @ right``, for float32 by oneDNN if available.

    oneDNN uses all vector units of every x86 processor, the BLAS behind ``@`` half of some.
    """
    if len(left) > _FEW_ROWS and left.dtype == torch.float32 and torch.backends.mkldnn.enabled:
        linear = _onednn_linear()
        if linear is not None:
            out: Tensor = linear(left, right.T, None, "none", [], "")
            return out
    return left @ right


@functools.cache
def _onednn_linear() -> Any:
    """Return the operator of compiled linear layers, or ``None`` if it is missing or wrong."""
    try:
        linear = torch.ops.mkldnn._linear_pointwise.default
        probe = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
        correct = linear(probe, probe, None, "none", [], "").equal(probe @ probe.T)
    except (AttributeError, NotImplementedError, RuntimeError):
        return None
    return linear if correct else None
