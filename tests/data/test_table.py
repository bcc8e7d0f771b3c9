import datetime
import time
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as arrow
import pytest
from pyarrow import parquet

from ranksim.data.cells import is_missing, parse_seconds
from ranksim.data.images.table import image_paths
from ranksim.data.reading import load_table
from ranksim.data.splitting import split_by_column
from ranksim.data.table import (
    Table,
    day_index,
    describe_times,
    find_time_scale,
    format_times,
    parse_numbers,
    read_groups,
    read_labels,
    read_numbers,
    read_targets,
    read_times,
)
from ranksim.exceptions import DataError
from tests.helpers.errors import raises_with


def make_table(**columns):
    return Table.from_columns("mine", columns)


def test_from_columns_identifies_a_table_by_its_values():
    table = make_table(a=[1, 2, 3], b=["x", "y", "z"])
    assert (table.n_rows, table.root, table.line_unit, table.lines) == (3, None, "row", range(1, 4))
    assert table.sha256 == Table.from_columns("other", {"a": [1, 2, 3], "b": list("xyz")}).sha256
    assert table.sha256 != make_table(a=[1, 2, 4], b=list("xyz")).sha256
    assert table.sha256 != make_table(a=[1, 2, 3], c=list("xyz")).sha256
    with pytest.raises(ValueError, match=r"same length, got \[1, 2\]"):
        make_table(a=[1], b=[1, 2])


def test_raise_for_rows_names_lines():
    table = Table("t.csv", ["a"], lambda _: [], [2, 5, 6, 7, 8, 9, 10])
    table.raise_for_rows([], "wrong", "correct it")
    with raises_with(DataError, "t.csv, line 2: wrong; correct it."):
        table.raise_for_rows(iter([0]), "wrong", "correct it")
    with raises_with(DataError, "t.csv, lines 2, 5, 6, 7, 8 and 2 more: wrong"):
        table.raise_for_rows(range(7), "wrong", "correct it")


def test_taken_rows_keep_their_lines():
    table = Table("t.csv", ["a"], lambda _: ["x", "y", "z"], [2, 4, 5]).take(np.array([2, 0]))
    assert (table.n_rows, list(table.lines), table.column("a")) == (2, [5, 2], ["z", "x"])


def test_column_must_exist_once():
    wide = make_table(**{f"c{k}": [] for k in range(30)})
    with raises_with(DataError, "mine", "'x'", "c0, c1", "c19 and 10 more"):
        wide.column("x")
    twice = Table("t.csv", ["a", "b", "a"], lambda _: ["2"], [2])
    assert twice.column("b") == ["2"]
    with raises_with(DataError, "t.csv", "two columns 'a'", "rename"):
        twice.column("a")


@pytest.mark.parametrize(
    ("values", "facts"),
    [
        (["1", "x", None], ("row 2", "'x'", "not a finite number")),
        (
            [datetime.date(2020, 1, 1)] * 3,
            ("rows 1, 2, 3", "datetime.date(2020, 1, 1)", "not a finite number"),
        ),
        ([True, 1, 2], ("row 1", "True", "not a finite number")),
        ([0.5, float("nan"), float("-inf")], ("row 3", "-inf", "not a finite number")),
        (["1,5", "2", "x"], ("rows 1, 3", "'1,5'", "not a finite number")),
        ([1, None], ("row 2", "no value", "fill it in")),
    ],
)
def test_read_numbers_reports_wrong_cells(values, facts):
    with raises_with(DataError, "column 'y'", *facts):
        read_numbers(make_table(y=values), "y")


@pytest.mark.parametrize(
    ("read", "cells", "facts"),
    [
        (read_labels, ["1", "#N/A"], ("'y' has no value ('#N/A')",)),
        (read_labels, ["1", "1e39"], ("'y' contains '1e39'",)),
        (read_targets, ["1", ""], ("'y' has no value;",)),
        (read_groups, ["a", "?"], ("'y' has no group ('?')",)),
        (read_groups, ["a", None], ("'y' has no group;",)),
        (read_times, ["1", "n/a"], ("'y' has no time ('n/a')",)),
        (read_times, ["2020-01-01", "noon"], ("'y' contains 'noon', which is not a date",)),
        (split_by_column, ["train", "tset"], ("'y' is not train, val or test, but 'tset'",)),
        (image_paths, ["a.png", " "], ("the image path '", "'y' is empty")),
        (image_paths, ["a.png", "/etc/b.png"], ("'/etc/b.png'", "column 'y'", "absolute")),
    ],
)
def test_messages_name_file_line_column_and_value(tmp_path, read, cells, facts):
    text = "note,y\n" + '"two\nlines",' + "\nx,".join(cell or "" for cell in cells) + "\n"
    (tmp_path / "t.csv").write_text(text)
    parquet.write_table(arrow.table({"y": cells}), tmp_path / "t.parquet")
    for name, place in (("t.csv", "line 4"), ("t.parquet", "row 2")):
        table = load_table(str(tmp_path / name))
        with raises_with(DataError, str(tmp_path / name), place, *facts):
            read(table, "y")


