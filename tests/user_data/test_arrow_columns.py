"""Columns of a Parquet file are read as those of a list, to the last bit."""

import datetime
from dataclasses import replace

import numpy as np
import pytest

from ranksim.data.arrow_cells import ArrowCells, EncodedCells, count_cells, find_missing, map_cells
from ranksim.data.batch import TableRows
from ranksim.data.cells import is_missing, to_canonical_text
from ranksim.data.reading import read_parquet
from ranksim.data.row_numbers import encode_cells, number_rows
from ranksim.data.spec import TableSpec
from ranksim.data.table import Table, parse_numbers
from ranksim.exceptions import DataError
from ranksim.training.adapters import TableAdapter
from ranksim.user_data.features import TableFeatures
from ranksim.user_data.label_report import make_label_report
from ranksim.user_data.proposals import find_column_kinds, propose_inputs
from ranksim.user_data.sample_keys import (
    hash_cells,
    hash_samples,
    make_sample_keys,
    number_samples,
)
from ranksim.user_data.split_column import make_row_digests
from ranksim.user_data.split_plan import make_split_plan

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
N = 90


def make_columns(seed):
    """Return random columns of many kinds, and a target."""
    rng = np.random.default_rng(seed)
    holes = rng.random(N) < 0.1
    day = datetime.date(2020, 1, 1)
    names = np.array(["red", "Red ", "blue", "n/a", "", "1.0", "żółty"])
    late = ["early"] * (N - 7) + ["late", "later", None, "late", "late", "early", "2"]
    numbers = rng.normal(size=N)
    coarse = rng.integers(0, 3, N)
    columns = {
        "y": arrow.array(np.exp(rng.normal(size=N)).round(2)),
        "double": arrow.array(numbers, mask=holes),
        "nan": arrow.array(np.where(holes, np.nan, numbers)),
        "single": arrow.array(rng.normal(size=N).astype(np.float32)),
        "zeros": arrow.array(np.where(coarse == 0, -0.0, coarse.astype(float))),
        "int": arrow.array(rng.integers(-5, 60, N), mask=holes),
        "tiny": arrow.array(rng.integers(0, 2, N).astype(np.uint8)),
        "huge": arrow.array(2**53 + rng.integers(0, 4, N)),
        "flag": arrow.array(rng.random(N) < 0.5, mask=holes),
        "name": arrow.array(rng.choice(names, N), mask=holes),
        "code": arrow.array([f"{k:03d}" for k in rng.integers(0, 9, N)]),
        "text number": arrow.array([f"{k / 4:.2f}" for k in rng.integers(0, 99, N)]),
        "late": arrow.array(late),
        "kind": arrow.array(rng.choice(["a", "b", "c"], N)).dictionary_encode(),
        "day": arrow.array([day + datetime.timedelta(int(k)) for k in rng.integers(0, 99, N)]),
        "moment": arrow.array([datetime.datetime(2020, 1, 1 + int(k)) for k in coarse]),
        "list": arrow.array([[float(k), 1.5 * k] for k in rng.integers(0, 9, N)]),
        "empty": arrow.array([None] * N, type=arrow.float64()),
        "null": arrow.nulls(N),
        "row": arrow.array(np.arange(N)),
        "money": arrow.array([None if k else 3 for k in coarse], arrow.decimal128(6, 2)),
    }
    chosen = rng.permutation(list(columns)[1:])[: rng.integers(6, len(columns))].tolist()
    return {name: columns[name] for name in ["y", *chosen]}


@pytest.fixture(params=range(4))
def tables(request, tmp_path):
    """A table read from a Parquet file with row groups of odd sizes, and one of the same lists."""
    columns, rng = make_columns(request.param), np.random.default_rng(request.param)
    order = np.concatenate([np.arange(N), rng.integers(0, N, 5)])  # five rows again
    table = arrow.table(columns).take(arrow.array(order))
    path = tmp_path / "t.parquet"
    use_dictionary = bool(request.param % 2)
    size = int(rng.integers(1, 40))
    parquet.write_table(table, path, row_group_size=size, use_dictionary=use_dictionary)
    cells = read_parquet(path)
    lists = {name: table.column(name).to_pylist() for name in columns}
    return cells, replace(cells, read=lists.__getitem__, formats={})


