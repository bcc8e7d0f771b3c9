"""Time series: sliding windows of readings, forecast targets, scaling and data sets."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranksim._utils.formatting import format_count, format_name, join_names
from ranksim._utils.storage import validate_types
from ranksim.data.batch import BatchDataset
from ranksim.data.data_report import DataReport
from ranksim.data.splitting import PARTS, Split, factorize, require_nonempty_parts
from ranksim.data.table import Floats, Ints
from ranksim.exceptions import DataError

_MAX_GROUPS = 8  # in a line of the report
_SAME_STEP = 0.1  # relative difference of steps that count as one


@dataclass(frozen=True, eq=False)
class Readings:
    """Readings of one or several series, in time order within each group.

    Args:
        values: readings ``(T, C)``; NaN where one is missing.
        rows: table row of each reading ``(T,)``; of merged readings, the first one.
        times: seconds ``(T,)``, or None without a time column.
        groups: group of each reading, or None for a single series.
        repeats: table rows that were merged with the first row of the same time.
        time_scale: units of the time column in a second; 0 for numbers that are no dates.
        time_note: how the numbers of the time column are read, if that is not evident.
    """

    values: Floats
    rows: Ints
    times: Floats | None = None
    groups: Sequence[Hashable] | None = None
    repeats: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    time_scale: float = 1.0
    time_note: str = ""


@dataclass(frozen=True, eq=False)
class Repeats:
    """Readings whose group and time repeat, in a series sorted by both.

    Args:
        values: readings ``(K, C)``, the mean of those with the same time; missing ones do not
            count.
        first: position of the first reading of each time ``(K,)``.
        repeated: positions of the other readings.
        different: positions of readings that differ from another one of the same time.
    """

    values: Floats
    first: Ints
    repeated: Ints
    different: Ints


def merge_repeated_times(values: Floats, times: Floats, series: Ints) -> Repeats:
    """Merge readings ``(T, C)`` with equal times ``(T,)`` in one series, sorted by both."""
    is_repeat = np.zeros(len(times), dtype=np.bool_)
    is_repeat[1:] = (np.diff(times) == 0) & (np.diff(series) == 0)
    first = np.flatnonzero(~is_repeat)
    if len(first) == len(values):
        none = np.zeros(0, dtype=np.int64)
        return Repeats(values, first, none, none)
    is_known = np.isfinite(values)
    low, high = np.fmin.reduceat(values, first), np.fmax.reduceat(values, first)
    counts = np.add.reduceat(is_known.astype(np.float64), first)
    sums = np.add.reduceat(np.where(is_known, values, 0.0), first)
    means = np.where(low == high, low, sums / np.where(counts > 0, counts, np.nan))
    owners = np.cumsum(~is_repeat) - 1
    # a missing reading differs from none
    different = np.flatnonzero((low < high)[owners].any(axis=1))
    return Repeats(means, first, np.flatnonzero(is_repeat), different)


@dataclass(frozen=True)
class GroupWindows:
    """Counts of the windows of one group."""

    name: str
    readings: int
    step: float | None  # median seconds from one reading to the next
    gaps: int  # places where two readings do not follow one another at the step
    windows: int
    lost: dict[str, int]  # possible windows that were not made, by reason


@dataclass(frozen=True, eq=False)
class Windows:
    """Sliding windows over a time series, with the forecast target of each window."""

    ends: Ints  # (N,), position of the last reading of each window
    target_rows: Ints  # (N,), position of the target; −1 if it is in the future
    labels: Floats  # (N,), target value; NaN if it is not known
    times: Floats | None  # (N,), time of the target in seconds
    window: int  # readings per window
    horizon: int  # readings from the last one of a window to its target
    steps: Floats | None = None  # (N,), seconds from one reading to the next
    groups: tuple[GroupWindows, ...] = ()

    def __len__(self) -> int:
        return len(self.ends)

    def share_readings(self, rows: Ints, others: Ints) -> NDArray[np.bool_]:
        """Return which of the windows at positions ``rows`` share a reading with ``others``."""
        first, last = self.ends - self.window + 1, np.maximum(self.target_rows, self.ends)
        size = int(last.max(initial=-1)) + 2
        changes = np.bincount(first[others], minlength=size)
        changes = changes - np.bincount(last[others] + 1, minlength=size)
        before = np.concatenate([[0], np.cumsum(np.cumsum(changes) > 0)])  # readings in use
        return np.asarray(before[last[rows] + 1] > before[first[rows]])


def make_windows(
    values: Floats,
    times: Floats | None,
    target: Floats | None,
    *,
    window: int,
    horizon: int,
    step: float | Floats | None = None,
    groups: Sequence[Hashable] | None = None,
    parts: Ints | None = None,
) -> Windows:
    """Create all windows of ``window`` readings whose target is ``horizon`` readings later.

    All readings from the first of a window to its target must belong to one group and one of the
    ``parts`` ``(T,)``, and follow one another at the usual step, within half a step, so no window
    crosses a gap. Windows with NaN readings or a NaN target are left out.

    ``values`` are readings ``(T, C)``, in time order within each group, ``times`` their seconds;
    without times, all steps are equal. Without ``target`` values ``(T,)``, the targets are unknown
    and a window needs no later readings. ``step`` is the seconds between readings, for all or for
    each reading ``(T,)``, where NaN allows no window; by default the median of each group. With
    horizon 0, the target has the time of the last reading.
    """
    count = len(values)
    series = np.zeros(count, dtype=np.int64) if groups is None else factorize(groups)
    names = [""] if groups is None else list(map(str, dict.fromkeys(groups)))
    is_border = series[1:] != series[:-1]
    is_gap = np.zeros(len(is_border), dtype=np.bool_)
    steps = medians = None
    if times is not None:
        medians = measure_steps(times, series)
        steps = np.broadcast_to(medians[series] if step is None else np.asarray(step), (count,))
        is_gap = ~is_border & ~(np.abs(np.diff(times) - steps[1:]) < steps[1:] / 2)
    is_missing = np.count_nonzero(~np.isfinite(values), axis=1) > 0
    reach = horizon if target is not None else 0
    ends = np.arange(window - 1, max(count - reach, window - 1))
    first, last = ends - window + 1, ends + reach
    in_group = _count_between(is_border, first, last) == 0
    ends, first, last = ends[in_group], first[in_group], last[in_group]
    lacks_reading = _count_between(is_missing, first, ends + 1) > 0
    if target is not None:
        lacks_reading |= ~np.isfinite(target[last])
    crosses_gap = _count_between(is_gap, first, last) > 0
    if step is not None and steps is not None:
        crosses_gap |= np.isnan(steps[ends])
    splits = np.zeros(len(is_gap), dtype=np.bool_)
    if parts is not None:
        splits[:] = parts[1:] != parts[:-1]
    losses = {
        "gaps": crosses_gap,
        "missing readings": lacks_reading & ~crosses_gap,
        "boundaries of parts": (_count_between(splits, first, last) > 0)
        & ~(crosses_gap | lacks_reading),
    }
    is_valid = ~np.any(list(losses.values()), axis=0)
    counts = _count_by_group(names, series, medians, is_gap, ends, losses)
    ends, rows = ends[is_valid], ends[is_valid] + horizon
    if not len(ends):
        raise _make_no_window_error(window, horizon, None if step is None else steps)
    at_ends = None if steps is None else steps[ends]
    if target is not None:
        at = None if times is None else times[rows]
        return Windows(ends, rows, target[rows], at, window, horizon, at_ends, counts)
    at = None if times is None or at_ends is None else times[ends] + horizon * at_ends
    bounded = np.minimum(rows, count - 1)
    exists = (rows < count) & (_count_between(is_gap | is_border, ends, bounded) == 0)
    rows = np.where(exists, rows, -1)
    unknown = np.full(len(ends), np.nan)
    return Windows(ends, rows, unknown, at, window, horizon, at_ends, counts)


def _count_between(flags: NDArray[np.bool_], first: Ints, last: Ints) -> Ints:
    """Count the flags at positions ``first`` to ``last`` − 1, for each pair of bounds."""
    before = np.concatenate([[0], np.cumsum(flags)])
    counts: Ints = before[last] - before[first]
    return counts


def _count_by_group(
    names: Sequence[str],
    series: Ints,
    medians: Floats | None,
    is_gap: NDArray[np.bool_],
    ends: Ints,
    losses: Mapping[str, NDArray[np.bool_]],
) -> tuple[GroupWindows, ...]:
    """Count readings, gaps, and windows made and lost of each group."""
    size = len(names)
    readings = np.bincount(series, minlength=size).tolist()
    gaps = np.bincount(series[1:][is_gap], minlength=size).tolist()
    possible = np.bincount(series[ends], minlength=size).tolist()
    lost = {
        reason: np.bincount(series[ends[mask]], minlength=size).tolist()
        for reason, mask in losses.items()
    }
    groups = []
    for k, name in enumerate(names):
        step = None if medians is None or np.isnan(medians[k]) else float(medians[k])
        by_reason = {reason: counts[k] for reason, counts in lost.items()}
        n_windows = possible[k] - sum(by_reason.values())
        groups.append(GroupWindows(name, readings[k], step, gaps[k], n_windows, by_reason))
    return tuple(groups)


def measure_steps(times: Floats, series: Ints) -> Floats:
    """Return the median seconds between readings of each series; NaN if its time stands still."""
    differences, owners = np.diff(times), series[1:]
    is_step = (owners == series[:-1]) & (differences > 0)
    differences, owners = differences[is_step], owners[is_step]
    order = np.argsort(owners, kind="stable")
    if not len(differences):
        raise DataError(
            "The times of the series do not increase: choose another time column, and sort "
            "the readings by time."
        )
    ends = np.cumsum(np.bincount(owners, minlength=int(series.max()) + 1))
    parts = np.split(differences[order], ends[:-1])
    return np.array([float(np.median(part)) if len(part) else np.nan for part in parts])


def match_steps(times: Floats, series: Ints, known: Sequence[float]) -> Floats:
    """Choose, for each series, the known step that most of its readings follow.

    Returns:
        The step of each reading ``(T,)``; NaN in a series none of whose steps is known.
    """
    candidates = np.array(known, dtype=np.float64)
    differences = np.diff(times)[:, None]
    fits = np.abs(differences - candidates) < candidates / 2
    fits &= (series[1:] == series[:-1])[:, None]
    counts = np.zeros((int(series.max()) + 1, len(candidates)))
    np.add.at(counts, series[1:], fits)
    is_usable = counts.any(axis=1) | (np.bincount(series) == 1)  # a single reading has no step
    steps = np.where(is_usable, candidates[counts.argmax(axis=1)], np.nan)
    matched: Floats = steps[series]
    return matched


def _make_no_window_error(window: int, horizon: int, steps: Floats | None) -> DataError:
    at = ""
    if steps is not None and np.isfinite(steps).any():
        at = f" at a step of {format_seconds(float(np.nanmax(steps)))}"
    return DataError(
        f"The series has no {window} consecutive readings with a target {horizon} readings "
        f"later{at}: use a shorter window or horizon, or fill the gaps."
    )


def format_seconds(seconds: float) -> str:
    """Format a duration in its largest suitable unit, as in ``5 minutes`` or ``1 day``."""
    names = {"day": 86_400, "hour": 3_600, "minute": 60, "second": 1}
    unit, size = next((item for item in names.items() if seconds >= item[1]), ("second", 1))
    return f"{seconds / size:g} {unit}{'s' * (seconds != size)}"


def describe_windows(
    windows: Windows,
    *,
    used: int | None = None,
    dates: bool = True,
    known: Sequence[float] = (),
) -> DataReport:
    """Report the windows made and lost, by reason and by group.

    Groups without a window and different steps are warnings. ``used`` is the number of windows
    after balancing, if fewer. With ``dates`` False, steps are plain
    numbers. ``known`` are the steps that a saved model accepts, if the data is new.
    """
    groups, size, horizon = windows.groups, windows.window, windows.horizon

    def format_step(step: float | None) -> str:
        return "no step" if step is None else format_seconds(step) if dates else f"{step:g}"

    def name_group(group: GroupWindows) -> str:
        return format_name(group.name) if len(groups) > 1 else "the series"

    n_gaps = sum(group.gaps for group in groups)
    lost = {reason: sum(group.lost[reason] for group in groups) for reason in groups[0].lost}
    reasons = [
        f"{count:,} at {format_count(n_gaps, 'gap')}"
        if reason == "gaps"
        else f"{count:,} at {reason}"
        for reason, count in lost.items()
        if count
    ]
    note = f"{len(windows):,} of {format_count(size, 'reading')} each"
    note += f", with a target {format_count(horizon, 'reading')} later"
    if len(groups) == 1 and groups[0].step is not None:
        note += f", step {format_step(groups[0].step)}"
    note += f"; lost {join_names(reasons)}" if reasons else "; none lost"
    if used is not None and used < len(windows):
        note += f"; {len(windows) - used:,} left out to balance validation and test"
    notes = {"Windows": note}
    if len(groups) > 1:
        listed = []
        for group in groups:
            text = f"{format_name(group.name)} {group.windows:,}"
            n_lost = sum(group.lost.values())
            text += f" ({n_lost:,} lost)" if n_lost else ""
            listed.append(text)
        notes["By group"] = join_names(listed, _MAX_GROUPS)
    warnings = []
    if empty := [group for group in groups if not group.windows]:
        listed = [
            f"{name_group(group)} ({group.readings:,} readings, step {format_step(group.step)})"
            for group in empty
        ]
        remedy = "use a shorter window or horizon, or fill the gaps"
        if known:
            steps = join_names(map(format_step, known))
            remedy = f"the model forecasts readings at a step of {steps}; resample them"
        warnings.append(f"No window lies in {join_names(listed, _MAX_GROUPS)}: {remedy}.")
    for group in groups if known else ():
        if not group.windows or group.step is None:
            continue
        trained = known[int(np.argmin(np.abs(np.array(known) - group.step)))]
        if abs(group.step - trained) > _SAME_STEP * trained:
            warnings.append(
                f"Readings of {name_group(group)} are {format_step(group.step)} apart, those of "
                f"the training {format_step(trained)}: resample them."
            )
    by_step: dict[float, list[str]] = {}
    for group in groups:
        if group.windows and group.step is not None:
            near = (step for step in by_step if abs(group.step - step) <= _SAME_STEP * step)
            by_step.setdefault(next(near, group.step), []).append(format_name(group.name))
    if len(by_step) > 1 and not known:
        listed = [f"{format_step(s)} in {join_names(g, _MAX_GROUPS)}" for s, g in by_step.items()]
        spans = join_names(format_step(horizon * step) for step in by_step)
        warnings.append(
            f"The steps differ between groups ({'; '.join(listed)}), so that a target {horizon} "
            f"readings later is {spans} ahead: use groups of one step, or resample the readings."
        )
    return DataReport(notes=notes, warnings=warnings)


def describe_readings(readings: Readings, windows: Windows) -> DataReport:
    """Report rows that were merged or lie in no window, and the unit of numeric times."""
    count = len(readings.rows)
    is_used = _find_covered(windows.ends, windows.window, count)
    is_used[windows.target_rows[windows.target_rows >= 0]] = True
    n_used = int(np.count_nonzero(is_used))
    left_out = {
        "merged with a row of the same time": len(readings.repeats),
        "in no window": count - n_used,
    }
    rows: dict[str, Any] = {"used": n_used}
    if any(left_out.values()):
        rows["left_out"] = {reason: number for reason, number in left_out.items() if number}
    notes = {"Times": readings.time_note} if readings.time_note else {}
    return DataReport(rows=rows, notes=notes)


def _find_covered(ends: Ints, window: int, count: int) -> NDArray[np.bool_]:
    """Return which of ``count`` readings lie in windows that end at ``ends``."""
    edges = np.zeros(count + 1, dtype=np.int64)
    np.add.at(edges, ends - window + 1, 1)
    np.add.at(edges, ends + 1, -1)
    covered: NDArray[np.bool_] = np.cumsum(edges[:-1]) > 0
    return covered


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
    shape: dict[str, Any] = {"window": window, "horizon": horizon, "step": step}
    windows = make_windows(values, times, target, **shape, groups=groups, parts=part_of)
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
        covered = values[_find_covered(ends, window, len(values))]
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
