import datetime
import json
import math
from decimal import Decimal

import numpy as np
import pytest
import torch

from ranksim.data.batch import VectorDataset
from ranksim.data.table import Table
from ranksim.exceptions import DataError
from ranksim.user_data.features import TableFeatures
from tests.helpers.errors import raises_with


def as_table(columns):
    return Table.from_columns("The data", columns)


def fitted(columns, train=None, **options):
    count = len(next(iter(columns.values())))
    rows = np.arange(count) if train is None else train
    return TableFeatures.fit(as_table(columns), list(columns), rows, **options)


def standardize(values, train):
    """Slow reference: median for missing, then by mean and deviation of the training rows."""
    known = sorted(values[row] for row in train if values[row] is not None)
    middle = len(known) // 2
    median = known[middle] if len(known) % 2 else (known[middle - 1] + known[middle]) / 2
    filled = [median if value is None else value for value in values]
    mean = sum(filled[row] for row in train) / len(train)
    deviation = math.sqrt(sum((filled[row] - mean) ** 2 for row in train) / len(train))
    return [(value - mean) / deviation for value in filled]


def test_numbers_are_standardized_by_training_rows():
    draw = np.random.default_rng(0)
    values = [None if draw.random() < 0.2 else float(draw.normal(40, 7)) for _ in range(60)]
    values[50] = 1e6  # not a training row
    train = draw.permutation(50)[:35]
    written = ["" if value is None else f" {value!r} " for value in values]
    features = fitted({"age": written}, train)
    result = features(as_table({"age": written}))
    assert features.names == ["age", "age missing"]
    assert result.dtype == np.float32
    np.testing.assert_allclose(result[:, 0], standardize(values, train), rtol=1e-5)
    np.testing.assert_array_equal(result[:, 1], [value is None for value in values])
    same = fitted({"age": values}, train)(as_table({"age": values}))  # as Parquet gives them
    np.testing.assert_array_equal(same, result)


def test_no_missing_indicator_without_missing_training_values():
    features = fitted({"a": ["1", "2", "9", ""]}, np.arange(3))
    assert features.names == ["a"]
    np.testing.assert_allclose(
        features(as_table({"a": ["", "2"]}))[0], features(as_table({"a": ["2"]}))[0]
    )


def test_constant_column_keeps_its_missing_indicator():
    features = fitted({"a": ["3", "", "3"], "b": ["1", "1.0", "1e0"]})
    assert features.names == ["a missing"]
    assert features(as_table({"a": ["", "4"]})).tolist() == [[1.0], [0.0]]
    assert features.dropped == {"b": "all its values are equal"}


@pytest.mark.parametrize("unit", [1.0, 1e300, 1e-300, 1e308])
def test_huge_and_tiny_values_stay_finite(unit):
    features = fitted({"a": [-unit, 0.0, unit, unit]})
    result = features(as_table({"a": [-unit, 0.0, unit, unit, 1.7e308, -1.7e308, None]}))
    assert np.abs(result).max() <= 1e6
    expected = standardize([-1.0, 0.0, 1.0, 1.0], range(4))
    np.testing.assert_allclose(result[:4, 0], expected, rtol=1e-6)


def test_large_offsets_lose_no_digits():
    values = [1e9 + k for k in range(10)]
    result = fitted({"a": values})(as_table({"a": values}))
    np.testing.assert_allclose(result[:, 0], standardize(list(range(10)), range(10)), rtol=1e-6)


def test_names_have_a_feature_each_up_to_fifty():
    draw = np.random.default_rng(0)
    names = [f"n{k:02}" for k in np.minimum(draw.geometric(0.05, 3000), 70)]
    features = fitted({"name": names})
    counts = sorted(set(names), key=lambda name: (-names.count(name), name))
    assert features.names == [f"name = {name}" for name in sorted(counts[:50])] + ["name other"]
    result = features(as_table({"name": [*names[:40], "never seen", ""]}))
    for row, name in enumerate(names[:40]):
        feature = f"name = {name}" if name in counts[:50] else "name other"
        assert result[row].sum() == result[row, features.names.index(feature)] == 1
    assert result[-2].tolist() == [0.0] * 50 + [1.0]
    assert result[-1].tolist() == [0.0] * 51


def test_missing_names_booleans_and_spaces():
    table = {"a": ["x", "N/A", " x", "y"], "b": [True, False, True, True]}
    features = fitted(table)
    assert features.names == ["a = x", "a = y", "a missing", "b = false", "b = true"]
    assert features(as_table(table)).tolist() == [
        [1, 0, 0, 0, 1],
        [0, 0, 1, 1, 0],
        [1, 0, 0, 0, 1],
        [0, 1, 0, 0, 1],
    ]


def test_dates_are_days():
    written = ["2020-01-01", "2020-01-02 12:00", "", "2020-01-05T00:00:00"]
    features = fitted({"day": written})
    expected = standardize([0.0, 1.5, None, 4.0], range(4))
    result = features(as_table({"day": written}))
    np.testing.assert_allclose(result[:, 0], expected, rtol=1e-5)
    assert result[:, 1].tolist() == [0, 0, 1, 0]
    python = [
        datetime.date(2020, 1, 1),
        datetime.datetime(2020, 1, 2, 12),
        None,
        datetime.datetime(2020, 1, 5),
    ]
    np.testing.assert_array_equal(fitted({"day": python})(as_table({"day": python})), result)
    zoned = [
        datetime.datetime(2020, 1, 5, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))
    ]
    np.testing.assert_array_equal(features(as_table({"day": zoned})), result[3:])


