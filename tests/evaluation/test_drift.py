"""Changes of distributions: statistics against independent computations, and false alarms."""

import itertools
import json
import math

import numpy as np
import pytest
from scipy import stats

from ranksim.evaluation.drift import (
    FAMILIES,
    CategorySummary,
    NumberSummary,
    adjust_changes,
    adjust_p_values,
    compare_errors,
    compare_shares,
    homogeneity_p_value,
    measure_coverage,
    share_interval,
    stability_index,
)

RNG = np.random.default_rng(7)
CASES = {
    "whole numbers": (RNG.poisson(6, 500), RNG.poisson(7, 300)),
    "zero or one": (RNG.random(400) < 0.05, RNG.random(200) < 0.3),
    "mostly one": (RNG.random(400) < 0.95, RNG.random(200) < 0.5),
    "constant": (np.full(50, 3.0), np.full(20, 3.0)),
    "another constant": (np.full(50, 3.0), np.full(20, 4.0)),
    "few": (np.arange(9), np.array([20.0])),
    "equal": (np.arange(100), np.arange(100)),
    "real": (RNG.normal(size=5_000), RNG.normal(0.2, 1.1, size=2_000)),
    "skewed": (RNG.lognormal(size=5_000), 2 * RNG.lognormal(size=900)),
}


def psi_by_loop(before, after, edges):
    """Return the PSI of numbers in bins that include their upper edge."""
    edges, total = [-math.inf, *edges, math.inf], 0.0
    pairs = []
    for low, high in itertools.pairwise(edges):
        counts = [sum(low < value <= high for value in part) for part in (before, after)]
        if any(counts):
            pairs.append([count + 0.5 for count in counts])
    sums = [sum(pair[k] for pair in pairs) for k in (0, 1)]
    for pair in pairs:
        p, q = pair[0] / sums[0], pair[1] / sums[1]
        total += (q - p) * math.log(q / p)
    return total


@pytest.mark.parametrize("name", CASES)
def test_numbers_equal_scipy_and_loops(name):
    before, after = (np.asarray(part, dtype=np.float64) for part in CASES[name])
    summary = NumberSummary.from_values(before)
    change = summary.compare(name, after)
    expected = stats.ks_2samp(before, after, method="asymp")
    is_whole = len(np.unique(before)) <= len(summary.values)
    if is_whole:
        assert change.distance == pytest.approx(expected.statistic)
        least = 2 / math.comb(len(before) + len(after), len(after))
        assert change.p_value == pytest.approx(max(expected.pvalue, least))
    assert expected.statistic - 0.01 <= change.distance <= expected.statistic + 1e-12
    assert change.p_value >= expected.pvalue * (1 - 1e-9)
    assert summary.median == np.quantile(before, 0.5, method="inverted_cdf")
    assert change.before["mean"] == pytest.approx(before.mean())
    assert change.before["range"] == [before.min(), before.max()]
    outside = [value < before.min() or value > before.max() for value in after]
    assert change.outside == np.mean(outside)
    if name in ("real", "skewed"):
        edges = [summary.values[np.argmax(summary.upto >= k / 10)] for k in range(1, 10)]
        assert change.psi == pytest.approx(psi_by_loop(before, after, edges))
    if name in ("zero or one", "mostly one", "another constant"):
        edges = [math.nextafter(before.min(), -1), *np.unique(before)]
        assert change.psi == pytest.approx(psi_by_loop(before, after, edges))


def test_psi_of_a_frequent_value_has_bins_beside_it():
    before = np.array([0.0] * 5 + [1.0] * 90 + [2.0] * 5)
    after = np.array([0.0] * 30 + [1.0] * 40 + [2.0] * 30)
    change = NumberSummary.from_values(before).compare("x", after)
    assert change.psi == pytest.approx(psi_by_loop(before, after, [0.0, 1.0]))


def test_missing_values_are_tested_and_named():
    rng = np.random.default_rng(0)
    before, after = rng.normal(size=(2, 400))
    before[:20] = after[:120] = np.nan
    change = NumberSummary.from_values(before).compare("x", after)
    shares = stats.chi2_contingency([[380, 20], [280, 120]], correction=False).pvalue
    ks = stats.ks_2samp(before[20:], after[120:], method="asymp").pvalue
    assert change.p_value == pytest.approx(2 * min(shares, ks), rel=0.2)
    assert change.before["missing"] == 0.05
    assert "missing 5.0\u202f% → 30.0\u202f%" in str(change)
    nothing = NumberSummary.from_values(np.full(9, np.nan))
    assert (nothing.count, nothing.missing) == (0, 9)
    appeared = nothing.compare("x", np.arange(9.0))
    assert (appeared.distance, appeared.p_value < 0.01) == (0.0, True)
    assert nothing.compare("x", np.full(9, np.nan)).p_value == 1.0


