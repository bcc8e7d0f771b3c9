"""Columns are encoded alike whatever the form of their values in training and in new data."""

import datetime
import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranksim.data.reading import load_table
from ranksim.data.spec import TableSpec
from ranksim.data.table import Table
from ranksim.exceptions import DataError
from ranksim.user_data.columns import (
    find_column_warning,
    parse_vector,
    read_vectors,
    spell_booleans,
)
from ranksim.user_data.features import TableFeatures
from ranksim.user_data.sample_keys import hash_samples
from tests.helpers.errors import raises_with


def as_table(cells, name="new"):
    return Table.from_columns(name, {"x": cells})


def fit(cells, **options):
    features = TableFeatures.fit(as_table(cells), ["x"], np.arange(len(cells)), **options)
    return TableFeatures.from_dict(json.loads(json.dumps(features.to_dict())))  # as a model has it


DAYS = [datetime.date(2020, 1, day) for day in (1, 2, 3, 5)]
PAIRS = {  # forms of equal values in training, and in new data
    "integers that became floats": [[1, 2, 2, 7], [1.0, 2.0, 2.0, 7.0], ["1", "2.0", " 2", "7."]],
    "decimals": [[0.5, 1.5, 0.5, 3.0], [Decimal("0.5"), Decimal("1.50"), Decimal("0.5"), 3]],
    "thousands": [["1,500.5", "2", "1,000,000", "7"], [1500.5, 2, 1e6, 7]],
    "decimal comma": [["1,5", "2,25", "3", "0,5"], [1.5, 2.25, 3, 0.5], ["1.5", "2.25", "3", ".5"]],
    "currency": [["$5", "$1,200", "$7.50"], [5, 1200, 7.5], ["$5.00", "$1200", "$7.5"]],
    "booleans": [
        [True, False, True, True], ["True", "False", "TRUE", "true"], ["yes", "no", "yes", "yes"],
        [1, 0, 1, 1], ["1", "0", "1.0", "1"], [np.True_, np.False_, np.True_, np.True_],
    ],
    "two words": [["yes", "no", "no", "yes"], [True, False, False, True], ["Y", "N", "N", "Y"]],
    "padded names": [["a", "b", "café", "b"], [" a", "b ", "cafe\u0301\t", "b\u00a0"]],
    "dates": [DAYS, list(map(str, DAYS)), list(map(pd.Timestamp, DAYS)),
              [f"{day}T00:00:00" for day in DAYS], [np.datetime64(day) for day in DAYS]],
    "words and numbers": [["1", "2", "a", "b"], [1, 2.0, "a ", "b"]],
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_forms_of_equal_values_are_encoded_alike(name):
    for training in PAIRS[name]:
        features = fit(training)
        expected = features(as_table(training))
        assert (expected.std(axis=0) > 0).all()
        for new in PAIRS[name]:
            np.testing.assert_allclose(features(as_table(new)), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", PAIRS)
def test_forms_of_equal_values_belong_to_equal_samples(name):
    for training in PAIRS[name]:
        features = fit(training)

        def make_hashes(cells, features=features):
            table = features.spell_booleans(as_table(cells))
            return hash_samples(table, TableSpec(target="y"), ["x"]).tolist()

        expected, encoded = make_hashes(training), features(as_table(training))
        for new in PAIRS[name]:
            assert make_hashes(new) == expected
        are_equal = [np.array_equal(a, b) for a in encoded for b in encoded]
        assert [a == b for a in expected for b in expected] == are_equal


@pytest.mark.parametrize(
    "words", [("on", "off"), ("T", "F"), ("Y", "N"), ("1", "0"), (True, False)]
)
def test_booleans_are_spelled_as_in_the_training_data(words):
    true, false = words
    for training in (["yes", "no", "no"], [1, 0, 0], [True, False, False], ["Y", None, "n"]):
        column = fit(training).columns[0]
        spelling = column.booleans
        cells = [true, false, " other", None]
        expected = [spelling[True], spelling[False], " other", None]
        assert spell_booleans(cells, spelling) == expected
        assert spell_booleans(cells, {}) == cells
    for training in (["yes", "no", "maybe"], ["a", "b", "b"], [0, 1, 2], ["yes", "on", "on"]):
        assert not fit(training).columns[0].booleans


def test_time_zones_in_training_or_new_data_alone_are_a_warning():
    naive = [f"2024-03-0{k} 09:00" for k in range(1, 6)]
    zoned = [
        [f"{day}Z" for day in naive],
        [f"{day}-05:00" for day in naive],
        [pd.Timestamp(day, tz="America/New_York") for day in naive],
    ]
    for training in (naive, [day[:10] for day in naive], *zoned):
        features, is_zoned = fit(training), training in zoned
        for new in (naive, *zoned):
            warnings = features.describe_time_zones(as_table([None, *new])).warnings
            if is_zoned == (new in zoned):
                assert warnings == []
            else:
                has = "have no time zone" if is_zoned else "have a time zone"
                assert [has in text and "'x'" in text for text in warnings] == [True]
        old = features.to_dict()
        del old["columns"][0]["zoned"]  # as in models of earlier versions
        assert not TableFeatures.from_dict(old).describe_time_zones(as_table(zoned[0])).warnings
    assert not fit([1, 2, 3]).describe_time_zones(as_table([1, 2])).warnings


@pytest.mark.parametrize("forms", [[3, 1, 3, 2], ["3", "1", "3", "2"], [3.0, 1.0, 3.0, 2.0]])
def test_codes_are_categories_in_every_form(forms):
    features = fit(["3", "1", "3.0", " 2 "], kinds={"x": "category"})
    assert features.names == ["x = 1", "x = 2", "x = 3"]
    expected = [[0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert features(as_table(forms)).tolist() == expected


@given(st.lists(st.integers(-1000, 1000), min_size=3, max_size=30).filter(lambda v: len({*v}) > 1))
def test_integers_equal_their_floats_and_texts(values):
    features = fit(values)
    for form in (float, str, lambda v: f" {v}.0", Decimal, np.int64):
        np.testing.assert_array_equal(
            features(as_table(list(map(form, values)))), features(as_table(values))
        )


def test_parquet_and_csv_are_read_alike(tmp_path):
    columns = {
        "whole": pa.array([1, None, 3, 3], pa.int32()),
        "float": pa.array([0.1, 0.5, None, 7], pa.float32()),
        "flag": pa.array([True, False, None, True]),
        "name": pa.array(["a", "b", "a", None]).dictionary_encode(),
        "day": pa.array(DAYS, pa.date32()),
        "when": pa.array([datetime.datetime(2020, 1, day, 12) for day in (1, 2, 3, 4)]),
        "money": pa.array([Decimal("1.50"), Decimal("2.00"), None, Decimal("9.99")]),
    }
    table = pa.table(columns)
    pq.write_table(table, tmp_path / "t.parquet")
    table.to_pandas().to_csv(tmp_path / "t.csv", index=False)  # integers become floats
    parquet, text = (load_table(str(tmp_path / f"t.{kind}")) for kind in ("parquet", "csv"))
    for first, second in ((parquet, text), (text, parquet)):
        features = TableFeatures.fit(first, list(columns), np.arange(4))
        np.testing.assert_allclose(features(second), features(first), rtol=1e-6)
        assert not features.dropped


def test_other_forms_of_numbers_in_new_data_are_not_misread():
    features = fit(["1.5", "2.25", "3.125", "80.5"])
    expected = features(as_table([1234.5, 7]))
    for new in (["1,234.5", "7"], ["1.234,5", "7"], ["1234,5", "7,0"]):
        np.testing.assert_array_equal(features(as_table(new)), expected)
    with raises_with(DataError, "new, row 1: column 'x'", "1234", "1.234", "--decimal ','"):
        features(as_table(["1,234", "2,345"]))
    trained = fit(["1,234.5", "7", "2,000", "980"])
    np.testing.assert_array_equal(
        trained(as_table(["1,234", "2,345"])), trained(as_table([1234, 2345]))
    )


@pytest.mark.parametrize(
    ("training", "new", "fact"),
    [
        (["5%", "7%", "9.5%"], ["0.05", "0.07"], "'0.05', but the training data has numbers with"),
        (["5%", "7%", "9.5%"], [0.05, 0.07], "the unit %"),
        (["0.05", "0.07", "0.09"], ["5%", "7%"], "without a unit"),
        (["5 kg", "7 kg", "9 kg"], ["11 lb", "15 lb"], "with the unit kg"),
        (["5K", "7K", "9K"], ["5000", "7000"], "with the unit K"),
    ],
)
def test_numbers_in_another_unit_are_rejected(training, new, fact):
    with raises_with(DataError, "new, rows 1, 2: column 'x'", fact):
        fit(training)(as_table(new))


def describe(features, cells, **options):
    return features.describe_unknown(as_table(cells), "this data", **options)


def test_unknown_categories_are_counted():
    features = fit(["red", "blue", "red", "green"])
    known = ["red", "blue"] * 20
    assert describe(features, known).to_dict() == {}
    few = describe(features, [*known, "Red", None])
    assert few.notes == {
        "Unknown in this data": "'x': 1 missing, as in no training row; "
        "'x': 1 (2.4\u202f%), such as 'Red' (row 41)"
    }
    assert not few.warnings
    (warning,) = describe(features, [*known, *["Red"] * 3]).warnings
    assert "3 (7.0\u202f%)" in warning
    assert "row 41" in warning
    assert "'blue', 'green', 'red'" in warning
    with raises_with(DataError, "new, rows 1, 2, 3, 4, 6", "'RED'", "'blue', 'green', 'red'"):
        describe(features, ["RED", "BLUE", "RED", "RED", None, "RED"])
    for count in (1, 4):  # a few new rows may be of new kinds
        (warning,) = describe(features, [*["RED"] * count, None]).warnings
        assert "'RED' (row 1)" in warning
        assert "100.0" in warning
    (warning,) = describe(features, ["RED", "BLUE"], is_new=False).warnings  # a part of a split
    assert "100.0" in warning
    assert describe(features, []).to_dict() == {}


def test_rare_training_values_are_known():
    values = [f"n{k}" for k in range(60) for _ in range(3 if k < 50 else 1)]
    features = fit(values)
    assert features.names[-1] == "x other"
    assert describe(features, values).to_dict() == {}
    assert "n99" in describe(features, [*values, "n99"]).notes["Unknown in this data"]
    many = fit([f"n{k // 2}" for k in range(12_000)])  # too many to be stored
    assert describe(many, ["n5999", "unknown"]).to_dict() == {}


VECTORS = np.random.default_rng(0).normal(3, 2, (20, 3)).round(3)


def test_lists_of_equal_length_become_features():
    expected = (VECTORS - VECTORS.mean(axis=0)) / VECTORS.std(axis=0)
    forms = {
        "lists": VECTORS.tolist(), "arrays": list(VECTORS), "tuples": list(map(tuple, VECTORS)),
        "JSON": [json.dumps(v) for v in VECTORS.tolist()], "NumPy": [str(v) for v in VECTORS],
    }  # fmt: skip
    for training in forms.values():
        features = fit(training)
        assert features.names == ["x[0]", "x[1]", "x[2]"]
        for new in forms.values():
            np.testing.assert_allclose(features(as_table(new)), expected, rtol=1e-5, atol=1e-6)
    report = features.describe(as_table(forms["lists"]))
    assert report.columns == {"embeddings": {"x": 3}}


def test_missing_lists_become_the_mean():
    cells = [*VECTORS.tolist(), None, []]
    features = fit(cells)
    encoded = features(as_table(cells))
    assert features.names[-1] == "x missing"
    np.testing.assert_array_equal(encoded[-2:], [[0, 0, 0, 1]] * 2)
    np.testing.assert_array_equal(encoded[:-2, -1], 0)
    assert features.describe(as_table(cells)).filled == {"x": 2}


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ([[1, 2], [3], [1, 2, 3]], "its lists have from 1 to 3 numbers"),
        ([["a"], ["b"], ["c"]], "its cells are lists, but not of numbers"),
        ([[[1, 2]], [[3, 4]], [[5, 6]]], "its cells are lists, but not of numbers"),
        ([{"a": 1}, {"a": 2}, {"a": 3}], "its cells are structs of several values"),
        ([[1, float("inf")], [1, 2], [3, 4]], "its cells are lists, but not of numbers"),
        ([[1, 2], [1, 2], [1, 2]], "all its values are equal"),
        (["a", [1, 2], "b"], "some of its cells are no single value, such as [1, 2]"),
        (["[1, 2]", "[3]", "[4, 5]"], "its lists have from 1 to 2 numbers"),
    ],
)
def test_other_lists_and_structs_are_left_out(cells, reason):
    table = Table.from_columns("t", {"x": cells, "z": list(range(len(cells)))})
    assert TableFeatures.fit(table, ["x", "z"], np.arange(len(cells))).dropped == {"x": reason}


@pytest.mark.parametrize("as_cell", [list, tuple, np.array, str])
@pytest.mark.parametrize("number", [float, int])
def test_lists_of_any_type_are_equal_vectors(as_cell, number):
    rows = [[number(k), number(k * k), number(-1)] for k in range(4)]
    table = Table.from_columns("t", {"x": [as_cell(row) for row in rows]})
    assert read_vectors(table, "x").tolist() == rows


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, True, None, "1", 10**400])
def test_lists_with_other_values_are_no_vectors(value):
    assert parse_vector([1.0, value]) is None
    assert parse_vector([1.0, 2.0]) == [1.0, 2.0]


