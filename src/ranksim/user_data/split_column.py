"""Splits that the data names: a column of train, val and test, or a file with one."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ranksim._utils.formatting import join_names
from ranksim._utils.storage import atomic_write
from ranksim.data.reading import load_table
from ranksim.data.spec import SeriesSpec, UserDataSpec, option_name
from ranksim.data.splitting import PARTS, UNUSED, parse_part, read_parts
from ranksim.data.table import Table, read_numbers
from ranksim.exceptions import DataError, UsageError

SPLIT_FILE = "split.csv"
_SPLIT = "split"  # name of the column, also of the splits of a Hugging Face data set
_OTHER_NAMES = ("set", "subset", "partition", "part", "fold")
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
            parts = {parse_part(value) for value in table.column(names[key])}
            is_split = bool(parts & {*PARTS}) if key == _SPLIT else {"train", "test"} <= parts
            if is_split and (key in (_SPLIT, *_OTHER_NAMES) or "" not in parts):
                return names[key]
    return None


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
    for each row of the table, in its order.
    """
    file = load_table(str(path))
    name = _SPLIT if _SPLIT in file.names else find_split_column(file)
    if name is None:
        raise DataError(f"{path} has no column {_SPLIT!r}: add one with train, val and test.")
    parts = read_parts(file, name)
    key = next((key for key in ("row", "line") if key in file.names), None)
    if key is None:
        if file.n_rows != table.n_rows:
            raise DataError(
                f"{path} has {file.n_rows:,} rows, but {table.name} has {table.n_rows:,}: write "
                "one row for each, or add a column 'row' that counts the rows from 1."
            )
        joined = parts
    else:
        numbers = read_numbers(file, key)
        lines = range(1, table.n_rows + 1) if key == "row" else table.lines
        position = {float(line): row for row, line in enumerate(lines)}
        unknown = [k for k, number in enumerate(numbers) if number not in position]
        file.raise_for_rows(
            unknown, f"{table.name} has no {key} of this number", "use the split file of this table"
        )
        repeated = np.setdiff1d(np.arange(len(numbers)), np.unique(numbers, return_index=True)[1])
        file.raise_for_rows(repeated, f"the {key} occurs a second time", "keep one of them")
        joined = np.full(table.n_rows, UNUSED, dtype="<U6")
        joined[[position[number] for number in numbers]] = parts
    column, read = path.name, table.read
    names = [name for name in table.names if name != column]
    return replace(
        table,
        names=[*names, column],
        read=lambda name: list(joined.tolist()) if name == column else read(name),
    )


def write_split_file(
    path: Path, table: Table, parts: Iterable[str], columns: Mapping[str, Iterable[Any]]
) -> None:
    """Write the part of each row of a table, in its order, with the row and further columns.

    The file can be passed to ``--split``, and its column ``split`` be pasted into the table.
    """
    content: dict[str, Iterable[Any]] = {"row": range(1, table.n_rows + 1)}
    if table.line_unit == "line":
        content["line"] = table.lines
    content |= {**columns, _SPLIT: parts}
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(content)
        writer.writerows(zip(*content.values(), strict=True))