def test_kind_of_a_column_is_inferred():
    table = {
        "id": [f"row {k}" for k in range(20)],
        "code": [str(k % 2) for k in range(20)],
        "money": [Decimal(k) / 4 for k in range(20)],
        "gone": ["?"] * 20,
        "one": ["same"] * 20,
        "most": ["7", "nine"] * 10,
    }
    features = fitted(table, kinds={"code": "category"})
    assert features.dropped == {
        "id": "its texts almost never repeat",
        "gone": "all its training values are missing",
        "one": "all its values are equal",
    }
    assert features.names == ["code = 0", "code = 1", "money", "most = 7", "most = nine"]
    assert "id" in {name.split(" = ")[0] for name in fitted(table, kinds={"id": "category"}).names}


def test_validation_rows_do_not_change_the_encoding():
    table = {"a": ["1", "2", "3", "4"], "b": ["x", "y", "x", "z"]}
    features = fitted(table, np.array([0, 2]))
    assert features.names == ["a"]
    assert features.dropped == {"b": "all its values are equal"}
    np.testing.assert_allclose(features(as_table(table))[:, 0], [-1, 0, 1, 2])


def test_json_round_trip():
    table = {
        "a": ["1", "", "7"],
        "b": ["x", "y", ""],
        "c": ["2020-01-01", "2020-03-01", "2020-02-01"],
        "d": ["1", "1", "1"],
    }
    features = fitted(table)
    again = TableFeatures.from_dict(json.loads(json.dumps(features.to_dict(), allow_nan=False)))
    assert again == features
    np.testing.assert_array_equal(again(as_table(table)), features(as_table(table)))


def test_wrong_cells_are_reported_by_line():
    values, days = [str(k) for k in range(20)], [f"2020-01-{k:02}" for k in range(1, 20)]
    features = fitted({"a": values})

    def read(cells):
        return Table("own.csv", ["a"], lambda _: cells, range(2, 40))

    for wrong in ("three", "inf", True):
        facts = ("own.csv", "column 'a'", repr(wrong), "not a finite number")
        with raises_with(DataError, "line 22", *facts, "leave them empty", "--categories"):
            TableFeatures.fit(read([*values, wrong]), ["a"], np.arange(21))
        with raises_with(DataError, "line 3", *facts) as caught:
            features(read(["1", wrong]))
        assert "categories" not in str(caught.value)
    with raises_with(DataError, "The data, rows 1, 2, 3", "'x'"):
        fitted({"a": ["x", "y", "y"]}, kinds={"a": "number"})
    with raises_with(DataError, "The data, row 20", "'5.5.'", "not a date"):
        fitted({"a": [*days, "5.5."]})


def test_missing_columns_are_reported():
    features = fitted({"a": ["1", "2"], "b": ["3", "4"]})
    with raises_with(DataError, "no column 'b'"):
        features(as_table({"a": ["1"], "c": ["2"]}))
    with raises_with(DataError, "'a': all its values are equal", "other input columns"):
        fitted({"a": ["1", "1"]})
    with raises_with(DataError, "none was given"):
        TableFeatures.fit(as_table({"a": ["1"] * 3}), [], np.arange(3))


def test_no_rows():
    features = fitted({"a": ["1", "2"], "b": ["x", "y"], "c": ["2020-01-01", "2020-01-02"]})
    assert features(as_table({"a": [], "b": [], "c": []})).shape == (0, features.width) == (0, 4)


def test_vector_dataset_returns_batches():
    vectors, labels = np.arange(8.0).reshape(4, 2), np.array([1.0, 2.0, 3.0, 4.0])
    data = VectorDataset(vectors, labels)
    batch = data.__getitems__([2, 0])
    assert torch.equal(batch["inputs"][0], torch.tensor([[4.0, 5.0], [0.0, 1.0]]))
    assert batch["label"].tolist() == [3.0, 1.0]
    assert batch["index"].tolist() == [2, 0]
    assert (data.labels.dtype, data[1]["inputs"][0].dtype) == (torch.float64, torch.float32)
    assert data[1]["inputs"][0].tolist() == [[2.0, 3.0]]
    assert data.length_order().tolist() == [0, 1, 2, 3]


def test_names_that_are_all_missing_are_a_warning():
    columns = {"city": ["Rome", "Oslo", None] * 8, "x": list(range(24))}
    features = TableFeatures.fit(Table.from_columns("t", columns), ("city", "x"), np.arange(24))
    assert features.describe(Table.from_columns("t", columns)).warnings == []
    for missing in (None, "", "NA", float("nan")):
        new = Table.from_columns("new", columns | {"city": [missing] * 24})
        (warning,) = features.describe(new).warnings
        assert "All values of column 'city' of new are missing" in warning


def test_numbers_with_two_factors_are_a_warning():
    cells = [f"€{k + 1}.5M" if k % 3 else f"€{k + 1}00K" for k in range(24)] * 3
    table = Table.from_columns("t", {"value": cells, "x": list(range(72))})
    features = TableFeatures.fit(table, ("value", "x"), np.arange(72))
    (warning,) = features.describe_names(table).warnings
    assert "'value'" in warning
    assert "several units" in warning


@pytest.mark.parametrize(("form", "is_number"), [("{:.2f}-", True), ("{:.0f}-", False)])
def test_numbers_with_the_sign_behind_are_a_warning(form, is_number):
    numbers = [k / 8 for k in range(30)]  # without decimals, they are grades such as 2-
    cells = [*map(str, numbers[:28]), *map(form.format, numbers)] * 2
    table = Table.from_columns("t", {"a": cells, "x": list(range(116))})
    features = TableFeatures.fit(table, ("a", "x"), np.arange(116))
    warnings = features.describe_names(table).warnings
    assert ["'0.00-'" in text and "write -0.00" in text for text in warnings] == [True] * is_number