def test_a_requested_embedding_must_be_one():
    cells = [[1, 2], [3, 4], [5]]
    with raises_with(DataError, "new, row 3: column 'x' contains [5]", "list of 2"):
        fit(cells, kinds={"x": "embedding"})
    with raises_with(DataError, "row 2", "'b'"):
        fit(["[1, 2]", "b"], kinds={"x": "embedding"})
    with raises_with(DataError, "new, row 1: column 'x' contains [1, 2, 3]", "list of 2"):
        fit([[1, 2], [3, 4]])(as_table([[1, 2, 3]]))


@pytest.mark.parametrize(
    ("cells", "facts"),
    [
        ([*map(str, range(15)), "<5", "low", "low"], ("row 16", "'<5'", "2 more", "--missing")),
        (["03/24/2010", "04/01/2010", "12/31/2011"] * 4, ("'03/24/2010'", "2010-03-24")),
        (["24. 3. 2010", "1.4.2010"] * 4, ()),
        ([f"{k} {unit}" for k in range(15) for unit in ("kg", "g")], ("several units (kg and g)",)),
        (["1Story", "2Story", "1.5Fin", "2.5Unf"] * 5, ()),
        (["3A", "4B", "12C", "1D"] * 3, ()),
        (["red", "blue"] * 5, ()),
    ],
)  # fmt: skip
def test_names_that_seem_to_be_numbers_or_dates_are_a_warning(cells, facts):
    features = TableFeatures.fit(
        Table.from_columns("t", {"x": cells, "z": list(range(len(cells)))}),
        ["x", "z"],
        np.arange(len(cells)),
    )
    warnings = features.describe_names(as_table(cells)).warnings
    assert len(warnings) == bool(facts)
    assert all(fact in warnings[0] for fact in ("'x'", "--categories x", *facts) if facts)
    assert features.describe_names(as_table(cells), confirmed=["x"]).warnings == []


