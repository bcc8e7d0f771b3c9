"""Columns that contain the target are recognized, and predictive columns are not."""

import numpy as np
import pytest
from sklearn.tree import DecisionTreeRegressor

from ranksim.data.number_format import PLAIN
from ranksim.user_data.leaks import (
    ColumnValues,
    classify_leak,
    find_column_leaks,
    find_sums,
    predict_tree,
    read_values,
    score_column,
)

ROWS = 600
PRICES = np.random.default_rng(1).lognormal(5, 1, ROWS).round(2)
RATINGS = np.random.default_rng(2).integers(3, 10, ROWS).astype(float)
NOISE = np.random.default_rng(3).normal(size=ROWS)


def classify(values, labels=PRICES, *, is_category=False):
    return classify_leak(ColumnValues(np.asarray(values, float), is_category), labels)


def without(values, share, seed=0):
    is_missing = np.random.default_rng(seed).random(len(values)) < share
    return np.where(is_missing, np.nan, values)


@pytest.mark.parametrize("labels", [PRICES, RATINGS, -PRICES, PRICES * 1e-9, RATINGS == 9])
@pytest.mark.parametrize("share", [0.0, 0.4, 0.9])
def test_copies_and_monotone_functions(labels, share):
    labels = labels.astype(float)
    assert classify(without(labels, share), labels) == "copy"
    functions = [lambda y: 3 * y + 1, lambda y: -y, np.arctan, lambda y: np.sign(y) * y**2]
    for function in functions:
        values = without(function(labels), share)
        is_equal = np.allclose(function(labels), labels, rtol=1e-9, atol=0)
        assert classify(values, labels) == ("copy" if is_equal else "monotone")


def test_rounded_functions_are_monotone():
    for values in (np.log(PRICES).round(2), PRICES.round(-1), -np.sqrt(PRICES).round(1)):
        assert classify(values) == "monotone"
        assert classify(without(values, 0.5)) == "monotone"
        exchanged = np.array(values)
        exchanged[[PRICES.argmin(), PRICES.argmax()]] = values[[PRICES.argmax(), PRICES.argmin()]]
        assert classify(exchanged) != "monotone"
    assert classify(PRICES.round(-1)[:49], PRICES[:49]) is None


def test_columns_that_predict_alone_are_outcomes():
    assert classify(PRICES * (1 + 0.01 * NOISE)) == "outcome"
    for labels in (RATINGS, PRICES.round(-2)):
        codes = np.unique(labels, return_inverse=True)[1]
        shuffled = np.random.default_rng(0).permutation(codes.max() + 1)[codes]
        assert classify(shuffled, labels, is_category=True) == "copy"  # other names
        coarse = np.where(shuffled == shuffled[0], shuffled[1], shuffled)
        assert classify(coarse, labels, is_category=True) is None
    assert classify(RATINGS * 7 % 5, RATINGS) is None
    assert classify(RATINGS * 3 % 10, RATINGS) == "outcome"  # a step function


@pytest.mark.parametrize(
    "values",
    [
        NOISE,
        np.arange(ROWS),
        np.log(PRICES) + 0.2 * NOISE,  # predictive, R² of 0.96
        PRICES > 100,
        np.digitize(PRICES, [50, 100, 200, 400]),
        np.full(ROWS, np.nan),
        np.ones(ROWS),
        np.where(np.arange(ROWS) < 10, PRICES, np.nan),  # too few rows
        np.where(np.arange(ROWS) == 3, 1.0, 0.0),
        np.random.default_rng(5).permutation(PRICES),
    ],
)
def test_other_columns_are_no_leaks(values):
    assert classify(values) is None


def test_names_that_never_repeat_predict_nothing():
    assert classify(np.arange(ROWS), is_category=True) is None
    assert score_column(np.arange(ROWS), PRICES, is_category=True) <= 0.01
    # nor do few rows
    assert classify(PRICES[:19], PRICES[:19]) is None
    assert classify(PRICES[:20], PRICES[:20]) == "copy"
    labels = np.r_[np.zeros(30), np.ones(4)]
    assert classify(labels, labels) is None
    assert score_column(PRICES[:49].round(), PRICES[:49]) == 0


@pytest.mark.parametrize("seed", range(20))
def test_tree_equals_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 80))
    x = rng.normal(size=n).round(int(rng.integers(0, 4)))
    y, new = rng.normal(size=n), rng.normal(size=50)  # none in the middle of two values
    tree = DecisionTreeRegressor(random_state=0).fit(x[:, None], y)
    np.testing.assert_allclose(predict_tree(x, y, new), tree.predict(new[:, None]))
    coarse = predict_tree(x, y, x, leaf_size=5)
    assert len(np.unique(coarse)) <= max(n / 5, 1) + 1
    assert np.isclose(coarse.mean(), y.mean())


