"""Coverage and width of prediction intervals by region, against loops over samples."""

import math

import numpy as np
import pytest

from ranksim.evaluation.coverage import (
    Calibration,
    add_coverage,
    find_score,
    list_coverage,
    make_band,
    make_shift,
)
from ranksim.evaluation.predictions import Predictions
from ranksim.evaluation.views import ViewCounts
from ranksim.imbalance import LabelBins
from ranksim.metrics import ShotRegions, interval_score
from ranksim.metrics.distributions import Distribution
from ranksim.uncertainty import conformal_quantile

EDGES = np.linspace(0, 10, 11)
LEVEL = 0.8
TRAINING = np.concatenate([np.full(200, 0.5 + k) for k in range(5)] + [np.full(50, 5.5), [7.5]])
REGIONS = ShotRegions.from_counts(LabelBins(EDGES.astype(np.float32)), TRAINING)


def draw(count, seed, kind=""):
    rng = np.random.default_rng(seed)
    labels = rng.uniform(0, 10, count)
    scale = 0.3 + labels / 10
    preds = labels + scale * rng.normal(size=count)
    distribution = None
    if kind == "gaussian":
        distribution = Distribution("gaussian", scale=scale)
    elif kind == "quantiles":
        values = preds[:, None] + np.outer(scale, [-1.0, 0.0, 1.0])
        distribution = Distribution("quantiles", quantiles=values, levels=(0.1, 0.5, 0.9))
    masks = REGIONS.masks(labels)
    return Predictions(np.arange(count), preds, masks, labels, distribution=distribution)


def summarize_coverage(kind="", seeds=(0, 1), counts=None, count=60, calibration=80):
    tests = {seed: draw(count, 0, kind) for seed in seeds}
    for seed in seeds:  # the same samples, other predictions
        noise = np.random.default_rng(seed).normal(scale=0.2, size=count)
        tests[seed] = Predictions(
            *(tests[seed].rows, tests[seed].preds + noise, tests[seed].regions),
            tests[seed].labels,
            distribution=tests[seed].distribution,
        )
    calibrations = {seed: draw(calibration, 100 + seed, kind) for seed in seeds}
    summary = [{"method": "vanilla", "seeds": list(seeds)}]
    add_coverage(
        summary,
        lambda _, seed: tests[seed],
        lambda _, seed: calibrations[seed],
        REGIONS,
        LEVEL,
        counts,
    )
    return summary[0].get("intervals"), tests, calibrations


def test_one_threshold_by_hand():
    """Coverage, width and interval score of split conformal intervals, sample by sample."""
    intervals, tests, calibrations = summarize_coverage()
    cells = {"predicted": {}, "true": {}}
    for seed, test in tests.items():
        calibration = calibrations[seed]
        radius = conformal_quantile(np.abs(calibration.preds - calibration.labels), LEVEL)
        for pred, label in zip(test.preds, test.labels, strict=True):
            score = interval_score([pred - radius], [pred + radius], [label], LEVEL)[0]
            values = abs(pred - label) <= radius, 2 * radius, score
            for by, place in (("predicted", np.clip(pred, 0, 10)), ("true", label)):
                masks = REGIONS.masks([place])
                if by == "predicted" and not 0 <= pred <= 10:  # beyond all labels
                    masks = {name: [name in ("all", "few")] for name in masks}
                    masks["zero"] = [True]
                for name in ("all", "many", "medium", "few", "zero"):
                    if masks[name][0]:
                        cells[by].setdefault(name, []).append(values)
    for by, expected in cells.items():
        scores = intervals["ways"]["split"][by]
        assert scores.keys() == expected.keys()
        for name, values in expected.items():
            means = np.mean(np.array(values, dtype=float), axis=0)
            cell = scores[name]
            np.testing.assert_allclose([cell["coverage"], cell["width"], cell["score"]], means)
            assert cell["n"] == round(len(values) / 2, 1)
            low, high = cell["ci"]
            assert low <= cell["coverage"] <= high


