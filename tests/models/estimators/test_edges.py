"""Columns and labels at the edge of what tables contain."""

import dataclasses

import numpy as np
import pytest

from ranksim.models.estimators import (
    ESTIMATORS,
    LOSSES,
    EstimatorData,
    EstimatorSettings,
    estimator_type,
    load_estimator,
)
from tests.helpers.estimator_data import CASES, FEW_TREES, make_samples

TREES = ("trees", "lightgbm", "xgboost", "catboost")


def fit(name, train, val, *, monitor="mae", **settings):
    estimator = estimator_type(name)()
    settings = dataclasses.replace(FEW_TREES, **settings)
    return estimator, estimator.fit(train, val, settings, monitor=monitor)


@pytest.mark.parametrize(("name", "loss"), CASES)
@pytest.mark.parametrize("count", [1, 7])
def test_few_samples_with_equal_labels(name, loss, count, capfd):
    vectors = estimator_type(name).reads == "vectors"
    values = np.arange(3.0 * count).reshape(count, 3) + (count == 1) * np.eye(1, 3)
    if not vectors:
        values[:, 1] = 0
    train = EstimatorData(values, (0, 0 if vectors else 2, 0), np.full(count, 3.7))
    if name == "catboost" and count == 1:
        with pytest.raises(Exception, match="at least two values"):
            fit(name, train, train, loss=loss)
        return
    estimator, course = fit(name, train, train, loss=loss)
    np.testing.assert_allclose(estimator.predict(values), 3.7, rtol=1e-6)
    assert min(course.scores) == pytest.approx(0, abs=1e-6)
    assert estimator.predict(values[:0]).shape == (0,)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("case", ["numbers", "category"])
def test_columns_without_a_value_in_training(name, case, tmp_path):
    train, val = make_samples(), make_samples(count=60, seed=1)
    column = 2 if case == "numbers" else 1
    train.values[:, column] = np.nan
    estimator, _ = fit(name, train, val)
    preds = estimator.predict(val.values)
    assert np.isfinite(preds).all()
    assert np.ptp(preds) > 0.3
    estimator.save(tmp_path)
    np.testing.assert_array_equal(load_estimator(tmp_path).predict(val.values), preds)


@pytest.mark.parametrize("name", TREES)
def test_categories_alone(name):
    codes = np.tile([0.0, 1, 2, np.nan], 60)[:, None]
    labels = np.tile([1.0, 5.0, 2.0, 9.0], 60)
    data = EstimatorData(codes, (4,), labels)
    settings = {"max_iterations": 150, "patience": 50, "learning_rate": 0.3}
    estimator, _ = fit(name, data, data, **settings)
    # CatBoost reads them as bins of mean labels
    tolerance = 0.6 if name == "catboost" else 0.1
    np.testing.assert_allclose(estimator.predict(codes[:4]), labels[:4], rtol=tolerance)
    for code in (17.0, -2.0, 0.5):  # counts as missing
        preds = estimator.predict(np.array([[code], [np.nan]]))
        assert preds[0] == preds[1]


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("count", [255, 700])
def test_many_categories(name, count, tmp_path):
    draw = np.random.default_rng(0)
    codes = np.sort(draw.integers(0, count, 4_000).astype(float))
    labels = (codes % 2) * 3 + draw.normal(size=4_000) * 0.1
    train = EstimatorData(np.column_stack([draw.normal(size=4_000), codes]), (0, count), labels)
    val = EstimatorData(train.values[::7], train.categories, labels[::7])
    estimator, course = fit(name, train, val, max_iterations=25, learning_rate=0.3)
    assert min(course.scores) < (1.3 if count == 700 else 1.0)  # 1.5 for a constant
    preds = estimator.predict(train.values)
    estimator.save(tmp_path)
    np.testing.assert_array_equal(load_estimator(tmp_path).predict(train.values), preds)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("factor", [1e-300, 1e300])
def test_labels_of_extreme_size(name, factor):
    reads = estimator_type(name).reads
    train, val = make_samples(reads), make_samples(reads, 60, 1)
    reference = fit(name, train, val)[0].predict(val.values)
    scaled = [dataclasses.replace(part, labels=part.labels * factor) for part in (train, val)]
    preds = fit(name, *scaled)[0].predict(val.values)
    np.testing.assert_allclose(preds / factor, reference, rtol=1e-6)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_labels_far_from_zero(name):
    reads = estimator_type(name).reads
    train, val = make_samples(reads), make_samples(reads, 60, 1)
    reference = fit(name, train, val)[0].predict(val.values)
    scaled = [dataclasses.replace(part, labels=part.labels + 1e6) for part in (train, val)]
    np.testing.assert_allclose(
        fit(name, *scaled)[0].predict(val.values) - 1e6, reference, rtol=1e-3
    )


@pytest.mark.parametrize("name", TREES)
def test_values_of_extreme_size(name):
    train, val = make_samples(), make_samples(count=60, seed=1)
    reference = fit(name, train, val)[0].predict(val.values)
    assert np.ptp(reference) > 0.3
    for data in (train, val):
        data.values[:, 0] *= 1e30
        data.values[:, 3] *= 1e300
    preds = fit(name, train, val)[0].predict(val.values)
    assert np.abs(preds - reference).mean() < 0.1 * np.ptp(reference)


def test_the_median_has_no_loss():
    data = make_samples()
    data.labels[:5] = -1.0
    for loss in LOSSES:
        estimator, course = fit("median", data, data, loss=loss)
        assert estimator.predict(data.values[:2]).tolist() == [np.median(data.labels)] * 2
        assert course.monitor == "mae"


def test_settings_have_defaults():
    train, val = make_samples(), make_samples(count=60, seed=1)
    explicit = estimator_type("lightgbm")()
    explicit.fit(train, val, EstimatorSettings(), monitor="mse")
    default = estimator_type("lightgbm")()
    default.fit(train, val)
    np.testing.assert_array_equal(explicit.predict(val.values), default.predict(val.values))
