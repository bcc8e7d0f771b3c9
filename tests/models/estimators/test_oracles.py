"""Estimators against the plain libraries and independent computations."""

import dataclasses

import numpy as np
import pytest

from ranksim.models.estimators import EstimatorData, EstimatorSettings, estimator_type
from ranksim.models.estimators.references import weighted_median
from tests.helpers.estimator_data import make_samples

NEVER = {"max_iterations": 20, "patience": 20, "learning_rate": 0.05}  # no early stopping


@pytest.fixture(scope="module")
def parts():
    return make_samples(count=600, weighted=True), make_samples(count=300, seed=1)


def standardize(labels):
    mean, deviation = labels.mean(), labels.std()
    return (labels - mean) / deviation, lambda preds: preds * deviation + mean


def fit(name, parts, **settings):
    estimator = estimator_type(name)()
    course = estimator.fit(*parts, EstimatorSettings(**settings), monitor="mse")
    return estimator, course


def test_trees_equal_scikit_learn(parts):
    from sklearn.ensemble import HistGradientBoostingRegressor

    train, val = parts
    train = dataclasses.replace(train, sample_weight=None)
    estimator, course = fit("trees", (train, val), **NEVER)
    scaled, invert = standardize(train.labels)
    theirs = HistGradientBoostingRegressor(
        max_iter=course.best_iteration,
        learning_rate=0.05,
        categorical_features=[1],
        early_stopping=False,
    ).fit(train.values, scaled)
    np.testing.assert_allclose(
        estimator.predict(val.values), invert(theirs.predict(val.values)), rtol=1e-5
    )


@pytest.mark.parametrize("loss", ["squared", "absolute", "gamma", "poisson", "quantile"])
def test_arrays_of_trees_predict_exactly_as_scikit_learn(loss, parts, monkeypatch):
    regressors = []
    scikit_trees = estimator_type("trees")
    take = scikit_trees._take_trees

    def keep_regressor(self, regressor, count):
        regressors.append(regressor)
        take(self, regressor, len(regressor._predictors))  # early stopping removes none

    monkeypatch.setattr(scikit_trees, "_take_trees", keep_regressor)
    estimator, _ = fit("trees", parts, loss=loss, **NEVER)
    values = parts[1].values.copy()
    values[:5] = np.nan
    theirs = regressors[0].predict(estimator._encode(values))
    np.testing.assert_array_equal(estimator.scale.invert(theirs), estimator.predict(values))


def test_lightgbm_equals_the_library(parts):
    import lightgbm

    train, val = parts
    estimator, course = fit("lightgbm", parts, **NEVER)
    scaled, invert = standardize(train.labels)
    weights = train.weights / train.weights.mean()
    dataset = lightgbm.Dataset(train.values, scaled, weight=weights, categorical_feature=[1])
    options = {"learning_rate": 0.05, "verbosity": -1, "num_threads": 1, "deterministic": True}
    theirs = lightgbm.train(options, dataset, num_boost_round=course.best_iteration)
    np.testing.assert_allclose(
        estimator.predict(val.values), invert(theirs.predict(val.values)), rtol=1e-5
    )


def test_xgboost_equals_the_library(parts):
    import xgboost

    train, val = parts
    estimator, course = fit("xgboost", parts, **NEVER)
    scaled, invert = standardize(train.labels)
    options = {"feature_types": ["q", "c", "q", "q"], "enable_categorical": True, "nthread": 1}
    matrix = xgboost.QuantileDMatrix(
        train.values, scaled, weight=train.weights / train.weights.mean(), **options
    )
    theirs = xgboost.train(
        {"learning_rate": 0.05, "nthread": 1}, matrix, num_boost_round=course.best_iteration
    )
    preds = theirs.predict(xgboost.DMatrix(val.values, **options))
    np.testing.assert_allclose(estimator.predict(val.values), invert(preds), rtol=1e-4)


