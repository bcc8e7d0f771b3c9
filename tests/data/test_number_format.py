"""Numbers are read as they are meant, or rejected if they may be meant in two ways."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranksim.data.number_format import PLAIN, NumberFormat, NumberSigns, detect_number_format
from ranksim.data.reading import load_table
from ranksim.data.spec import ReadOptions
from ranksim.data.table import Table, read_numbers
from ranksim.exceptions import DataError, UsageError
from tests.helpers.errors import raises_with

VALUES = [0.5, 12.25, 1234.5, -7.25, 98.0, 1_234_567.75, 450.5, 31.5, 2.25, 1000.5]
SWISS, GERMAN, SPACED = str.maketrans(",", "'"), str.maketrans(",.", ".,"), str.maketrans(",", " ")


def as_table(cells, **options):
    table = Table.from_columns("own.csv", {"x": cells})
    return table.apply_options(ReadOptions(**options)) if options else table


def read(cells, **options):
    return read_numbers(as_table(cells, **options), "x", missing="nan")


WRITERS = {
    "plain": (str, PLAIN),
    "decimal comma": (lambda v: str(v).replace(".", ","), NumberFormat(",")),
    "thousands": (lambda v: f"{v:,.2f}", NumberFormat(".", ",")),
    "German": (lambda v: f"{v:,.2f}".translate(GERMAN), NumberFormat(",", ".")),
    "Swiss": (lambda v: f"{v:,.2f}".translate(SWISS), NumberFormat(".", "'")),
    "typographic": (lambda v: f"{v:,.2f}".replace(",", "’"), NumberFormat(".", "'")),
    "SI": (lambda v: f"{v:,.2f}".replace(",", "\u202f"), NumberFormat(".", " ")),
    "French": (lambda v: f"{v:,.2f}".translate(SPACED).replace(".", ","), NumberFormat(",", " ")),
    "per cent": (lambda v: f"{v}%", NumberFormat(unit="%")),
    "spaced per cent": (lambda v: f"{v} %".replace(".", ","), NumberFormat(",", unit="%")),
    "dollars": (lambda v: f"${v:,.2f}".replace("$-", "-$"), NumberFormat(".", ",", "$")),
    "euros": (lambda v: f"{v:,.2f}\u00a0€".translate(GERMAN), NumberFormat(",", ".", "€")),
    "code": (lambda v: f"USD {v}", NumberFormat(unit="USD")),
    "unit": (lambda v: f"{v} km/h", NumberFormat(unit="km/h")),
    "plural": (lambda v: f"{v} {'year' if v == 0.5 else 'years'}", NumberFormat(unit="year")),
    "minus sign": (lambda v: str(v).replace("-", "−"), PLAIN),
    "parentheses": (lambda v: f"({-v})" if v < 0 else str(v), PLAIN),
}


@pytest.mark.parametrize("name", WRITERS)
def test_usual_forms_are_read_right(name):
    write, form = WRITERS[name]
    cells = [*map(write, VALUES), "", "#N/A", " . "]
    table = as_table(cells)
    np.testing.assert_array_equal(read_numbers(table, "x", missing="nan"), [*VALUES, *[np.nan] * 3])
    assert table.number_format("x") == form
    notes = table.report.notes.get("Forms", "")
    assert (form == PLAIN) == (not notes)
    assert all(part in notes for part in (form.unit, "decimal commas" * (form.decimal == ",")))


@given(
    st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=20),
    st.sampled_from([(".", ","), (",", "."), (",", " "), (".", "'")]),
)
def test_written_decimals_are_read_back(cents, signs):
    """Two decimals are never ambiguous; compared with the integers they were written from."""
    decimal, thousands = signs
    table = str.maketrans({",": thousands, ".": decimal})
    cells = [f"{cent / 100:,.2f}".translate(table) for cent in cents]
    np.testing.assert_allclose(read(cells), np.array(cents) / 100, rtol=1e-15)


@given(st.lists(st.integers(1000, 999_999), min_size=1, max_size=20), st.sampled_from(["", " €"]))
def test_a_single_separator_and_three_digits_are_ambiguous(numbers, unit):
    cells = [f"{number:,}{unit}" for number in numbers]
    facts = (
        f"{numbers[0]:,}".replace(",", "."),
        str(numbers[0]),
        "--thousands ','",
        "--decimal ','",
    )
    with raises_with(DataError, "own.csv, row 1: column 'x'", *facts):
        read(cells)
    assert read(cells, thousands=",").tolist() == numbers
    np.testing.assert_allclose(read(cells, decimal=","), np.array(numbers) / 1000)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1,234", "0,567"], [1.234, 0.567]),  # no thousands begin with 0
        (["1,234", "5,5"], [1.234, 5.5]),
        (["1,234", "1234,5"], [1.234, 1234.5]),
        (["1,234", "12,345,678"], [1234, 12_345_678]),
        (["12,34,567", "1,00,000"], [1_234_567, 100_000]),  # as in India
        (["1,234", "2,500.5"], [1234, 2500.5]),
        (["1,234", "950", "7", "31", "2,000", "12,345"], [1234, 950, 7, 31, 2000, 12_345]),
        (["1.234", "2.345"], [1.234, 2.345]),  # the decimal point is the rule
        (["1.234", "2.5", "9.125", "4.625", "1", "2", "3"], [1.234, 2.5, 9.125, 4.625, 1, 2, 3]),
        (["0.514", "2.375", "9.125", "4.625", "1", "2"], [0.514, 2.375, 9.125, 4.625, 1, 2]),
        (["1.024", "2.048", "4.096", "1", "2", "3000"], [1.024, 2.048, 4.096, 1, 2, 3000]),
        (["€1.2M", "€0.5M", "€10M"], [1.2, 0.5, 10]),
        (["1.234", "1.234.567"], [1234, 1_234_567]),
        (["4th", "1st", "22nd", "3rd"], [4, 1, 22, 3]),
        (["3,5", "2", "1e3"], [3.5, 2, 1000]),
    ],
)
def test_other_numbers_decide_ambiguous_ones(cells, expected):
    assert read(cells).tolist() == expected


@pytest.mark.parametrize(
    ("cells", "options", "facts"),
    [
        (["1,234", "1234"], {}, ("row 1", "'1,234' may be 1234", "or 1.234", "--decimal ','")),
        (["1.234 €", "2.500 €"], {}, ("'1.234 €'", "--thousands '.'", "--decimal '.'")),
        (
            ["7", "83.593", "179", "950", "-2.000", "1.234"],
            {},
            ("row 2", "'83.593' may be 83593", "or 83.593", "--thousands '.' or --decimal '.'"),
        ),
        (["1.5", "2,5"], {}, ("row 1", "two forms", "'1.5'", "row 2", "'2,5'", "--categories")),
        (["12%", "0.5"], {}, ("row 1", "two units", "'12%'", "row 2", "'0.5'")),
        (["5K", "900"], {}, ("two units", "'5K'", "'900'")),
        (["1.5", "2.5"], {"decimal": ","}, ("'1.5' does not fit --decimal ,",)),
        (["1,5", "2,5"], {"decimal": "."}, ("'1,5' does not fit --decimal .",)),
        ([*["12.5 kg"] * 19, "800 g"], {}, ("row 20", "'800 g'", "the unit kg")),
        ([*["12.5"] * 19, "3,512"], {}, ("row 20", "'3,512'", "not a finite number")),
        ([*["12.5"] * 19, "12 mg"], {}, ("row 20", "'12 mg'", "not a finite number")),
    ],
)
def test_numbers_in_two_forms_are_rejected(cells, options, facts):
    with raises_with(DataError, "own.csv", "column 'x'", *facts):
        read(cells, **options)


@pytest.mark.parametrize(
    "cells",
    [
        ["A1", "B2", "Q7"],
        ["1-2", "3-4"],
        ["10:30", "11:45"],
        ["192.168.1.7", "10.0.0.12"],
        ["1.2.3", "2.0.1"],
        ["01.02.2020", "12.11.2021"],
        ["<5", ">7"],
        ["1/2", "3/4"],
        ["3A", "4B", "12C"],
        ["1_000", "2_000"],
        ["Tower 7", "Floor 3"],
    ],
)
def test_names_stay_names(cells):
    assert detect_number_format(cells) is None


def test_points_are_ambiguous_beside_decimal_commas():
    table = Table.from_columns("t.csv", {"a": ["1.234", "5.678"], "b": ["0,5", "2,25"]})
    with raises_with(DataError, "column 'a'", "1234", "--thousands '.'"):
        read_numbers(table, "a")
    german = table.apply_options(ReadOptions(decimal=","))
    assert read_numbers(german, "a").tolist() == [1234, 5678]
    assert read_numbers(german, "b").tolist() == [0.5, 2.25]


def test_options_decide_points_beside_whole_numbers():
    cells = ["7", "83.593", "179", "950", "2.000", "1.234"]
    for options, factor in (({"thousands": "."}, 1000), ({"decimal": "."}, 1)):
        expected = [7, 83.593 * factor, 179, 950, 2 * factor, 1.234 * factor]
        np.testing.assert_allclose(read(cells, **options), expected, rtol=1e-12)
    numbers = [7, 83.593, 179, 950, 2.5, 1.234]  # as in Parquet
    assert read(numbers).tolist() == numbers


def test_parts_of_a_table_are_read_like_the_whole():
    table = as_table(["1,234", "2,5", "3,125"])
    assert read_numbers(table.take(np.array([0, 2])), "x").tolist() == [1.234, 3.125]


def test_numbers_that_are_not_text_are_plain():
    for decimal in (None, ","):
        signs = NumberSigns(decimal)
        assert detect_number_format([1, 2.5, None, np.float32(3)], signs) == PLAIN
    assert detect_number_format([]) == PLAIN


def test_read_options_are_checked():
    for options, fact in (
        ({"decimal": ";"}, "--decimal"),
        ({"thousands": "ab"}, "--thousands"),
        ({"decimal": ",", "thousands": ","}, "both ','"),
        ({"encoding": "utf-99"}, "--encoding 'utf-99'"),
        ({"comment": ""}, "--comment"),
    ):
        with raises_with(UsageError, fact):
            ReadOptions.from_options(options)


def test_missing_words_of_the_user(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x,c\n5,a\n-9,unknown\n-9.0,b\n 7 ,UNKNOWN\n")
    table = load_table(str(path), ReadOptions(missing=("-9", "unknown")))
    np.testing.assert_array_equal(read_numbers(table, "x", missing="nan"), [5, np.nan, np.nan, 7])
    assert list(table.column("c")) == ["a", None, "b", None]
    objects = Table.from_columns("t", {"x": [5, -9.0, -9]}).apply_options(table.reading)
    assert objects.column("x") == [5, None, None]


@pytest.mark.parametrize(
    "cell", ["-99.9", "-99.90", " -99.900", "-99,9", "-99,90", -99.9, np.float32(-99.9)]
)
def test_missing_numbers_of_the_user_are_compared_by_value(cell):
    reading = ReadOptions(missing=("-99.9",))
    table = Table.from_columns("t", {"x": [cell, -99, "99.9", "99.91"]}).apply_options(reading)
    assert table.column("x") == [None, -99, "99.9", "99.91"]


@pytest.mark.parametrize(
    ("cells", "words", "expected"),
    [
        # codes are compared as text
        (["007", "7", "070", "b"], ("7",), ["007", None, "070", "b"]),
        (["007", "7", "010", "012"], ("7",), ["007", None, "010", "012"]),
        (["007", "7", "010", "012"], ("007",), [None, "7", "010", "012"]),
        (["a", "7.0", "b", " 7 "], ("7",), ["a", None, "b", None]),
        (["a", "7.00", "7e0", "b"], ("7.5",), ["a", "7.00", "7e0", "b"]),
        # numbers are compared by value
        (["7.00", "7e0", "+7", "8"], ("7",), [None, None, None, "8"]),
        (["-99,90", "1,5", "2,25"], ("-99.9",), [None, "1,5", "2,25"]),
        ([7, 7.0, 8.5, None], ("7",), [None, None, 8.5, None]),
        (["unknown", "7.00", "8", "unknown"], ("Unknown", "7"), [None, None, "8", None]),
        (["0", "0.0", "-0", "0.5"], ("0",), [None, None, None, "0.5"]),
    ],
)
def test_missing_values_of_the_user_are_texts_in_columns_of_codes(cells, words, expected):
    assert as_table(cells, missing=words).column("x") == expected
