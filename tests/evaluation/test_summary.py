import numpy as np
import pytest
import scipy.stats

from ranksim.evaluation.summary import paired_difference, summarize
from tests.helpers.records import failed_record, make_record


def test_interval_equals_paired_t_test():
    generator = np.random.default_rng(0)
    before, after = generator.normal(1.0, 0.1, 7), generator.normal(0.9, 0.1, 7)
    effect = paired_difference(before.tolist(), after.tolist(), larger_is_better=False)
    expected = scipy.stats.ttest_rel(after, before).confidence_interval(0.95)
    assert effect["ci_seeds"] == pytest.approx([expected.low, expected.high])
    assert effect["mean"] == pytest.approx((after - before).mean())
    assert effect["relative"] == pytest.approx((after - before).mean() / before.mean())
    assert effect["better"] == (after < before).sum()


def test_one_pair_has_no_interval():
    effect = paired_difference([1.0, None], [0.5, 0.7], larger_is_better=False)
    assert effect == {"mean": -0.5, "ci_seeds": None, "relative": -0.5, "better": 1, "n": 1}
    assert paired_difference([], [], larger_is_better=True)["mean"] is None


@pytest.mark.parametrize(("larger_is_better", "expected"), [(True, 1), (False, 2)])
def test_better_counts_improved_pairs(larger_is_better, expected):
    effect = paired_difference([1.0, 2.0, 3.0], [3.0, 1.0, 2.0], larger_is_better=larger_is_better)
    assert effect["better"] == expected


def test_only_common_seeds_are_paired():
    records = [
        make_record("vanilla", 0, 1.0),
        make_record("vanilla", 1, 2.0),
        make_record("vanilla+ranksim", 1, 1.5),
        make_record("vanilla+ranksim", 2, 9.0),
        failed_record("vanilla+ranksim", 0),
    ]
    base, row = summarize(records, "sentiment-dir")
    comparison = row["vs_without_ranksim"]
    assert comparison["seeds"] == [1]
    assert comparison["test"]["all"]["mse"]["mean"] == -0.5
    assert row["failed"] == 1
    assert base["published"] is None
    assert base["test"]["zero"]["mse"] == {"mean": None, "sd": None, "n": 0}


def test_scores_that_only_some_runs_have_are_summarized_over_these():
    runs = [make_record("vanilla", seed, 1.0) for seed in range(3)]
    runs += [make_record("inv", 0, 1.0)]
    for seed in (1, 2):
        runs[seed]["result"]["metrics"]["test"]["all"]["ccc"] = 0.1 * seed
        runs[seed]["result"]["metrics"]["test"]["few"]["crps"] = None
    vanilla, inv = summarize(runs, "sts-b-dir")
    assert vanilla["test"]["all"]["ccc"] == pytest.approx(
        {"mean": 0.15, "sd": np.std([0.1, 0.2], ddof=1), "n": 2}
    )
    assert vanilla["test"]["few"]["crps"] == {"mean": None, "sd": None, "n": 0}
    assert "ccc" not in inv["test"]["all"]
    assert "ccc" not in vanilla["test"]["few"]
