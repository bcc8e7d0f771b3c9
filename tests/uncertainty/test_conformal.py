"""Conformal thresholds and intervals against definitions in exact fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest

from ranksim.metrics import covers, interval_score
from ranksim.uncertainty import (
    Band,
    LabelShift,
    RegionConformal,
    conformal_quantile,
    weighted_conformal_quantile,
)
from tests.oracles import conformal as oracle

LEVELS = [Fraction(k, 20) for k in (1, 11, 16, 18, 19)]
COUNTS = (0, 1, 2, 9, 10, 18, 19, 20, 99)


def draw_scores(count, seed=0, ties=False):
    scores = np.random.default_rng(seed).normal(size=count)
    return np.round(scores) if ties else scores


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("count", COUNTS)
def test_split_threshold(count, ties):
    scores = draw_scores(count, count, ties)
    for level in LEVELS:
        expected = oracle.split_threshold(scores.tolist(), level)
        assert conformal_quantile(scores, float(level)) == expected
        weighted = weighted_conformal_quantile(scores, np.full(count, 3.0), float(level), 3.0)
        assert weighted == expected


def test_too_few_samples_give_infinite_intervals():
    """Below ℓ / (1 − ℓ) calibration samples no threshold is finite, from there on all are."""
    for level, least in ((0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19)):
        assert conformal_quantile(np.zeros(least - 1), level) == math.inf
        assert conformal_quantile(np.zeros(least), level) == 0.0
        lower, upper = RegionConformal.fit(
            Band.from_predictions(np.zeros(least - 1)), np.zeros(least - 1)
        ).predict(Band.from_predictions([1.0]), level)
        assert (lower[0], upper[0]) == (-math.inf, math.inf)


def test_split_coverage_is_exact():
    """Over all orders of exchangeable scores without ties, coverage is ⌈(n + 1) ℓ⌉ / (n + 1)."""
    for count in (9, 20, 33):
        ranks = np.arange(count + 1.0)
        for level in (0.5, 0.8, 0.9):
            covered = [
                ranks[k] <= conformal_quantile(np.delete(ranks, k), level) for k in range(count + 1)
            ]
            assert sum(covered) == math.ceil((count + 1) * level - 1e-9)


@pytest.mark.parametrize("shrinkage", [0.0, 3.0, 50.0, math.inf])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_region_threshold(shrinkage, is_weighted):
    """Regions with many, few, one and no calibration sample; ties; unequal weights."""
    for seed, ties in enumerate((False, True)):
        rng = np.random.default_rng(seed)
        regions = rng.permutation(["many"] * 14 + ["medium"] * 6 + ["few"] * 3 + ["zero"])
        scores = draw_scores(len(regions), seed, ties)
        weights = rng.integers(1, 9, len(regions)) / 4 if is_weighted else np.ones(len(regions))
        fitted = RegionConformal(scores, regions, weights, shrinkage)
        for region in ("many", "medium", "few", "zero", "unknown"):
            for level in LEVELS:
                for weight in (0.25, 1.0, 4.0) if is_weighted else (1.0,):
                    expected = oracle.region_threshold(
                        scores.tolist(), regions, region, level, shrinkage, weights, weight
                    )
                    assert fitted.find_threshold(float(level), region, weight) == expected


def test_extreme_shrinkage_is_split_or_mondrian():
    rng = np.random.default_rng(0)
    labels, regions = rng.normal(size=60), rng.choice(["many", "few"], 60, p=[0.7, 0.3])
    band = Band.from_predictions(np.zeros(60))
    split = RegionConformal.fit(band, labels, regions, shrinkage=math.inf)
    assert split.find_threshold(0.8, "few") == conformal_quantile(np.abs(labels), 0.8)
    mondrian = RegionConformal.fit(band, labels, regions, shrinkage=0.0)
    alone = conformal_quantile(np.abs(labels[regions == "few"]), 0.8)
    assert mondrian.find_threshold(0.8, "few") == alone
    between = RegionConformal.fit(band, labels, regions, shrinkage=20.0).find_threshold(0.8, "few")
    low, high = sorted((alone, split.find_threshold(0.8, "few")))
    assert low <= between <= high


def test_regions_without_samples_use_the_pooled_threshold():
    labels = np.arange(20.0)
    fitted = RegionConformal.fit(Band.from_predictions(np.zeros(20)), labels, ["many"] * 20)
    assert fitted.find_threshold(0.9, "few") == conformal_quantile(labels, 0.9)


def test_default_shrinkage_is_as_many_samples_as_a_threshold_needs():
    """At each level k = 1 / (1 − ℓ), and thresholds of small regions are finite."""
    rng = np.random.default_rng(0)
    labels, regions = rng.normal(size=400), np.array(["many"] * 400, dtype="<U6")
    regions[:12] = ["a"] + ["b"] * 2 + ["c"] * 4 + ["d"] * 5
    band = Band.from_predictions(np.zeros(400))
    for level in (0.5, 0.8, 0.9, 0.95):
        default = RegionConformal.fit(band, labels, regions)
        stated = RegionConformal.fit(band, labels, regions, shrinkage=1 / (1 - level))
        for name in "abcd":
            threshold = default.find_threshold(level, name)
            assert threshold == stated.find_threshold(level, name) < math.inf


@pytest.mark.parametrize("kind", ["residual", "scale", "quantiles"])
def test_bands(kind):
    """Intervals contain exactly the labels whose score is at most the threshold."""
    rng = np.random.default_rng(3)
    preds, scale = rng.normal(size=40), rng.uniform(0.5, 2.0, 40)
    spread = rng.normal(size=(2, 40))  # quantiles may cross
    bands = {
        "residual": Band.from_predictions(preds),
        "scale": Band.from_predictions(preds, scale),
        "quantiles": Band.from_quantiles(preds + spread[0], preds + spread[1]),
    }
    band, labels = bands[kind], preds + rng.normal(size=40)
    lower, upper = band.widen(0.4)
    for k, label in enumerate(labels):
        ends = band.lower[k], band.upper[k], band.unit[k]
        assert covers(lower, upper, labels)[k] == oracle.contains(label, ends, 0.4)
        assert (band.scores(labels)[k] <= 0.4) == oracle.contains(label, ends, 0.4)


def test_negative_thresholds_narrow_quantiles_until_their_center():
    band = Band.from_quantiles([0.0, 0.0], [4.0, 1.0])
    lower, upper = band.widen(-1.0)
    assert lower.tolist() == [1.0, 0.5]
    assert upper.tolist() == [3.0, 0.5]


@pytest.mark.parametrize("shrinkage", [0.0, 20.0, math.inf])
def test_label_shift_is_the_hull_of_the_labels_within_their_thresholds(shrinkage):
    rng = np.random.default_rng(5)
    preds = rng.uniform(0, 10, 60)
    labels = preds + rng.normal(size=60)
    edges = np.linspace(0, 10, 6)
    shift = LabelShift(edges, np.array([4.0, 1.0, 1.0, 0.5, 16.0]))
    regions = np.where(preds > 7, "few", "many")
    band = Band.from_predictions(preds, rng.uniform(0.5, 1.5, 60))
    fitted = RegionConformal.fit(band, labels, regions, shrinkage=shrinkage, shift=shift)
    grid = np.linspace(-8, 18, 2_601)
    weights = shift.weights(grid)
    lower, upper = fitted.predict(band, 0.75, regions)
    for k in range(0, 60, 7):
        thresholds = {w: fitted.find_threshold(0.75, regions[k], w) for w in shift.ratios}
        ends = band.lower[k], band.upper[k], band.unit[k]
        inside = [
            label
            for label, weight in zip(grid, weights, strict=True)
            if oracle.contains(label, ends, thresholds[weight])
        ]
        expected = [min(inside), max(inside)]
        step = grid[1] - grid[0]
        for end, bound in ((lower[k], expected[0]), (upper[k], expected[1])):
            # an infinite end reaches beyond the grid
            assert abs(np.clip(end, grid[0], grid[-1]) - bound) <= step + 1e-9


def test_equal_ratios_change_nothing():
    rng = np.random.default_rng(1)
    band, labels = Band.from_predictions(rng.normal(size=50)), rng.normal(size=50)
    regions = rng.choice(["a", "b"], 50)
    shift = LabelShift(np.linspace(-3, 3, 7), np.full(6, 2.5))
    plain = RegionConformal.fit(band, labels, regions).predict(band, 0.8, regions)
    shifted = RegionConformal.fit(band, labels, regions, shift=shift).predict(band, 0.8, regions)
    np.testing.assert_allclose(shifted, plain)


def test_bins_without_calibration_samples_join_the_nearest():
    shift = LabelShift.from_counts([0, 1, 2, 3], [80, 16, 2], [10, 9, 0])
    assert shift.ratios.tolist() == [8.0, 2.0, 2.0]
    assert shift.weights([-5.0, 0.5, 1.0, 2.5, 9.0]).tolist() == [8.0, 8.0, 2.0, 2.0, 2.0]
    new, calibration = [3, 40, 5, 7, 1, 9], [0, 20, 0, 0, 4, 0]
    expected = [48 / 20] * 3 + [17 / 4] * 3  # 2 is nearer to 1, and 3 to 4
    np.testing.assert_allclose(LabelShift.from_counts(range(7), new, calibration).ratios, expected)
    assert LabelShift.from_counts([0, 1], [5], [0]).ratios.tolist() == [1.0]


def test_weighted_calibration_samples_have_the_new_distribution():
    """Their weights in each joined bin sum to the new samples there."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        new, calibration = rng.integers(0, 50, 12), rng.integers(0, 4, 12)
        calibration[rng.integers(12)] += 1
        shift = LabelShift.from_counts(np.arange(13), new, calibration)
        assert (shift.ratios * calibration).sum() == pytest.approx(new.sum())


