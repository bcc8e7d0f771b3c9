"""Samples in an order of their own, and a part of them held out."""

import numpy as np
import pytest
from hypothesis import given, strategies

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
    weighted = WeightedSamples.from_arrays(x, y, weight)
    relative = weight / weight[weight > 0].min()
    assert counted(weighted.x, weighted.y, weighted.weight) == pytest.approx(
        counted(x, y, relative)
    )
    np.testing.assert_array_equal(weighted.y, y[weighted.row])
    order = np.random.default_rng(1).permutation(len(y))
    other = WeightedSamples.from_arrays(x[order], y[order], weight[order])
    for name in ("x", "y", "weight", "group"):
        np.testing.assert_array_equal(getattr(weighted, name), getattr(other, name))


def test_copies_follow_relative_weights():
    x, y = np.arange(5.0)[:, None], np.arange(5.0)
    weight = np.array([0.5, 1.0, 0.0, 1.3, 5.0])
    weighted = WeightedSamples.from_arrays(x, y, weight)
    assert weighted.row.tolist() == [0, 1, 1, 3, 3, *[4] * 10]
    np.testing.assert_allclose(weighted.weight, [1, 1, 1, 1.3, 1.3, *[1] * 10])
    weight[4] = 500
    weighted = WeightedSamples.from_arrays(x, y, weight)  # more than 10 copies on average
    assert weighted.row.tolist() == [0, 1, 3, 4]
    np.testing.assert_allclose(weighted.weight, [1, 2, 2.6, 1000])


@given(
    weights=strategies.lists(
        strategies.integers(0, 40) | strategies.floats(1e-3, 1e3), min_size=2, max_size=20
    ).filter(any),
    factor=strategies.floats(1e-9, 1e9) | strategies.sampled_from([0.5, 1 / 3, 0.1, 7, 1e3]),
)
def test_unit_of_weights_does_not_matter(weights, factor):
    x, y = np.arange(len(weights))[:, None] / 2, np.arange(len(weights)) % 3.0
    one = WeightedSamples.from_arrays(x, y, np.array(weights, dtype=np.float64))
    two = WeightedSamples.from_arrays(x, y, np.array(weights, dtype=np.float64) * factor)
    np.testing.assert_array_equal(one.row, two.row)
    np.testing.assert_allclose(one.weight, two.weight, rtol=1e-11)


@pytest.mark.parametrize("width", [1, 4])
def test_samples_are_sorted(width):
    draw = np.random.default_rng(0)
    x = draw.choice([-np.pi, -1.0, -1e-300, 0.0, 5e-324, 1.0, 2.0, 1e300], (200, width))
    y = draw.normal(size=200)
    weighted = WeightedSamples.from_arrays(x, y, np.ones(200))
    rows = np.c_[x, y]
    np.testing.assert_array_equal(np.c_[weighted.x, weighted.y], rows[np.lexsort(rows.T[::-1])])


def test_negative_zero_equals_zero():
    x, y = np.array([[0.0], [-0.0], [1.0]]), np.array([0.0, -0.0, 1.0])
    assert WeightedSamples.from_arrays(x, y, np.ones(3)).group.tolist() == [0, 0, 1]


@pytest.mark.parametrize("share", [0.01, 0.3, 0.99])
def test_equal_inputs_stay_on_one_side(share):
    x, y, weight = samples()
    weighted = WeightedSamples.from_arrays(x, y, weight)
    distinct = len(np.unique(x[weight > 0], axis=0))
    rows, held = weighted.split(share, seed=0)
    assert sorted([*rows, *held]) == list(range(len(weighted.y)))
    inside, outside = ({tuple(row) for row in weighted.x[part]} for part in (held, rows))
    assert not inside & outside
    assert len(inside) == min(max(round(share * distinct), 1), distinct - 1)
    again = weighted.split(share, seed=0)
    assert all(np.array_equal(a, b) for a, b in zip((rows, held), again, strict=True))
    assert any(not np.array_equal(held, weighted.split(share, seed)[1]) for seed in (1, 2, 3))