def outcome(function):
    """Return the result of a function, or its message."""
    try:
        return function()
    except DataError as error:
        return str(error)


def assert_same(function, tables):
    first, second = (outcome(lambda table=table: function(table)) for table in tables)
    np.testing.assert_equal(first, second)


def test_cells_are_those_of_lists(tables):
    cells, lists = tables
    rows = np.random.default_rng(0).permutation(cells.n_rows)[:17]
    for name in cells.names:
        values, listed = cells.column(name), lists.column(name)
        assert isinstance(values, ArrowCells | EncodedCells)
        assert repr(list(values)) == repr(listed)
        assert repr(values[3]) == repr(listed[3])
        assert repr(list(values[2:50:7])) == repr(listed[2:50:7])
        assert repr(list(values.take(rows))) == repr([listed[row] for row in rows])
        assert find_missing(values).tolist() == list(map(is_missing, listed))
        texts = map_cells(values, to_canonical_text, object).tolist()
        assert texts == list(map(to_canonical_text, listed))
        distinct, counts = count_cells(values)
        assert counts.sum() == len(listed)
        assert all(listed.count(v) == n for v, n in zip(distinct, counts, strict=True)) or (
            len(distinct) == len(listed)
        )
        for part in (values, values[5:30]):
            parsed, expected = parse_numbers(part), parse_numbers(list(part))
            np.testing.assert_equal(vars(parsed), vars(expected))


def test_columns_are_encoded_alike(tables):
    train = np.random.default_rng(1).permutation(tables[0].n_rows)[:60]
    for name in tables[0].names[1:]:
        for kind in (None, "category"):

            def encode(table, name=name, kind=kind):
                kinds = {} if kind is None else {name: kind}
                features = TableFeatures.fit(table, [name], train, kinds=kinds)
                values = features.read(table)
                report = features.describe(table).combine(features.describe_names(table))
                unknown = features.describe_unknown(table, "this data", is_new=False)
                encoded = features.encode(values).tobytes()
                return features.to_dict(), values, encoded, vars(report.combine(unknown))

            assert_same(encode, tables)


def test_plans_are_equal(tables):
    def plan(table):
        spec = TableSpec(target="y", balanced=False, keep=())
        result = make_split_plan(table, spec)
        adapter = TableAdapter.fit(result)
        parts = adapter.adapt_splits(result, None)
        vectors = [
            samples.get_inputs(samples.labels.argsort())[0].numpy() for samples in parts.samples
        ]
        hashes = result.hash_samples(adapter.columns)
        facts = result.facts | {"name": "", "sha256": ""}
        return (
            *(result.inputs, list(result.split), facts, vars(result.report), result.parts),
            *(adapter.to_dict(), vectors, hashes, vars(parts.report)),
        )

    assert_same(plan, tables)


def test_inspections_are_equal(tables):
    def inspect(table):
        content = make_label_report(table, "y")
        kinds = find_column_kinds(table, "y", np.arange(table.n_rows))
        return content, vars(kinds.describe(table)), propose_inputs(table, kinds)

    assert_same(inspect, tables)


def test_digests_are_equal(tables):
    assert_same(make_row_digests, tables)
    names = [name for name in tables[0].names if name not in ("list", "money")]
    assert_same(lambda table: hash_cells([table.column(name) for name in names]), tables)