def test_a_column_without_values_in_new_data_is_a_warning():
    features = fit([1, 2, 3])
    (warning,) = features.describe(as_table([None, ""])).warnings
    assert "All values of column 'x' of new are missing" in warning


SOFT_HYPHEN, FULL_WIDTH = "U+00AD (soft hyphen)", "full-width character"


@pytest.mark.parametrize(
    ("odd", "fact"),
    [("fl\u00adat", SOFT_HYPHEN), ("flat\u200b", "U+200B (zero width space)"),
     ("\ufeffflat", "U+FEFF"), ("ｆｌａｔ", f"{FULL_WIDTH} 'ｆ'"), ("ﬂat", None), ("Flat", None)],
)  # fmt: skip
def test_names_that_differ_in_odd_characters_are_named(odd, fact):
    training = ["flat", "house", "barn", odd] * 10
    warnings = fit(training).describe_names(as_table(training)).warnings
    assert [(fact or "") in text and "write them alike" in text for text in warnings] == (
        [True] * (fact is not None)
    )
    trained = fit(["flat", "house", "barn"] * 10)
    new = ["flat"] * 9 + [odd] * 2
    (warning,) = describe(trained, new).warnings
    assert "not in the training data" in warning
    assert (fact is not None) == ("character" in warning)
    assert (fact or "") in warning
    note = describe(trained, ["flat"] * 60 + [odd]).notes["Unknown in this data"]
    assert (fact or "") in note
    with raises_with(DataError, "no value of column 'x'", fact or ""):
        describe(trained, [odd] * 5)
    if fact is not None:  # the training data has the odd one
        (warning,) = describe(fit([odd, "house", "barn"] * 10), ["house"] * 9 + ["flat"]).warnings
        assert fact in warning


@pytest.mark.parametrize(
    ("odd", "fact"),
    [("12\u00ad.5", SOFT_HYPHEN), ("\u200b12.5", "U+200B"), ("１２．５", FULL_WIDTH),
     ("12，5", None), ("twelve\u00ad", None)],
)  # fmt: skip
def test_numbers_with_odd_characters_are_explained(odd, fact):
    usual = [str(k / 2) for k in range(40)]
    with raises_with(DataError, "own.csv, row 41", repr(odd), fact or "") as caught:
        fit_own([*usual, odd])
    assert ("because of" in str(caught.value)) == (fact is not None)
    if fact is not None:
        columns = as_table([odd] * 20 + usual[:2] * 5), as_table([odd] * 10 + usual[:10])
        for table in columns:
            (warning,) = fit(table.column("x")).describe_names(table).warnings
            assert fact in warning
            assert "numbers" in warning


def test_a_column_without_values_has_no_warning():
    assert find_column_warning(as_table([None, "", "NA"]), "x", "left out") is None


def fit_own(cells):
    return TableFeatures.fit(as_table(cells, "own.csv"), ["x"], np.arange(len(cells)))