def test_interval_score():
    rng = np.random.default_rng(2)
    lower = rng.normal(size=30)
    upper, labels = lower + rng.uniform(0, 2, 30), rng.normal(size=30)
    for level in (0.5, 0.9):
        expected = [
            oracle.interval_score(*ends, level) for ends in zip(lower, upper, labels, strict=True)
        ]
        np.testing.assert_allclose(interval_score(lower, upper, labels, level), expected)
    assert np.isinf(interval_score([-np.inf], [np.inf], [0.0], 0.9)).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: conformal_quantile([1.0], 1.0), "level must lie between 0 and 1"),
        (lambda: conformal_quantile([[1.0]], 0.9), "scores must have shape"),
        (lambda: weighted_conformal_quantile([1.0], [1.0, 2.0], 0.9), "equally long"),
        (lambda: Band.from_predictions([1.0, 2.0], [1.0, 0.0]), "above 0"),
        (lambda: interval_score([0], [1], [0], 90), "level must lie between 0 and 1"),
        (
            lambda: RegionConformal.fit(Band.from_predictions([1.0]), [1.0], shrinkage=-1.0),
            "shrinkage must be at least 0",
        ),
        (
            lambda: RegionConformal.fit(Band.from_predictions([1.0]), [1.0], ["a", "b"]),
            "region of each of 1 predictions",
        ),
    ],
)
def test_errors(call, words):
    with pytest.raises(ValueError, match=words):
        call()