@pytest.mark.slow
@pytest.mark.parametrize("size", [7, 50_000])
def test_hashes_of_selected_rows_are_those_of_the_table(tables, monkeypatch, size):
    monkeypatch.setattr("ranksim.user_data.sample_keys._HASHED_ROWS", size)
    spec, inputs = TableSpec(target="y"), tables[0].names[1:]
    rows = np.random.default_rng(0).permutation(tables[0].n_rows)[:31]
    expected = hash_samples(tables[1], spec, inputs)
    for table in tables:
        assert (hash_samples(table, spec, inputs) == expected).all()
        assert (hash_samples(table, spec, inputs, rows) == expected[rows]).all()
        assert (hash_samples(table.take(rows), spec, inputs) == expected[rows]).all()


def test_rows_are_numbered_as_by_their_keys(tables):
    spec = TableSpec(target="y", categories=("int",) if "int" in tables[0].names else ())
    names = tables[0].names[1:]
    for inputs in (names[:1], names[:3], names):
        for table in tables:
            keys = make_sample_keys(table, spec, inputs)
            order = {}
            expected = [order.setdefault(key, len(order)) for key in keys]
            assert number_samples(table, spec, inputs).tolist() == expected
    rows = list(map(repr, zip(*(tables[1].column(name) for name in names), strict=True)))
    order = {}
    numbers = number_rows([(lambda n=n: tables[0].column(n), encode_cells) for n in names])
    assert numbers.tolist() == [order.setdefault(row, len(order)) for row in rows]


def test_rows_of_equal_hashes_are_compared(monkeypatch):
    monkeypatch.setattr("ranksim.data.row_numbers._mix", lambda codes, place: codes.view("u8") * 0)
    columns = [[1, 2, 1, 2, 1], ["a", "b", "a", "a", "b"]]
    readers = [(lambda cells=cells: cells, encode_cells) for cells in columns]
    assert number_rows(readers).tolist() == [0, 1, 0, 2, 3]


@pytest.mark.parametrize("limit", ["MAX_COPIED", "MAX_ENCODED"])
def test_large_tables_are_encoded_by_batch(tables, monkeypatch, limit):
    """The batches of a large table are those of a small one."""
    plan = make_split_plan(tables[0], TableSpec(target="y", balanced=False))
    adapter = TableAdapter.fit(plan)
    small = adapter.adapt_splits(plan, None)
    monkeypatch.setattr(f"ranksim.training.adapters.{limit}", 0)
    large = adapter.adapt_splits(plan, None)
    assert vars(small.report) == vars(large.report)
    for a, b in zip(small.samples, large.samples, strict=True):
        assert isinstance(b, TableRows)
        assert (b.features is None) == (limit == "MAX_ENCODED")
        order = a.labels.argsort()
        for batch in order.split(7):
            first, second = a.get_batch(batch), b.get_batch(batch)
            assert first["inputs"][0].numpy().tobytes() == second["inputs"][0].numpy().tobytes()
            assert first["label"].equal(second["label"])
            columns = a.get_raw_inputs(batch)[0], b.get_raw_inputs(batch)[0]
            assert columns[0].numpy().tobytes() == columns[1].numpy().tobytes()


def test_damaged_columns_are_reported(tmp_path):
    path = tmp_path / "t.parquet"
    parquet.write_table(arrow.table({"a": np.arange(5000)}), path, compression="none")
    content = bytearray(path.read_bytes())
    content[4:30] = b"\xff" * 26
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged in column 'a'"):
        Table.column(read_parquet(path), "a")


def test_near_duplicates_of_a_large_table_are_sought_among_some_samples(tables, monkeypatch):
    plan = make_split_plan(tables[0], TableSpec(target="y", balanced=False))
    adapter = TableAdapter.fit(plan)
    monkeypatch.setattr("ranksim.training.adapters.MAX_ENCODED", 0)
    monkeypatch.setattr("ranksim.training.adapters._MAX_COMPARED", 20 * adapter.features.width)
    sizes = [min(len(part), 20) for part in plan.split]
    note = adapter.adapt_splits(plan, None).report.notes["Near-duplicates"]
    assert note == f"sought among {sum(sizes)} samples of this large table"
