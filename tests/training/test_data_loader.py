import numpy as np
import pytest

from ranksim.training.data_loader import select_display_samples
from tests.helpers.benchmarks import BINS, make_benchmark


@pytest.mark.parametrize(
    ("name", "count"), [*((name, 300) for name in BINS), *(("tenths", n) for n in (1, 3, 4_000))]
)
def test_display_samples_are_few_and_spread(name, count):
    benchmark, _ = make_benchmark(name, count=count)
    labels, bins = benchmark.test.labels, benchmark.bins
    shown = select_display_samples(bins, labels)
    assert len(shown.rows) == len(set(shown.rows.tolist())) <= 500
    assert sorted(shown.rows) == shown.rows.tolist()
    groups = len(shown.edges) - 1
    assert 1 <= groups <= 24
    assert set(shown.group.tolist()) == set(range(groups))
    assert (np.diff(shown.edges) > 0).all()
    sizes, taken = np.zeros(groups, int), np.bincount(shown.group)
    for label in labels:
        inside = min(max(label, shown.edges[0]), np.nextafter(shown.edges[-1], -np.inf))
        sizes[sum(np.float32(inside) >= edge for edge in shown.edges[1:-1].astype("f4"))] += 1
    assert sizes.sum() == count
    least = min((t for t, size in zip(taken, sizes, strict=True) if t < size), default=500)
    assert all(t == min(size, least) for t, size in zip(taken, sizes, strict=True))
    assert len(shown.rows) == count or len(shown.rows) + groups > 500
    again = select_display_samples(bins, labels.copy())
    assert np.array_equal(again.rows, shown.rows)
