"""Predictions made elsewhere for the test samples of a sweep, as a row of its comparison."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.formatting import format_count, format_value
from ranksim.data.cells import to_canonical_text
from ranksim.data.reading import load_table
from ranksim.data.table import Table, read_numbers
from ranksim.exceptions import DataError, UsageError
from ranksim.training.method import BASES, MODIFIERS, Method, Technique
from ranksim.training.method_rules import EXTERNAL
from ranksim.training.parts import PARTS

if TYPE_CHECKING:
    from ranksim.datasets.base import Benchmark

_COLUMNS = ("prediction", "predictions", "preds", "pred", "y_pred")
_LABELS = ("label", "labels", "y_true", "target")
_KEYS = ("line", "row", "image", "index")  # columns that identify a sample, the best first
_NAME = re.compile(r"[\w][\w. -]*")
_TOLERANCE = 1e-6  # relative: files may store float32

Floats = NDArray[np.float64]


def name_predictions(paths: Sequence[str], names: Sequence[str]) -> tuple[tuple[Path, Method], ...]:
    """Return each predictions file with the row that it becomes; a row without a name is its stem.

    Raises:
        UsageError: there are more names than files, or a name is invalid or used twice.
    """
    if len(names) > len(paths):
        raise UsageError(
            f"--name {names[len(paths)]!r} names no file: give one --predictions FILE per --name."
        )
    rows = []
    for number, text in enumerate(paths):
        path = Path(text).expanduser()
        name = names[number] if number < len(names) else path.stem
        if not _NAME.fullmatch(name) or name in (*BASES, *MODIFIERS, *PARTS):
            raise UsageError(
                f"--name {name!r} cannot name a row: use letters, digits, spaces, dots and dashes, "
                "and no name of a method."
            )
        rows.append((path, Method(name, name, Technique(estimator=EXTERNAL))))
    keys = [method.key for _, method in rows]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise UsageError(f"Two rows are named {twice[0]!r}: give another --name.")
    return tuple(rows)


def read_external_predictions(path: Path, benchmark: Benchmark[Any]) -> Floats:
    """Read predictions of all test samples ``(N,)`` from a CSV or Parquet file.

    The column is called ``prediction``. Rows are matched by a column ``line``, ``row``, ``image``
    or ``index`` (the position in the test set, from 0), and else must be in the order of the test
    set. A column ``label``, or one with the name of the target, must contain the labels of the test
    samples.

    Raises:
        DataError: a sample has no prediction or two, or labels differ.
    """
    table = load_table(str(path))
    names = {name.strip().lower(): name for name in table.names}
    column = next((names[name] for name in _COLUMNS if name in names), None)
    if column is None:
        raise DataError(f"{path} has no column prediction: name the column of the predictions so.")
    rows = _match_rows(table, names, benchmark)
    preds = read_numbers(table.take(rows), column)
    known = (*_LABELS, benchmark.quantity.strip().lower())
    labels = next((names[name] for name in known if name in names and names[name] != column), None)
    if labels is not None:
        _compare_labels(table, labels, rows, benchmark.test.labels)
    return preds


def _match_rows(
    table: Table, names: dict[str, str], benchmark: Benchmark[Any]
) -> NDArray[np.int64]:
    """Return the row of the file of each test sample ``(N,)``."""
    count = len(benchmark.test)
    known = {**benchmark.origin, "index": list(range(count))}
    key = next((name for name in _KEYS if name in names and name in known), None)
    if key is None:
        if table.n_rows != count:
            raise DataError(
                f"{table.name} has {format_count(table.n_rows, 'row')}, but the test set has "
                f"{count:,}: add a column line, row or index that says which sample each row is."
            )
        return np.arange(count)
    position: dict[str, int] = {}
    wanted = [to_canonical_text(value) for value in known[key]]
    needed = set(wanted)
    for row, value in enumerate(table.column(names[key])):
        text = to_canonical_text(value)
        if text in needed and text in position:
            raise DataError(
                f"{table.name} has two predictions for {key} {format_value(value)} "
                f"({table.line_unit} {table.lines[position[text]]} and {table.lines[row]}): "
                "leave one out."
            )
        position[text] = row
    missing = [text for text in wanted if text not in position]
    if missing:
        raise DataError(
            f"{table.name} has no prediction for {len(missing):,} of {count:,} test samples, such "
            f"as {key} {missing[0]}: predict all samples that split.csv marks as test."
        )
    return np.array([position[text] for text in wanted], dtype=np.int64)


def _compare_labels(table: Table, name: str, rows: NDArray[np.int64], labels: Floats) -> None:
    """Raise a DataError if labels of a file differ from those of the test samples."""
    given = read_numbers(table.take(rows), name)
    differs = ~np.isclose(given, labels, rtol=_TOLERANCE, atol=_TOLERANCE * np.ptp(labels))
    if differs.any():
        k = int(np.flatnonzero(differs)[0])
        raise DataError(
            f"{table.name} has other labels than the test set in {int(differs.sum()):,} rows, such "
            f"as {given[k]:g} instead of {labels[k]:g} ({table.line_unit} "
            f"{table.lines[rows[k]]}): give predictions of the same split."
        )
