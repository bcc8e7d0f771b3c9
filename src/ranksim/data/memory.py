"""Data in memory, given as data frames, Arrow tables, data sets or arrays.

It is read as a file is: :func:`write_data` writes it once to a Parquet file of a temporary folder,
so that all processes of a comparison can read it. Its values identify it, not that file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ranksim._utils.checks import describe_value
from ranksim._utils.formatting import format_count, single_line
from ranksim.data.arrow_cells import ArrowCells, EncodedCells, make_cells
from ranksim.data.cells import is_missing
from ranksim.data.reading import DATA_NAME, DATA_ROOT, load_table, read_data_set
from ranksim.data.spec import ReadOptions
from ranksim.data.table import Table
from ranksim.exceptions import DataError, UsageError, require_optional

ARRAYS, ARRAY, ARRAY_TARGET = "(X, y)", "X", "y"
_FILE = "data.parquet"
_KINDS = (
    "a pandas or polars DataFrame, a pyarrow Table, a Hugging Face Dataset, a dictionary of "
    "columns, the path of a table, or arrays X and y"
)


@dataclass(frozen=True, eq=False)
class MemoryData:
    """Data in memory as an Arrow table.

    Args:
        name: in messages, and in results instead of the name of a file.
        table: a ``pyarrow.Table`` whose columns have plain types.
        root: folder of relative paths in the data.
    """

    name: str
    table: Any
    root: Path | None = None

    def to_table(self) -> Table:
        """Return the data as the table that reading it from a file gives."""
        columns: dict[str, ArrowCells | EncodedCells] = {}

        def read(name: str) -> ArrowCells | EncodedCells:
            if name not in columns:
                columns[name] = make_cells(self.table.column(name))
            return columns[name]

        rows = range(1, self.table.num_rows + 1)
        return Table(self.name, self.table.column_names, read, rows, "row", root=self.root)


@dataclass(frozen=True, eq=False)
class LabeledInputs:
    """Inputs in memory, and the labels of their rows under the name of a column."""

    inputs: Any
    labels: Any
    name: str


def is_source(data: Any) -> bool:
    """Return whether data is a path or the name of a data set, and not in memory."""
    return isinstance(data, str | Path)


def name_data(data: Any) -> str:
    """Return the name of data in messages and commands."""
    if isinstance(data, LabeledInputs):
        inputs = name_data(data.inputs)
        return ARRAYS if inputs == ARRAY else inputs
    if type(data).__module__.partition(".")[0] in ("numpy", "torch") or isinstance(data, list):
        return ARRAY
    if isinstance(data, dict):
        return "The data"
    return str(data) if is_source(data) else type(data).__name__


def read_table(data: Any, reading: ReadOptions = ReadOptions()) -> Table:
    """Read data of any kind, given as a path or in memory, as a table.

    Raises:
        DataError: it has no rows, or could not be read.
        UsageError: it is of another kind.
    """
    if isinstance(data, Table):
        return data
    if is_source(data):
        return load_table(str(data), reading)
    table = to_memory_data(data).to_table()
    return table if reading == ReadOptions() else table.apply_options(reading)


@contextmanager
def write_data(data: Any, folder: Path | None = None) -> Iterator[str]:
    """Yield the path of data; data in memory is written to a file that is removed afterwards.

    Args:
        data: of any kind.
        folder: where to create the temporary folder of the file; None: that of the system.
    """
    if is_source(data):
        yield str(data)
        return
    parquet = require_optional("pyarrow.parquet", "train")
    memory = to_memory_data(data)
    with tempfile.TemporaryDirectory(prefix="ranksim-data-", dir=folder) as temporary:
        path = Path(temporary) / _FILE
        metadata = {DATA_NAME: memory.name}
        if memory.root is not None:
            metadata[DATA_ROOT] = str(memory.root)
        parquet.write_table(memory.table.replace_schema_metadata(metadata), path)
        yield str(path)


def to_memory_data(data: Any) -> MemoryData:
    """Convert data in memory of any kind to an Arrow table.

    Raises:
        DataError: it has no rows, or its columns cannot be read.
        UsageError: it is of another kind.
    """
    arrow = require_optional("pyarrow", "train")
    library = type(data).__module__.partition(".")[0]
    root = None
    if isinstance(data, LabeledInputs):
        table = _convert_labeled(data, arrow)
    elif library in ("numpy", "torch") or (isinstance(data, list) and data):
        table = _convert_array(np.asarray(data), arrow)
    elif library == "datasets":
        loaded = read_data_set(name_data(data), data)
        table = arrow.table({name: _to_column(loaded.read(name), arrow) for name in loaded.names})
        root = loaded.root
    elif library == "pandas" and hasattr(data, "iloc") and hasattr(data, "columns"):
        columns = [_to_column(data.iloc[:, k], arrow) for k in range(data.shape[1])]
        table = arrow.table(columns, names=list(map(str, data.columns)))
    elif isinstance(data, Mapping):
        arrays = {str(name): _to_column(list(values), arrow) for name, values in data.items()}
        lengths = {name: len(array) for name, array in arrays.items()}
        if len({*lengths.values()}) > 1:
            counts = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
            raise DataError(f"The columns have different lengths ({counts}): correct them.")
        table = arrow.table(arrays)
    elif hasattr(data, "__arrow_c_stream__") and library != "pandas":
        table = arrow.table(data)
    else:
        raise UsageError(f"Data must be {_KINDS}, got {describe_value(data)}.")
    if not table.num_rows:
        raise DataError(f"{name_data(data)} has no rows: add one row per sample.")
    columns = [_simplify(column, arrow) for column in table.columns]
    return MemoryData(name_data(data), arrow.table(columns, names=table.column_names), root)


def join_target(data: Any, y: Any, name: str | None = None) -> tuple[Any, str | None]:
    """Return data with the labels ``y`` as a column, and the name of the target.

    Args:
        data: of any kind; a pair (X, y) if ``y`` is None.
        y: labels of its rows, or None if the data has a column of them.
        name: of that column; of labels without one that of the series ``y``, or ``y``.
    """
    if isinstance(data, tuple) and y is None:
        if len(data) != 2:
            count = format_count(len(data), "item")
            raise UsageError(f"Arrays must be a pair (X, y), got a tuple of {count}.")
        data, y = data
    elif y is None:
        return data, name
    if isinstance(data, tuple) or is_source(data):
        raise UsageError(
            "y is the target of arrays or columns X in memory: leave it out, and name the column "
            "of the target with --target."
        )
    column = getattr(y, "name", None)
    usual = column if isinstance(column, str) and column else ARRAY_TARGET
    return LabeledInputs(data, y, name or usual), name or usual


def _convert_labeled(data: LabeledInputs, arrow: Any) -> Any:
    """Return the inputs as an Arrow table with a column of the labels."""
    table = to_memory_data(data.inputs).table
    labels = np.asarray(data.labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or len(labels) != table.num_rows:
        raise UsageError(
            f"y must have one label per row of X, shape ({table.num_rows},), got {labels.shape}."
        )
    if data.name in table.column_names:
        raise UsageError(
            f"X already has a column {data.name!r}: leave it out of X, or name y otherwise with "
            "--target."
        )
    return table.append_column(data.name, _to_column(labels, arrow))


def _convert_array(values: Any, arrow: Any) -> Any:
    """Convert an array ``(N, F)`` to an Arrow table with columns ``x0``, ``x1``, …."""
    if values.ndim != 2:
        raise UsageError(f"X must have shape (N, F), one row per sample, got {values.shape}.")
    columns = {f"x{k}": _to_column(values[:, k], arrow) for k in range(values.shape[1])}
    return arrow.table(columns)


def _to_column(values: Any, arrow: Any) -> Any:
    """Convert the cells of a column to an Arrow array; mixed cells become texts."""
    try:
        return arrow.array(values, from_pandas=True)
    except (arrow.ArrowException, TypeError, ValueError, OverflowError):
        cells = [None if is_missing(value) else str(value) for value in values]
        return arrow.array(cells, arrow.string())


def _simplify(column: Any, arrow: Any) -> Any:
    """Return an Arrow column of a plain type, with nulls instead of NaN."""
    types, compute = arrow.types, require_optional("pyarrow.compute", "train")
    kind = column.type
    try:
        if isinstance(kind, arrow.BaseExtensionType):
            column = arrow.chunked_array(
                [chunk.storage for chunk in column.chunks], kind.storage_type
            )
            kind = column.type
        if types.is_dictionary(kind):
            column, kind = column.cast(kind.value_type), kind.value_type
        if types.is_string_view(kind) or types.is_large_string(kind):
            column = column.cast(arrow.string())
        elif types.is_float16(kind):
            column, kind = column.cast(arrow.float32()), arrow.float32()
        elif types.is_timestamp(kind) and kind.unit == "ns":
            column = column.cast(arrow.timestamp("us", kind.tz), safe=False)
        elif types.is_duration(kind) and kind.unit == "ns":
            column = column.cast(arrow.duration("us"), safe=False)
        if types.is_floating(kind):
            missing = compute.is_nan(column)
            column = compute.if_else(missing, arrow.scalar(None, kind), column)
    except arrow.ArrowException as error:
        raise DataError(
            f"A column of type {kind} cannot be read ({single_line(error)}): convert it to numbers "
            "or texts."
        ) from error
    return column
