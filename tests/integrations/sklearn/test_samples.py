"""Samples in an order of their own, and a part of them held out."""

import numpy as np
import pytest

from ranksim.integrations.sklearn.weights import WeightedSamples


def samples(count=50, seed=0):
    draw = np.random.default_rng(seed)
    x = draw.integers(0, 3, (count, 2)).astype(float)
    return x, draw.normal(size=count), draw.integers(0, 30, count) / 8


def counted(x, y, factor):
    """The total weight of each pair of inputs and label."""
    total = {}
    for row, label, each in zip(x.tolist(), y.tolist(), factor.tolist(), strict=True):
        total[*row, label] = total.get((*row, label), 0) + each
    return {pair: weight for pair, weight in total.items() if weight > 0}


def test_sorting_keeps_total_weights():
    x, y, weight = samples()
    found = WeightedSamples.from_arrays(x, y, weight)
    assert counted(found.x, found.y, found.weight) == pytest.approx(counted(x, y, weight))
    np.testing.assert_array_equal(found.y, y[found.row])
    assert len(found.y) == sum(max(int(w), 1) for w in weight if w > 0)
    order = np.random.default_rng(1).permutation(len(y))
    other = WeightedSamples.from_arrays(x[order], y[order], weight[order])
    for name in ("x", "y", "weight", "group"):
        np.testing.assert_array_equal(getattr(found, name), getattr(other, name))


@pytest.mark.parametrize("width", [1, 4])
def test_samples_are_sorted(width):
    draw = np.random.default_rng(0)
    x = draw.choice([-np.pi, -1.0, -1e-300, 0.0, 5e-324, 1.0, 2.0, 1e300], (200, width))
    y = draw.normal(size=200)
    found = WeightedSamples.from_arrays(x, y, np.ones(200))
    rows = np.c_[x, y]
    np.testing.assert_array_equal(np.c_[found.x, found.y], rows[np.lexsort(rows.T[::-1])])


def test_negative_zero_equals_zero():
    x, y = np.array([[0.0], [-0.0], [1.0]]), np.array([0.0, -0.0, 1.0])
    assert WeightedSamples.from_arrays(x, y, np.ones(3)).group.tolist() == [0, 0, 1]


@pytest.mark.parametrize("share", [0.01, 0.3, 0.99])
def test_equal_inputs_stay_on_one_side(share):
    x, y, weight = samples()
    found = WeightedSamples.from_arrays(x, y, weight)
    distinct = len(np.unique(x[weight > 0], axis=0))
    rows, held = found.split(share, seed=0)
    assert sorted([*rows, *held]) == list(range(len(found.y)))
    inside, outside = ({tuple(row) for row in found.x[part]} for part in (held, rows))
    assert not inside & outside
    assert len(inside) == min(max(round(share * distinct), 1), distinct - 1)
    again = found.split(share, seed=0)
    assert all(np.array_equal(a, b) for a, b in zip((rows, held), again, strict=True))
    assert any(not np.array_equal(held, found.split(share, seed)[1]) for seed in (1, 2, 3))
