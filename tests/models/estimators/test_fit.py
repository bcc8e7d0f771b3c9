"""Each estimator and loss: scores, units, weights, files."""

import dataclasses

import numpy as np
import pytest

from ranksim.data.target_transform import TargetTransform
from ranksim.models.estimators import EstimatorData, estimator_type, load_estimator
from ranksim.models.estimators.base import LabelUnit
from tests.helpers.estimator_data import CASES, FEW_TREES, make_samples, weighted_score


def fit_small(name, loss, *, monitor="mae", train=None, val=None, **settings):
    """Fit with few trees; return the estimator and its fit."""
    estimator = estimator_type(name)()
    reads = estimator.reads
    train = train or make_samples(reads, weighted=True)
    val = val or make_samples(reads, count=60, seed=1, weighted=True)
    if "learning_rate" in estimator.options:
        settings.setdefault("learning_rate", 0.3)
    settings = dataclasses.replace(FEW_TREES, loss=loss, quantile=0.7, **settings)
    return estimator, estimator.fit(train, val, settings, monitor=monitor)


@pytest.mark.parametrize("monitor", ["mse", "mae"])
@pytest.mark.parametrize(
    ("name", "loss"), [case for case in CASES if case[1] not in ("gamma", "poisson", "tweedie")]
)
def test_scores_of_transformed_labels_are_in_the_unit_of_the_labels(name, loss, monitor):
    reads = estimator_type(name).reads
    train, val = make_samples(reads, weighted=True), make_samples(reads, 60, 1, weighted=True)
    train, val = (dataclasses.replace(part, labels=np.exp(part.labels)) for part in (train, val))
    val.weights[::7] = 0.0
    transform = TargetTransform.fit(train.labels, "log")
    parts = [dataclasses.replace(part, labels=transform(part.labels)) for part in (train, val)]
    estimator = estimator_type(name)()
    settings = dataclasses.replace(FEW_TREES, loss=loss, quantile=0.7)
    unit = LabelUnit(transform.inverse, val.labels)
    fit = estimator.fit(*parts, settings, monitor=monitor, unit=unit)
    preds = transform.inverse(estimator.predict(val.values))
    expected = weighted_score(fit.monitor, preds, val.labels, val.weights, quantile=0.7)
    assert min(fit.scores) == pytest.approx(expected, rel=1e-5)
    if fit.best_iteration:
        assert fit.scores[fit.best_iteration - 1] == min(fit.scores)


def scale_labels(data, factor):
    return dataclasses.replace(data, labels=data.labels * factor)


def scale_weights(data, factor):
    return dataclasses.replace(data, sample_weight=data.weights * factor)


@pytest.mark.parametrize(("name", "loss"), CASES)
def test_scores_are_those_of_the_predictions_in_the_unit_of_the_labels(name, loss, tmp_path):
    monitor = "mse" if loss in ("squared", "tweedie") else "mae"
    estimator, fit = fit_small(name, loss, monitor=monitor)
    val = make_samples(estimator.reads, count=60, seed=1, weighted=True)
    preds = estimator.predict(val.values)
    assert fit.monitor == ("pinball" if loss == "quantile" else monitor)
    expected = weighted_score(fit.monitor, preds, val.labels, val.weights, quantile=0.7)
    assert min(fit.scores) == pytest.approx(expected, rel=1e-5)
    if fit.best_iteration:
        assert fit.scores[fit.best_iteration - 1] == min(fit.scores)
    median = np.full(60, np.median(make_samples(estimator.reads).labels))
    if name != "median":
        trivial = weighted_score(fit.monitor, median, val.labels, val.weights, quantile=0.7)
        assert expected < 0.9 * trivial
    estimator.save(tmp_path)
    np.testing.assert_array_equal(load_estimator(tmp_path).predict(val.values), preds)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "loss"), CASES)
