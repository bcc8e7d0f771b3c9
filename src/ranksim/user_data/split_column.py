"""Splits that the data names: a column of train, val and test, or a file with one."""

from __future__ import annotations

import csv
import re
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.formatting import join_names
from ranksim._utils.storage import atomic_write
from ranksim.data.arrow_cells import ArrowCells, iterate_distinct, map_cells
from ranksim.data.cells import parse_number
from ranksim.data.data_report import PART_TITLES
from ranksim.data.reading import load_table
from ranksim.data.spec import SeriesSpec, UserDataSpec, option_name
from ranksim.data.splitting import (
    PARTS,
    UNUSED,
    find_marked_part,
    marks_part,
    parse_part,
    read_parts,
)
from ranksim.data.table import Table, read_numbers
from ranksim.exceptions import DataError, UsageError
from ranksim.user_data.columns import has_no_name, is_scalar
from ranksim.user_data.sample_keys import hash_cells

SPLIT_FILE = "split.csv"
_SPLIT = "split"  # name of the column, also of the splits of a Hugging Face data set
_OTHER_NAMES = ("set", "subset", "partition", "part", "fold")
_CODED = ("split", "subset", "partition")  # columns whose integers are most likely parts
_FOLD = re.compile(r"(?:k_?|cv_?)?folds?(?:_?(?:id|idx|index|no|nr|number))?")
_MAX_FOLDS = 30
_DIGEST = "digest"  # column of a split file, of the cells of each row
_IS_DIGEST = re.compile(r"x[0-9a-f]{16}")
_MAX_VALUES = 5  # in a message
# options that only a drawn split has
_DRAWN = ("group", "max_per_bin", "split_seed")


def read_split_column(table: Table, options: UserDataSpec) -> str | None:
    """Return the name of the split column, given or detected; None if the split is to be drawn.

    Raises:
        DataError: the data has a column ``split`` that cannot be used.
        UsageError: options of a drawn split are given, and the data names its parts.
    """
    if options.split is not None or options.split_by is not None or options.protocol is not None:
        return options.split
    name = find_split_column(table, {options.target, options.time, options.group, *options.inputs})
    if name is None:
        return None
    parts = set(read_parts(table, name).tolist())
    if missing := [part for part in ("train", "test") if part not in parts]:
        values = join_names(sorted({str(value) for value in table.column(name)}), _MAX_VALUES)
        raise DataError(
            f"{table.name} has a column {name!r} that names no {' and no '.join(missing)} rows, "
            f"only {values}: name them in this column, or draw another split with "
            "--split-by random."
        )
    idle = [option_name(each) for each in _DRAWN if getattr(options, each) is not None]
    idle = [each for each in idle if not (each == "--group" and isinstance(options, SeriesSpec))]
    if not options.balanced and "val" in parts:
        idle.append("--no-balanced")
    if idle:
        rule = "group" if idle[0] == "--group" else "random"
        raise UsageError(
            f"{idle[0]} has no effect, because column {name!r} of {table.name} names the training "
            f"and test rows: remove it, or draw another split with --split-by {rule}."
        )
    return name


def find_split_column(table: Table, used: Collection[str | None] = ()) -> str | None:
    """Return the name of the column that names the parts of a split; None if there is none.

    A column ``split`` is one if any of its values names a part; a column ``set``, ``subset``,
    ``partition``, ``part`` or ``fold`` if training and test are among them; and a column whose name
    contains one of these words, such as ``data_split``, if all of its values name parts, too.
    """
    names = {name.strip().lower(): name for name in table.names if name not in used}
    similar = [key for key in names if any(word in key for word in (_SPLIT, *_OTHER_NAMES))]
    for key in dict.fromkeys((_SPLIT, *_OTHER_NAMES, *similar)):
        if key in names and table.names.count(names[key]) == 1:
            parts = {*map(parse_part, iterate_distinct(table.column(names[key])))}
            is_split = bool(parts & {*PARTS}) if key == _SPLIT else {"train", "test"} <= parts
            if is_split and (key in (_SPLIT, *_OTHER_NAMES) or "" not in parts):
                return names[key]
    return None


