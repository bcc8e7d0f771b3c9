from datetime import date
from decimal import Decimal

import numpy as np
import pytest

from ranksim.data.table import Table, read_labels, read_numbers
from ranksim.exceptions import DataError
from tests.helpers.errors import raises_with


def make_table(**columns):
    return Table.from_columns("mine", columns)


def test_from_columns_identifies_a_table_by_its_values():
    table = make_table(a=[1, 2, 3], b=["x", "y", "z"])
    assert (table.n_rows, table.root, table.describe_rows(range(3))) == (
        3,
        None,
        "mine, rows 1, 2, 3",
    )
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
        (["1", "x", None], ("row 2", "'x'", "not a number")),
        ([date(2020, 1, 1)] * 3, ("rows 1, 2, 3", "datetime.date(2020, 1, 1)", "not a number")),
        ([True, 1, 2], ("row 1", "True", "not a number")),
        ([0.5, float("nan"), float("-inf")], ("row 3", "-inf", "infinite")),
        (["1,5", "2"], ("row 1", "'1,5'", "decimals with a point")),
        ([1, None], ("row 2", "no value", "fill it in")),
    ],
)
def test_read_numbers_reports_wrong_cells(values, facts):
    with raises_with(DataError, "column 'y'", *facts):
        read_numbers(make_table(y=values), "y")


def test_read_numbers_accepts_missing_values_and_decimals():
    table = make_table(m=[Decimal("1.5"), None, Decimal(2)])
    np.testing.assert_array_equal(read_numbers(table, "m", missing="nan"), [1.5, np.nan, 2])


def test_read_labels_rejects_numbers_beyond_float32():
    table = make_table(y=["1", "-1e40"])
    with raises_with(DataError, "row 2", "float32", "unit"):
        read_labels(table, "y")
    assert read_labels(make_table(y=["1e38"]), "y").tolist() == [1e38]
