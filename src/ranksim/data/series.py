"""Time series: sliding windows of readings, forecast targets, scaling and data sets."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranksim._utils.storage import validate_types
from ranksim.data.batch import BatchDataset
from ranksim.data.splitting import PARTS, Split, factorize, require_nonempty_parts
from ranksim.data.table import Floats, Ints
from ranksim.exceptions import DataError


@dataclass(frozen=True, eq=False)
class Windows:
    """Sliding windows over a time series, with the forecast target of each window."""

    ends: Ints  # (N,), position of the last reading of each window
    target_rows: Ints  # (N,), position of the target; −1 if it is in the future
    labels: Floats  # (N,), target value; NaN if it is not known
    times: Floats | None  # (N,), time of the target in seconds
    window: int  # readings per window
    step: float | None = None  # seconds from one reading to the next

    def __len__(self) -> int:
        return len(self.ends)


def make_windows(
    values: Floats,
    times: Floats | None,
    target: Floats | None,
    *,
    window: int,
    horizon: int,
    step: float | None = None,
    groups: Sequence[Hashable] | None = None,
) -> Windows:
    """Create all windows of ``window`` readings whose target is ``horizon`` readings later.

    All readings from the first of a window to its target must belong to one group and follow one
    another at the usual step, within half a step, so no window crosses a gap. Windows with NaN
    readings or a NaN target are left out.

    ``values`` are readings ``(T, C)``, in time order within each group, ``times`` their seconds;
    without times, all steps are equal. Without ``target`` values ``(T,)``, the targets are unknown
    and a window needs no later readings. ``step`` is the seconds between readings, by default the
    median. With horizon 0, the target has the time of the last reading.
    """
    count = len(values)
    series = np.zeros(count, dtype=np.int64) if groups is None else factorize(groups)
    is_gap = series[1:] != series[:-1]
    if times is not None:
        differences = np.diff(times)
        step = _median_step(differences[~is_gap]) if step is None else step
        is_gap |= ~(np.abs(differences - step) < step / 2)
    gaps_before = np.concatenate([[0], np.cumsum(is_gap)])[:count]
    missing_before = np.concatenate([[0], np.cumsum(~np.isfinite(values).all(axis=1))])
    reach = horizon if target is not None else 0
    ends = np.arange(window - 1, count - reach)
    first, last = ends - window + 1, ends + reach
    is_valid = gaps_before[first] == gaps_before[last]
    is_valid &= missing_before[first] == missing_before[ends + 1]
    if target is not None:
        is_valid &= np.isfinite(target[last])
    ends = ends[is_valid]
    if not len(ends):
        raise DataError(
            f"The series has no {window} consecutive readings with a target {horizon} readings "
            "later: use a shorter window or horizon, or fill the gaps."
        )
    rows = ends + horizon
    if target is not None:
        at = None if times is None else times[rows]
        return Windows(ends, rows, target[rows], at, window, step)
    at = None if times is None or step is None else times[ends] + horizon * step
    exists = (rows < count) & (gaps_before[np.minimum(rows, count - 1)] == gaps_before[ends])
    rows = np.where(exists, rows, -1)
    return Windows(ends, rows, np.full(len(ends), np.nan), at, window, step)


def _median_step(differences: Floats) -> float:
    positive = differences[differences > 0]
    if not len(positive):
        raise DataError(
            "The times of the series do not increase: choose another time column, and sort "
            "the readings by time."
        )
    return float(np.median(positive))


def split_windows(
    readings: Split,
    values: Floats,
    times: Floats | None,
    target: Floats,
    *,
    window: int,
    horizon: int,
    step: float | None = None,
    groups: Sequence[Hashable] | None = None,
) -> tuple[Windows, Split]:
    """Create the windows that do not cross a boundary between training, validation and test.

    No reading is therefore used in two parts. The other arguments are those of
    :func:`make_windows`.
    """
    part_of = np.full(len(values), len(PARTS))
    for part, rows in enumerate(readings):
        part_of[rows] = part
    units: Sequence[Hashable] = part_of.tolist()
    if groups is not None:
        units = list(zip(units, groups, strict=True))
    windows = make_windows(
        values, times, target, window=window, horizon=horizon, step=step, groups=units
    )
    split = Split.from_index(part_of[windows.target_rows])
    return windows, require_nonempty_parts(split, "no window lies within it")


@dataclass(frozen=True)
class SeriesScaling:
    """A standard scaler: mean and standard deviation of each channel over the training readings."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def fit(cls, values: Floats, ends: Ints, *, window: int) -> SeriesScaling:
        """Fit the scaler to those readings ``(T, C)`` that lie in windows ending at ``ends``.

        Readings outside the windows are not used; those in several windows are counted once.
        """
        edges = np.zeros(len(values) + 1, dtype=np.int64)
        np.add.at(edges, ends - window + 1, 1)
        np.add.at(edges, ends + 1, -1)
        covered = values[np.cumsum(edges[:-1]) > 0]
        deviation = np.where(np.ptp(covered, axis=0) > 0, covered.std(axis=0), 1.0)
        return cls(tuple(covered.mean(axis=0).tolist()), tuple(deviation.tolist()))

    def __call__(self, values: Floats) -> NDArray[np.float32]:
        """Standardize readings ``(T, C)`` and return float32."""
        return ((values - self.mean) / self.deviation).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Return the mean and standard deviation as JSON-compatible values."""
        return {"mean": list(self.mean), "deviation": list(self.deviation)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> SeriesScaling:
        """Recreate the scaler from the result of :meth:`to_dict`."""
        return validate_types(cls(tuple(content["mean"]), tuple(content["deviation"])))


@dataclass(frozen=True, eq=False)
class SeriesSamples:
    """Windows over a shared array of readings, with one real-valued label per window."""

    values: Floats  # (T, C), readings
    ends: Ints  # (N,), position of the last reading of each window
    labels: Floats  # (N,), in the unit of the data
    window: int  # readings per window

    def __len__(self) -> int:
        return len(self.labels)


class SeriesDataset(BatchDataset):
    """A data set of windows over readings, float32 ``(T, C)``; batch inputs are ``(N, W, C)``."""

    def __init__(
        self, values: NDArray[np.float32], ends: Ints, labels: Floats, *, window: int
    ) -> None:
        self.values = torch.from_numpy(np.ascontiguousarray(values))
        self.first = torch.from_numpy(ends - window + 1)
        self.labels = torch.from_numpy(labels)
        self.window = window

    def get_inputs(self, index: Tensor) -> tuple[Tensor, ...]:
        windows = self.values.unfold(0, self.window, 1).transpose(1, 2)  # a view, without a copy
        return (windows.index_select(0, self.first[index]),)


def make_series_datasets(parts: Sequence[SeriesSamples]) -> list[SeriesDataset]:
    """Create the training, validation and test data sets, standardized by the training windows."""
    values, ends, window = parts[0].values, parts[0].ends, parts[0].window
    scaled = SeriesScaling.fit(values, ends, window=window)(values)
    return [SeriesDataset(scaled, part.ends, part.labels, window=window) for part in parts]