def test_groups_are_compared_in_every_form():
    forms = [1, 1.0, "1", " 1 ", "1.0", "01", "a", "a "]
    assert read_groups(make_table(g=forms), "g") == ["1"] * 5 + ["01", "a", "a"]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("Price", "price"),
        ("prise", "price"),
        ("living_area", "living area"),
        (" size", "size"),
        ("ｓｉｚｅ", "size"),
        ("pri\u00adce", "price"),
    ],
)
def test_near_names_are_suggested(name, near):
    table = make_table(**{"price": [1], "living area": [2], "size": [3]})
    with raises_with(DataError, f"no column {name!r}", f"did you mean {near!r}?"):
        table.column(name)
    with pytest.raises(DataError, match="'zip': choose one of price"):
        table.column("zip")


def test_read_targets_leaves_out_sentinels():
    table = make_table(y=["1", "-200", "-200.0", "9"])
    np.testing.assert_array_equal(read_targets(table, "y", (-200.0,)), [1, np.nan, np.nan, 9])
    assert read_targets(table, "y").tolist() == [1, -200, -200, 9]
    masked = table.mask_numbers("y", (-200.0,))
    assert masked.column("y") == ["1", None, None, "9"]
    assert (table.mask_numbers("z", (1.0,)), table.mask_numbers("y", ())) == (table, table)


def test_read_numbers_accepts_missing_values_and_decimals():
    table = make_table(m=[Decimal("1.5"), None, Decimal(2)])
    np.testing.assert_array_equal(read_numbers(table, "m", missing="nan"), [1.5, np.nan, 2])


def test_read_labels_rejects_numbers_beyond_float32():
    table = make_table(y=["1", "-1e40"])
    with raises_with(DataError, "row 2", "float32", "unit"):
        read_labels(table, "y")
    assert read_labels(make_table(y=["1e38"]), "y").tolist() == [1e38]


MISSING = ["", "  ", "NA", "n/a", "NaN", "NULL", "None", "-", " ? ", None, float("nan")]
TEXT = ["three", "1_000", "1,5", "12 mg", "0x10", "--", "none of these", True, np.True_,
        datetime.date(2020, 1, 1), [1], {"a": 1}, 1j, b"1"]  # fmt: skip
INFINITE = ["inf", "-Infinity", "1e999", float("inf"), Decimal("1e999"), 10**400, -(10**400)]


def test_is_missing():
    assert all(map(is_missing, [*MISSING, np.float32("nan")]))
    assert not any(map(is_missing, [*TEXT, *INFINITE, 0, "0", False]))


def test_parse_numbers_reads_usual_notations():
    cells = ["1", "1e3", " 3.5 ", "-0.25", "+7", ".5", 5, np.float32(0.5), Decimal("0.1")]
    parsed = parse_numbers(cells)
    assert parsed.values.tolist() == [1, 1000, 3.5, -0.25, 7, 0.5, 5, 0.5, 0.1]
    assert not (parsed.missing | parsed.text | parsed.infinite).any()


@pytest.mark.parametrize(
    ("kind", "values"), [("missing", MISSING), ("text", TEXT), ("infinite", INFINITE)]
)
def test_parse_numbers_classifies_other_cells(kind, values):
    parsed = parse_numbers(["1", *values])
    for name in ("missing", "text", "infinite"):
        assert getattr(parsed, name).tolist() == [False] + [name == kind] * len(values), name
    assert np.isnan(parsed.values[1:]).all()
    assert len(parse_numbers([]).values) == 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1970-01-02", 86_400.0),
        (" 1970-01-01T00:01:00.5 ", 60.5),
        ("1970-01-01 02:00+01:00", 3_600.0),
        ("1969-12-31 23:59:59Z", -1.0),
        (datetime.date(1970, 1, 3), 172_800.0),
        (datetime.datetime(1970, 1, 1, 1), 3_600.0),
        ("12:30", None),
        ("03/24/2010", None),
        ("2010-13-01", None),
        (5, None),
        (None, None),
    ],
)
def test_parse_seconds(value, expected):
    assert parse_seconds(value) == expected