@pytest.mark.parametrize("kind", ["", "gaussian", "quantiles"])
def test_scale_and_quantiles_are_used(kind):
    intervals, tests, _ = summarize_coverage(kind)
    score = {"": "residual", "gaussian": "scale", "quantiles": "quantiles"}[kind]
    assert intervals["score"] == score == find_score(tests[0].distribution)
    assert set(intervals["ways"]) == {"split", "region"} | ({"residual"} if kind else set())
    if kind:
        plain, _, _ = summarize_coverage()
        assert intervals["ways"]["residual"] == plain["ways"]["split"]
        assert intervals["ways"]["split"] != plain["ways"]["split"]
        widths = intervals["ways"]["split"]["predicted"]
        assert widths["few"]["width"] > 1.2 * widths["many"]["width"]


def test_quantiles_are_those_of_the_level():
    distribution = draw(5, 0, "quantiles").distribution
    band = make_band(np.zeros(5), distribution, 0.8)
    np.testing.assert_allclose(band.lower, distribution.quantiles[:, 0])
    np.testing.assert_allclose(band.upper, distribution.quantiles[:, 2])


def test_curve_and_ensemble():
    intervals, tests, calibrations = summarize_coverage()
    curve = intervals["curve"]
    assert all(np.diff(curve["width"]["all"]) > 0)
    assert (
        curve["coverage"]["all"][3] == intervals["ways"]["region"]["predicted"]["all"]["coverage"]
    )
    mean = {
        k: np.mean([each.preds for each in t.values()], axis=0)
        for k, t in (("test", tests), ("calibration", calibrations))
    }
    fitted = Calibration(calibrations[0].labels, mean["calibration"], REGIONS)
    lower, upper = fitted.predict(mean["test"], LEVEL)
    covered = (lower <= tests[0].labels) & (tests[0].labels <= upper)
    assert intervals["ensemble"]["true"]["all"]["coverage"] == pytest.approx(covered.mean())
    assert "ensemble" not in summarize_coverage(seeds=(0,))[0]


def test_too_few_calibration_samples_give_infinite_widths():
    intervals, _, _ = summarize_coverage(calibration=3)
    cell = intervals["ways"]["region"]["predicted"]["all"]
    assert (cell["coverage"], cell["width"], cell["score"]) == (1.0, None, None)
    rows = list_coverage(intervals)
    assert {row["width"] for row in rows if row["way"] == "split"} == {math.inf}


def test_rows_without_calibration_samples_have_no_intervals():
    """Predictions made elsewhere, and a run whose file is missing."""
    test = draw(20, 0)
    summary = [{"method": "file", "seeds": [0]}, {"method": "failed", "seeds": []}]
    add_coverage(summary, lambda *_: test, lambda *_: None, REGIONS, LEVEL)
    assert all("intervals" not in row for row in summary)


def test_labels_as_in_the_data():
    """In a balanced test set, samples and calibration samples are weighted as in the data."""
    test = draw(60, 0)
    bins = LabelBins(EDGES.astype(np.float32))
    rows = np.array([900, 500, 300, 200, 150, 90, 40, 20, 10, 5])
    counts = ViewCounts(EDGES, rows, bins.histogram(test.labels), "balanced")
    intervals, tests, calibrations = summarize_coverage(counts=counts, seeds=(0,))
    calibration = calibrations[0]
    shift = make_shift(calibration.labels, EDGES, rows)
    for edge, ratio in zip(EDGES, shift.ratios, strict=False):
        inside = ((calibration.labels >= edge) & (calibration.labels < edge + 1)).sum()
        assert inside > 0
        assert ratio == pytest.approx(rows[int(edge)] / inside)
    fitted = Calibration(calibration.labels, calibration.preds, REGIONS, shift=shift)
    lower, upper = fitted.predict(tests[0].preds, LEVEL)
    covered = (lower <= test.labels) & (test.labels <= upper)
    weights = counts.weights(test.labels)["as_is"]
    for name, cell in intervals["as_is"]["true"].items():
        mask = test.regions[name]
        expected = (covered * weights)[mask].sum() / weights[mask].sum()
        assert cell["coverage"] == pytest.approx(expected)
    other = ViewCounts(EDGES, rows, bins.histogram(test.labels), "random")
    assert "as_is" not in summarize_coverage(counts=other)[0]