def find(columns, labels):
    return {tuple(sorted(each)) for each in find_sums([*map(np.asarray, columns)], labels)}


@pytest.mark.parametrize("digits", [0, 2, 9])
@pytest.mark.parametrize("n_others", [0, 3, 40])
def test_parts_of_a_sum(digits, n_others):
    rng = np.random.default_rng(digits)
    a, b, c = (rng.gamma(2, 500, ROWS).round(digits) for _ in range(3))
    others = rng.normal(size=(n_others, ROWS))
    for weights in ((1, 1, 0), (1, -1, 0), (1, 1, 1), (0.4, 0.6, 0), (2.5, -2.5, 2.5)):
        labels = 7 + np.dot(weights, [a, b, c]).round(digits)
        (parts,) = find_sums([a, b, c, *others], labels)
        assert parts == pytest.approx({k: w for k, w in enumerate(weights) if w}, rel=1e-2)


def test_totals_of_many_parts_and_weighted_scores():
    rng = np.random.default_rng(0)
    months = rng.gamma(2, 100, (12, ROWS)).round()
    assert find(months, months.sum(axis=0)) == {tuple(range(12))}
    assert find(months, rng.normal(size=12) @ months) == set()  # a linear function of many inputs
    assert find(months, rng.normal(size=3) @ months[:3]) == {(0, 1, 2)}


def test_each_set_of_parts_is_returned():
    rng = np.random.default_rng(0)
    a, b, c, d = rng.gamma(2, 100, (4, ROWS)).round()
    total = a + b
    assert find([a, b, c, d, a * 2], total) == {(0, 1), (1, 4)}
    assert find([total + c, c, a, b, d], total) == {(0, 1), (2, 3)}


def test_missing_parts():
    rng = np.random.default_rng(0)
    a, b, c = rng.gamma(2, 100, (3, ROWS)).round()
    sparse = without(b, 0.15)
    assert find([a, sparse, c], a + b) == {(0, 1)}  # rows without it are left out
    assert find([a, sparse, c], a + np.nan_to_num(sparse)) == {(0, 1)}  # it counts as zero
    assert find([a, without(b, 0.9), c], a + b) == set()


@pytest.mark.parametrize(
    "labels",
    [
        PRICES,
        RATINGS,
        np.ones(ROWS),
        PRICES + 0.01 * PRICES.std() * NOISE,
        np.full(ROWS, 1e300) * NOISE,
    ],
)
def test_inputs_that_do_not_add_up(labels):
    rng = np.random.default_rng(4)
    columns = [*rng.normal(size=(30, ROWS)), np.ones(ROWS), np.full(ROWS, np.nan), NOISE * 1e300]
    assert find([*columns, labels + PRICES.std() * 0.05 * NOISE], labels) == set()
    assert find_sums([NOISE[:25], *rng.normal(size=(9, 25))], PRICES[:25]) == []  # few rows
    assert find_sums([], PRICES) == []


def test_leaks_by_column():
    rng = np.random.default_rng(0)
    a, b = rng.gamma(2, 100, (2, ROWS)).round()
    total = a + b
    columns = {
        "a": a,
        "b": b,
        "log": np.log1p(total),
        "time": np.sort(total),
        "area": rng.normal(size=ROWS),
        "subject": np.unique(total, return_inverse=True)[1] * 7 % 1009,
    }
    leaks = find_column_leaks({k: ColumnValues(v) for k, v in columns.items()}, total)
    assert {leak.names: leak.kind for leak in leaks} == {("log",): "monotone", ("a", "b"): "sum"}
    (sum_,) = (leak for leak in leaks if leak.kind == "sum")
    assert (sum_.weights, sum_.constant) == (pytest.approx((1, 1)), 0)
    (leak,) = find_column_leaks({"a": ColumnValues(a), "b": ColumnValues(b)}, total + 500)
    assert leak.constant == pytest.approx(500)


def test_slow_trends_are_no_outcomes_of_time():
    labels = np.cumsum(np.abs(NOISE)) + 0.1 * NOISE[::-1] + 100
    times = np.arange(ROWS) // 2
    for name, expected in (("week", []), ("size", ["outcome"])):
        leaks = find_column_leaks({name: ColumnValues(times.astype(float))}, labels)
        assert [leak.kind for leak in leaks] == expected
        assert all(leak.is_repeated for leak in leaks)


def test_cells_are_read_as_numbers_or_names():
    np.testing.assert_array_equal(read_values(["1", "", "2.5"], PLAIN).values, [1, np.nan, 2.5])
    names = read_values(["a", " b", None, "a", True], None)
    assert names.is_category
    assert names.values.tolist() == [0, 1, 2, 0, 3]
    assert read_values(["2020-01-01", "2020-01-02"], None) is None
    assert read_values(["2001", "2002"], PLAIN) is None  # years
    assert read_values([[1.0], [2.0]], None) is None
