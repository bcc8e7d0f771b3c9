"""Time series as data sets: one array of readings, and batches of its windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranksim._utils.schema import validate_types
from ranksim.data.batch import BatchDataset


@dataclass(frozen=True)
class SeriesScaling:
    """Mean and standard deviation of each channel over the readings of training windows."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def fit(
        cls, values: NDArray[np.float64], ends: NDArray[np.int64], *, window: int
    ) -> SeriesScaling:
        """Compute the statistics of readings ``(T, C)`` in windows that end at ``ends`` ``(N,)``.

        Readings outside the windows are not used; those in several windows are counted once.
        """
        edges = np.zeros(len(values) + 1, dtype=np.int64)
        np.add.at(edges, ends - window + 1, 1)
        np.add.at(edges, ends + 1, -1)
        covered = values[np.cumsum(edges[:-1]) > 0]
        deviation = np.where(np.ptp(covered, axis=0) > 0, covered.std(axis=0), 1.0)
        return cls(tuple(covered.mean(axis=0).tolist()), tuple(deviation.tolist()))

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Standardize readings ``(T, C)``, float32."""
        return ((values - self.mean) / self.deviation).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"mean": list(self.mean), "deviation": list(self.deviation)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> SeriesScaling:
        """Create a scaling from the result of :meth:`to_dict`."""
        return validate_types(cls(tuple(content["mean"]), tuple(content["deviation"])))


@dataclass(frozen=True, eq=False)
class SeriesSamples:
    """Windows of one series, each with a real label; the parts of a split share the readings."""

    values: NDArray[np.float64]  # (T, C), readings
    ends: NDArray[np.int64]  # (N,), position of the last reading of each window
    labels: NDArray[np.float64]  # (N,), in the unit of the data
    window: int  # readings per window

    def __len__(self) -> int:
        return len(self.labels)

    def scaling(self) -> SeriesScaling:
        """Compute the scaling of these windows, which must be the training windows."""
        return SeriesScaling.fit(self.values, self.ends, window=self.window)


class SeriesDataset(BatchDataset):
    """Windows of scaled readings, float32 ``(T, C)``; the input of a batch is ``(N, W, C)``."""

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

    def get_inputs(self, index: Tensor) -> tuple[Tensor, ...]:
        count, channels = self.values.shape
        # a view of all windows, without a copy
        windows = self.values.as_strided(
            (count - self.window + 1, self.window, channels), (channels, channels, 1)
        )
        return (windows.index_select(0, self.first[index]),)


def make_series_datasets(
    parts: Sequence[SeriesSamples], scaling: SeriesScaling
) -> list[SeriesDataset]:
    """Create one data set per part of a series; they share its readings."""
    values = scaling(parts[0].values)
    return [SeriesDataset(values, part.ends, part.labels, window=part.window) for part in parts]