def test_parse_seconds_ignores_daylight_saving(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert parse_seconds("2021-03-28 04:00") - parse_seconds("2021-03-28 01:00") == 3 * 3_600
    finally:
        monkeypatch.undo()
        time.tzset()


def test_read_times_of_numbers_and_dates():
    def read(cells):
        return read_times(Table.from_columns("own.csv", {"when": cells}), "when")

    assert read(["1", " 2.5", 1e3]).tolist() == [1, 2.5, 1000]
    assert read(["1970-01-01T01:00", "1970-01-02 00:00:01"]).tolist() == [3600, 86401]
    assert read([]).shape == (0,)


@pytest.mark.parametrize(
    ("form", "step"),
    [
        ("%Y%m", "MS"),
        ("%Y%m%d", "D"),
        ("%Y%m%d%H", "h"),
        ("%Y%m%d%H%M", "7min"),
        ("%Y%m%d%H%M%S", "11s"),
        ("%y%m%d", "D"),
        ("%y%m%d%H", "h"),
        ("%y%m%d%H%M", "7min"),
        ("%y%m%d%H%M%S", "11s"),
    ],
)
@pytest.mark.parametrize("kind", [str, int, float])
def test_numbers_that_are_dates(form, step, kind):
    moments = pd.date_range("2019-12-30" if step != "MS" else "2019-12-01", periods=70, freq=step)
    cells = [*map(kind, moments.strftime(form))]
    table = make_table(when=cells)
    seconds = (moments - pd.Timestamp("1970-01-01")).total_seconds().to_numpy()
    assert read_times(table, "when").tolist() == seconds.tolist()
    assert find_time_scale(table, "when") == 1
    assert format_times(seconds[:1], cells) == [str(moments[0])]
    note = describe_times(table, "when")
    assert bool(note) == form.startswith("%y")
    if note:
        assert f"{int(cells[0])} is {moments[0]}" in note
        assert note.split()[3].startswith("YYMMDD")


def test_numbers_that_may_be_months_or_days_are_reported():
    table = make_table(when=[200101, 200102, 200112])
    assert (
        read_times(table, "when")[1]
        == datetime.datetime(2001, 2, 1, tzinfo=datetime.UTC).timestamp()
    )
    assert describe_times(table, "when") == (
        "numbers, read as YYYYMM: 200101 is 2001-01-01 00:00:00"
    )
    assert describe_times(make_table(when=[202001, 202012]), "when") == ""


@pytest.mark.parametrize(
    "numbers",
    [
        np.arange(20200101, 20200140),  # some are no dates: a counter
        [20200101.5, 20200102.5],
        [202012, 20201231],
        [18991231, 18991230],
        [0, 1, 2],
        1_577_836_800 + 300 * np.arange(20),  # seconds since 1970
    ],
)
def test_other_numbers_are_no_dates(numbers):
    table = make_table(when=[float(number) for number in numbers])
    assert read_times(table, "when").tolist() == list(numbers)


@pytest.mark.parametrize(
    ("values", "facts"),
    [
        (["1", "2", "noon"], ("line 4", "'noon'", "not a finite number")),
        (["1", "inf"], ("line 3", "'inf'", "not a finite number")),
        (["2020-01-01", "noon"], ("line 3", "'noon'", "not a date", "2010-03-24")),
        (["2020-01-01", "2020-01-02", "7"], ("line 4", "'7'", "not a date")),
        (["1", "", "2"], ("line 3", "no time")),
        (["2020-01-01Z", "2020-01-02T00:00", "2020-01-03T00:00Z"], ("2020",)),
        (["2020-01-02T00:00", "2020-01-03T00:00Z"], ("line 2", "without a time zone")),
    ],
)
def test_read_times_reports_wrong_cells(values, facts):
    table = Table("own.csv", ["when"], lambda _: values, range(2, 2 + len(values)))
    with raises_with(DataError, "own.csv", "column 'when'", *facts):
        read_times(table, "when")


def test_format_times_follows_the_example():
    seconds = np.array([3_600.0])
    assert format_times(seconds, ["5"]) == [3600.0]
    assert format_times(seconds, ["2020-01-01"]) == ["1970-01-01 01:00:00"]
    assert format_times(seconds, ["2020-01-01T00:00Z"]) == ["1970-01-01 01:00:00+00:00"]
    assert format_times(seconds, [datetime.date(2020, 1, 1)]) == ["1970-01-01 01:00:00"]


def test_day_index_before_1970():
    assert day_index(np.array([-1.0, 0.0, 86_399.9, 86_400.0])).tolist() == [-1, 0, 0, 1]


@pytest.mark.parametrize(
    ("numbers", "scale"),
    [([1.7e9, 1.8e9], 1.0), ([1.7e12], 1e3), ([4.0e11, 1.7e12], 1e3), ([1.7e15], 1e6),
     ([1.7e18], 1e9), ([0.0, 300.0], 0.0), ([0.0, 1.7e12], 0.0), ([5e7, 4e9], 0.0),
     ([45_000.0], 0.0)],
)  # fmt: skip
def test_numeric_times_have_the_unit_of_plausible_dates(numbers, scale):
    table = Table.from_columns("t", {"when": list(map(repr, numbers))})
    assert find_time_scale(table, "when") == scale
    expected = [number / (scale or 1.0) for number in numbers]
    np.testing.assert_array_equal(read_times(table, "when"), expected)
    again = format_times(read_times(table, "when"), table.column("when"), scale)
    np.testing.assert_allclose(again, numbers, rtol=1e-15)


def test_numeric_times_of_two_units_are_rejected():
    table = Table.from_columns("t", {"when": ["1700000000000", "1700000001000", "1700000002"]})
    with raises_with(DataError, "t, row 3", "time in seconds, but others in milliseconds"):
        read_times(table, "when")
