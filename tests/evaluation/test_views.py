from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranksim.datasets.base import Benchmark, LabelSamples
from ranksim.evaluation.views import VIEWS, ViewCounts, read_view_counts
from ranksim.imbalance import LabelBins

BINS = LabelBins.integers(0, 6)
TEST_SETS = ("balanced", "random", "latest", "given")


def make_benchmark(train, val, test, test_set="balanced", **values):
    parts = (LabelSamples(np.array(labels, dtype=np.float64)) for labels in (train, val, test))
    return Benchmark("table", *parts, BINS, test_set=test_set, **values)


def view_weights(rows, test, test_set):
    """Return the weights of each test label by view, from plain counts of integer labels."""
    of_rows, of_test = Counter(rows), Counter(test)
    counts = sorted(of_test.values())
    middle = counts[(len(counts) - 1) // 2], counts[len(counts) // 2]
    limit = min(30, max(1, int(sum(middle) / 2)))
    shares = {view: {} for view in VIEWS}
    for label, n in of_test.items():
        drawn = n if test_set == "balanced" else min(n, limit)
        shares["balanced"][label] = drawn
        shares["as_is"][label] = n if test_set == "random" else of_rows[label]
        shares["inverse"][label] = drawn / of_rows[label]
    return {
        view: [share[y] / sum(share.values()) * len(test) / of_test[y] for y in test]
        for view, share in shares.items()
    }


labels = st.lists(st.integers(0, 6), max_size=40)


@settings(max_examples=30, deadline=None)
@given(labels, labels, labels.filter(bool), st.sampled_from(TEST_SETS))
def test_weights_equal_loops_over_labels(train, val, test, test_set):
    counts = ViewCounts.from_benchmark(make_benchmark(train, val, test, test_set))
    weights = counts.weights(test)
    rows = [*train, *val, *test]
    expected = view_weights(rows, test, test_set)
    for view in VIEWS:
        assert weights[view] == pytest.approx(expected[view])
        assert weights[view].mean() == pytest.approx(1)
    unseen = [label for label in rows if label not in test]
    assert counts.uncovered == pytest.approx(len(unseen) / len(rows))


@settings(max_examples=30, deadline=None)
@given(labels, labels.filter(bool), st.sampled_from(("balanced", "latest", "given")))
def test_weighted_labels_have_the_frequencies_of_the_data(train, test, test_set):
    counts = ViewCounts.from_benchmark(make_benchmark(train, [], test, test_set))
    weights = counts.weights(test)["as_is"]
    covered = [label for label in (*train, *test) if label in test]
    for label in set(test):
        share = sum(w for w, y in zip(weights, test, strict=True) if y == label) / len(test)
        assert share == pytest.approx(covered.count(label) / len(covered))


@pytest.mark.parametrize("test_set", TEST_SETS)
def test_one_view_is_the_plain_mean(test_set):
    counts = ViewCounts.from_benchmark(make_benchmark([0] * 90 + [1], [], [0, 0, 0, 1], test_set))
    weights = counts.weights([0, 0, 0, 1])
    plain = {view for view in VIEWS if np.allclose(weights[view], 1)}
    assert counts.main_view in (plain or {None})
    assert counts.main_view == {"balanced": "balanced", "random": "as_is"}.get(test_set)
    assert weights["inverse"][3] > weights["balanced"][3] >= weights["as_is"][3]


def test_rows_of_no_part_and_dropped_labels_count():
    reduced = make_benchmark([0, 0], [], [0, 1], label_counts=np.array([8, 4, 0, 0, 0, 0, 1]))
    counts = ViewCounts.from_benchmark(reduced)
    assert counts.weights([0, 1])["as_is"] == pytest.approx([4 / 3, 2 / 3])
    assert counts.uncovered == pytest.approx(1 / 13)


def test_counts_are_read_from_results_as_written():
    benchmark = make_benchmark([0, 1, 1, 5], [2], [1, 1, 2], "random")
    written = {"views": ViewCounts.from_benchmark(benchmark).to_dict()}
    counts = read_view_counts(written)
    assert counts.weights([1, 2, 1])["inverse"] == pytest.approx([0.5, 2.0, 0.5])
    assert counts.to_dict() == written["views"]
    assert read_view_counts({"edges": [0, 1]}) is None
    assert read_view_counts(None) is None


@pytest.mark.parametrize("other", [[1, 1, 3], [1, 1], []])
def test_other_labels_have_no_weights(other):
    counts = ViewCounts.from_benchmark(make_benchmark([0, 1], [], [1, 1, 2]))
    assert counts.weights(other) is None


def test_more_than_1000_bins_are_merged():
    bins = LabelBins.uniform(0, 1, 2_500)
    test = np.random.default_rng(0).random(300)
    parts = (LabelSamples(test), LabelSamples(test[:9]), LabelSamples(test))
    counts = ViewCounts.from_benchmark(Benchmark("table", *parts, bins))
    assert len(counts.test) == 834
    assert counts.test.sum() == 300
    assert counts.weights(test)["balanced"].mean() == pytest.approx(1)