def test_weighted_numbers_count_like_repeated_ones():
    values, weights = np.array([1.0, 2.0, 5.0]), np.array([3.0, 1.0, 2.0])
    weighted = NumberSummary.from_values(values, weights)
    repeated = NumberSummary.from_values(np.repeat(values, weights.astype(int)))
    for name in ("values", "below", "upto", "mean"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(repeated, name), atol=1e-15)
    assert weighted.count == math.floor(6**2 / (9 + 1 + 4))


@pytest.mark.parametrize("points", [11, 101])
def test_many_numbers_are_summarized_by_few(points):
    values = np.random.default_rng(1).normal(size=3_000)
    summary = NumberSummary.from_values(values, points=points)
    assert len(summary.values) <= points
    for value, below, upto in zip(summary.values, summary.below, summary.upto, strict=True):
        assert below == pytest.approx(np.mean(values < value))
        assert upto == pytest.approx(np.mean(values <= value))
    assert np.diff(summary.upto).max() <= 1 / (points - 1) + 1.001 / 3_000


def test_summaries_survive_json():
    dates = NumberSummary.from_values(np.array([0.0, 18_262.0, np.nan]), measure="date")
    empty = NumberSummary.from_values(np.array([np.nan]))
    names = CategorySummary.from_codes(np.array([0, 1, 1, np.nan]), ["a", "b"])
    for summary in (dates, empty, names):
        copy = type(summary).from_dict(json.loads(json.dumps(summary.to_dict())))
        assert json.dumps(copy.to_dict()) == json.dumps(summary.to_dict())
        json.dumps(summary.compare("x", np.array([0.0, np.nan])).to_dict(), allow_nan=False)
    change = dates.compare("day", np.array([18_262.0]))
    assert str(change).startswith("day: median 1970-01-01 → 2020-01-01")


def test_categories_equal_loops():
    before = [0] * 40 + [1] * 30 + [2] * 3 + [3] * 2 + [math.nan] * 25
    after = [0] * 22 + [1] * 50 + [2] * 1 + [-1] * 9 + [math.nan] * 18
    summary = CategorySummary.from_codes(np.array(before, float), list("abcd"))
    change = summary.compare("city", np.array(after, float))
    old, new = [40, 30, 3, 2, 0, 25], [22, 50, 1, 0, 9, 18]  # a, b, c, d, new, missing
    shares = [np.array(row) / 100 for row in (old, new)]
    assert change.distance == pytest.approx(abs(shares[0] - shares[1]).sum() / 2)
    # c, d and new are rare: 4, 2 and 9 of 200
    table = np.array([[40, 30, 25, 5], [22, 50, 18, 10]])
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    statistic = ((table - expected) ** 2 / expected).sum()
    assert change.p_value == pytest.approx(stats.chi2.sf(statistic, 3))
    smooth = [(np.array(row) + 0.5) / 103 for row in (old, new)]
    psi = ((smooth[1] - smooth[0]) * np.log(smooth[1] / smooth[0])).sum()
    assert change.psi == pytest.approx(psi)
    assert change.outside == 0.09
    assert change.text == "'b' 30.0\u202f% → 50.0\u202f%, 9.0\u202f% new values"
    assert summary.compare("city", np.array([-1.0] * 20)).text.startswith("new values 0.0")


def test_rare_pairs_take_the_exact_test():
    assert homogeneity_p_value([9, 1], [2, 8]) == pytest.approx(
        stats.fisher_exact([[9, 1], [2, 8]]).pvalue
    )
    large = stats.chi2_contingency([[90, 10], [20, 80]], correction=False).pvalue
    assert homogeneity_p_value([90, 10], [20, 80]) == pytest.approx(large)
    for before, after in (([0, 0], [2, 3]), ([5, 0], [3, 0]), ([1, 1, 1], [1, 1, 1])):
        assert homogeneity_p_value(before, after) == 1.0
    assert stability_index([0, 0], [1, 2]) == stability_index([3, 0], [5, 0]) == 0.0


def test_holm_equals_a_loop():
    p_values = np.random.default_rng(3).random(12) ** 3
    for families in (1, 7):
        expected, largest = {}, 0.0
        for k, position in enumerate(np.argsort(p_values)):
            largest = max(largest, p_values[position] * (12 - k) * families)
            expected[position] = min(largest, 1.0)
        adjusted = adjust_p_values(p_values.tolist(), families)
        np.testing.assert_allclose(adjusted, [expected[k] for k in range(12)])
    assert adjust_p_values([]) == []


@pytest.mark.parametrize(("count", "total"), [(0, 12), (3, 12), (12, 12), (870, 1_000)])
def test_intervals_of_shares_are_those_of_wilson(count, total):
    z, share = stats.norm.ppf(0.975), count / total
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * math.sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2)
    np.testing.assert_allclose(
        share_interval(count, total), [middle - half, middle + half], atol=1e-9
    )
    assert share_interval(0, 0) == [0.0, 1.0]