BAND = Band.from_predictions([1.0, 2.0])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize(
    "call",
    [
        lambda bad: Band.from_predictions([1.0, bad]),
        lambda bad: Band.from_predictions([1.0, 2.0], [1.0, bad]),
        lambda bad: Band.from_quantiles([1.0, bad], [1.0, 2.0]),
        lambda bad: BAND.scores([1.0, bad]),
        lambda bad: RegionConformal.fit(BAND, [1.0, bad]),
        lambda bad: weighted_conformal_quantile([1.0, 2.0], [1.0, bad], 0.5),
        lambda bad: weighted_conformal_quantile([1.0, 2.0], [1.0, 1.0], 0.5, bad),
        lambda bad: LabelShift.from_counts([0.0, 1.0, 2.0], [1, bad], [1, 1]),
    ],
)
def test_numbers_that_are_not_finite_are_rejected(call, bad):
    """They would give intervals without a meaning, and no error."""
    with pytest.raises(ValueError, match="finite"):
        call(bad)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: conformal_quantile([1.0, math.nan], 0.5), "scores must not be NaN"),
        (lambda: weighted_conformal_quantile([1.0], [-1.0], 0.5), "weights must be at least 0"),
        (lambda: Band.from_quantiles([1.0, 2.0], [1.0]), "equally long, got 2 and 1"),
        (lambda: BAND.scores([1.0]), "as many as the 2 predictions, got 1"),
        (lambda: RegionConformal.fit(BAND, [1.0, 2.0]).predict(BAND, 0.5, ["a"]), "each of 2"),
        (lambda: LabelShift.from_counts([0.0, 1.0, 2.0], [1, -1], [1, 1]), "new must be at least"),
        (lambda: LabelShift.from_counts([0.0, 1.0, 2.0], [0, 0], [1, 1]), "at least one label"),
        (lambda: LabelShift.from_counts([0.0, 1.0, 2.0], [1], [1]), "3 edges and 1 and 1 counts"),
        (lambda: LabelShift.from_counts([0.0, 2.0, 1.0], [1, 1], [1, 1]), "must ascend"),
    ],
)
def test_impossible_arguments_are_rejected(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize("level", ["0.9", None])
def test_levels_that_are_no_numbers_are_rejected(level):
    fitted = RegionConformal.fit(BAND, [1.0, 2.0])
    for call in (lambda: conformal_quantile([1.0], level), lambda: fitted.predict(BAND, level)):
        with pytest.raises(TypeError, match="level must lie between 0 and 1, such as 0.9"):
            call()
