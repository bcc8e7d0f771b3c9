"""Anyone's data: which samples there are, which are trained on, and how the label axis is cut."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ranksim.balance import LabelBins
from ranksim.balance.ranges import LabelRange, parse_named
from ranksim.data.own.series import Windows, days, in_order, parse_times, split_windows
from ranksim.data.own.split import (
    balance_held_out,
    groups_of_equal,
    refuse_shared,
    split_by_column,
    split_rows,
)
from ranksim.data.own.suggest import Suggestion, suggest
from ranksim.data.own.values import Refuse
from ranksim.data.split import Split
from ranksim.data.table import Columns, numbers
from ranksim.errors import DataError, UsageError
from ranksim.metrics.regions import FEW, MANY, Regions

By = Literal["random", "group", "time", "day"]
SEED = 666
_MOST_BINS = 10_000


@dataclass(frozen=True)
class OwnOptions:
    """What is said of anyone's data, by the names of the command line's options.

    Args:
        target: column of the label.
        features: columns of a table's inputs, or of a series beside the target; none: of a table
            all that have no other part.
        categories: columns whose values are names, even where they look like numbers.
        text: one or two columns of texts.
        image: column of an image's path.
        window: readings of a series that a forecast sees.
        horizon: readings between the last of them and the target (1).
        time: column of the time.
        group: column whose equal values stay in one part.
        split: column of train, val and test.
        split_by: what the split is drawn by (``group`` with a group column, ``time`` for a series,
            else ``random``).
        balanced: whether validation and test are balanced over label bins.
        cap: most samples of a bin in validation, and in test.
        split_seed: fixes the draw.
        bin_width, many, few: of the regions; without them what :func:`suggest` says.
        region: own regions, ``name=range``.
        skip_missing: leave out rows without a target.
        skip_broken: leave out images that cannot be read.
    """

    target: str
    features: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    image: str | None = None
    window: int | None = None
    horizon: int | None = None
    time: str | None = None
    group: str | None = None
    split: str | None = None
    split_by: By | None = None
    balanced: bool = True
    cap: int | None = None
    split_seed: int | None = None
    bin_width: float | None = None
    many: int | None = None
    few: int | None = None
    region: tuple[str, ...] = ()
    skip_missing: bool = False
    skip_broken: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that a network reads, where they are named."""
        if self.window is not None:
            return tuple(dict.fromkeys((self.target, *self.features)))
        if self.image is not None:
            return (self.image,)
        return self.text or self.features


@dataclass(frozen=True, eq=False)
class OwnPlan:
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

    columns: Columns
    options: OwnOptions
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


def plan_own(columns: Columns, options: OwnOptions) -> OwnPlan:
    """Choose the samples of anyone's data, split them, and cut the label axis into bins.

    Args:
        columns: the data (see :func:`ranksim.data.own.read.read_columns`).
        options: what is said of it.

    Raises:
        DataError: the data cannot be used.
        UsageError: options that contradict each other, or would do nothing.
    """
    refuse_idle(options)
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
        values = numbers(columns, options.target, missing=missing)
        rows = np.flatnonzero(np.isfinite(values))
        labels = values[rows]
    if len(np.unique(labels)) < 2:
        what = f"one label alone, {labels[0]:g}," if len(labels) else "no label"
        raise DataError(
            f"{columns.name} has {what} in column {options.target!r}: a regression needs labels "
            "that differ."
        )
    bins = label_bins(labels, options)
    index, seed = bins.index(labels), _seed(options)
    if split is None:
        samples = [tuple(column[row] for column in each) for row in rows]
        split = _split(columns, options, samples, rows, index)
    elif options.balanced and options.split is None:
        split = balance_held_out(split, index, cap=options.cap, seed=seed)
    regions, many, few = label_regions(bins, labels[split.train], options)
    by = _by(options)
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
    return OwnPlan(
        *(columns, options, inputs, rows, labels, split, bins, many, few, named, facts),
        readings=readings,
        windows=found,
    )


def label_bins(labels: NDArray[np.float64], options: OwnOptions) -> LabelBins:
    """The label bins that are asked for, or those that suit the labels ``(N,)``.

    Raises:
        UsageError: too many bins are asked for, or some that make no sense.
    """
    width = options.bin_width
    if width is not None and width > 0 and np.ptp(labels) / width > _MOST_BINS:
        raise UsageError(
            f"--bin-width {width:g} makes {np.ptp(labels) / width:,.0f} bins over column "
            f"{options.target!r}: give a width that makes at most {_MOST_BINS:,}."
        )
    return _suggested(labels, options).bins


def label_regions(
    bins: LabelBins, training: NDArray[np.float64], options: OwnOptions
) -> tuple[Regions, int, int]:
    """The regions of anyone's labels, and the thresholds that make them.

    Args:
        bins: of all labels.
        training: labels that are trained on, float64 ``(N,)``.
        options: what is said of regions; the rest is by the rule of inspect.

    Raises:
        UsageError: regions that make no sense.
    """
    found = _suggested(training, options)
    named = dict(_named(text) for text in options.region)
    regions = Regions.by_rule(bins, training, many=found.many, few=found.few, named=named)
    return regions, found.many, found.few


def series_of(
    columns: Columns, options: OwnOptions, inputs: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64] | None, list[Any] | None]:
    """A series in the order of time: rows ``(T,)``, readings ``(T, C)``, times, groups.

    Missing readings are NaN, and no window holds one.
    """
    readings = np.stack([numbers(columns, name, missing="nan") for name in inputs], axis=1)
    groups = None if options.group is None else columns.column(options.group)
    if options.time is None:
        return np.arange(len(readings)), readings, None, groups
    times = parse_times(columns.column(options.time), columns.refuse, options.time)
    order = in_order(times, groups)
    groups = None if groups is None else [groups[row] for row in order]
    return order, readings[order], times[order], groups


