"""Plan the split of user data: select samples, split them, choose label bins and shot regions."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.formatting import format_count
from ranksim.data.arrow_cells import map_cells
from ranksim.data.binning import choose_label_bins, choose_shot_regions
from ranksim.data.cells import is_blank
from ranksim.data.data_report import DataReport
from ranksim.data.days import describe_days, read_days
from ranksim.data.series import (
    Readings,
    Windows,
    describe_readings,
    describe_windows,
    make_windows,
    merge_repeated_times,
    split_windows,
)
from ranksim.data.spec import ImageSpec, SeriesSpec, TableSpec, TextSpec, UserDataSpec
from ranksim.data.splitting import (
    CALIBRATION,
    CALIBRATION_NAMES,
    PARTS,
    TEST_PER_BIN,
    UNUSED,
    Split,
    balance_held_out,
    draw_calibration,
    draw_validation,
    factorize,
    read_parts,
    split_by_column,
    split_rows,
)
from ranksim.data.table import (
    Floats,
    Ints,
    Missing,
    Table,
    are_absent,
    day_index,
    describe_times,
    find_time_scale,
    read_groups,
    read_labels,
    read_targets,
    read_times,
)
from ranksim.exceptions import DataError, UsageError
from ranksim.imbalance import LabelBins
from ranksim.imbalance.bins import LabelRange
from ranksim.user_data.columns import has_no_name
from ranksim.user_data.input_columns import InputChoice, report_nameless, warn_of_future_copies
from ranksim.user_data.sample_keys import hash_samples, hash_windows
from ranksim.user_data.sample_origin import describe_origin, read_origin
from ranksim.user_data.sample_split import SplitOutcome, number_read_samples, split_samples
from ranksim.user_data.sample_weights import drop_weightless, read_sample_weights
from ranksim.user_data.sentinels import describe_precision, describe_unused, find_sentinels
from ranksim.user_data.split_column import (
    find_likely_splits,
    find_split_column,
    write_split_file,
)


@dataclass(frozen=True, eq=False)
class SplitPlan:
    """The plan for user data: selected samples, split, label bins and shot regions."""

    table: Table
    options: UserDataSpec
    inputs: tuple[str, ...]  # names of the input columns
    rows: Ints  # (N,), table row of each sample's label
    labels: Floats  # (N,), in the unit of the data
    split: Split  # positions among the N samples
    bins: LabelBins
    many: int  # threshold of training samples per bin, like few
    few: int
    named: dict[str, LabelRange]  # regions
    facts: dict[str, Any]  # identity of the data in results
    report: DataReport
    parts: NDArray[np.str_]  # (R,), train, val, test or unused, of each row of the table
    calibration: Ints | None = None  # positions in split.val of samples that calibrate intervals
    weights: Floats | None = None  # (N,), at least 0, and above 0 for training samples
    readings: Floats | None = None  # (T, C), of a series in time order
    reading_times: Floats | None = None  # (T,), in seconds
    windows: Windows | None = None  # over the readings, one per sample

    @property
    def groups(self) -> Ints | None:
        """Group or day index of each test sample, for a cluster bootstrap; or None."""
        test, options = self.split.test, self.options
        if options.split_method == "group" and options.group is not None:
            return factorize(read_groups(self.table.take(self.rows[test]), options.group))
        if options.time is None:
            return None
        if options.split_method == "day":
            return read_days(self.table.take(self.rows), options.time)[test]
        if self.windows is not None and self.windows.times is not None:
            return day_index(self.windows.times[test])
        return None

    @property
    def test_set(self) -> Literal["balanced", "random", "latest", "given"]:
        """How the test samples were chosen, see :class:`ranksim.datasets.base.Benchmark`."""
        method = self.options.split_method
        if method == "column":
            return "given"
        if method == "protocol" or self.options.balanced:
            return "balanced"
        return "latest" if method == "time" else "random"

    def count_labels(self) -> Ints:
        """Count the samples in each label bin, ``(K,)``, without rows marked as unused."""
        labels = self.labels
        if self.options.split is not None and self.options.split_method == "column":
            is_used = read_parts(self.table.take(self.rows), self.options.split) != UNUSED
            labels = labels[is_used]
        return self.bins.histogram(labels)

    def describe_origin(self, rows: Ints) -> dict[str, list[Any]]:
        """Return the row, line, image path and group of rows of the table ``(N,)``."""
        return describe_origin(self.table, rows, **self._origin_columns)

    @property
    def _origin_columns(self) -> dict[str, str | None]:
        image = self.options.image if isinstance(self.options, ImageSpec) else None
        return {"image": image, "group": self.options.group}

    def describe_test(self) -> dict[str, list[Any]]:
        """Return what :meth:`describe_origin` does for the test samples, and times of forecasts."""
        origin = self.describe_origin(self.rows[self.split.test])
        if self.windows is not None and self.windows.times is not None:
            assert self.options.time is not None
            column = self.table.column(self.options.time)
            origin["time"] = [str(column[row]) for row in self.rows[self.split.test]]
        return origin

    def hash_samples(self, columns: Sequence[str]) -> NDArray[np.uint64]:
        """Return a hash of the given columns of each sample, or of its window, ``(N,)``."""
        if self.windows is not None and self.readings is not None:
            windows = self.windows
            return hash_windows(self.readings, self.reading_times, windows.ends, windows.window)
        return hash_samples(self.table, self.options, columns, self.rows)

    def write_split(self, path: Path) -> None:
        """Write the part of each row of the table to a file for ``--split``."""
        columns = read_origin(self.table, np.arange(self.table.n_rows), **self._origin_columns)
        write_split_file(path, self.table, self.parts.tolist(), columns)


def make_split_plan(table: Table, options: UserDataSpec) -> SplitPlan:
    """Select the samples of user data, split them, and choose label bins and regions."""
    inputs = options.inputs or _infer_inputs(table, options)
    _reject_other_columns(options, inputs)
    readings = windows = split = None
    if isinstance(options, SeriesSpec):
        readings, windows, split, parts = _make_forecasts(table, options, inputs)
        rows, labels = readings.rows[windows.target_rows], windows.labels
    else:
        rows, labels = _select_samples(table, options)
    _require_two_labels(table, options, labels)
    bins = choose_label_bins(labels, options)
    label_index, by, seed = bins.digitize(labels), options.split_method, options.seed
    outcome, choice = SplitOutcome(), InputChoice(inputs)
    if split is None:
        choice = _choose_inputs(table, options, inputs, rows, labels)
        inputs = choice.inputs
        split, outcome = split_samples(table.take(rows), options, inputs, label_index)
        parts = np.full(table.n_rows, UNUSED, dtype="<U11")
        for part, members in zip(PARTS, split, strict=True):
            parts[rows[members]] = part
    elif options.balanced and by != "column":
        split = balance_held_out(split, label_index, max_per_bin=options.max_per_bin, seed=seed)
    weights, weight_report = None, DataReport()
    if options.weights is not None:
        weights, selected = read_sample_weights(table, options.weights, rows), split.train
        split, weight_report = drop_weightless(split, weights, table, options.weights)
        if windows is None:
            outcome = replace(outcome, n_weightless=len(selected) - len(split.train))
            parts[rows[selected[weights[selected] == 0]]] = UNUSED
    calibration = None
    if options.calibration:
        samples = rows, label_index
        split, calibration = _choose_calibration(table, options, inputs, samples, split, windows)
        if windows is None:
            parts[rows[calibration]] = CALIBRATION
    regions, many, few = choose_shot_regions(bins, labels[split.train], options)
    facts: dict[str, Any] = {
        "name": Path(table.name).name,
        "sha256": table.sha256,
        "inputs": list(inputs),
        "counts": [len(part) for part in split],
        "split_by": by,
    }
    if by == "protocol":
        facts["protocol"] = options.protocol
        facts["test_per_bin"] = options.test_per_bin or TEST_PER_BIN
    elif by != "column":
        facts["balanced"] = options.balanced
    if by != "column" or outcome.is_val_drawn:
        facts["split_seed"] = seed
    facts |= outcome.to_facts() | {"bins": len(bins), "many": many, "few": few}
    named = dict(regions.named)
    report = _report_rows(table, options, rows, split, outcome).combine(weight_report)
    report = report.combine(_report_calibration(split, calibration)).combine(choice.report)
    if not options.inputs:
        report = report.combine(report_nameless(name for name in table.names if name not in inputs))
        likely = find_likely_splits(table, _list_used(options))
        left_out = {column.name: column.reason for column in likely}
        report = report.combine(DataReport(columns={"left_out": left_out} if left_out else {}))
    report.warnings += [each.describe(options.target) for each in find_sentinels(labels)]
    report.warnings += describe_precision(options.target, labels)
    targets = read_labels(table, options.target, missing="nan")
    report.warnings += describe_unused(options.target, targets, options.missing_target)
    if windows is not None and readings is not None:
        used = sum(map(len, split))
        report = report.combine(_report_series(readings, windows, inputs, options.target, used))
    return SplitPlan(
        *(table, options, inputs, rows, labels, split, bins, many, few, named, facts, report),
        parts=parts,
        calibration=calibration,
        weights=weights,
        readings=None if readings is None else readings.values,
        reading_times=None if readings is None else readings.times,
        windows=windows,
    )


def _require_two_labels(table: Table, options: UserDataSpec, labels: Floats) -> None:
    if len(np.unique(labels)) < 2:
        problem = f"only the label {labels[0]:g}" if len(labels) else "no labels"
        raise DataError(
            f"{table.name} has {problem} in column {options.target!r}: choose a target with at "
            "least two different values."
        )


def _report_series(
    readings: Readings, windows: Windows, inputs: Sequence[str], target: str, used: int
) -> DataReport:
    """Report readings, the windows in use, and inputs that equal future readings of the target."""
    report = describe_readings(readings, windows)
    dates = readings.time_scale > 0
    report = report.combine(describe_windows(windows, used=used, dates=dates))
    last = readings.values[windows.ends]
    report.warnings += warn_of_future_copies(inputs, last, windows.labels, target)
    return report


def _choose_calibration(
    table: Table,
    options: UserDataSpec,
    inputs: Sequence[str],
    samples: tuple[Ints, Ints],
    split: Split,
    windows: Windows | None,
) -> tuple[Split, Ints]:
    """Choose the validation samples that calibrate intervals, and return them with the split.

    They are the rows that a split column calls ``calibration``, or half of validation, see
    :func:`ranksim.data.splitting.draw_calibration`. Forecasts of calibration that share readings
    with other validation samples are left out of both.

    Args:
        table: of the data.
        options: of the data.
        inputs: names of the input columns.
        samples: table row and label bin of each sample, ``(N,)`` each.
        split: positions among the samples.
        windows: of a series, one per sample.
    """
    rows, label_index = samples
    val, by = split.val, options.split_method
    part = table.take(rows[val])
    is_marked = np.zeros(len(val), dtype=np.bool_)
    if options.split is not None and by == "column":
        is_marked = map_cells(part.column(options.split), _is_calibration, np.bool_)
    units, bins, times = np.arange(len(val)), None, None
    if by == "group":
        assert options.group is not None
        units = factorize(read_groups(part, options.group))
    elif by == "day":
        assert options.time is not None
        units = factorize(read_days(part, options.time).tolist())
    elif by == "time" or windows is not None:
        moments = rows[val].astype(np.float64)
        times = moments if options.time is None else read_times(part, options.time)
    else:
        units, bins = number_read_samples(part, options, inputs), label_index[val]
    mask = is_marked
    if not mask.any():
        mask = draw_calibration(units, bins, seed=options.seed, times=times)
    calibration, rest = val[mask], val[~mask]
    if windows is not None:
        calibration = calibration[~windows.share_readings(calibration, rest)]
    if not len(calibration) or not len(rest):
        raise DataError(
            f"{table.name} has {format_count(len(val), 'validation sample')}, which cannot be "
            "divided for --interval: use more data, or name calibration rows in a split column."
        )
    return split._replace(val=np.sort(np.concatenate([rest, calibration]))), calibration


def _is_calibration(cell: Any) -> bool:
    return str(cell).strip().lower() in CALIBRATION_NAMES


def _report_calibration(split: Split, calibration: Ints | None) -> DataReport:
    """Report the number of the validation samples that calibrate intervals, if there are any."""
    if calibration is None:
        return DataReport()
    text = (
        f"{len(calibration):,} of {format_count(len(split.val), 'validation sample')} calibrate "
        "intervals, and choose no checkpoint"
    )
    return DataReport(notes={"Calibration": text})


def _reject_other_columns(options: UserDataSpec, inputs: Sequence[str]) -> None:
    """Raise an error if an option names a column that is not an input."""
    for option in ("categories", "keep"):
        for name in getattr(options, option, ()):
            if name not in inputs:
                raise UsageError(f"--{option} contains {name!r}, which is not an input: remove it.")


def _choose_inputs(
    table: Table, options: UserDataSpec, inputs: tuple[str, ...], rows: Ints, labels: Floats
) -> InputChoice:
    """Return the inputs without those that identify a row or contain its label ``(N,)``.

    Training rows of a given split decide, or all rows of which a split is to be drawn.
    """
    choice = InputChoice.leave_out_identifiers(table, options, inputs, rows)
    if options.split is not None:
        is_train = read_parts(table.take(rows), options.split) == PARTS[0]
        rows, labels = rows[is_train], labels[is_train]
    return choice.leave_out_leaks(options, rows, labels)


def _select_samples(table: Table, options: UserDataSpec) -> tuple[Ints, Floats]:
    """Return the rows with a label, and their labels; rows that are unused need none."""
    if options.skip_missing or options.split is None:
        missing: Missing = "nan" if options.skip_missing else "raise"
        values = read_targets(table, options.target, options.missing_target, missing=missing)
    else:
        is_used = read_parts(table, options.split) != UNUSED
        read_labels(table.take(np.flatnonzero(is_used)), options.target)
        values = read_targets(table, options.target, options.missing_target, missing="nan")
    is_usable = np.isfinite(values)
    if options.skip_missing:
        is_usable &= ~_find_blank(table, options)
    rows = np.flatnonzero(is_usable)
    return rows, values[rows]


def _count_reasons(table: Table, options: UserDataSpec, rows: Ints) -> dict[str, int]:
    """Count the rows that are no samples by the first reason that applies."""
    values = read_labels(table, options.target, missing="nan")
    names = " or ".join(repr(name) for name in options.inputs)
    masks = {f"no text in column {names}": _find_blank(table, options)}
    masks |= {
        f"{options.target} is {n:.12g}": are_absent(values, [n]) for n in options.missing_target
    }
    masks[f"no value in column {options.target!r}"] = np.ones(len(values), dtype=bool)
    is_open, counts = np.ones(len(values), dtype=bool), {}
    is_open[rows] = False
    for reason, mask in masks.items():
        if count := int(np.count_nonzero(mask & is_open)):
            counts[reason] = count
        is_open &= ~mask
    return counts


def _report_rows(
    table: Table, options: UserDataSpec, rows: Ints, split: Split, outcome: SplitOutcome
) -> DataReport:
    """Report the rows of the samples, those left out with the reason, and the split."""
    counts = dict(zip(PARTS, map(len, split), strict=True))
    used = sum(counts.values())
    left_out: dict[str, int] = {}
    if isinstance(options, SeriesSpec):
        rows_used: dict[str, Any] = {"used": table.n_rows}
    else:
        if len(rows) < table.n_rows:
            left_out |= _count_reasons(table, options, rows)
        left_out |= outcome.left_out
        unexplained = len(rows) - used - sum(outcome.left_out.values())
        if unexplained:
            by_column = options.split_method == "column"
            reason = f"marked {UNUSED}" if by_column else "to balance validation and test"
            left_out[reason] = unexplained
        rows_used = {"used": used, "left_out": left_out} if left_out else {"used": used}
    method = options.split_method
    described: dict[str, Any] = {
        "method": f"column {options.split!r}" if method == "column" else method,
        **counts,
    }
    if outcome.is_val_drawn:
        described["method"] += ", validation from its training rows"
    if method not in ("column", "time") or outcome.is_val_drawn:
        described["seed"] = options.seed
    report = DataReport(rows=rows_used, split=described, notes=dict(outcome.notes))
    if method in ("day", "time") and options.time is not None:
        times = table if isinstance(options, SeriesSpec) else table.take(rows)
        texts = {"Times": describe_times(times, options.time)}
        texts["Days"] = describe_days(times, options.time) if method == "day" else ""
        report.notes |= {topic: text for topic, text in texts.items() if text}
    return report.combine(_report_unused_split(table, options))


def _list_used(options: UserDataSpec) -> set[str | None]:
    """Return the names of the columns that options use, and that are not inputs by default."""
    return {options.target, options.group, options.time, options.split, options.weights}


def _report_unused_split(table: Table, options: UserDataSpec) -> DataReport:
    """Report a split column that is not used because options ask for another split."""
    if options.split is not None:
        return DataReport()
    used = {*_list_used(options), *options.inputs}
    name = find_split_column(table, used)
    if name is not None:
        text = f"column {name!r} is not used, because options ask for another split"
        return DataReport(notes={"Given split": text})
    likely = find_likely_splits(table, used)
    is_chosen = options.split_by is not None or options.protocol is not None
    is_chosen |= options.group is not None and not isinstance(options, SeriesSpec)
    if likely:
        return DataReport(warnings=[] if is_chosen else [each.describe() for each in likely])
    names = [name for name in table.names if name.strip().lower() == "split"]
    if names and not options.inputs:
        return DataReport(
            warnings=[
                f"Column {names[0]!r} names no train, val or test, so it is read as an input: name "
                "the input columns, or write train, val and test into it."
            ]
        )
    return DataReport()


def _find_blank(table: Table, options: UserDataSpec) -> NDArray[np.bool_]:
    """Return which rows have a blank text ``(N,)``; False for other kinds of data."""
    blank = np.zeros(table.n_rows, dtype=np.bool_)
    if isinstance(options, TextSpec):
        for name in options.text:
            blank |= [is_blank(value) for value in table.column(name)]
    return blank


def read_series(table: Table, options: SeriesSpec, inputs: Sequence[str]) -> Readings:
    """Read time series in time order, and merge readings whose time repeats.

    Raises:
        DataError: readings of the same time differ, and ``options.repeated_times`` is not "mean".
    """
    absent = dict.fromkeys(inputs, ()) | {options.target: options.missing_target}
    columns = [read_targets(table, name, absent[name], missing="nan") for name in inputs]
    values = np.stack(columns, axis=1)
    groups = None if options.group is None else read_groups(table, options.group)
    if options.time is None:
        return Readings(values, np.arange(len(values)), None, groups)
    times = read_times(table, options.time)
    series = np.zeros(len(times), dtype=np.int64) if groups is None else factorize(groups)
    order = np.lexsort((times, series))
    merged = merge_repeated_times(values[order], times[order], series[order])
    if options.repeated_times != "mean":
        table.raise_for_rows(
            sorted(order[merged.different].tolist()),
            f"a time in column {options.time!r} repeats with other readings",
            "merge them with --repeated-times mean, or "
            + ("correct them" if options.group else "add --group if they are several series"),
        )
    if options.split is not None:
        parts = factorize(read_parts(table, options.split).tolist()).astype(np.float64)[order, None]
        shared = merge_repeated_times(parts, times[order], series[order]).different
        table.raise_for_rows(
            sorted(order[shared].tolist()),
            f"a time in column {options.time!r} repeats in another part",
            "keep all readings of a time in one part",
        )
    rows = order[merged.first]
    return Readings(
        merged.values,
        rows,
        times[rows],
        None if groups is None else [groups[row] for row in rows],
        repeats=order[merged.repeated],
        time_scale=find_time_scale(table, options.time),
        time_note=describe_times(table, options.time),
    )


def _infer_inputs(table: Table, options: UserDataSpec) -> tuple[str, ...]:
    """Return the names of all columns that no option uses."""
    used = _list_used(options)
    used.add(find_split_column(table, used))  # the part is not an input
    used |= {column.name for column in find_likely_splits(table, used)}
    keep = options.keep if isinstance(options, TableSpec) else ()
    names = tuple(
        name for name in table.names if name not in used and (not has_no_name(name) or name in keep)
    )
    if not names:
        raise DataError(
            f"{table.name} has no input column beside {options.target!r}: add input columns."
        )
    return names


def _make_forecasts(
    table: Table, options: SeriesSpec, inputs: Sequence[str]
) -> tuple[Readings, Windows, Split, NDArray[np.str_]]:
    """Create forecast windows and split them; also return the part of each row of the table."""
    readings = read_series(table, options, inputs)
    times, groups, rows = readings.times, readings.groups, readings.rows
    by = options.split_method
    if by == "column":
        assert options.split is not None
        split = split_by_column(table.take(rows), options.split, needs_val=False)
        if not len(split.val):
            moments = np.arange(len(rows), dtype=np.float64) if times is None else times
            split = draw_validation(
                split, np.zeros(len(rows), dtype=np.int64), balanced=False, max_per_bin=None,
                seed=options.seed, times=moments,
            )  # fmt: skip
    else:
        units: Sequence[Hashable] | None = groups
        if by == "day":
            assert options.time is not None
            units = read_days(table, options.time)[rows].tolist()
        split = split_rows(
            np.zeros(len(rows), dtype=np.int64),
            by="time" if by == "time" else "group",
            balanced=False,
            max_per_bin=None,
            seed=options.seed,
            groups=units,
            times=np.arange(len(rows), dtype=np.float64) if times is None else times,
        )
    parts = _list_parts(table, options, readings, split)
    target = readings.values[:, inputs.index(options.target)]
    shape: dict[str, Any] = {"window": options.window, "horizon": options.horizon or 1}
    windows, split = split_windows(split, readings.values, times, target, **shape, groups=groups)
    return readings, windows, split, parts


def make_all_forecasts(
    table: Table, options: SeriesSpec, inputs: Sequence[str]
) -> tuple[Readings, Windows, Ints]:
    """Create all forecast windows of a series, also across the boundaries of its parts.

    Also return the positions of those that contain no reading marked as unused.
    """
    readings = read_series(table, options, inputs)
    is_used = np.ones(len(readings.rows), dtype=np.bool_)
    if options.split is not None:
        is_used = read_parts(table.take(readings.rows), options.split) != UNUSED
    windows = make_windows(
        *(readings.values, readings.times, readings.values[:, inputs.index(options.target)]),
        window=options.window,
        horizon=options.horizon or 1,
        groups=readings.groups,
        parts=is_used.astype(np.int64),
    )
    return readings, windows, np.flatnonzero(is_used[windows.target_rows])


def _list_parts(
    table: Table, options: SeriesSpec, readings: Readings, split: Split
) -> NDArray[np.str_]:
    """Return the part of each row of the table, of which some may be in no window."""
    parts = np.full(table.n_rows, UNUSED, dtype="<U6")
    for part, members in zip(PARTS, split, strict=True):
        parts[readings.rows[members]] = part
    if len(readings.repeats) and options.time is not None:  # they belong to the reading they equal
        times = read_times(table, options.time)
        groups = [""] * table.n_rows
        if options.group is not None:
            groups = read_groups(table, options.group)
        part_of = {(groups[row], times[row]): parts[row] for row in readings.rows}
        for row in readings.repeats:
            parts[row] = part_of[groups[row], times[row]]
    return parts
