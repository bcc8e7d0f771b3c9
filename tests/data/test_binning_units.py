"""Bins chosen for labels do not depend on the unit of the labels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ranksim.data.binning import choose_label_bins, suggest_bins
from ranksim.data.spec import TableSpec
from ranksim.training.factory import make_fds, make_weights
from ranksim.training.method import parse_method
from ranksim.training.presets import load_recipe

DRAWS = {
    "integers": lambda draw, size: np.rint(draw.normal(40, 12, size)),
    "few values": lambda draw, size: draw.integers(1, 6, size).astype(float),
    "tenths": lambda draw, size: draw.normal(3, 1, size).round(1),
    "tenths with some between": lambda draw, size: np.where(
        draw.random(size) < 0.8, draw.normal(3, 1, size).round(1), draw.normal(3, 1, size)
    ),
    "prices": lambda draw, size: draw.lognormal(12, 0.5, size).round(-2),
    "continuous": lambda draw, size: draw.normal(size=size),
    "long tail": lambda draw, size: draw.lognormal(0, 1.5, size),
    "with an outlier": lambda draw, size: np.append(draw.exponential(1, size - 1), 300.0),
    "mostly zero": lambda draw, size: np.where(
        draw.random(size) < 0.7, 0.0, draw.exponential(10, size)
    ),
}
METHODS = ("inv", "sqinv", "vanilla+lds", "rrt")


ON_A_GRID = {"integers", "few values", "tenths", "prices"}


def are_near_an_edge(labels, bins):
    """Return a mask of the labels that rounding to float32 could move to another bin."""
    distances = np.abs(labels[:, None] - bins.edges.astype(float)).min(axis=1)
    return distances < 1e-6 * np.abs(labels).max()


@settings(max_examples=30, derandomize=True, deadline=None)
@given(
    kind=st.sampled_from(sorted(DRAWS)),
    seed=st.integers(0, 10_000),
    size=st.sampled_from([40, 300, 3000]),
    factor=st.one_of(
        st.sampled_from([1 / 12, 0.3048, 1.8, 12.0, 1000.0]), st.floats(1 / 12, 1000.0)
    ),
    shift=st.floats(-2, 2),
)
def test_bins_are_multiplied_and_shifted_with_the_labels(kind, seed, size, factor, shift):
    labels = DRAWS[kind](np.random.default_rng(seed), size)
    other = labels * factor + shift * factor * np.ptp(labels)
    spec = TableSpec(target="y")
    bins, other_bins = choose_label_bins(labels, spec), choose_label_bins(other, spec)
    assert len(bins) == len(other_bins)
    expected = bins.edges * factor + shift * factor * np.ptp(labels)
    np.testing.assert_allclose(other_bins.edges, expected, atol=1e-3 * suggest_bins(other).width)
    differ = bins.digitize(labels) != other_bins.digitize(other)
    if kind in ON_A_GRID:
        assert not differ.any()
    else:
        is_close = are_near_an_edge(labels, bins) | are_near_an_edge(other, other_bins)
        assert is_close[differ].all()
        assert differ.mean() < 0.01


@pytest.mark.parametrize("factor", [1 / 12, 12.0, 1000.0])
@pytest.mark.parametrize("kind", ["integers", "tenths with some between", "long tail"])
def test_methods_see_the_same_imbalance_in_any_unit(kind, factor):
    labels = DRAWS[kind](np.random.default_rng(3), 800)
    other = labels * factor
    spec = TableSpec(target="y")
    bins, other_bins = choose_label_bins(labels, spec), choose_label_bins(other, spec)
    for name in METHODS:
        method = parse_method(name, "inverse")
        recipe = load_recipe("table", "small", method, {}, {})
        weights = make_weights(recipe, method.technique, bins, labels)
        others = make_weights(recipe, method.technique, other_bins, other)
        np.testing.assert_array_equal(weights, others)
        assert len(np.unique(weights)) > 2
    method = parse_method("vanilla+fds", "inverse")
    recipe = load_recipe("table", "small", method, {}, {})
    fds, other_fds = (make_fds(recipe, method.technique, b, 4) for b in (bins, other_bins))
    expected = fds.bin_index(torch.from_numpy(labels))
    assert torch.equal(other_fds.bin_index(torch.from_numpy(other)), expected)
    assert len(expected.unique()) > 5
