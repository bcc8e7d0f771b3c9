"""Scores for imbalanced labels against plain loops and scikit-learn."""

import math

import numpy as np
import pytest
from scipy import integrate, stats
from sklearn.metrics import average_precision_score, mean_pinball_loss

from ranksim.imbalance import LabelBins, PchipRelevance
from ranksim.imbalance.bins import LabelRange, parse_ranges
from ranksim.metrics import (
    balanced_errors,
    concordance,
    crps_gaussian,
    crps_laplace,
    crps_samples,
    detection_scores,
    imbalanced_scores,
    pinball_loss,
    sera,
    sera_curve,
)
from tests.oracles import parts

BINS = LabelBins.uniform(0.0, 30.0, 6)


def make(count=200, seed=0, decimals=0):
    draw = np.random.default_rng(seed)
    target = draw.exponential(6.0, count).round(decimals).clip(0, 30)
    return (target * 0.7 + draw.normal(2, 3, count)).round(decimals), target


@pytest.mark.parametrize("count", [1, 7, 200])
def test_balanced_errors_are_means_over_bins(count):
    preds, target = make(count)
    groups = {}
    for p, y in zip(preds, target, strict=True):
        groups.setdefault(min(int(y // 5), 5), []).append(abs(p - y))
    scores = balanced_errors(preds, target, BINS)
    assert scores["bins"] == len(groups)
    assert scores["mae"] == pytest.approx(np.mean([np.mean(g) for g in groups.values()]))
    squared = [np.mean(np.square(g)) for g in groups.values()]
    assert scores["mse"] == pytest.approx(np.mean(squared))


@pytest.mark.parametrize("count", [2, 200])
def test_concordance_equals_the_equation(count):
    preds, target = make(count)
    expected = 1 - parts.ccc(preds.tolist(), target.tolist())
    assert concordance(preds, target) == pytest.approx(expected, abs=1e-12)
    assert concordance(target, target) == 1
    assert concordance(preds + 1e6, target + 1e6) == pytest.approx(expected, rel=1e-6)


def test_concordance_of_constants():
    assert concordance([2.0, 2.0], [2.0, 2.0]) == 1
    assert concordance([1.0, 1.0], [2.0, 2.0]) == 0
    assert concordance([1.0, 1.0], [2.0, 3.0]) == 0


@pytest.mark.parametrize("factor", [1e-320, 1e-200, 1e-99, 1e99, 1e200, 1e307])
def test_concordance_does_not_depend_on_the_unit(factor):
    preds, target = np.array([1.0, 2.0, 7.0]), np.array([3.0, 1.0, 8.0])
    expected = 1 - parts.ccc(preds.tolist(), target.tolist())
    rel = 1e-2 if factor < 1e-300 else 1e-12  # few digits are left
    assert concordance(preds * factor, target * factor) == pytest.approx(expected, rel=rel)
    assert concordance([1.0 * factor, 2.0 * factor], [3.0 * factor, factor]) < 0


@pytest.mark.parametrize("score", [crps_gaussian, crps_laplace])
def test_crps_of_far_labels_is_the_error(score):
    assert score([1e200], [-1e200], [1e-200]) == 2e200
    assert score([0.0, 0.0], [3.0, 1e-300], [0.0, 0.0]) == pytest.approx(1.5)
    assert score([0.0], [1e3], [1.0]) == pytest.approx(score([0.0], [1e3 + 1], [1.0]) - 1)


def test_sera_is_the_area_under_its_curve():
    preds, target = make()
    relevance = PchipRelevance([0.0, 5.0, 25.0], [1.0, 0.0, 1.0])
    thresholds, errors = sera_curve(preds, target, relevance)
    phi = relevance(target)
    for t, ser in zip(thresholds, errors, strict=True):
        assert ser == pytest.approx(sum((preds - target)[phi >= t] ** 2))
    area = float(np.sum(np.diff(thresholds) * errors[1:]))
    assert sera(preds, target, relevance) == pytest.approx(area)
    assert sera(preds, target, relevance) == pytest.approx(float(phi @ (preds - target) ** 2))
    assert (thresholds[0], thresholds[-1]) == (0, 1)
    assert errors[0] == pytest.approx(float(((preds - target) ** 2).sum()))


@pytest.mark.parametrize("text", [">14", "<=1", "10-15"])
@pytest.mark.parametrize("decimals", [0, 3])  # with and without ties
def test_detection_equals_scikit_learn(text, decimals):
    preds, target = make(decimals=decimals)
    (rare,) = parse_ranges(text)
    scores = detection_scores(preds, target, rare, top=(1, 7.5, 100))
    is_rare, detected = rare.contains(target), rare.contains(preds)
    assert scores["rare"] == is_rare.sum()
    assert scores["precision"] == pytest.approx(is_rare[detected].mean())
    assert scores["recall"] == pytest.approx(detected[is_rare].mean())
    depth = {">14": preds - 14, "<=1": 1 - preds, "10-15": np.minimum(preds - 10, 15 - preds)}[text]
    assert scores["pr_auc"] == pytest.approx(average_precision_score(is_rare, depth))
    draw, shares = np.random.default_rng(0), []
    for _ in range(300):  # ties in random order
        order = np.lexsort([draw.random(len(depth)), -depth])
        shares.append(is_rare[order[:15]].mean())
    expected = np.mean(shares) / is_rare.mean()
    assert scores["enrichment_7.5"] == pytest.approx(expected, abs=0.05 * expected + 0.1)
    assert scores["enrichment_100"] == pytest.approx(1)


def test_nothing_rare_and_nothing_found():
    high = LabelRange(100, None)
    scores = detection_scores([1.0, 2.0], [3.0, 4.0], high, top=(50,))
    assert scores == {
        "rare": 0, "precision": None, "recall": None, "pr_auc": None, "enrichment_50": None,
    }  # fmt: skip
    perfect = detection_scores([1.0, 200.0], [3.0, 150.0], high, top=[50])
    assert perfect["enrichment_50"] == 2
    assert perfect["pr_auc"] == perfect["precision"] == perfect["recall"] == 1


@pytest.mark.parametrize("kind", [np.int64, np.float32, np.float64])
def test_percentages_can_be_an_array(kind):
    preds, target = make()
    rare = LabelRange(14, None)
    expected = detection_scores(preds, target, rare, top=(1, 5))
    assert detection_scores(preds, target, rare, top=np.array([1, 5], kind)) == expected


@pytest.mark.parametrize(
    "top", [(True,), (5, False), np.array([True]), np.array([[5.0]]), np.array(5.0), [0], [101.0]]
)
def test_wrong_percentages_are_refused(top):
    with pytest.raises(ValueError, match="top must be percentages above 0 and at most 100, got"):
        detection_scores([1.0], [2.0], LabelRange(1, None), top=top)


@pytest.mark.parametrize("count", [0, 1, 2, 60])
def test_scores_of_all_samples_are_those_of_the_functions(count):
    draw = np.random.default_rng(count)
    target = draw.exponential(6.0, count).clip(0, 30)
    preds = target + draw.normal(0, 3, count)
    relevance = PchipRelevance([0.0, 20.0], [0.0, 1.0])
    scores = imbalanced_scores(preds, target, BINS, relevance)
    bins = {}
    for p, y in zip(preds, target, strict=True):
        bins.setdefault(min(int(y // 5), 5), []).append(p - y)
    for name, size in (("mae", abs), ("mse", lambda error: error**2)):
        means = [sum(map(size, errors)) / len(errors) for errors in bins.values()]
        expected = sum(means) / len(means) if means else None
        assert scores[f"balanced_{name}"] == pytest.approx(expected)
    areas = [float(relevance(np.array([y]))[0]) * (p - y) ** 2
             for p, y in zip(preds, target, strict=True)]  # fmt: skip
    assert scores["sera"] == pytest.approx(sum(areas) / count if count else None)
    assert scores["ccc"] == concordance(preds, target)
    assert imbalanced_scores(preds, target, BINS).keys() == scores.keys() - {"sera"}


def test_no_samples():
    empty = np.empty(0)
    assert balanced_errors(empty, empty, BINS) == {"mae": None, "mse": None, "bins": 0}
    relevance = PchipRelevance([0.0, 1.0], [0.0, 1.0])
    assert concordance(empty, empty) is sera(empty, empty, relevance) is None
    assert sera_curve(empty, empty, relevance)[1].tolist() == [0, 0]
    assert pinball_loss(empty, empty, 0.5) is crps_gaussian(empty, empty, empty) is None
    assert crps_laplace(empty, empty, empty) is crps_samples(np.empty((0, 3)), empty) is None
    assert detection_scores(empty, empty, LabelRange(1, None))["precision"] is None


@pytest.mark.parametrize("level", [0.1, 0.5, 0.95])
def test_pinball_equals_scikit_learn(level):
    preds, target = make()
    expected = mean_pinball_loss(target, preds, alpha=level)
    assert pinball_loss(preds, target, level) == pytest.approx(expected)


def integrate_crps(distribution, label):
    """∫ (F(x) − 1[x ≥ y])² dx."""
    below = integrate.quad(lambda x: distribution.cdf(x) ** 2, -math.inf, label)[0]
    above = integrate.quad(lambda x: distribution.sf(x) ** 2, label, math.inf)[0]
    return below + above


@pytest.mark.parametrize(("kind", "score"), [("norm", crps_gaussian), ("laplace", crps_laplace)])
def test_crps_is_the_integral_over_the_distribution(kind, score):
    cases = [(0.0, 1.0, 0.3), (5.0, 2.0, 1.0), (-1.0, 0.5, -1.0)]
    values = [integrate_crps(getattr(stats, kind)(m, s), y) for m, s, y in cases]
    means, scales, labels = map(np.array, zip(*cases, strict=True))
    assert score(means, labels, scales) == pytest.approx(np.mean(values), rel=1e-7)
    assert score(means, labels, 0 * scales) == pytest.approx(np.abs(means - labels).mean())


def test_crps_of_samples_is_that_of_their_distribution_function():
    samples = np.random.default_rng(0).normal(size=(5, 7)).round(1)
    labels = np.array([0.0, 1.0, -2.0, 0.3, 9.0])
    expected = []
    for row, y in zip(samples, labels, strict=True):
        pairs = np.abs(row[:, None] - row).mean() / 2
        expected.append(np.abs(row - y).mean() - pairs)
    assert crps_samples(samples, labels) == pytest.approx(np.mean(expected))
    single = crps_samples(labels[:, None] + 2, labels)
    assert single == pytest.approx(2)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: concordance([1.0], [1.0, 2.0]), "preds and target must both have shape"),
        (lambda: concordance([math.nan], [1.0]), "preds must be finite, got 1 NaN"),
        (lambda: sera([1.0], [2.0], lambda y: y), "relevance must return a number from 0 to 1"),
        (lambda: crps_gaussian([1.0], [1.0], [-1.0]), "scale must be at least 0, got -1"),
        (lambda: crps_samples([1.0], [1.0]), r"samples must have shape \(N, M\)"),
        (lambda: pinball_loss([1.0], [1.0], 1), "level must be a number above 0 and below 1"),
    ],
)
def test_wrong_values_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
