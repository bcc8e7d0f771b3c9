"""Transforms of the target against scikit-learn and scipy, and their clipped inverse."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.preprocessing import PowerTransformer

from ranksim.data.target_transform import TRANSFORMS, TargetTransform
from ranksim.exceptions import DataError

PRICES = np.random.default_rng(0).lognormal(3.0, 1.0, 400).round(2)


def standardize(values):
    return (values - values.mean()) / values.std()


def test_log_is_the_standardized_logarithm():
    assert np.allclose(TargetTransform.fit(PRICES, "log")(PRICES), standardize(np.log(PRICES)))


@pytest.mark.parametrize("shift", [0.0, 60.0, -1e4])
def test_yeo_johnson_equals_that_of_scikit_learn(shift):
    labels = PRICES - shift
    scaled = ((labels - labels.min()) / labels.std())[:, None]
    expected = PowerTransformer().fit_transform(scaled)[:, 0]
    assert np.allclose(TargetTransform.fit(labels, "yeo-johnson")(labels), expected, atol=1e-4)


def test_quantile_is_the_normal_quantile_of_the_mean_rank():
    labels = np.array([3.0, 1.0, 1.0, 7.0, 9.0, 9.0, 9.0, 10.0])
    ranks = (stats.rankdata(labels) - 0.5) / len(labels)
    expected = standardize(stats.norm.ppf(ranks))
    assert np.allclose(TargetTransform.fit(labels, "quantile")(labels), expected, atol=1e-6)


@pytest.mark.parametrize("name", TRANSFORMS)
@given(
    labels=st.lists(st.floats(0.01, 1e6), min_size=3, max_size=30).filter(
        lambda values: max(values) > 1.01 * min(values)
    ),
    factor=st.sampled_from([1 / 12, 1.0, 1000.0]),
)
@settings(max_examples=15, deadline=None)
def test_properties(name, labels, factor):
    values = np.array(labels)
    transform = TargetTransform.fit(values, name)
    transformed = transform(values)
    order = np.argsort(values)
    assert (np.diff(transformed[order]) >= 0).all()
    assert np.allclose(transform.inverse(transformed), values, rtol=1e-6)
    # no prediction leaves the range of the training labels, whatever the model says
    extreme = transform.inverse([-1e300, -50.0, 50.0, 1e300])
    assert np.allclose(extreme, [values.min()] * 2 + [values.max()] * 2)
    assert ((extreme >= values.min()) & (extreme <= values.max())).all()
    # years and months give the same model
    other = TargetTransform.fit(values * factor, name)
    assert np.allclose(other(values * factor), transformed, atol=1e-5)
    restored = TargetTransform.from_dict(json.loads(json.dumps(transform.to_dict())))
    assert np.array_equal(restored(values), transformed)
    assert np.array_equal(restored.inverse(transformed), transform.inverse(transformed))


@pytest.mark.parametrize("power", [0.0, 0.5, 2.0, 2.7, -1.0])
def test_yeo_johnson_inverse_at_every_power(power):
    labels = np.linspace(-3, 3, 13)
    transform = TargetTransform("yeo-johnson", -3.0, 3.0, power=power)
    assert np.allclose(transform(labels), stats.yeojohnson(labels + 3, power))
    assert np.allclose(transform.inverse(transform(labels)), labels)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_edges_stay_ascending_in_float32(name):
    transform = TargetTransform.fit(PRICES, name)
    edges = np.linspace(0.0, PRICES.max() + 10, 400)
    assert (np.diff(transform.map_edges(edges).astype(np.float32)) > 0).all()


@pytest.mark.parametrize(
    ("labels", "name", "words"),
    [
        ([0.0, 1.0, 2.0], "log", "labels above 0, and 1 are not, such as 0"),
        ([2.0, 2.0], "quantile", "different labels"),
    ],
)
def test_undefined_transforms_are_rejected(labels, name, words):
    with pytest.raises(DataError, match=words):
        TargetTransform.fit(labels, name)


def test_unknown_transform_is_rejected():
    with pytest.raises(ValueError, match="name"):
        TargetTransform.fit([1.0, 2.0], "cube")
