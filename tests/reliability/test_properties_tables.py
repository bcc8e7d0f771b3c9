"""Arbitrary tables, numbers, times and splits are read exactly or rejected."""

import csv
import gzip
import io
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pyarrow
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pyarrow import parquet

from ranksim.data.cells import MISSING_WORDS
from ranksim.data.reading import read_delimited, read_parquet
from ranksim.data.spec import SeriesSpec, TableSpec
from ranksim.data.table import Table, parse_numbers, read_times
from ranksim.exceptions import DataError
from ranksim.user_data.features import TableFeatures
from ranksim.user_data.split_plan import make_split_plan
from tests.reliability.properties import FINITE, TEXT, outcome

NAMES = st.lists(
    TEXT.map(str.strip).filter(lambda name: name and "\n" not in name and "\r" not in name),
    min_size=1,
    max_size=4,
    unique=True,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tables")


@st.composite
def tables(draw):
    names = draw(NAMES)
    rows = draw(st.lists(st.lists(TEXT, min_size=len(names), max_size=len(names)), max_size=5))
    return names, rows


@given(tables(), st.sampled_from(",;\t"), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_written_tables_are_read_unchanged(folder, table, separator, end, is_compressed):
    names, rows = table
    assume(not names[0].startswith("\ufeff"))  # a byte order mark
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([names, *rows])
    content = text.getvalue().encode()
    suffix = ".tsv" if separator == "\t" or len(names) == 1 else ".csv"
    path = folder / f"t{suffix}{'.gz' if is_compressed else ''}"
    path.write_bytes(gzip.compress(content, 1) if is_compressed else content)
    columns = read_delimited(path)
    assert list(columns.names) == names
    assert columns.n_rows == len(rows)
    for k, name in enumerate(names):
        assert list(columns.column(name)) == [row[k] for row in rows]


@given(st.binary(max_size=200) | TEXT.map(str.encode), st.sampled_from(["t.csv", "t.tsv"]))
def test_arbitrary_bytes_are_a_table_or_rejected(folder, content, name):
    path = folder / name
    path.write_bytes(content)
    columns = outcome(lambda: read_delimited(path))
    for column in set(columns.names) if columns else ():
        if list(columns.names).count(column) == 1:
            assert len(columns.column(column)) == columns.n_rows
        else:
            assert outcome(lambda name=column: columns.column(name)) is None


@given(st.lists(TEXT.filter(str.strip), min_size=1, max_size=4, unique=True), st.data())
def test_parquet_columns_may_have_any_names(folder, names, data):
    """Names with dots, which Parquet uses for nested columns, are included."""
    names = [*names, f"{names[0]}.x", f"{names[0]}."]
    columns = {
        name: data.draw(st.lists(st.none() | FINITE | st.integers(0, 9), min_size=3, max_size=3))
        for name in dict.fromkeys(names)
    }
    columns = {k: [None if x is None else float(x) for x in v] for k, v in columns.items()}
    path = folder / "t.parquet"
    parquet.write_table(pyarrow.table(columns), path)
    table = read_parquet(path)
    assert list(table.names) == list(columns)
    for name, values in columns.items():
        assert list(table.column(name)) == values


@given(
    st.lists(TEXT | FINITE.map(repr) | st.sampled_from(["1_0", "nan", " NA", "inf", "٣", "1e999"]))
)
def test_cells_are_classified(values):
    numbers = parse_numbers(values)
    for k, value in enumerate(values):
        text = value.strip()
        try:
            number = None if "_" in text else float(text)
        except ValueError:
            number = None
        if text.lower() in MISSING_WORDS or (number is not None and np.isnan(number)):
            kind, number = "missing", np.nan
        elif number is None:
            kind, number = "text", np.nan
        else:
            kind = "infinite" if np.isinf(number) else None
            number = np.nan if np.isinf(number) else number
        np.testing.assert_equal(numbers.values[k], number)
        for name in ("missing", "text", "infinite"):
            assert getattr(numbers, name)[k] == (name == kind), (value, name)


CELLS = st.one_of(
    FINITE.map(repr), st.sampled_from(["", "NA", "1", "2", "a", "b", "inf", "2024-01-01"]), TEXT
)
KINDS = (FINITE.map(repr), st.sampled_from(["a", "b", "", "c"]), CELLS)


@given(st.data(), st.integers(3, 12))
def test_features_are_finite_and_ignore_the_order_of_rows(data, rows):
    columns = {
        name: data.draw(st.lists(kind, min_size=rows, max_size=rows))
        for name, kind in zip("xyz", KINDS, strict=True)
    }
    table = Table.from_columns("t", columns)
    train = np.arange(rows - 1)
    features = outcome(lambda: TableFeatures.fit(table, list("xyz"), train))
    if features is None:
        return
    values = outcome(lambda: features(table))
    if values is None:  # an invalid cell in the row that is not used for training
        return
    assert values.dtype == np.float32
    assert values.shape == (rows, features.width)
    assert np.isfinite(values).all()
    assert np.abs(values).max(initial=0) <= 1e6
    restored = TableFeatures.from_dict(features.to_dict())
    np.testing.assert_array_equal(restored(table), values)
    order = np.random.default_rng(rows).permutation(rows)
    np.testing.assert_array_equal(features(table.take(order)), values[order])


ZONES = st.none() | st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
MOMENTS = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=ZONES)


@given(st.lists(MOMENTS, min_size=1, max_size=5))
def test_times_are_exact_and_zones_are_not_mixed(moments):
    has_zone = {moment.tzinfo is not None for moment in moments}
    for values in ([moment.isoformat() for moment in moments], moments):
        table = Table.from_columns("t", {"when": values})
        if len(has_zone) == 2:
            with pytest.raises(DataError, match="time zone"):
                read_times(table, "when")
            continue
        expected = [
            (each if each.tzinfo else each.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
            for each in moments
        ]
        read = outcome(lambda table=table: read_times(table, "when"))
        np.testing.assert_allclose(read, [each.total_seconds() for each in expected], atol=1e-4)


@given(st.data(), st.integers(1, 20))
def test_split_plans_are_complete_or_rejected(data, rows):
    """Each row is in at most one part, each label in one bin, and the plan is reproducible."""
    few = st.sampled_from(["0", "1", "2.5", "70", "1e30", "-3"])
    kinds = {
        "y": data.draw(st.sampled_from([few, FINITE.map(repr), CELLS])),
        "x": few,
        "when": st.integers(1, 28).map(lambda day: f"2024-01-{day:02}"),
        "g": st.sampled_from("abcd"),
    }
    table = {
        name: data.draw(st.lists(kind, min_size=rows, max_size=rows))
        for name, kind in kinds.items()
    }
    options = data.draw(
        st.sampled_from(
            [
                TableSpec(target="y"),
                TableSpec(target="y", group="g"),
                TableSpec(target="y", split_by="time", time="when", balanced=False),
                TableSpec(target="y", skip_missing=True, bin_width=0.5, region=("low=..70",)),
                SeriesSpec(target="y", window=1, horizon=1, time="when", features=("x",), few=3),
                TableSpec(
                    target="y", split_by="day", time="when", max_per_bin=1, region=("low=0..70",)
                ),
            ]
        )
    )
    columns = Table.from_columns("data", table)
    plan = outcome(lambda: make_split_plan(columns, options))
    if plan is None:
        return
    assert np.isfinite(plan.labels).all()
    positions = np.concatenate(plan.split)
    assert len(np.unique(positions)) == len(positions) <= len(plan.labels)
    assert all(len(part) for part in plan.split)
    assert plan.bins.histogram(plan.labels).sum() == len(plan.labels)
    np.testing.assert_array_equal(
        plan.labels, [float(table["y"][row]) for row in plan.rows.tolist()]
    )
    for part, repeated in zip(plan.split, make_split_plan(columns, options).split, strict=True):
        np.testing.assert_array_equal(part, repeated)
