import numpy as np
import pytest

from ranksim.balance import LabelBins


def test_each_label_falls_between_its_edges():
    bins = LabelBins.uniform(-4.0, 4.0, 80)
    labels = np.random.default_rng(0).uniform(-4, 4, 1000).astype(np.float32)
    index = bins.index(labels)
    assert (bins.edges[index] <= labels).all()
    assert (labels < bins.edges[index + 1]).all()
    assert bins.counts(labels).sum() == 1000


def test_decimals_on_an_edge_belong_to_the_upper_bin():
    labels = np.arange(50) / 10
    assert LabelBins.uniform(0.0, 5.0, 50).index(labels).tolist() == list(range(50))


def test_outside_belongs_to_the_ends():
    assert LabelBins.uniform(0.0, 5.0, 50).index([-3.0, 5.0, 99.0]).tolist() == [0, 49, 49]


@pytest.mark.parametrize("edges", [[0.0], [1.0, 0.0], [0.0, 0.0, 1.0], [[0.0, 1.0]]])
def test_edges_must_ascend(edges):
    with pytest.raises(ValueError, match="edges must be at least two ascending numbers, got"):
        LabelBins(np.array(edges))


def test_uniform_needs_a_range():
    with pytest.raises(ValueError, match=r"need low < high and count >= 1, got 1\.0, 1\.0, 3"):
        LabelBins.uniform(1.0, 1.0, 3)
