"""A table with weights as samples that stand in one order, whatever order they came in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MOST = 10  # copies of a sample on average; beyond, weights are in a unit of their own


@dataclass(frozen=True, eq=False)
class WeightedSamples:
    """Samples in the order of their values.

    Args:
        x: float64 ``(N, F)``.
        y: float64 ``(N,)``.
        factor: what each counts ``(N,)``, float64, above 0.
        group: a number for each, equal where ``x`` is equal, ascending ``(N,)``.
        row: where each stood in the table as it came, int64 ``(N,)``.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    factor: NDArray[np.float64]
    group: NDArray[np.int64]
    row: NDArray[np.int64]

    @classmethod
    def of(
        cls, x: NDArray[np.float64], y: NDArray[np.float64], weight: NDArray[np.float64]
    ) -> WeightedSamples:
        """Samples of weights of at least 0.

        Weight 0 is no sample. Weight w is ⌊w⌋ copies, at least one, that share it, so that a whole
        weight is, to the bit, so many rows; weights of more than 10 on average stay as they are.

        Args:
            x: ``(N, F)``.
            y: ``(N,)``.
            weight: ``(N,)``, one above 0 at least.

        Example:
            >>> x, y = np.array([[3.0], [1.0], [2.0]]), np.array([0.3, 0.1, 0.2])
            >>> samples = WeightedSamples.of(x, y, np.array([2.5, 0.0, 1.0]))
            >>> samples.y.tolist(), samples.factor.tolist(), samples.group.tolist()
            ([0.2, 0.3, 0.3], [1.0, 1.25, 1.25], [0, 1, 1])
            >>> samples.row.tolist()
            [2, 0, 0]
        """
        kept = weight > 0
        x, y, weight = x[kept], y[kept], weight[kept]
        whole = np.maximum(np.floor(weight), 1)
        copies = (whole if whole.mean() <= _MOST else np.ones_like(whole)).astype(np.int64)
        rows = np.column_stack([x, y, weight / copies]) + 0.0  # 0.0 and -0.0 are one number
        order = _ascending(rows)
        taken = np.repeat(order, copies[order])
        rows = rows[taken]
        x, y, factor = rows[:, :-2], rows[:, -2], rows[:, -1]
        new = (x[1:] != x[:-1]).any(axis=1)
        group = np.concatenate([[0], np.cumsum(new)])
        return cls(x, y, factor, group, np.flatnonzero(kept)[taken])

    def parted(self, share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions to train on and to validate on; equal inputs stay on one side.

        ``share`` of the distinct inputs, and at least one, are drawn for validation.
        """
        distinct = int(self.group[-1]) + 1
        count = min(max(round(share * distinct), 1), distinct - 1)
        held = np.random.default_rng(seed).permutation(distinct)[:count]
        inside = np.isin(self.group, held)
        return np.flatnonzero(~inside), np.flatnonzero(inside)


def _ascending(rows: NDArray[np.float64]) -> NDArray[np.int64]:
    """Positions of rows ``(N, K)`` in their order, the first column counting most.

    One sort of bytes, which stand in the order of the numbers, and not one sort a column.
    """
    bits = rows.view(np.int64)
    # of numbers below zero all bits turn, of others the sign alone
    turned = bits ^ ((bits >> 63) | np.iinfo(np.int64).min)
    whole = np.ascontiguousarray(turned.view(np.uint64).astype(">u8"))
    return np.argsort(whole.view(np.dtype((np.void, 8 * rows.shape[1]))).ravel())
