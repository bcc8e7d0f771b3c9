"""Data in memory is read as the same data in a file is."""

import datetime
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch

from ranksim.data.memory import join_target, name_data, read_table, to_memory_data, write_data
from ranksim.data.reading import load_table
from ranksim.data.spec import ReadOptions
from ranksim.exceptions import DataError, UsageError
from tests.helpers.errors import raises_with

DAY = datetime.datetime(2024, 3, 1, 9, 30)
COLUMNS = {
    "size": [1.5, None, 3.0],
    "rooms": [1, 2, 3],
    "kind": ["flat", None, "house"],
    "sold": [True, False, None],
    "when": [DAY, None, DAY],
    "parts": [[1.0, 2.0], [3.0, 4.0], None],
}


class Exported:
    """Columns in the form that polars and other libraries exchange."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


def make_views(table):
    """Return a table with the types that polars has for texts and categories."""
    kind = table.schema.field("kind").type
    assert kind == pa.string()
    texts = table["kind"].cast(pa.string_view())
    return table.set_column(table.schema.get_field_index("kind"), "kind", texts)


def make_all_kinds(folder):
    """Return the same data in each kind that is read."""
    table = pa.table(COLUMNS)
    parquet.write_table(table, folder / "data.parquet")
    frame = pd.DataFrame(COLUMNS)
    frame["size"] = frame["size"].astype(float)  # NaN
    return {
        "path": folder / "data.parquet",
        "text": str(folder / "data.parquet"),
        "columns": COLUMNS,
        "arrow": table,
        "dictionary": table.set_column(2, "kind", table["kind"].dictionary_encode()),
        "batch": table.to_batches()[0],
        "exported": Exported(make_views(table)),
        "large": Exported(table.cast(large_schema(table))),
        "frame": frame,
        "categorical": frame.astype({"kind": "category"}),
        "object": frame.astype(object),
        "nullable": frame.convert_dtypes(),
        "indexed": frame.set_axis([7, 8, 9]),
        "hub": datasets.Dataset.from_dict(COLUMNS),
    }


def large_schema(table):
    """Return a schema with the types of polars for texts, lists and times."""
    types = {"kind": pa.large_string(), "parts": pa.large_list(pa.float64())}
    types["when"] = pa.timestamp("ns")
    return pa.schema([(f.name, types.get(f.name, f.type)) for f in table.schema])


KINDS = [
    "path", "text", "columns", "arrow", "dictionary", "batch", "exported", "large", "frame",
    "categorical", "object", "nullable", "indexed", "hub",
]  # fmt: skip


def to_cells(table):
    return {name: [None if c != c else c for c in table.read(name)] for name in table.names}


@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_have_the_same_cells(kind, tmp_path):
    data = make_all_kinds(tmp_path)
    assert [*data] == KINDS
    table = read_table(data[kind])
    assert to_cells(table) == COLUMNS
    assert list(table.lines) == [1, 2, 3]
    with write_data(data[kind]) as path:
        written = load_table(path)
        assert to_cells(written) == COLUMNS
        if kind not in ("path", "text"):
            assert written.name == table.name == name_data(data[kind])
            assert written.sha256 == to_memory_data(COLUMNS).to_table().sha256
    assert Path(path).exists() == (kind in ("path", "text"))


def test_cells_decide_the_digest():
    first, other = (read_table({"a": [1, value]}).sha256 for value in (2, 3))
    assert first != other
    assert first == read_table(pd.DataFrame({"a": [1, 2]})).sha256


def test_mixed_cells_become_texts():
    frame = pd.DataFrame({"a": [1, "two", None], "b": [{1, 2}, 3, "x"]})
    table = read_table(frame)
    assert list(table.read("a")) == ["1", "two", None]
    assert list(table.read("b"))[1:] == ["3", "x"]


@pytest.mark.parametrize("values", ["array", "tensor", "list"])
def test_arrays_become_numbered_columns(values):
    array = np.arange(6.0).reshape(3, 2)
    inputs = {"array": array, "tensor": torch.from_numpy(array), "list": array.tolist()}[values]
    data, target = join_target(inputs, np.array([[5], [6], [7]]))
    table = read_table(data)
    assert (target, table.name) == ("y", "(X, y)")
    assert to_cells(table) == {"x0": [0.0, 2.0, 4.0], "x1": [1.0, 3.0, 5.0], "y": [5, 6, 7]}
    assert read_table(inputs).names == ["x0", "x1"]


def test_labels_have_the_name_of_their_series():
    inputs = pd.DataFrame({"a": [1, 2]})
    labels = pd.Series([3, 4], name="price")
    for data, target in (join_target(inputs, labels), join_target((inputs, labels), None)):
        assert target == "price"
        assert to_cells(read_table(data)) == {"a": [1, 2], "price": [3, 4]}
    data, target = join_target(inputs, labels, "cost")
    assert target == "cost"
    assert read_table(data).names == ["a", "cost"]


def test_options_of_reading_apply():
    table = read_table(pd.DataFrame({"a": ["1,5", "-9"]}), ReadOptions(missing=("-9",)))
    assert table.parse_numbers("a").values[0] == 1.5
    assert table.read("a")[1] is None


def test_images_of_a_data_set_have_a_folder(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    image = pillow.new("RGB", (4, 4), (10, 20, 30))
    features = datasets.Features({"image": datasets.Image(), "age": datasets.Value("int64")})
    data = datasets.Dataset.from_dict({"image": [image, image], "age": [1, 2]}, features=features)
    with write_data(data) as path:
        table = load_table(path)
    assert table.root is not None
    assert table.name == "Dataset"


@pytest.mark.parametrize(
    ("data", "error", "facts"),
    [
        (3, UsageError, ["pandas or polars DataFrame", "got 3"]),
        (None, UsageError, ["arrays X and y", "got None"]),
        (pd.Series([1]), UsageError, ["got a Series of shape (1,)"]),
        (np.zeros(3), UsageError, ["X must have shape (N, F)", "(3,)"]),
        (pd.DataFrame({"a": []}), DataError, ["DataFrame has no rows"]),
        ({"a": [1], "b": [1, 2]}, DataError, ["different lengths", "a 1, b 2"]),
    ],
)
def test_other_data_is_rejected(data, error, facts):
    with raises_with(error, *facts):
        read_table(data)


@pytest.mark.parametrize(
    ("inputs", "labels", "facts"),
    [
        (np.zeros((3, 2)), np.zeros(2), ["one label per row", "(3,)", "(2,)"]),
        (np.zeros((3, 2)), np.zeros((3, 2)), ["one label per row", "(3, 2)"]),
        (pd.DataFrame({"y": [1, 2]}), [1, 2], ["already has a column 'y'"]),
        ("data.csv", [1, 2], ["leave it out"]),
        ((1, 2, 3), None, ["pair (X, y)", "3 items"]),
    ],
)
def test_wrong_labels_are_rejected(inputs, labels, facts):
    with raises_with(UsageError, *facts):
        data, _ = join_target(inputs, labels)
        read_table(data)
