"""Tables of any text, numbers of any form, dates of any zone: read exactly, or refused."""

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

from ranksim.data.features import TableFeatures
from ranksim.data.reading import read_delimited, read_parquet
from ranksim.data.spec import SeriesSpec, TableSpec
from ranksim.data.split_plan import make_split_plan
from ranksim.data.table import MISSING_WORDS, Table, parse_numbers, read_times
from ranksim.exceptions import DataError
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
def test_what_is_written_is_read(folder, table, separator, end, packed):
    names, rows = table
    assume(not names[0].startswith("\ufeff"))  # a mark, and no part of a name
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([names, *rows])
    content = text.getvalue().encode()
    suffix = ".tsv" if separator == "\t" or len(names) == 1 else ".csv"
    path = folder / f"t{suffix}{'.gz' if packed else ''}"
    if len(names) == 1 and separator != "\t":
        content = content.replace(separator.encode(), separator.encode())
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    read = read_delimited(path)
    assert list(read.names) == names
    assert read.n_rows == len(rows)
    for k, name in enumerate(names):
        assert read.column(name) == [row[k] for row in rows]


@given(st.binary(max_size=200) | TEXT.map(str.encode), st.sampled_from(["t.csv", "t.tsv"]))
def test_anything_else_is_a_table_or_one_sentence(folder, content, name):
    path = folder / name
    path.write_bytes(content)
    read = outcome(lambda: read_delimited(path))
    for column in set(read.names) if read else ():
        if list(read.names).count(column) == 1:
            assert len(read.column(column)) == read.n_rows
        else:
            assert outcome(lambda name=column: read.column(name)) is None


@given(st.lists(TEXT.filter(str.strip), min_size=1, max_size=4, unique=True), st.data())
def test_parquet_of_any_names(folder, names, data):
    """Also names with dots, which Parquet uses for what is nested."""
    names = [*names, f"{names[0]}.x", f"{names[0]}."]
    columns = {
        name: data.draw(st.lists(st.none() | FINITE | st.integers(0, 9), min_size=3, max_size=3))
        for name in dict.fromkeys(names)
    }
    columns = {k: [None if x is None else float(x) for x in v] for k, v in columns.items()}
    path = folder / "t.parquet"
    parquet.write_table(pyarrow.table(columns), path)
    read = read_parquet(path)
    assert list(read.names) == list(columns)
    for name, values in columns.items():
        assert read.column(name) == values


@given(
    st.lists(TEXT | FINITE.map(repr) | st.sampled_from(["1_0", "nan", " NA", "inf", "٣", "1e999"]))
)
def test_a_cell_is_a_number_missing_infinite_or_text(values):
    read = parse_numbers(values)
    for k, value in enumerate(values):
        plain = value.strip()
        try:
            number = None if "_" in plain else float(plain)
        except ValueError:
            number = None
        if plain.lower() in MISSING_WORDS or (number is not None and np.isnan(number)):
            kind, number = "missing", np.nan
        elif number is None:
            kind, number = "text", np.nan
        else:
            kind = "infinite" if np.isinf(number) else None
            number = np.nan if np.isinf(number) else number
        np.testing.assert_equal(read.values[k], number)
        for name in ("missing", "text", "infinite"):
            assert getattr(read, name)[k] == (name == kind), (value, name)


CELLS = st.one_of(
    FINITE.map(repr), st.sampled_from(["", "NA", "1", "2", "a", "b", "inf", "2024-01-01"]), TEXT
)
KINDS = (FINITE.map(repr), st.sampled_from(["a", "b", "", "c"]), CELLS)


@given(st.data(), st.integers(3, 12))
def test_features_are_finite_and_forget_the_order_of_rows(data, rows):
    columns = {
        name: data.draw(st.lists(kind, min_size=rows, max_size=rows))
        for name, kind in zip("xyz", KINDS, strict=True)
    }
    table = Table.from_columns("t", columns)
    train = np.arange(rows - 1)
    features = outcome(lambda: TableFeatures.fit(table, list("xyz"), train))
    if features is None:
        return
    made = outcome(lambda: features(table))
    if made is None:  # a slip in the row that is not trained on
        return
    assert made.dtype == np.float32
    assert made.shape == (rows, features.width)
    assert np.isfinite(made).all()
    assert np.abs(made).max(initial=0) <= 1e6
    again = TableFeatures.from_dict(features.to_dict())
    np.testing.assert_array_equal(again(table), made)
    order = np.random.default_rng(rows).permutation(rows)
    np.testing.assert_array_equal(features(table.take(order)), made[order])


ZONES = st.none() | st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
MOMENTS = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=ZONES)


@given(st.lists(MOMENTS, min_size=1, max_size=5))
def test_times_are_those_of_the_calendar_and_zones_are_not_mixed(moments):
    zoned = {moment.tzinfo is not None for moment in moments}
    for values in ([moment.isoformat() for moment in moments], moments):
        table = Table.from_columns("t", {"when": values})
        if len(zoned) == 2:
            with pytest.raises(
                DataError, match=r"without a time zone, but other times with one; write"
            ):
                read_times(table, "when")
            continue
        expected = [
            (each if each.tzinfo else each.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
            for each in moments
        ]
        read = outcome(lambda table=table: read_times(table, "when"))
        np.testing.assert_allclose(read, [each.total_seconds() for each in expected], atol=1e-4)


@given(st.data(), st.integers(1, 20))
def test_a_plan_is_whole_or_refused(data, rows):
    """Each row with a label in one part at most, every bin in its range, and the same again."""
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
    dealt = np.concatenate(plan.split)
    assert len(np.unique(dealt)) == len(dealt) <= len(plan.labels)
    assert all(len(part) for part in plan.split)
    assert plan.bins.histogram(plan.labels).sum() == len(plan.labels)
    np.testing.assert_array_equal(
        plan.labels, [float(table["y"][row]) for row in plan.rows.tolist()]
    )
    for part, again in zip(plan.split, make_split_plan(columns, options).split, strict=True):
        np.testing.assert_array_equal(part, again)
