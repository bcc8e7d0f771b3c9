"""Behavior of the libraries that surprises, and that the estimators do not inherit."""

import dataclasses

import numpy as np
import pytest

from ranksim.exceptions import DataError
from ranksim.models.estimators import EstimatorData, EstimatorSettings, estimator_type
from tests.helpers.errors import raises_with
from tests.helpers.estimator_data import make_samples

TREES = ("trees", "lightgbm", "xgboost", "catboost")


def fit(name, train, *, val=None, threads=1, seed=0, **settings):
    """Fit an estimator with few trees."""
    estimator = estimator_type(name)()
    settings = EstimatorSettings(**{"max_iterations": 15, "patience": 5} | settings)
    val = val or make_samples(count=60, seed=1)
    estimator.fit(train, val, settings, seed=seed, threads=threads, monitor="mae")
    return estimator


@pytest.mark.parametrize("loss", ["absolute", "quantile"])
def test_weights_of_one_are_no_weights_for_scikit_learn(loss):
    from sklearn.ensemble import HistGradientBoostingRegressor

    data = make_samples()
    ones = np.ones(120)
    options = {"loss": "absolute_error"} if loss == "absolute" else {"loss": loss, "quantile": 0.7}
    models = [
        HistGradientBoostingRegressor(
            **options, max_iter=5, early_stopping=False, min_samples_leaf=5
        )
        for _ in range(2)
    ]
    theirs = [
        model.fit(data.values, data.labels, sample_weight=weights).predict(data.values)
        for model, weights in zip(models, (None, ones), strict=True)
    ]
    assert np.abs(theirs[0] - theirs[1]).max() > 0.01  # else the wrapper could pass no weights
    weighted = dataclasses.replace(data, sample_weight=ones)
    ours = [
        fit("trees", part, loss=loss, quantile=0.7).predict(data.values)
        for part in (data, weighted)
    ]
    np.testing.assert_array_equal(*ours)


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("total", [1.0, 1e200])
def test_weights_of_any_sum_give_a_model_that_learns(name, total):
    data = make_samples(weighted=True)
    weights = data.weights / data.weights.sum() * total
    preds = fit(name, dataclasses.replace(data, sample_weight=weights)).predict(data.values)
    reference = fit(name, data).predict(data.values)
    assert np.ptp(preds) > 0.5
    np.testing.assert_allclose(preds, reference, rtol=1e-6)


@pytest.mark.parametrize("name", [*TREES, "median"])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize("part", ["training", "validation"])
def test_labels_that_are_no_numbers_are_an_error(name, value, part):
    train, val = make_samples(), make_samples(count=60, seed=1)
    data = train if part == "training" else val
    data.labels[[7, 9]] = value
    with raises_with(DataError, f"2 {part} labels", f"{value:g} in row 7", "finite", "remove"):
        fit(name, train, val=val)


@pytest.mark.parametrize("name", ["lightgbm", "xgboost", "catboost"])
@pytest.mark.parametrize("factor", [1e-6, 1e3])
def test_huber_losses_learn_in_any_unit(name, factor):
    data, val = make_samples(), make_samples(count=60, seed=1)
    preds = [
        fit(
            name,
            dataclasses.replace(data, labels=data.labels * unit),
            val=dataclasses.replace(val, labels=val.labels * unit),
            loss="huber",
        ).predict(val.values)
        for unit in (1.0, factor)
    ]
    assert np.ptp(preds[0]) > 0.5
    np.testing.assert_allclose(preds[1], factor * preds[0], rtol=1e-6)


