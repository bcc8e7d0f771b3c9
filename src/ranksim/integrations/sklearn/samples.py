"""Weighted samples in an order that does not depend on the order of the table's rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MAX_COPIES = 10  # of a sample on average; above, weights are not expanded into copies


@dataclass(frozen=True, eq=False)
class WeightedSamples:
    """Weighted samples, sorted by their values."""

    x: NDArray[np.float64]  # inputs (N, F)
    y: NDArray[np.float64]  # labels (N,)
    weight: NDArray[np.float64]  # above 0, (N,)
    group: NDArray[np.int64]  # ascending number, equal for equal inputs, (N,)
    row: NDArray[np.int64]  # row in the original table, (N,)

    @classmethod
    def from_arrays(
        cls, x: NDArray[np.float64], y: NDArray[np.float64], weight: NDArray[np.float64]
    ) -> WeightedSamples:
        """Sort samples, drop those of weight 0, and expand weights into copies.

        A sample of weight w becomes max(⌊w⌋, 1) copies that share w, so that an integer weight
        equals repeated rows exactly; weights above 10 on average are not expanded.

        Example:
            >>> x, y = np.array([[3.0], [1.0], [2.0]]), np.array([0.3, 0.1, 0.2])
            >>> samples = WeightedSamples.from_arrays(x, y, np.array([2.5, 0.0, 1.0]))
            >>> samples.y.tolist(), samples.weight.tolist(), samples.group.tolist()
            ([0.2, 0.3, 0.3], [1.0, 1.25, 1.25], [0, 1, 1])
            >>> samples.row.tolist()
            [2, 0, 0]
        """
        positive = np.flatnonzero(weight > 0)
        x, y, weight = x[positive], y[positive], weight[positive]
        copies = np.maximum(np.floor(weight), 1)
        copies = (copies if copies.mean() <= _MAX_COPIES else np.ones_like(copies)).astype(np.int64)
        rows = np.column_stack([x, y, weight / copies]) + 0.0  # makes -0.0 equal to 0.0
        order = np.lexsort(rows.T[::-1])  # the first column is the primary key
        order = np.repeat(order, copies[order])
        rows = rows[order]
        x = rows[:, :-2]
        group = np.concatenate([[0], np.cumsum((x[1:] != x[:-1]).any(axis=1))])
        return cls(x, rows[:, -2], rows[:, -1], group, positive[order])

    def split(self, share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return training and validation positions; equal inputs stay on one side.

        A ``share`` of the distinct inputs, at least one, is drawn for validation.
        """
        distinct = int(self.group[-1]) + 1
        count = min(max(round(share * distinct), 1), distinct - 1)
        drawn = np.random.default_rng(seed).permutation(distinct)[:count]
        validation = np.isin(self.group, drawn)
        return np.flatnonzero(~validation), np.flatnonzero(validation)
