"""Small benchmarks with imbalanced labels."""

import numpy as np

from ranksim.data import TextSamples
from ranksim.datasets.base import Benchmark
from ranksim.imbalance import LabelBins

BINS = {
    "tenths": LabelBins.uniform(0.0, 5.0, 50),
    "ages": LabelBins.integers(0, 120),
    "many": LabelBins.uniform(-3.0, 7.0, 999),
    "one": LabelBins.uniform(0.0, 5.0, 1),
    "uneven": LabelBins(np.array([0.0, 0.1, 1.0, 1.5, 4.9])),
}


def make_benchmark(name, *, count=300, seed=0, **options):
    """Make a benchmark whose large labels are rare in training and missing in some bins."""
    bins, generator = BINS[name], np.random.default_rng(seed)
    low, high = float(bins.edges[0]), float(bins.edges[-1])
    train = (low + generator.exponential((high - low) / 6, 2 * count)).clip(low, high)
    train = train[bins.digitize(train) % 7 != 3] if len(bins) > 7 else train
    test = generator.uniform(low - 0.05 * (high - low), high, count)
    splits = [TextSamples(([""] * len(labels),), labels) for labels in (train, test[:9], test)]
    benchmark = Benchmark("toy", splits[0], splits[1], splits[2], bins, **options)
    return benchmark, test + generator.normal(0, 0.3, count)