@pytest.mark.parametrize("name", ["lightgbm", "xgboost", "catboost"])
def test_huber_losses_do_not_overshoot_on_skewed_labels(name):
    # XGBoost, whose second derivatives vanish for large errors, does so unless steps are limited
    parts = []
    for count, seed in ((400, 0), (200, 1)):
        draw = np.random.default_rng(seed)
        columns, noise = draw.normal(size=(count, 3)), 0.1 * draw.normal(size=count)
        labels = np.exp(1.5 * columns[:, 0] + columns[:, 1] + noise)
        parts.append(EstimatorData(columns, (0, 0, 0), labels))
    settings = {"loss": "huber", "max_iterations": 60, "learning_rate": 0.3}
    preds = fit(name, parts[0], val=parts[1], **settings).predict(parts[1].values)
    assert -2 < preds.min() < preds.max() < 1.5 * parts[0].labels.max()
    assert np.abs(preds - parts[1].labels).mean() < 2.5  # 4.2 for a constant


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        (name, loss)
        for name in TREES
        for loss in ("gamma", "poisson", "tweedie")
        if loss in estimator_type(name).losses
    ],
)
def test_losses_with_a_logarithm_refuse_labels_that_have_none(name, loss):
    data = make_samples()
    data.labels[[4, 5]] = -0.5
    with raises_with(DataError, "2 training labels", loss, "-0.5 in row 4"):
        fit(name, data, loss=loss)
    data.labels[[4, 5]] = 0.0
    if loss == "gamma":
        with raises_with(DataError, "above 0", "gamma", "0 in row 4"):
            fit(name, data, loss=loss)
    else:
        assert (fit(name, data, loss=loss).predict(data.values) > 0).all()
        zeros = dataclasses.replace(data, labels=np.zeros(120))
        with raises_with(DataError, "All training labels are 0", loss):
            fit(name, zeros, loss=loss)
    negative = make_samples(count=60, seed=1)
    negative.labels[3] = -1.0
    with raises_with(DataError, "1 validation label ", loss, "-1 in row 3"):
        fit(name, make_samples(), val=negative, loss=loss)


@pytest.mark.parametrize("loss", ["poisson", "tweedie"])
def test_catboost_stops_by_the_score_of_predictions_and_not_of_their_logarithm(loss):
    estimator, val = estimator_type("catboost")(), make_samples(count=60, seed=1)
    settings = EstimatorSettings(loss=loss, max_iterations=30, learning_rate=0.3)
    course = estimator.fit(make_samples(), val, settings, monitor="mse")
    errors = estimator.predict(val.values) - val.labels
    assert min(course.scores) == pytest.approx(np.mean(errors**2), rel=1e-5)
    assert course.scores[0] > 1.5 * min(course.scores)


def test_bins_of_scikit_learn_do_not_depend_on_weights():
    # with weights, scikit-learn sorts a column 508 times to find its bins
    data = make_samples(count=3_000, weighted=True)
    estimator = fit("trees", data, max_iterations=2)
    plain = fit("trees", dataclasses.replace(data, sample_weight=None), max_iterations=2)
    for edges, others in zip(estimator.edges, plain.edges, strict=True):
        np.testing.assert_array_equal(edges, others)
    assert [len(edges) for edges in estimator.edges] == [254, 4, 254, 254]


@pytest.mark.slow
@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("loss", ["squared", "absolute"])
def test_the_number_of_threads_does_not_matter(name, loss):
    data, val = make_samples(count=4_000, weighted=True), make_samples(count=60, seed=1)
    models = [fit(name, data, loss=loss, threads=threads, max_iterations=4) for threads in (1, 2)]
    np.testing.assert_array_equal(*(model.predict(val.values, threads=2) for model in models))


@pytest.mark.parametrize("name", TREES)
def test_the_seed_matters_where_the_estimator_says_so(name):
    data, val = make_samples(count=300), make_samples(count=60, seed=1)
    preds = [fit(name, data, seed=seed, max_iterations=5).predict(val.values) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(preds[0], preds[1])
    differs = not np.array_equal(preds[0], preds[2])
    assert differs == estimator_type(name).depends_on_seed(300) == (name == "catboost")
    large = name in ("trees", "lightgbm", "catboost")
    assert estimator_type(name).depends_on_seed(300_000) == large


def test_a_copy_of_the_data_is_not_changed():
    data, val = make_samples(weighted=True), make_samples(count=60, seed=1)
    before = [array.copy() for array in (data.values, data.labels, data.weights, val.values)]
    for name in TREES:
        fit(name, data, val=val, max_iterations=2).predict(val.values)
    after = data.values, data.labels, data.weights, val.values
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


def test_every_part_needs_a_sample_of_positive_weight():
    data = make_samples()
    nothing = EstimatorData(data.values[:0], data.categories, data.labels[:0])
    zero = dataclasses.replace(data, sample_weight=np.zeros(120))
    for part, problem in ((nothing, "are missing"), (zero, "have the weight 0")):
        with raises_with(DataError, "All training samples", problem):
            fit("trees", part)
        with raises_with(DataError, "All validation samples", problem):
            fit("trees", data, val=part)
