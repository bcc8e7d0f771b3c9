"""Sample weights and default label units built from a recipe."""

import numpy as np
import pytest

from ranksim.exceptions import UsageError
from ranksim.imbalance import LabelBins
from ranksim.training.factory import check_weights, make_weights, resolve_defaults
from ranksim.training.method import parse_method
from ranksim.training.presets import load_recipe

LABELS = np.array([0, 0, 0, 1, 1, 4.0])
SAMPLE_WEIGHT = np.array([1.0, 2.0, 0.5, 3.0, 0.0, 1.25])


@pytest.mark.parametrize(
    ("name", "power"), [("vanilla", 0.0), ("sqinv", 0.5), ("inv", 1.0), ("rrt", 0.0)]
)
@pytest.mark.parametrize("sample_weight", [None, SAMPLE_WEIGHT])
def test_weights_multiply_sample_weight_and_have_mean_one(name, power, sample_weight):
    method = parse_method(name, "inverse")
    technique = method.technique.stage_one if name == "rrt" else method.technique
    recipe = load_recipe("table", "small", method)
    weights = make_weights(recipe, technique, LabelBins.integers(0, 4), LABELS, sample_weight)
    if power == 0 and sample_weight is None:
        assert weights is None
        return
    counts = (LABELS[:, None] == LABELS).sum(axis=1)
    expected = counts**-power * (1 if sample_weight is None else sample_weight)
    np.testing.assert_allclose(weights.numpy(), expected / expected.mean(), rtol=1e-6)


@pytest.mark.parametrize("name", ["inv", "sqinv"])
def test_equal_weights_are_rejected_before_a_comparison(name):
    method = parse_method(name, "inverse")
    recipe, bins = load_recipe("table", "small", method), LabelBins.integers(0, 2)
    with pytest.raises(UsageError, match="are equal for all training samples"):
        check_weights(recipe, method.technique, bins, np.arange(3.0))
    check_weights(recipe, method.technique, bins, np.array([0.0, 1.0, 1.0, 2.0]))
    assert make_weights(recipe, method.technique, bins, np.arange(3.0)).tolist() == [1, 1, 1]


def test_label_scale_and_step_are_inferred_from_labels():
    recipe = load_recipe("images", "small", parse_method("vanilla", "inverse"))
    resolved = resolve_defaults(recipe, np.array([1.25, 3.25, 2.5]))
    assert resolved.label_scale == pytest.approx(0.825, abs=1e-3)
    assert resolved.label_step == 0.01


def resolve_step(labels):
    recipe = load_recipe("table", "small", parse_method("vanilla", "inverse"), {"label_step": 0})
    return resolve_defaults(recipe, np.asarray(labels)).label_step


@pytest.mark.parametrize(
    ("labels", "step"),
    [
        ([2.0, 5.0, 21.0], 1.0),
        ([2.0, 5.0 + 1e-9, 21.0], 1.0),
        ([0.0, 0.0], 1.0),
        ([0.0, 0.5], 0.1),
        ([0.003, 0.2], 0.001),
        ([1e-6, 3e-6], 1e-6),
        ([1e9 + 0.25, 1e9 + 0.5], 0.01),
        ([0.0, np.pi], np.pi * 1e-6),
        ([0.0, np.pi * 1e-4], np.pi * 1e-10),
    ],
)
def test_step_is_the_last_decimal_or_a_millionth_of_the_range(labels, step):
    assert resolve_step(labels) == pytest.approx(step, rel=1e-12)


@pytest.mark.parametrize("exponent", [-8, -9, -12, -100])
def test_tiny_labels_differ(exponent):
    labels = np.array([2.0, 3.0, 4.0, 21.0])
    tiny = labels * 10.0**exponent
    np.testing.assert_array_equal(np.rint(tiny / resolve_step(tiny)), labels)
    draws = np.random.default_rng(0).normal(size=50) * 10.0**exponent
    assert resolve_step(draws) == pytest.approx(np.ptp(draws) * 1e-6)


@pytest.mark.parametrize("label", [1 / 3, 1e-12, 1e-9 / 3])
def test_equal_labels_have_a_step(label):
    assert resolve_step([label] * 3) > 0