def test_neither_unit_nor_factor_of_weights_nor_rows_of_weight_zero_matter(name, loss):
    reads = estimator_type(name).reads
    train, val = make_samples(reads, weighted=True), make_samples(reads, 60, 1, weighted=True)
    reference = fit_small(name, loss, train=train, val=val)[0].predict(val.values)
    estimator, _ = fit_small(
        name,
        loss,
        train=scale_weights(scale_labels(train, 1000.0), 0.7 / len(train.labels)),
        val=scale_weights(scale_labels(val, 1000.0), 30.0),
    )
    np.testing.assert_allclose(estimator.predict(val.values), 1000 * reference, rtol=1e-6)

    draw = np.random.default_rng(5)
    weights = np.where(draw.random(120) < 0.3, 0.0, train.weights)
    zeroed = dataclasses.replace(train, sample_weight=weights)
    used = weights > 0
    removed = dataclasses.replace(
        train, values=train.values[used], labels=train.labels[used], sample_weight=weights[used]
    )
    preds = [
        fit_small(name, loss, train=part, val=val)[0].predict(val.values)
        for part in (zeroed, removed)
    ]
    np.testing.assert_array_equal(*preds)
    assert not np.array_equal(preds[0], reference)


@pytest.mark.parametrize(("name", "loss"), CASES)
def test_unit_weights_are_no_weights(name, loss):
    reads = estimator_type(name).reads
    plain, val = make_samples(reads), make_samples(reads, 60, 1)
    equal = [
        dataclasses.replace(part, sample_weight=np.full(len(part.labels), 0.3))
        for part in (plain, val)
    ]
    models = [fit_small(name, loss, train=t, val=v)[0] for t, v in ((plain, val), equal)]
    np.testing.assert_array_equal(*(model.predict(val.values) for model in models))


@pytest.mark.parametrize(("name", "loss"), CASES)
def test_without_information_it_predicts_the_weighted_optimum(name, loss):
    draw = np.random.default_rng(2)
    labels, weights = draw.exponential(size=150) + 0.1, draw.uniform(size=150) ** 3
    values = np.ones((150, 1))
    if name == "catboost":  # it needs a column that is not constant
        values[0], weights[0] = 0.0, 1e-6
    train = EstimatorData(values, (0,), labels, weights)
    monitor = "mae" if loss in ("absolute", "huber") else "mse"
    settings = {"max_iterations": 300, "patience": 20}
    estimator, _ = fit_small(name, loss, monitor=monitor, train=train, val=train, **settings)
    (pred,) = np.unique(estimator.predict(np.ones((5, 1))))
    order, mean = np.argsort(labels), np.average(labels, weights=weights)
    level = 0.7 if loss == "quantile" else 0.5
    shares = np.cumsum(weights[order]) / weights.sum()
    nearby = labels[order][(shares > level - 0.04) & (shares < level + 0.04)]
    if loss == "huber":
        assert nearby.min() < pred < mean * (1 + 1e-6)  # LightGBM keeps the mean
    elif loss in ("absolute", "quantile"):
        assert nearby.min() < pred < nearby.max()
    elif name != "knn":  # a mean of some of the equally near neighbors
        assert pred == pytest.approx(mean, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "loss"), CASES)
def test_choices_of_an_earlier_fit_are_repeated_without_validation(name, loss):
    """The number of trees, the penalty or of neighbors is given, and validation decides nothing."""
    estimator, fit = fit_small(name, loss)
    choices, reads = fit.all_choices, estimator.reads
    train = make_samples(reads, count=200, seed=3, weighted=True)
    settings = dataclasses.replace(FEW_TREES, loss=loss, quantile=0.7)
    preds = []
    for factor in (1.0, 9.0):  # other validation labels
        val = make_samples(reads, count=60, seed=1)
        val = dataclasses.replace(val, labels=val.labels * factor)
        again = estimator_type(name)()
        result = again.fit(train, val, settings, choices=choices)
        assert result.all_choices == choices
        preds.append(again.predict(train.values))
    np.testing.assert_array_equal(*preds)
    fewer = {"iterations": 3} if "iterations" in choices and name != "median" else choices
    assert estimator_type(name)().fit(train, val, settings, choices=fewer).all_choices == fewer
