"""Density weights for other estimators."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ranksim import LDS, DensityWeights, LabelBins, density_weights
from ranksim.exceptions import install_command
from ranksim.integrations.sklearn import DensitySampleWeight

AGES = LabelBins.integers(0, 120)


def ages(count=300):
    return np.random.default_rng(0).exponential(12, count).astype(int) + 18


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"bandwidth": 2.0},
        {"bins": AGES, "scheme": "sqrt_inverse"},
        {"bins": AGES, "lds": LDS("gaussian", 5, 2.0), "clip": (2, 100)},
        {"bins": AGES, "scheme": "none"},
    ],
    ids=str,
)
def test_matches_density_weights(settings):
    transformer = clone(DensitySampleWeight(**settings))
    assert (
        transformer.fit_transform(ages()).tolist() == density_weights(ages(), **settings).tolist()
    )
    other = [20, 50, 119]
    wanted = DensityWeights.fit(ages(), **settings)(other)
    assert transformer.transform(other).tolist() == wanted.tolist()
    names = {"bins", "scheme", "clip", "lds", "bandwidth", "alpha"}
    assert transformer.get_params().keys() == names


def test_integer_bins_cover_label_range():
    bins = LabelBins.from_count(ages(), 7)
    assert (
        DensitySampleWeight(7).fit_transform(ages()).tolist()
        == density_weights(ages(), bins=bins).tolist()
    )
    assert DensitySampleWeight(np.int64(5)).fit_transform(ages()).tolist() == (
        DensitySampleWeight(5).fit_transform(ages()).tolist()
    )


def test_rejects_unfitted_use_and_nan_labels():
    with pytest.raises(NotFittedError):
        DensitySampleWeight().transform([1.0])
    with pytest.raises(ValueError, match="^labels must be finite, got 1 NaN and 0 infinite$"):
        DensitySampleWeight().fit([1.0, float("nan")])


@pytest.mark.parametrize("model", [Ridge(), HistGradientBoostingRegressor(max_iter=30)])
def test_weights_reduce_error_of_rare_labels(model):
    draw = np.random.default_rng(0)
    y = draw.exponential(1.0, 2_000)
    x = np.c_[y + draw.normal(0, 1.0, 2_000)]
    weight = DensitySampleWeight(20).fit_transform(y)
    plain = clone(model).fit(x, y)
    pipe = make_pipeline(StandardScaler(), clone(model))
    weighted = pipe.fit(x, y, **{f"{pipe.steps[-1][0]}__sample_weight": weight})
    rare = y > 3
    errors = [np.abs(m.predict(x[rare]) - y[rare]).mean() for m in (plain, weighted)]
    assert errors[1] < 0.8 * errors[0]
    with config_context(enable_metadata_routing=True):
        routed = make_pipeline(StandardScaler(), clone(model).set_fit_request(sample_weight=True))
        # StandardScaler takes weights too, and is told not to
        routed[0].set_fit_request(sample_weight=False)
        np.testing.assert_array_equal(
            routed.fit(x, y, sample_weight=weight).predict(x), weighted.predict(x)
        )


@pytest.mark.slow
def test_weights_import_no_torch_and_missing_sklearn_is_named():
    code = """
import sys
import ranksim.integrations.sklearn
from ranksim.integrations.sklearn import DensitySampleWeight
assert not {"torch", "lightning"} & set(sys.modules), "heavy"
assert dir(ranksim.integrations.sklearn) == ["DensitySampleWeight", "RankSimRegressor"]
for name in [n for n in sys.modules if n.startswith(("sklearn", "ranksim"))]:
    del sys.modules[name]
sys.modules["sklearn"] = None
import ranksim.integrations.sklearn
try:
    ranksim.integrations.sklearn.RankSimRegressor
except ImportError as error:
    print(type(error).__name__, error)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    command = install_command("train")
    sentence = f"MissingDependencyError sklearn is not installed: run {command}."
    assert out.stdout.strip() == sentence
