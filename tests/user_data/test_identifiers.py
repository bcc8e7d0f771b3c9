"""Columns that number or identify rows are recognized; measurements and times are not."""

import numpy as np
import pytest

from ranksim.data.number_format import PLAIN
from ranksim.data.table import Table
from ranksim.user_data.columns import has_no_name
from ranksim.user_data.identifiers import classify_identifier, is_row_number

RNG = np.random.default_rng(0)
ROWS = 400


def classify(values, name="x"):
    return classify_identifier(name, [f"{value:.12g}" for value in values], PLAIN)


def with_gaps(values, share=0.02):
    """Insert rows between two others, numbered half a step later."""
    places = np.flatnonzero(RNG.random(len(values)) < share)
    return np.insert(np.asarray(values, dtype=float), places + 1, np.asarray(values)[places] + 0.5)


@pytest.mark.parametrize("start", [0, 1, 7, 1000, -50])
@pytest.mark.parametrize(
    "order",
    [
        lambda values: values,
        lambda values: values[::-1],
        RNG.permutation,
        with_gaps,
    ],
)
def test_row_numbers_are_an_index(start, order):
    assert classify(order(np.arange(start, start + ROWS))) == "index"


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (np.sort(RNG.choice(5 * ROWS, ROWS, replace=False)), "x"),  # an index after a selection
        (RNG.choice(10**5, 3000, replace=False), "number"),  # short keys, drawn without repeats
        (2 * np.arange(ROWS), "x"),
        (RNG.integers(0, 2**63, ROWS), "x"),  # random keys
        (RNG.integers(-(2**62), 2**62, ROWS), "x"),
        (RNG.choice(10**7, 30, replace=False), "order_id"),  # named so
        (5e8 + RNG.choice(10**8, 100, replace=False), "PID"),
        (RNG.choice(10**7, 30, replace=False), "customerId"),
    ],
)
def test_integers_that_never_repeat_are_identifiers(values, name):
    assert classify(values, name) == "identifier"


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (RNG.normal(size=ROWS), "x"),
        (RNG.normal(size=ROWS), "id"),
        (np.sort(RNG.lognormal(9, 1, ROWS).round()), "area"),  # sorted, with repeats
        (np.unique(RNG.lognormal(14, 2, 60).round()), "population"),  # different, but sparse
        (RNG.integers(0, 10**6, 300), "income"),  # of which few repeat by chance
        (np.arange(ROWS) // 2, "x"),
        (np.r_[np.arange(ROWS), 5], "x"),  # one repeats
        (np.arange(1920, 1980), "x"),  # years
        (20240100 + np.arange(1, 32), "x"),  # dates
        (1.6e9 + 3600 * np.arange(ROWS), "x"),  # seconds since 1970
        (1.6e12 + np.arange(ROWS), "x"),  # milliseconds since 1970
        (np.arange(ROWS), "pickup_hour"),
        (np.arange(ROWS), "t"),
        (np.arange(15), "x"),  # few rows
        (np.tile(np.arange(50), 8), "x"),  # readings of eight series
        (np.linspace(0, 1, ROWS), "x"),
        (np.r_[np.arange(ROWS - 1), np.nan], "x"),
        (RNG.integers(0, 2, ROWS), "flag"),
    ],
)
def test_measurements_and_times_are_no_identifiers(values, name):
    assert classify(values, name) is None


@pytest.mark.parametrize(("name", "expected"), [("", True), ("Unnamed: 0", True), ("a", False)])
def test_columns_without_a_name(name, expected):
    assert has_no_name(name) is expected
    table = Table.from_columns("t", {name: [3.5] * ROWS, "id": [*map(str, range(ROWS))]})
    assert is_row_number(table, name, table.read(name)) is expected
    assert is_row_number(table, "id", table.read("id"))


def test_random_integers_are_flagged_by_what_they_are():
    """Draws without replacement are identifiers, draws with replacement are not."""
    for seed in range(30):
        rng = np.random.default_rng(seed)
        high = int(rng.integers(1_000, 5_000))
        n = int(rng.integers(500, 900))
        keys = rng.permutation(high)[:n] if n <= high else rng.permutation(n)
        assert classify(keys) in ("identifier", "index")
        assert classify(rng.integers(0, high, n)) is None