@dataclass(frozen=True)
class LikelySplit:
    """A column that most likely belongs to a split, although its cells name no parts.

    Args:
        name: of the column.
        meaning: what its cells seem to be.
        option: the option that uses it and its value, or empty.
        remedy: what to do.
    """

    name: str
    meaning: str
    option: tuple[str, ...]
    remedy: str

    @property
    def reason(self) -> str:
        """Why it is no input."""
        return f"it seems to {self.meaning}"

    def describe(self) -> str:
        """Return the warning about it."""
        return (
            f"Column {self.name!r} is not used, as it seems to {self.meaning}: {self.remedy}, draw "
            "another split with --split-by, or pass the column with --features."
        )


def find_likely_splits(table: Table, used: Collection[str | None] = ()) -> list[LikelySplit]:
    """Return columns of booleans that mark a part, and of numbers of folds or parts.

    Booleans are ``is_test`` or ``train_mask``, for example; ``test`` or ``valid`` alone may mean
    something else, unless another column marks another part.
    """
    names = [name for name in table.names if table.names.count(name) == 1]
    marks = [
        name for name in names if find_marked_part(name) and marks_part(name, table.column(name))
    ]
    if len({*map(find_marked_part, marks)}) == 1:
        marks = [name for name in marks if not parse_part(name)]
    marks, names = ([name for name in each if name not in used] for each in (marks, names))
    likely = []
    for name in marks:
        meaning = f"mark the {PART_TITLES[find_marked_part(name)]} rows of a split"
        remedy = f"use it with --split {shlex.quote(name)}"
        likely.append(LikelySplit(name, meaning, ("--split", name), remedy))
    for name in names:
        is_fold = _FOLD.fullmatch(name.strip().lower()) is not None
        if not (is_fold or name.strip().lower() in _CODED) or not _are_codes(table.column(name)):
            continue
        if is_fold:
            remedy = f"keep each fold in one part with --group {shlex.quote(name)}"
            meaning = "number the folds of a cross-validation"
            likely.append(LikelySplit(name, meaning, ("--group", name), remedy))
        else:
            remedy = "write train, val and test instead of the numbers"
            likely.append(LikelySplit(name, "number the parts of a split", (), remedy))
    return likely


def _are_codes(values: Sequence[Any]) -> bool:
    """Return True for a few consecutive integers from 0 or 1, each of which repeats."""
    counts = Counter(parse_number(value) for value in values)
    if not 2 <= len(counts) <= _MAX_FOLDS or None in counts or min(counts.values()) < 2:
        return False
    codes = sorted(number for number in counts if number is not None)
    return codes[0] in (0, 1) and codes == [codes[0] + k for k in range(len(codes))]


def resolve_split_file(table: Table, split: str | None) -> Path | None:
    """Return the path of a split file if ``--split`` names one; None if it names a column."""
    if split is None or split in table.names:
        return None
    path = Path(split).expanduser()
    if path.is_file():
        return path
    if path.suffix or len(path.parts) > 1:
        raise DataError(
            f"--split {split} is neither a column of {table.name} nor a file: give the name of a "
            "column or the path of a split file."
        )
    return None  # the missing column is reported with the names of the others


def join_split_file(table: Table, path: Path) -> Table:
    """Return a table with the column of a split file, which gets the name of the file.

    The file has a column ``split``. A column ``row`` or ``line`` tells which row of the table
    each value belongs to, and rows without a value are not used; otherwise the file has one value
    for each row of the table, in its order. With a column ``digest``, as :func:`write_split_file`
    writes it, rows are recognized by their cells if the table was sorted anew.

    Raises:
        DataError: the file has rows that the table does not have.
    """
    file = load_table(str(path))
    name = _SPLIT if _SPLIT in file.names else find_split_column(file)
    if name is None:
        raise DataError(f"{path} has no column {_SPLIT!r}: add one with train, val and test.")
    parts = read_parts(file, name)
    rows, is_reordered = _match_rows(table, file)
    joined = np.full(table.n_rows, UNUSED, dtype="<U6")
    joined[rows] = parts
    column, read = path.name, table.read
    note = f"rows are in another order than those of {column}, and were recognized by their values"
    names = [name for name in table.names if name != column]
    return replace(
        table,
        names=[*names, column],
        read=lambda name: list(joined.tolist()) if name == column else read(name),
        notes=(*table.notes, note) if is_reordered else table.notes,
    )


