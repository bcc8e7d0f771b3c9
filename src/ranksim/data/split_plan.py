"""Anyone's data: which samples there are, which are trained on, and how the label axis is cut."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ranksim.data.balanced_split import PART_NAMES, PARTS, Split
from ranksim.data.cells import RowErrorFactory
from ranksim.data.label_axis import choose_label_bins, choose_shot_regions
from ranksim.data.options import UserDataSpec, reject_idle_options
from ranksim.data.splitting import (
    balance_held_out,
    group_equal_rows,
    reject_shared_samples,
    split_by_column,
    split_rows,
)
from ranksim.data.table import Table
from ranksim.data.table import read_labels as labels_of
from ranksim.data.windows import Windows, day_index, parse_times, sort_by_time, split_windows
from ranksim.exceptions import DataError, UsageError
from ranksim.imbalance import LabelBins
from ranksim.imbalance.label_range import LabelRange

_SPLIT = "split"


@dataclass(frozen=True, eq=False)
class SplitPlan:
    """Samples of anyone's data, before any network reads them.

    Args:
        columns: the data.
        options: what was said of it.
        inputs: names of the columns that a network reads.
        rows: the row that each sample's label stands in, int64 ``(N,)``.
        labels: float64 ``(N,)``, in the unit of the data.
        split: positions among these N.
        bins: label bins.
        many, few: training samples of a bin that begin the many-, and end the few-shot region.
        named: regions of the user's own.
        readings: of a series, float64 ``(T, C)`` in the order of time, else ``None``.
        windows: over these readings, one a sample.
        facts: what identifies the data in results.
    """

    columns: Table
    options: UserDataSpec
    inputs: tuple[str, ...]
    rows: NDArray[np.int64]
    labels: NDArray[np.float64]
    split: Split
    bins: LabelBins
    many: int
    few: int
    named: dict[str, LabelRange]
    facts: dict[str, Any]
    readings: NDArray[np.float64] | None = None
    windows: Windows | None = None

    @property
    def groups(self) -> NDArray[np.int64] | None:
        """Of each test sample: what is split whole, a group or a day; of windows the day."""
        test, options = self.split.test, self.options
        if options.by == "group" and options.group is not None:
            values = self.columns.column(options.group)
            names: dict[Hashable, int] = {}
            own = (values[row] for row in self.rows[test])
            return np.array([names.setdefault(name, len(names)) for name in own], dtype=np.int64)
        if self.windows is not None:
            return None if self.windows.times is None else day_index(self.windows.times[test])
        if options.by == "day" and options.time is not None:
            times = parse_times(
                self.columns.column(options.time), self.columns.refuse, options.time
            )
            return day_index(times[self.rows[test]])
        return None


def make_split_plan(columns: Table, options: UserDataSpec) -> SplitPlan:
    """Choose the samples of anyone's data, split them, and cut the label axis into bins.

    Args:
        columns: the data (see :func:`ranksim.data.reading.read_columns`).
        options: what is said of it.

    Raises:
        DataError: the data cannot be used.
        UsageError: options that contradict each other, or would do nothing.
    """
    reject_idle_options(options)
    inputs = options.inputs or _features(columns, options)
    each = [columns.column(name) for name in inputs]  # says which is missing
    if idle := [name for name in options.categories if name not in inputs]:
        raise UsageError(f"--categories names {idle[0]!r}, which is no input: leave it out.")
    readings = found = split = None
    if options.window is not None:
        readings, found, split, rows = _forecasts(columns, options, inputs)
        labels = found.labels
    else:
        missing: Literal["nan", "refuse"] = "nan" if options.skip_missing else "refuse"
        values = labels_of(columns, options.target, missing=missing)
        rows = np.flatnonzero(np.isfinite(values))
        labels = values[rows]
    if len(np.unique(labels)) < 2:
        what = f"one label alone, {labels[0]:g}," if len(labels) else "no label"
        raise DataError(
            f"{columns.name} has {what} in column {options.target!r}: a regression needs labels "
            "that differ."
        )
    bins = choose_label_bins(labels, options)
    index, seed = bins.index(labels), options.seed
    if split is None:
        samples = [tuple(column[row] for column in each) for row in rows]
        split = _split(columns, options, samples, rows, index)
    elif options.balanced and options.split is None:
        split = balance_held_out(split, index, cap=options.cap, seed=seed)
    regions, many, few = choose_shot_regions(bins, labels[split.train], options)
    by = options.by
    how = {"balanced": options.balanced, "split_seed": seed} if by != "column" else {}
    facts = {
        "name": Path(columns.name).name,
        "sha256": columns.sha256,
        "inputs": list(inputs),
        "counts": [len(part) for part in split],
        "split_by": by,
        **how,
        "bins": len(bins),
        "many": many,
        "few": few,
    }
    named = dict(regions.named)
    return SplitPlan(
        *(columns, options, inputs, rows, labels, split, bins, many, few, named, facts),
        readings=readings,
        windows=found,
    )


def read_split_column(columns: Table, options: UserDataSpec) -> str | None:
    """The column ``split``, where it gives all three parts and nothing is said of another split.

    So the splits of a Hugging Face data set are kept. Where something is said, what is said.

    Example:
        >>> table = Table.of("ages", {"age": [1, 2, 3], "split": ["train", "dev", "test"]})
        >>> read_split_column(table, UserDataSpec("age")), read_split_column(table, UserDataSpec("age", cap=5))
        ('split', None)
    """
    said = (options.split, options.split_by, options.group, options.cap, options.split_seed)
    free = all(each is None for each in said) and options.balanced and _SPLIT not in options.inputs
    return _SPLIT if free and _parts(columns) == set(PARTS) else options.split


def _parts(columns: Table) -> set[str]:
    """The parts that a column ``split`` gives; none where it holds anything else."""
    if _SPLIT not in columns.names:
        return set()
    parts = {PART_NAMES.get(str(v).strip().lower(), "") for v in columns.column(_SPLIT)}
    return set() if "" in parts else parts


def read_series(
    columns: Table, options: UserDataSpec, inputs: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64] | None, list[Any] | None]:
    """A series in the order of time: rows ``(T,)``, readings ``(T, C)``, times, groups.

    Missing readings are NaN, and no window holds one.
    """
    readings = np.stack([labels_of(columns, name, missing="nan") for name in inputs], axis=1)
    groups = None if options.group is None else columns.column(options.group)
    if options.time is None:
        return np.arange(len(readings)), readings, None, groups
    times = parse_times(columns.column(options.time), columns.refuse, options.time)
    order = sort_by_time(times, groups)
    groups = None if groups is None else [groups[row] for row in order]
    return order, readings[order], times[order], groups


def _features(columns: Table, options: UserDataSpec) -> tuple[str, ...]:
    """All columns of a table that have no other part."""
    other = {options.target, options.group, options.time, options.split}
    other |= {_SPLIT} if _parts(columns) else set()  # which part a row is in tells no label
    names = tuple(name for name in columns.names if name not in other)
    if not names:
        raise DataError(
            f"{columns.name} has no column beside {options.target!r} to learn from: add some."
        )
    return names


def _forecasts(
    columns: Table, options: UserDataSpec, inputs: Sequence[str]
) -> tuple[NDArray[np.float64], Windows, Split, NDArray[np.int64]]:
    """Readings, the windows over them, their split, and the row of each one's target."""
    order, readings, times, groups = read_series(columns, options, inputs)
    by, seed = options.by, options.seed
    if by == "column":
        assert options.split is not None
        values = columns.column(options.split)
        dealt = split_by_column([values[row] for row in order], refuse=_refuse(columns, order))
    else:
        together: Sequence[Hashable] | None = groups
        if by == "day":
            assert times is not None
            together = day_index(times).tolist()
        dealt = split_rows(
            np.zeros(len(order), dtype=np.int64),
            by="time" if by == "time" else "group",
            balanced=False,
            cap=None,
            seed=seed,
            groups=together,
            times=np.arange(len(order), dtype=np.float64) if times is None else times,
        )
    found, split = split_windows(
        dealt,
        readings,
        times,
        readings[:, inputs.index(options.target)],
        window=options.window or 1,
        horizon=options.horizon or 1,
        groups=groups,
    )
    return readings, found, split, order[found.rows]