def _features(columns: Columns, options: OwnOptions) -> tuple[str, ...]:
    """All columns of a table that have no other part."""
    other = {options.target, options.group, options.time, options.split}
    names = tuple(name for name in columns.names if name not in other)
    if not names:
        raise DataError(
            f"{columns.name} has no column beside {options.target!r} to learn from: add some."
        )
    return names


def _forecasts(
    columns: Columns, options: OwnOptions, inputs: Sequence[str]
) -> tuple[NDArray[np.float64], Windows, Split, NDArray[np.int64]]:
    """Readings, the windows over them, their split, and the row of each one's target."""
    order, readings, times, groups = series_of(columns, options, inputs)
    by, seed = _by(options), _seed(options)
    if by == "column":
        assert options.split is not None
        values = columns.column(options.split)
        dealt = split_by_column([values[row] for row in order], refuse=_refuse(columns, order))
    else:
        together: Sequence[Hashable] | None = groups
        if by == "day":
            assert times is not None
            together = days(times).tolist()
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
    columns: Columns,
    options: OwnOptions,
    samples: Sequence[tuple[Hashable, ...]],
    rows: NDArray[np.int64],
    index: NDArray[np.int64],
) -> Split:
    """The parts of samples that are rows; equal ones are never in two."""
    by = _by(options)
    if by == "column":
        assert options.split is not None
        refuse, values = _refuse(columns, rows), columns.column(options.split)
        split = split_by_column([values[row] for row in rows], refuse=refuse)
        refuse_shared(samples, split, refuse=refuse)
        return split
    groups: Sequence[Hashable] | None = None
    times = None
    if by == "random":
        groups = groups_of_equal(samples).tolist()
    elif by == "group":
        assert options.group is not None
        values = columns.column(options.group)
        groups = [values[row] for row in rows]
    else:
        assert options.time is not None
        times = parse_times(columns.column(options.time), columns.refuse, options.time)[rows]
        groups = days(times).tolist() if by == "day" else None
    return split_rows(
        index,
        by="group" if by == "day" else by,
        balanced=options.balanced,
        cap=options.cap,
        seed=_seed(options),
        groups=groups,
        times=times,
    )


def _suggested(labels: NDArray[np.float64], options: OwnOptions) -> Suggestion:
    try:
        if len(np.unique(labels)) < 2:  # of few training samples
            return Suggestion(LabelBins.of_width(labels, 1.0), 1.0, MANY, FEW, "")
        return suggest(labels, width=options.bin_width, many=options.many, few=options.few)
    except ValueError as error:
        raise UsageError(f"The label axis cannot be cut like this: {error}.") from error


def _by(options: OwnOptions) -> Any:
    """What deals the samples to parts."""
    if options.split is not None:
        return "column"
    usual = "group" if options.group else "time" if options.window else "random"
    return options.split_by or usual


def _seed(options: OwnOptions) -> int:
    return SEED if options.split_seed is None else options.split_seed


def _refuse(columns: Columns, rows: NDArray[np.int64]) -> Refuse:
    """Refuse samples by the lines of their rows."""

    def refuse(samples: Iterable[int], what: str, remedy: str) -> None:
        columns.refuse(rows[list(samples)].tolist(), what, remedy)

    return refuse


def _named(text: str) -> tuple[str, LabelRange]:
    try:
        return parse_named(text)
    except ValueError as error:
        raise UsageError(f"--region {text!r}: {error}.") from error


def refuse_idle(options: OwnOptions) -> None:
    """Refuse what contradicts, and what would silently do nothing."""
    kinds = {"--text": options.text, "--image": options.image, "--window": options.window}
    given = [name for name, value in kinds.items() if value]
    if len(given) > 1:
        raise UsageError(f"{given[0]} and {given[1]} say two things of the inputs: give one.")
    if options.features and given and given != ["--window"]:
        raise UsageError(f"--features does nothing beside {given[0]}: leave one of the two out.")
    if options.categories and given:
        raise UsageError(f"--categories does nothing beside {given[0]}: leave one of the two out.")
    if len(options.text) > 2:
        raise UsageError(f"--text takes one or two columns, got {len(options.text)}.")
    if options.target in options.inputs and options.window is None:
        raise UsageError(
            f"Column {options.target!r} is the target and an input: leave it out of the inputs."
        )
    if options.window is None and options.horizon is not None:
        raise UsageError("--horizon is that of a forecast: give --window too.")
    if options.window is not None and options.split_by == "random":
        raise UsageError(
            "Windows of a series overlap, so that a random split would test what was trained on: "
            "give --split-by time or day, or --group."
        )
    for name, number in (("window", options.window), ("horizon", options.horizon)):
        if number is not None and number < 1:
            raise UsageError(f"--{name} is a number of readings of at least 1, got {number}.")
    by = options.split_by
    drawn: dict[str, Any] = {
        "--split-by": by,
        "--group": options.group if options.window is None else None,
    }
    drawn |= {"--cap": options.cap, "--split-seed": options.split_seed}
    for name, value in drawn.items():
        if options.split is not None and value is not None:
            raise UsageError(f"{name} does nothing beside --split: leave one of the two out.")
    if by == "group" and options.group is None:
        raise UsageError("--split-by group needs the column that names the groups: give --group.")
    if by in ("time", "day") and options.time is None and not (by == "time" and options.window):
        raise UsageError(f"--split-by {by} needs the column of the time: give --time.")
    if options.cap is not None and not options.balanced:
        raise UsageError("--cap balances, which --no-balanced forbids: leave one of the two out.")