def _match_rows(table: Table, file: Table) -> tuple[list[int], bool]:
    """Return the row of the table for each row of a split file, and whether the order is another.

    Rows are numbered, and recognized by their digests if the numbers do not fit.
    """
    key = next((key for key in ("row", "line") if key in file.names), None)
    has_digests = _DIGEST in file.names
    digests = [str(value).strip() for value in file.column(_DIGEST)] if has_digests else []
    has_digests = has_digests and all(map(_IS_DIGEST.fullmatch, digests))
    if key is None and not has_digests and file.n_rows != table.n_rows:
        raise DataError(
            f"{file.name} has {file.n_rows:,} rows, but {table.name} has {table.n_rows:,}: write "
            "one row for each, or add a column 'row' that counts the rows from 1."
        )
    numbers = np.arange(1, file.n_rows + 1) if key is None else read_numbers(file, key)
    lines = table.lines if key == "line" else range(1, table.n_rows + 1)
    position = {float(line): row for row, line in enumerate(lines)}
    rows = [position.get(float(number), -1) for number in numbers]
    if has_digests and (matched := _match_digests(table, file, digests, rows)) != rows:
        return matched, True
    unknown = [k for k, row in enumerate(rows) if row < 0]
    file.raise_for_rows(
        unknown, f"{table.name} has no {key} of this number", "use the split file of this table"
    )
    repeated = np.setdiff1d(np.arange(len(rows)), np.unique(rows, return_index=True)[1])
    file.raise_for_rows(repeated, f"the {key} occurs a second time", "keep one of them")
    return rows, False


def _match_digests(
    table: Table, file: Table, digests: Sequence[str], rows: Sequence[int]
) -> list[int]:
    """Return the row of the table that has each digest; the given ``rows`` if they have them."""
    known = make_row_digests(table)
    if all(row >= 0 and known[row] == digest for row, digest in zip(rows, digests, strict=True)):
        return list(rows)
    places: dict[str, list[int]] = {}
    for row in reversed(range(len(known))):
        places.setdefault(known[row], []).append(row)
    matched = [places[digest].pop() if places.get(digest) else -1 for digest in digests]
    file.raise_for_rows(
        [k for k, row in enumerate(matched) if row < 0],
        f"no row of {table.name} has the values that this row had when the split was drawn",
        f"use the table of that time, or remove the column {_DIGEST!r} to go by the numbers",
    )
    return matched


def make_row_digests(table: Table) -> list[str]:
    """Return a digest of the cells of each row, the same in each order of rows and columns.

    Columns without a name, of parts of a split, and of lists, structs or bytes are left out.
    """
    return [f"x{value:016x}" for value in _hash_rows(table).tolist()]


def _hash_rows(table: Table) -> NDArray[np.uint64]:
    """Return the hash of the cells of each row ``(N,)``, see :func:`make_row_digests`."""
    names = [name for name in table.names if not has_no_name(name) and table.names.count(name) == 1]
    columns = [table.column(name) for name in sorted(names)]
    columns = [values for values in columns if not _names_parts(values) and _are_values(values)]
    return hash_cells(columns)


def _names_parts(values: Sequence[Any]) -> bool:
    is_number = isinstance(values, ArrowCells) and values.is_number
    return not (is_number and len(values)) and all(map(parse_part, iterate_distinct(values)))


def _are_values(values: Sequence[Any]) -> bool:
    if isinstance(values, ArrowCells) and values.is_number:
        return True
    return bool(map_cells(values, _is_value, np.bool_).all())


def _is_value(cell: Any) -> bool:
    return is_scalar(cell) and not isinstance(cell, bytes)


def write_split_file(
    path: Path, table: Table, parts: Iterable[str], columns: Mapping[str, Iterable[Any]]
) -> None:
    """Write the part of each row of a table, in its order, with the row and further columns.

    The column ``digest`` identifies the cells of each row. The file can be passed to ``--split``,
    and its column ``split`` be pasted into the table.
    """
    content: dict[str, Iterable[Any]] = {"row": range(1, table.n_rows + 1)}
    if table.line_unit == "line":
        content["line"] = table.lines
    content |= {**columns, _DIGEST: make_row_digests(table), _SPLIT: parts}
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(content)
        writer.writerows(zip(*content.values(), strict=True))
