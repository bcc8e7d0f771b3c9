"""Choose the input columns of a table, without identifiers and columns that contain the target."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ranksim._utils.formatting import format_name, join_names
from ranksim.data.arrow_cells import take_cells
from ranksim.data.data_report import DataReport
from ranksim.data.number_format import NumberFormat
from ranksim.data.spec import TableSpec, UserDataSpec, join_words
from ranksim.data.table import Floats, Ints, Table
from ranksim.exceptions import DataError
from ranksim.user_data.columns import has_no_name
from ranksim.user_data.identifiers import classify_identifier
from ranksim.user_data.leaks import (
    ColumnValues,
    Leak,
    classify_leak,
    find_column_leaks,
    find_sums,
    read_values,
)

_MAX_ROWS, _MAX_CELLS = 4_000, 200_000  # of a sample; copies and sums are confirmed on all rows
_MIN_TRAINING = 1_000  # rows of the sample
_MAX_NAMES = 6  # in a warning
_IDENTIFIERS = {  # what several or one of them do, and why they are no inputs
    "index": ("number the rows", "numbers the rows", "the order of a file can tell the target"),
    "identifier": (
        "have another integer in every row, as identifiers",
        "has another integer in every row, as an identifier",
        "a model can only memorize it",
    ),
}
_KEPT = "Kept"  # title of a note
_NAMELESS = "without a name, as the index of a data frame"
_REASONS = {
    "index": "row number",
    "identifier": "identifier of the row",
    "copy": "equal to the target",
    "monotone": "monotone function of the target",
    "sum": "part of a sum equal to the target",
    "outcome": "predicts the target alone",
}


@dataclass(frozen=True, eq=False)
class ColumnSample:
    """The input columns of a table as read once: identifiers, and values of some rows.

    Args:
        identifiers: whether a column is an ``index`` or an ``identifier``, by name.
        rows: sampled rows of the table ``(M,)``, in order.
        columns: values of the other columns of numbers and names in these rows.
        categories: names of columns that are read as names, also if they contain numbers.
    """

    table: Table
    identifiers: dict[str, str]
    rows: Ints
    columns: dict[str, ColumnValues]
    categories: frozenset[str] = field(default=frozenset())

    def find_leaks(self, rows: Ints, labels: Floats) -> list[Leak]:
        """Return the columns that contain the target, judged by rows of the table ``(N,)``."""
        places = np.searchsorted(rows, self.rows).clip(max=max(len(rows) - 1, 0))
        is_used = rows[places] == self.rows
        if is_used.sum() >= min(_MIN_TRAINING, len(rows)):
            sampled = labels[places[is_used]]
            columns = {
                name: ColumnValues(column.values[is_used], column.is_category)
                for name, column in self.columns.items()
            }
        else:
            chosen = _sample(len(rows), len(self.columns))
            sampled = labels[chosen]
            columns = self._read(self.columns, rows[chosen])
        leaks = find_column_leaks(columns, sampled)
        if len(sampled) == len(rows):
            return leaks
        confirmed = (self._confirm(leak, rows, labels) for leak in leaks)
        return [leak for leak in confirmed if leak is not None]

    def _confirm(self, leak: Leak, rows: Ints, labels: Floats) -> Leak | None:
        """Return the leak as all rows show it, or None if they do not."""
        if leak.kind == "outcome":
            return leak
        columns = self._read(leak.names, rows)
        if leak.kind == "sum":
            return leak if find_sums([each.values for each in columns.values()], labels) else None
        kind = classify_leak(columns[leak.names[0]], labels)
        return None if kind is None else replace(leak, kind=kind)

    def _read(self, names: Iterable[str], rows: Ints) -> dict[str, ColumnValues]:
        part = self.table.take(rows)
        values = {name: _read_column(part, name, self.categories) for name in names}
        return {name: each for name, each in values.items() if each is not None}


def sample_columns(
    table: Table, names: Sequence[str], rows: Ints, categories: Collection[str] = ()
) -> ColumnSample:
    """Read each column once: find identifiers among all rows, and sample some of ``rows``.

    ``categories`` are columns of names, also if they contain numbers.
    """
    chosen = rows[_sample(len(rows), len(names))]
    identifiers: dict[str, str] = {}
    columns: dict[str, ColumnValues] = {}
    for name in names:
        try:
            number_format = None if name in categories else table.number_format(name)
        except DataError:  # raised where the column is read
            continue
        cells = table.column(name)
        if number_format is not None:
            kind = classify_identifier(name, cells, number_format)
            if kind is not None:
                identifiers[name] = kind
                continue
        values = read_values(take_cells(cells, chosen), number_format)
        if values is not None:
            columns[name] = values
    return ColumnSample(table, identifiers, chosen, columns, frozenset(categories))


def _sample(n_rows: int, n_columns: int) -> Ints:
    """Return some positions among ``n_rows``, in order: fewer if there are many columns."""
    size = min(_MAX_ROWS, max(_MIN_TRAINING, _MAX_CELLS // max(n_columns, 1)))
    if n_rows <= size:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(0).choice(n_rows, size, replace=False))


def _read_column(table: Table, name: str, categories: Collection[str]) -> ColumnValues | None:
    number_format: NumberFormat | None
    number_format = None if name in categories else table.number_format(name)
    return read_values(table.column(name), number_format)


@dataclass(frozen=True)
class InputChoice:
    """The columns that a table model reads, and a report of those left out."""

    inputs: tuple[str, ...]
    report: DataReport = field(default_factory=DataReport)
    sample: ColumnSample | None = None  # None for other kinds of data than tables

    @classmethod
    def leave_out_identifiers(
        cls, table: Table, options: UserDataSpec, inputs: tuple[str, ...], rows: Ints
    ) -> InputChoice:
        """Return the inputs of a table without those that number or identify its rows."""
        if not isinstance(options, TableSpec):
            return cls(inputs)
        names = [name for name in inputs if name not in options.embedding]
        sample = sample_columns(table, names, rows, options.categories)
        is_read = not set(inputs) - set(sample.identifiers)  # there is nothing else to read
        report = report_identifiers(sample.identifiers, options.keep, is_read=is_read)
        return cls(inputs, DataReport(), sample)._leave_out(report)

    def leave_out_leaks(self, options: UserDataSpec, rows: Ints, labels: Floats) -> InputChoice:
        """Return the inputs without those that contain the target in these rows ``(N,)``."""
        if self.sample is None or not isinstance(options, TableSpec) or not len(rows):
            return self
        leaks = self.sample.find_leaks(rows, labels)
        return self._leave_out(report_leaks(leaks, options.target, options.keep))

    def _leave_out(self, report: DataReport) -> InputChoice:
        left_out = report.columns.get("left_out", {})
        inputs = tuple(name for name in self.inputs if name not in left_out)
        combined = combine_reports(self.report, report)
        if not inputs and self.sample is not None:
            reasons = "; ".join(
                f"{name!r} {reason}" for name, reason in combined.columns["left_out"].items()
            )
            raise DataError(
                f"No input column of {self.sample.table.name} can be used ({reasons}): choose "
                "other columns, or name those to read nevertheless with --keep."
            )
        return InputChoice(inputs, combined, self.sample)


def report_nameless(names: Iterable[str]) -> DataReport:
    """Report the columns without a name among ``names``, which are left out."""
    left_out = dict.fromkeys(filter(has_no_name, names), _NAMELESS)
    return DataReport(columns={"left_out": left_out} if left_out else {})


def report_identifiers(
    identifiers: Mapping[str, str], keep: Collection[str] = (), *, is_read: bool = False
) -> DataReport:
    """Report columns that number or identify the rows; those to ``keep`` are read.

    ``is_read`` says that all of them are read, because the table has no other input.
    """
    report = _report_columns(identifiers, identifiers if is_read else keep)
    for kind, (plural, singular, why) in _IDENTIFIERS.items():
        names = [name for name, each in identifiers.items() if each == kind and name not in keep]
        if names:
            text = f"{_list_columns(names)} {singular if len(names) == 1 else plural}, and {why}"
            remedy = "add columns that describe the rows" if is_read else _describe_remedy(names)
            report.warnings.append(f"{text}: {remedy}.")
    return report


def report_leaks(leaks: Sequence[Leak], target: str, keep: Collection[str] = ()) -> DataReport:
    """Report columns that contain the target; those to ``keep`` are read."""
    kinds: dict[str, str] = {}
    for leak in leaks:
        for name in leak.names:
            kinds.setdefault(name, leak.kind)
    report = _report_columns(kinds, keep)
    for leak in leaks:
        names = [name for name in leak.names if name not in keep]
        if names:
            text = f"{_list_columns(leak.names)} {_describe_leak(leak, target)}"
            text += f": {_describe_remedy(names)}"
            if leak.kind == "outcome" and leak.is_repeated:
                text += f", or --group {shlex.quote(names[0])} if its values name groups of rows"
            report.warnings.append(f"{text}.")
    return report


def warn_of_future_copies(
    names: Sequence[str], readings: Floats, labels: Floats, target: str
) -> list[str]:
    """Return a warning for each column of a series that already contains the future target.

    A column that equals the target at the same time is none: the past of the target is an input.

    Args:
        names: of the columns ``(C,)``.
        readings: the last ones of each window ``(N, C)``.
        labels: the target to forecast from each window ``(N,)``.
        target: name of the column of the target.
    """
    kinds = {
        name: classify_leak(ColumnValues(values), labels)
        for name, values in zip(names, readings.T, strict=True)
        if name != target
    }
    return [
        f"Column {name!r} at the end of each window equals the target {target!r} that is to be "
        "forecast: remove it from --features."
        for name, kind in kinds.items()
        if kind == "copy"
    ]


def combine_reports(report: DataReport, other: DataReport) -> DataReport:
    """Return both reports as one, with the columns that both keep."""
    texts = [each.notes[_KEPT] for each in (report, other) if _KEPT in each.notes]
    combined = report.combine(other)
    return replace(combined, notes=combined.notes | ({_KEPT: "; ".join(texts)} if texts else {}))


def _describe_leak(leak: Leak, target: str) -> str:
    if leak.kind == "sum":
        return f"add up to the target ({_format_sum(leak, target)})"
    return {
        "copy": f"equals the target {target!r}",
        "monotone": f"is a monotone function of the target {target!r}",
        "outcome": (
            f"predicts the target {target!r} alone (R² of a tree above 0.99), as if it were only "
            "known after it"
        ),
    }[leak.kind]


def _format_sum(leak: Leak, target: str) -> str:
    text = ""
    for name, weight in zip(leak.names, leak.weights, strict=True):
        sign = "-" if weight < 0 else "+" if text else ""
        size = "" if abs(abs(weight) - 1) < 1e-3 else f"{abs(weight):.4g} × "
        text += f" {sign} {size}{format_name(name)}" if text else f"{sign}{size}{format_name(name)}"
    if leak.constant:
        text += f" {'-' if leak.constant < 0 else '+'} {abs(leak.constant):.4g}"
    return f"{target} = {text}"


def _report_columns(kinds: Mapping[str, str], keep: Collection[str]) -> DataReport:
    """Report columns by kind: left out with the reason, or read because of ``--keep``."""
    left_out = {name: _REASONS[kind] for name, kind in kinds.items() if name not in keep}
    read = [f"{format_name(name)} ({_REASONS[kinds[name]]})" for name in kinds if name in keep]
    notes = {_KEPT: "; ".join(read)} if read else {}
    return DataReport(columns={"left_out": left_out} if left_out else {}, notes=notes)


def _list_columns(names: Sequence[str]) -> str:
    noun = "Column" if len(names) == 1 else "Columns"
    return f"{noun} {join_names(map(repr, names), _MAX_NAMES)}"


def _describe_remedy(names: Sequence[str]) -> str:
    """Return what was done, and the option that reads the columns nevertheless."""
    pronoun, verb = ("it", "is") if len(names) == 1 else ("they", "are")
    them = "it" if len(names) == 1 else "them"
    return f"{pronoun} {verb} left out; add --keep {shlex.quote(join_words(names))} to read {them}"