def test_catboost_equals_the_library(parts):
    import catboost
    import pandas

    train, val = parts
    estimator, course = fit("catboost", parts, **NEVER)
    scaled, invert = standardize(train.labels)

    def to_frame(values):
        frame = pandas.DataFrame(values[:, [0, 2, 3, 1]])
        names = frame[3].map(lambda code: "missing" if np.isnan(code) else str(int(code)))
        return frame.drop(columns=3).astype(np.float32).assign(category=names.astype(object))

    theirs = catboost.CatBoostRegressor(
        iterations=course.best_iteration,
        learning_rate=0.05,
        random_seed=0,
        cat_features=["category"],
        allow_writing_files=False,
        thread_count=1,
        verbose=False,
    )
    theirs.fit(to_frame(train.values), scaled, sample_weight=train.weights / train.weights.mean())
    preds = invert(theirs.predict(to_frame(val.values)))
    np.testing.assert_allclose(estimator.predict(val.values), preds, rtol=1e-4)


@pytest.mark.parametrize("name", ["trees", "lightgbm", "xgboost", "catboost"])
def test_patience_stops_the_training_and_the_best_trees_remain(name, parts):
    _, course = fit(name, parts, max_iterations=1_000, patience=7, learning_rate=0.9)
    best = int(np.argmin(course.scores)) + 1
    assert course.best_iteration == best
    assert len(course.scores) == best + 7 < 1_000


def test_linear_is_a_weighted_ridge_regression():
    from sklearn.linear_model import Ridge

    train = make_samples("vectors", count=80, weighted=True)
    val = make_samples("vectors", count=50, seed=1)
    for l2 in (None, 0.0, 0.3):
        estimator, course = fit("linear", (train, val), l2=l2)
        assert l2 in (None, course.choices["l2"])
        scores, weights = [], train.weights / train.weights.mean()
        for penalty in [10.0**k for k in range(-6, 4)] if l2 is None else [max(l2, 1e-12)]:
            theirs = Ridge(alpha=penalty * 80, solver="svd")
            theirs.fit(train.values, train.labels, sample_weight=weights)
            scores.append(np.mean((theirs.predict(val.values) - val.labels) ** 2))
            if penalty == max(course.choices["l2"], 1e-12):
                expected = theirs.predict(val.values)
        np.testing.assert_allclose(estimator.predict(val.values), expected, rtol=1e-5)
        np.testing.assert_allclose(course.scores, scores, rtol=1e-5)


def test_linear_has_one_solution_for_more_columns_than_samples():
    draw = np.random.default_rng(0)
    values, labels = draw.normal(size=(10, 40)), draw.normal(size=10)
    data = EstimatorData(values, (0,) * 40, labels)
    estimator, _ = fit("linear", (data, data), l2=0.0)
    np.testing.assert_allclose(estimator.predict(values), labels, rtol=1e-5, atol=1e-6)


def test_neighbors_average_the_nearest_labels():
    train = make_samples("vectors", count=80, weighted=True)
    val = make_samples("vectors", count=50, seed=1)
    estimator, course = fit("knn", (train, val))
    scores = {}
    for count in (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70):
        preds = []
        for vector in val.values:
            nearest = np.argsort(((train.values - vector) ** 2).sum(axis=1))[:count]
            preds.append(np.average(train.labels[nearest], weights=train.weights[nearest]))
        scores[count] = np.mean((np.array(preds) - val.labels) ** 2)
        if count == course.choices["neighbors"]:
            np.testing.assert_allclose(estimator.predict(val.values), preds, rtol=1e-6)
    np.testing.assert_allclose(course.scores, list(scores.values()), rtol=1e-5)
    assert course.choices["neighbors"] == min(scores, key=scores.get)


@pytest.mark.parametrize("count", [1, 2, 5, 8, 31])
def test_the_weighted_median_is_that_of_repeated_labels(count):
    draw = np.random.default_rng(count)
    for _ in range(20):
        labels, repeats = draw.integers(0, 9, count) / 3, draw.integers(1, 5, count)
        repeated = np.median(np.repeat(labels, repeats))
        assert weighted_median(labels, repeats / 7) == pytest.approx(repeated, rel=1e-15)
