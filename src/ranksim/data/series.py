"""A series in memory once, and batches of its windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ranksim._utils.schema import validate_types
from ranksim.data.batch import Batch


@dataclass(frozen=True)
class SeriesScaling:
    """Mean and deviation of each channel, by the readings that training windows see.

    Example:
        >>> values = np.array([[1.0], [3.0], [99.0]])
        >>> scaling = SeriesScaling.fit(values, np.array([1]), window=2)
        >>> scaling(values).ravel().tolist()
        [-1.0, 1.0, 97.0]
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def fit(
        cls, values: NDArray[np.float64], ends: NDArray[np.int64], *, window: int
    ) -> SeriesScaling:
        """By the readings of training windows alone, each counted once.

        Args:
            values: the readings, float64 ``(T, C)``.
            ends: the last reading of each training window, int64 ``(N,)``.
            window: readings of a window.
        """
        edges = np.zeros(len(values) + 1, dtype=np.int64)
        np.add.at(edges, ends - window + 1, 1)
        np.add.at(edges, ends + 1, -1)
        seen = values[np.cumsum(edges[:-1]) > 0]
        deviation = seen.std(axis=0)
        return cls(
            tuple(seen.mean(axis=0).tolist()),
            tuple(np.where(np.ptp(seen, axis=0) > 0, deviation, 1.0).tolist()),
        )

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """The readings ``(T, C)`` in units of their deviation, float32."""
        return ((values - self.mean) / self.deviation).astype(np.float32)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"mean": list(self.mean), "deviation": list(self.deviation)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> SeriesScaling:
        """What :meth:`as_dict` made."""
        return validate_types(cls(tuple(stored["mean"]), tuple(stored["deviation"])))


@dataclass(frozen=True, eq=False)
class SeriesSamples:
    """Windows of one series and a real label each.

    Args:
        values: the readings, float64 ``(T, C)``, shared between the parts of a split.
        ends: the last reading of each window, int64 ``(N,)``.
        labels: float64 ``(N,)``, in the unit of the data.
        window: readings of a window.
    """

    values: NDArray[np.float64]
    ends: NDArray[np.int64]
    labels: NDArray[np.float64]
    window: int

    def __len__(self) -> int:
        return len(self.labels)

    def scaling(self) -> SeriesScaling:
        """By these windows, which are those of training."""
        return SeriesScaling.fit(self.values, self.ends, window=self.window)


class SeriesDataset(Dataset[Batch]):
    """One series, held once; a batch's input is its windows, float32 ``(N, W, C)``.

    Args:
        values: scaled readings, float32 ``(T, C)``, shared between the parts of a split.
        ends: the last reading of each window, int64 ``(N,)``.
        labels: float64 ``(N,)``.
        window: W.
    """

    def __init__(
        self,
        values: NDArray[np.float32],
        ends: NDArray[np.int64],
        labels: NDArray[np.float64],
        *,
        window: int,
    ) -> None:
        self.values = torch.from_numpy(np.ascontiguousarray(values))
        self.first = torch.from_numpy(ends - window + 1)
        self.labels = torch.from_numpy(labels)
        self.window = window

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> Batch:
        return self.__getitems__([row])

    def __getitems__(self, rows: list[int]) -> Batch:
        index = torch.as_tensor(rows, dtype=torch.int64)
        count, channels = self.values.shape
        # every window of the series, without a copy
        every = self.values.as_strided(
            (count - self.window + 1, self.window, channels), (channels, channels, 1)
        )
        return {
            "inputs": (every.index_select(0, self.first[index]),),
            "label": self.labels[index],
            "index": index,
        }

    def by_size(self) -> Tensor:
        """All positions: windows cost alike."""
        return torch.arange(len(self))


def make_series_datasets(
    parts: Sequence[SeriesSamples], scaling: SeriesScaling
) -> list[SeriesDataset]:
    """Data sets of the parts of one series, which share its readings."""
    values = scaling(parts[0].values)
    return [SeriesDataset(values, part.ends, part.labels, window=part.window) for part in parts]
