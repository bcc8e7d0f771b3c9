import numpy as np
import pytest
import scipy.stats

from ranksim.evaluation.summary import paired_difference, summarise
from tests.helpers.records import run_record


def test_interval_equals_the_paired_t_test():
    draw = np.random.default_rng(0)
    before, after = draw.normal(1.0, 0.1, 7), draw.normal(0.9, 0.1, 7)
    got = paired_difference(before.tolist(), after.tolist(), larger_is_better=False)
    expected = scipy.stats.ttest_rel(after, before).confidence_interval(0.95)
    assert got["ci_seeds"] == pytest.approx([expected.low, expected.high])
    assert got["mean"] == pytest.approx((after - before).mean())
    assert got["relative"] == pytest.approx((after - before).mean() / before.mean())
    assert got["better"] == (after < before).sum()


def test_one_pair_has_no_interval_and_none_has_nothing():
    one = paired_difference([1.0, None], [0.5, 0.7], larger_is_better=False)
    assert (one["mean"], one["ci_seeds"], one["better"], one["n"]) == (-0.5, None, 1, 1)
    assert paired_difference([], [], larger_is_better=True)["mean"] is None


def test_better_counts_the_right_direction():
    assert paired_difference([1.0, 2.0], [3.0, 1.0], larger_is_better=True)["better"] == 1
    assert paired_difference([1.0, 2.0], [0.5, 1.0], larger_is_better=True)["better"] == 0


def record(method, seed, mse, status="done"):
    scores = {"n": 5, "mae": mse, "mse": mse, "gm": mse, "pearson": mse, "spearman": None}
    regions = dict.fromkeys(("all", "many", "medium", "few", "zero"), scores)
    metrics = {"test": regions, "val": regions}
    return run_record(method, seed, status=status, seconds=1.0, epochs=2, metrics=metrics)


def test_only_seeds_that_both_have_are_paired():
    rows = summarise(
        [
            record("vanilla", 0, 1.0),
            record("vanilla", 1, 2.0),
            record("vanilla+ranksim", 1, 1.5),
            record("vanilla+ranksim", 2, 9.0),
            record("vanilla+ranksim", 0, 9.0, "failed"),
        ],
        "sentiment-dir",
    )
    versus = rows[1]["vs_without_ranksim"]
    assert versus["seeds"] == [1]
    assert versus["test"]["all"]["mse"]["mean"] == -0.5
    assert rows[1]["failed"] == 1
    assert rows[0]["published"] is None
    assert rows[0]["test"]["few"]["spearman"] == {"mean": None, "sd": None, "n": 0}