def _split(
    columns: Table,
    options: UserDataSpec,
    samples: Sequence[tuple[Hashable, ...]],
    rows: NDArray[np.int64],
    index: NDArray[np.int64],
) -> Split:
    """The parts of samples that are rows; equal ones are never in two."""
    by = options.by
    if by == "column":
        assert options.split is not None
        refuse, values = _refuse(columns, rows), columns.column(options.split)
        split = split_by_column([values[row] for row in rows], refuse=refuse)
        reject_shared_samples(samples, split, refuse=refuse)
        return split
    groups: Sequence[Hashable] | None = None
    times = None
    if by == "random":
        groups = group_equal_rows(samples).tolist()
    elif by == "group":
        assert options.group is not None
        values = columns.column(options.group)
        groups = [values[row] for row in rows]
    else:
        assert options.time is not None
        times = parse_times(columns.column(options.time), columns.refuse, options.time)[rows]
        groups = day_index(times).tolist() if by == "day" else None
    return split_rows(
        index,
        by="group" if by == "day" else by,
        balanced=options.balanced,
        cap=options.cap,
        seed=options.seed,
        groups=groups,
        times=times,
    )


def _refuse(columns: Table, rows: NDArray[np.int64]) -> RowErrorFactory:
    """Refuse samples by the lines of their rows."""

    def refuse(samples: Iterable[int], what: str, remedy: str) -> None:
        columns.refuse(rows[list(samples)].tolist(), what, remedy)

    return refuse
