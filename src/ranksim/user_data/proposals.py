"""Propose commands for the columns of a table, and say what each of them reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ranksim._utils.formatting import format_count, format_name, join_names
from ranksim._utils.progress import track
from ranksim.data.arrow_cells import ArrowCells, count_cells, map_cells
from ranksim.data.cells import is_blank, is_missing
from ranksim.data.data_report import DataReport
from ranksim.data.images.table import IMAGE_COLUMNS
from ranksim.data.spec import join_words
from ranksim.data.splitting import read_parts
from ranksim.data.table import Ints, Table, parse_numbers, read_times
from ranksim.exceptions import DataError
from ranksim.user_data.columns import MAX_CATEGORIES, fit_column, has_no_name
from ranksim.user_data.features import TableFeatures
from ranksim.user_data.input_columns import (
    combine_reports,
    report_identifiers,
    report_leaks,
    report_nameless,
    sample_columns,
)
from ranksim.user_data.near_duplicates import report_near_rows
from ranksim.user_data.split_column import LikelySplit, find_likely_splits, find_split_column

_IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".heic",
    ".heif", ".avif", ".jxl", ".jp2",
)  # fmt: skip
_MAJORITY = 0.9  # share of the cells that decides the kind of a column, and of equal steps
_MIN_WORDS = 3  # of a text on average; fewer are a name or a category
_MIN_READINGS = 50  # of a series
_MAX_CELLS = 400_000  # of the rows that are compared with each other
_WINDOW = 24  # readings, in the proposal for a series


@dataclass(frozen=True)
class ColumnKinds:
    """The columns of a table by kind, without the target and the split.

    Args:
        features: encoders of the columns that a table model reads.
        texts: columns of texts of several words.
        images: columns of image paths.
        time: a column of increasing times at equal steps, or None.
        split: the column of the parts of a given split, or None.
        problems: messages about columns that cannot be read.
        likely_splits: columns that most likely belong to a split.
        left_out: report of columns that number the rows or contain the target.
        keep: names of such columns that are read nevertheless.
    """

    features: TableFeatures
    texts: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    time: str | None = None
    split: str | None = None
    problems: list[str] = field(default_factory=list)
    likely_splits: list[LikelySplit] = field(default_factory=list)
    left_out: DataReport = field(default_factory=DataReport)
    keep: tuple[str, ...] = ()

    def describe(self, table: Table) -> DataReport:
        """Report the columns by kind, their missing values, and the given split."""
        report = self.features.describe(table)
        report = report.combine(self.features.describe_names(table)).combine(self.left_out)
        left_out = report.columns.pop("left_out", {})
        left_out |= {column.name: column.reason for column in self.likely_splits}
        report.warnings += [column.describe() for column in self.likely_splits]
        kinds = {"texts": self.texts, "images": self.images}
        report.columns.update({kind: names for kind, names in kinds.items() if names})
        if left_out:
            report.columns["left_out"] = left_out
        report.warnings += self.problems
        if self.split is not None:
            try:
                counts = Counter(read_parts(table, self.split).tolist())
            except DataError as error:
                report.warnings.append(str(error))
            else:
                sizes = ", ".join(f"{count:,} {part}" for part, count in sorted(counts.items()))
                report.notes["Given split"] = f"column {self.split!r}: {sizes}"
        return report


def find_column_kinds(
    table: Table, target: str, rows: Ints, keep: tuple[str, ...] = ()
) -> ColumnKinds:
    """Return the kinds of all columns but the target, read from these rows.

    Columns without a name, and those that number the rows or contain the target, are left out,
    unless they are in ``keep``.
    """
    split = find_split_column(table, (target,))
    likely = [] if split else find_likely_splits(table, (target,))
    unread = {target, split, *(column.name for column in likely)}
    columns, dropped = [], {}
    texts, images, problems = [], [], []
    for name in track(table.names, "reading columns"):
        if name in unread or table.names.count(name) > 1:
            continue
        if has_no_name(name) and name not in keep:
            continue
        cells = table.column(name)
        is_number = isinstance(cells, ArrowCells) and cells.is_number
        is_name = not is_number and parse_numbers(cells).text.any()
        values, counts = _count_present(cells) if is_name else ([], np.zeros(0, np.int64))
        if _contains_images(values, counts):
            images.append(name)
        elif _contains_texts(values, counts):
            texts.append(name)
        else:
            try:
                encoding = fit_column(table, name, rows)
            except DataError as error:
                problems.append(str(error))
                continue
            if isinstance(encoding, str):
                dropped[name] = encoding
            else:
                columns.append(encoding)
    left_out = _find_left_out(table, target, rows, [column.name for column in columns], keep)
    is_left_out = left_out.columns.get("left_out", {})
    dates = TableFeatures(tuple(columns)).describe(table).columns.get("dates", ())
    features = TableFeatures(tuple(c for c in columns if c.name not in is_left_out), dropped)
    left_out = left_out.combine(_report_near_rows(table, features, rows))
    time = _find_time(table, dates)
    return ColumnKinds(
        *(features, texts, images, time, split, problems, likely), left_out=left_out, keep=keep
    )


def _find_left_out(
    table: Table, target: str, rows: Ints, names: Sequence[str], keep: Collection[str]
) -> DataReport:
    """Report columns that number the rows or contain the target."""
    labels = table.parse_numbers(target).values[rows]
    nameless = report_nameless(name for name in table.names if name not in names)
    sample = sample_columns(table, names, rows)
    is_read = not set(names) - set(sample.identifiers)
    report = nameless.combine(report_identifiers(sample.identifiers, keep, is_read=is_read))
    leaks = report_leaks(sample.find_leaks(rows, labels), target, keep)
    return combine_reports(report, leaks)


def _report_near_rows(table: Table, features: TableFeatures, rows: Ints) -> DataReport:
    """Report near-duplicates among rows, or among some of them in a large table."""
    if not features.columns:
        return DataReport()
    part = table.take(rows[: max(_MAX_CELLS // len(features.columns), 1)])
    cells = {column.name: part.column(column.name) for column in features.columns}  # read once
    widths = [len(column.features) for column in features.columns]
    return report_near_rows(features(replace(part, read=cells.__getitem__)), widths)


def _is_empty(value: Any) -> bool:
    return isinstance(value, str | float | None) and is_missing(value)


def _count_present(cells: Sequence[Any]) -> tuple[list[Any], Ints]:
    """Return the cells that are not empty, and how often each occurs."""
    values, counts = count_cells(cells)
    is_present = [c > 0 and not _is_empty(v) for v, c in zip(values, counts, strict=True)]
    present = [value for value, holds in zip(values, is_present, strict=True) if holds]
    return present, counts[np.array(is_present, dtype=np.bool_)]


def _contains_images(values: Sequence[Any], counts: Ints) -> bool:
    names = [str(value).lower().strip().endswith(_IMAGE_SUFFIXES) for value in values]
    return bool(names) and bool(counts[names].sum() / counts.sum() >= _MAJORITY)


def _contains_texts(values: Sequence[Any], counts: Ints) -> bool:
    """Return True if most values are texts of several words, and are no repeated categories."""
    texts = [value for value in values if isinstance(value, str)]
    counts, total = counts[[isinstance(value, str) for value in values]], counts.sum()
    if not texts or counts.sum() < _MAJORITY * total:
        return False
    words = (counts * [len(text.split()) for text in texts]).sum() / counts.sum()
    n_distinct = len(set(texts))
    return bool(words >= _MIN_WORDS) and n_distinct > min(MAX_CATEGORIES, counts.sum() / 2)


def _find_time(table: Table, names: Iterable[str]) -> str | None:
    """Return the first column of times in order, most of them at equal steps."""
    for name in names:
        try:
            steps = np.diff(read_times(table, name))
        except DataError:
            continue
        is_equal = np.isclose(steps, np.median(steps)) if len(steps) else steps
        is_ordered = len(steps) >= _MIN_READINGS and (steps >= 0).all()
        if is_ordered and np.median(steps) > 0 and np.mean(is_equal) >= _MAJORITY:
            return name
    return None


def propose_inputs(table: Table, kinds: ColumnKinds) -> list[tuple[list[str], str]]:
    """Propose options of ``ranksim compare`` for the inputs, each with what it reads.

    The first proposal is that for the kind of data that tells most: images, texts, a series, or
    numbers and categories. A column that most likely belongs to a split is named with its option.
    """
    features = [column.name for column in kinds.features.columns]
    proposals: list[tuple[list[str], list[str], str]] = []
    for name in kinds.images:
        words = ["--image", name]
        if not _has_images(table, name):
            words += ["--image-root", "FOLDER"]
        proposals.append((words, [name], f"the images in column {format_name(name)}"))
    if kinds.texts:
        chosen = kinds.texts[:2]
        words, noun = ["--text", join_words(chosen)], "column" if len(chosen) == 1 else "columns"
        if any(map_cells(table.column(name), is_blank, np.bool_).any() for name in chosen):
            words.append("--skip-missing")
        text = f"the texts in {noun} {join_names(map(format_name, chosen))}"
        proposals.append((words, chosen, text))
    if kinds.time is not None:
        words = ["--time", kinds.time, "--window", str(_WINDOW)]
        if (np.diff(read_times(table, kinds.time)) == 0).any():
            words += ["--repeated-times", "mean"]
        text = f"the {_WINDOW} last values of the target by {format_name(kinds.time)}"
        proposals.append((words, [kinds.time], text))
    if features:
        # otherwise a column may be read as images, or be an error
        needs_names = bool(set(table.names) & set(IMAGE_COLUMNS) or kinds.problems)
        words = ["--features", join_words(features)] if needs_names else []
        words += ["--keep", join_words(kinds.keep)] if kinds.keep else []
        text = f"{format_count(len(features), 'column')}: {join_names(map(format_name, features))}"
        proposals.append((words, features, text))
    inputs = [*features, *kinds.texts, *kinds.images]
    split = next((column.option for column in kinds.likely_splits if column.option), ())
    for words, *_ in proposals:
        words += split if "--time" not in words or "--group" not in split else ()
    return [(words, _describe(text, used, inputs)) for words, used, text in proposals]


def _describe(text: str, used: Sequence[str], inputs: Sequence[str]) -> str:
    others = [format_name(name) for name in inputs if name not in used]
    return f"reads {text}" + (f"; not {join_names(others)}" if others else "")


def _has_images(table: Table, column: str) -> bool:
    """Return True if the first image of a column lies below the folder of the table."""
    first = next((str(value) for value in table.column(column) if not is_missing(value)), "")
    return table.root is not None and (table.root / first.strip()).is_file()
