"""Weights of a training: the technique's, times the user's own factors."""

import numpy as np
import pytest

from ranksim.imbalance import LabelBins
from ranksim.training.factory import make_weights
from ranksim.training.method import parse_method
from ranksim.training.presets import load_recipe

BINS = LabelBins.integers(0, 4)
LABELS = np.array([0, 0, 0, 1, 1, 4.0])
FACTORS = np.array([1.0, 2.0, 0.5, 3.0, 0.0, 1.25])


@pytest.mark.parametrize(
    ("name", "power"), [("vanilla", 0.0), ("sqinv", 0.5), ("inv", 1.0), ("rrt", 0.0)]
)
@pytest.mark.parametrize("factors", [None, FACTORS])
def test_factors_multiply_and_the_mean_is_one(name, power, factors):
    method = parse_method(name, "inverse")
    technique = method.technique.stage_one if name == "rrt" else method.technique
    recipe = load_recipe("table", "small", method)
    found = make_weights(recipe, technique, BINS, LABELS, factors)
    if power == 0 and factors is None:
        assert found is None
        return
    counts = [sum(other == label for other in LABELS) for label in LABELS]
    wanted = [n**-power * (1 if factors is None else factors[i]) for i, n in enumerate(counts)]
    np.testing.assert_allclose(found.numpy(), np.array(wanted) / np.mean(wanted), rtol=1e-6)