def test_regions_are_rarer_unseen_or_more_frequent():
    before = {"many": 500, "medium": 300, "few": 150, "low": 50}
    after = {"many": 240, "medium": 400, "few": 130, "low": 0}
    rows = compare_shares(before, 1_000, after, 800)
    changes = {name: row["change"] for name, row in rows.items()}
    assert changes == {"many": "rarer", "medium": "more frequent", "few": "", "low": "unseen"}
    plain = [
        stats.chi2_contingency(
            [[before[k], 1_000 - before[k]], [after[k], 800 - after[k]]], correction=False
        ).pvalue
        for k in before
    ]
    np.testing.assert_allclose(
        [row["p_adjusted"] for row in rows.values()], adjust_p_values(plain, FAMILIES)
    )
    million = compare_shares({"few": 100_000}, 10**6, {"few": 103_000}, 10**6)["few"]
    assert million["p_adjusted"] < 1e-9  # sure
    assert million["change"] == ""  # and small


def test_errors_are_compared_by_welch():
    rng = np.random.default_rng(5)
    before, after = rng.exponential(1.0, 80), rng.exponential(2.0, 50)
    weights = rng.random(80)
    row = compare_errors(before, weights, after, 0.99)
    weight = weights / weights.mean()
    mean = (weight * before).mean()
    values = mean + weight * (before - mean)
    squares = values.var(ddof=1) / 80, after.var(ddof=1) / 50
    freedom = sum(squares) ** 2 / (squares[0] ** 2 / 79 + squares[1] ** 2 / 49)
    half = stats.t.ppf(0.995, freedom) * math.sqrt(sum(squares))
    difference = after.mean() - mean
    np.testing.assert_allclose(row["interval"], [difference - half, difference + half])
    assert row["before"] == pytest.approx(mean)
    assert row["grew"]
    assert not compare_errors(after, None, before, 0.95)["grew"]  # it fell
    size = rng.exponential(1.0, 200_000)
    slight = compare_errors(size, None, size * 1.05, 0.95)
    assert (slight["interval"][0] > 0, slight["grew"]) == (True, False)
    assert compare_errors(np.zeros(0), None, after, 0.95)["before"] is None
    assert compare_errors(before[:1], None, after, 0.95)["interval"] is None
    assert compare_errors(np.ones(3), None, np.full(3, 2.0), 0.95)["interval"] == [1.0, 1.0]


def test_coverage_below_the_level_is_named():
    covered = np.array([True] * 880 + [False] * 120 + [True] * 30 + [False] * 30)
    masks = {"all": np.ones(1_060, bool), "few": np.arange(1_060) >= 1_000}
    masks |= {"zero": np.zeros(1_060, bool), "many": ~masks["few"]}
    masks["low"] = np.arange(1_060) >= 1_058  # neither of these two is covered
    rows = measure_coverage(covered, masks, 0.9)["regions"]
    assert {name: row["coverage"] for name, row in rows.items()} == pytest.approx(
        {"all": 910 / 1_060, "few": 0.5, "many": 0.88, "low": 0.0}
    )
    assert {name for name, row in rows.items() if row["too_low"]} == {"all", "few"}
    ends = [stats.beta.ppf(0.025, 30, 31), stats.beta.ppf(0.975, 31, 30)]
    np.testing.assert_allclose(rows["few"]["interval"], ends)
    assert "zero" not in rows


def test_equal_distributions_raise_few_alarms():
    rng, alarms, uncorrected = np.random.default_rng(11), 0, 0
    for _ in range(60):
        changes = []
        for k in range(6):
            before, after = rng.integers(0, 3 + 5 * k, (2, 150))
            summary = NumberSummary.from_values(before.astype(np.float64))
            if k % 2:
                summary = CategorySummary.from_codes(before.astype(np.float64), [""] * (3 + 5 * k))
            changes.append(summary.compare(str(k), after.astype(np.float64)))
        alarms += any(change.has_moved for change in adjust_changes(changes))
        uncorrected += any(change.p_value < 0.05 for change in changes)
    assert alarms <= 2
    assert uncorrected > 8  # so that the correction is needed


def test_large_samples_report_large_changes_alone():
    rng = np.random.default_rng(2)
    before, after = rng.normal(size=200_000), rng.normal(0.03, 1, size=200_000)
    (change,) = adjust_changes([NumberSummary.from_values(before).compare("x", after)])
    assert change.p_adjusted < 1e-6
    assert (change.psi < 0.01, change.has_moved) == (True, False)
    (change,) = adjust_changes([NumberSummary.from_values(before).compare("x", after + 0.5)])
    assert change.has_moved


@pytest.mark.parametrize(("before", "after"), [(1, 1), (100, 1), (30, 2), (9, 4), (300, 200)])
def test_few_numbers_beyond_all_others_may_be_there_by_chance(before, after):
    """Without overlap the p-value is that of the exact test, not 0."""
    change = NumberSummary.from_values(np.arange(before) + 0.0).compare("x", np.arange(after) + 1e3)
    assert change.distance == 1
    exact = 2 / math.comb(before + after, after)  # both orders of the samples, of all orders
    assert change.p_value == pytest.approx(min(exact, 1.0), rel=1e-9)
