"""The measurement of the estimator's default method: holdouts, regions, scores and the table."""

import numpy as np
import pytest
from scipy import stats

from benchmarks import default_estimator
from benchmarks.default_estimator import (
    HOLDOUTS,
    describe_change,
    divide_rows,
    find_regions,
    format_tables,
    list_changes,
    measure_table,
)


@pytest.mark.parametrize(("num_rows", "max_rows"), [(53, 100), (100, 40)])
def test_each_row_is_in_one_holdout(num_rows, max_rows):
    holdouts = divide_rows(num_rows, max_rows)
    rows = np.concatenate(holdouts)
    assert len(holdouts) == HOLDOUTS
    assert len({*rows}) == len(rows) == min(num_rows, max_rows)
    assert max(map(len, holdouts)) - min(map(len, holdouts)) <= 1


def test_regions_follow_the_training_labels():
    train = np.repeat(np.arange(5.0), [200, 50, 10, 3, 1])
    labels = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 9.0, -2.0])
    regions = find_regions(train, labels)
    assert regions["all"].all()
    assert regions["few"].tolist()[:6] == [False, False, True, True, True, True]
    assert regions["rarest"].sum() == 1
    assert labels[regions["rarest"]] in (9.0, -2.0)  # no training label is near


class Constant:
    """A model whose prediction depends on the method and the seed."""

    def __init__(self, method, random_state):
        self.value = default_estimator.METHODS.index(method) + 0.5 * random_state

    def fit(self, x, y):
        return self

    def predict(self, x):
        return np.full(len(x), self.value)


def test_errors_are_means_over_seeds_and_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(default_estimator, "RankSimRegressor", Constant)
    labels = np.arange(60) % 6
    lines = [f"{k},{k % 7},{label}" for k, label in enumerate(labels)]
    path = tmp_path / "homes.csv"
    path.write_text("\n".join(["id,size,price", *lines]))
    table = measure_table(f"{path}:price:id", seeds=2, max_rows=100)
    assert (table["seeds"], table["target"]) == (2, "price")
    for holdout, rows in zip(table["holdouts"], divide_rows(60, 100), strict=True):
        assert holdout["training_rows"] == 60 - len(rows)
        assert holdout["rows"]["all"] == len(rows)
        for number, method in enumerate(default_estimator.METHODS):
            errors = [np.abs(labels[rows] - number - 0.5 * seed).mean() for seed in (0, 1)]
            assert holdout["mae"][method]["all"] == pytest.approx(np.mean(errors))


def make_holdouts(*pairs):
    """Holdouts with the errors of ``vanilla`` and of the other methods in each region."""
    others = [name for name in default_estimator.METHODS if name != "vanilla"]
    return [
        {
            "mae": {"vanilla": dict.fromkeys(default_estimator.REGIONS, base)}
            | {name: dict.fromkeys(default_estimator.REGIONS, value) for name in others}
        }
        for base, value in pairs
    ]


def test_changes_are_paired_by_holdout():
    holdouts = make_holdouts((2.0, 1.0), (4.0, 3.0), (None, None))
    changes = list_changes(holdouts, ("sqinv", "vanilla"), "few")
    assert changes.tolist() == [-0.5, -0.25]
    low, high = stats.t.interval(0.95, 1, np.mean(changes), stats.sem(changes))
    assert describe_change(changes) == f"-37.5 % ({100 * low:+.1f} to {100 * high:+.1f})"
    assert describe_change(changes[:0]) == "–"
    assert describe_change(np.array([-0.5, -0.5001, -0.5002])).startswith("**-50.0 % (")


def test_table_has_each_table_and_their_mean():
    tables = {
        "a": {"holdouts": make_holdouts((2.0, 1.0), (2.0, 1.0))},
        "b": {"holdouts": make_holdouts((4.0, 8.0), (4.0, 8.0))},
    }
    lines = list(format_tables(tables))
    assert len(lines) == 2 + 3 * 3
    assert lines[2].startswith(
        "| labels as in the data | a | 2.00 | **-50.0 % (-50.0 to -50.0)** |"
    )
    assert lines[4].startswith("| labels as in the data | mean of 2 tables |  | +25.0 % (")
    assert lines[2].endswith("| +0.0 % (+0.0 to +0.0) |")
