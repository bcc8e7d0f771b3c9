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
    display = select_display_samples(bins, labels)
    assert len(display.rows) == len(set(display.rows.tolist())) <= 500
    assert sorted(display.rows) == display.rows.tolist()
    groups = len(display.edges) - 1
    assert 1 <= groups <= 24
    assert set(display.group.tolist()) == set(range(groups))
    assert (np.diff(display.edges) > 0).all()
    sizes, taken = np.zeros(groups, int), np.bincount(display.group)
    for label in labels:
        inside = min(max(label, display.edges[0]), np.nextafter(display.edges[-1], -np.inf))
        sizes[sum(np.float32(inside) >= edge for edge in display.edges[1:-1].astype("f4"))] += 1
    assert sizes.sum() == count
    least = min((t for t, size in zip(taken, sizes, strict=True) if t < size), default=500)
    assert all(t == min(size, least) for t, size in zip(taken, sizes, strict=True))
    assert len(display.rows) == count or len(display.rows) + groups > 500
    again = select_display_samples(bins, labels.copy())
    assert np.array_equal(again.rows, display.rows)
