"""Half of the validation part of a published benchmark calibrates intervals."""

import numpy as np
import pytest

from ranksim.data.batch import VectorDataset
from ranksim.data.series import SeriesSamples
from ranksim.datasets.base import Benchmark, LabelSamples
from ranksim.datasets.calibration import choose_calibration, separate_calibration
from ranksim.datasets.label_gaps import Subset
from ranksim.exceptions import DataError
from ranksim.imbalance import LabelBins
from tests.helpers.errors import raises_with

BINS = LabelBins.uniform(0.0, 5.0, 5)


def make_benchmark(val):
    labels = np.random.default_rng(0).uniform(0, 5, 90)
    return Benchmark("sts-b-dir", LabelSamples(labels), val, LabelSamples(labels[:30]), BINS)


@pytest.mark.parametrize("count", [2, 31, 200])
def test_halves_by_label_bin(count):
    labels = np.random.default_rng(count).gamma(1.0, 1.0, count).clip(0, 4.9)
    benchmark = make_benchmark(LabelSamples(labels))
    mask, report = choose_calibration(benchmark)
    assert abs(2 * mask.sum() - count) <= 1
    assert report.notes["Calibration"].startswith(f"{mask.sum()} of {count} validation samples")
    val = Subset(VectorDataset(np.arange(count + 5)[:, None], np.append(labels, [0] * 5)),
                 np.arange(count))  # fmt: skip
    reduced, rest, calibration = separate_calibration(benchmark, val, mask)
    for part, samples, chosen in (
        (reduced.val, rest, ~mask),
        (reduced.calibration, calibration, mask),
    ):
        assert part.labels.tolist() == labels[chosen].tolist() == samples.labels.tolist()
        assert samples.samples is val.samples  # a subset of a subset is one of the whole
    assert reduced.train is benchmark.train
    assert reduced.test is benchmark.test
    assert not reduced.comparable
    assert reduced.facts["counts"] == [90, count - mask.sum(), 30]
    assert reduced.count_labels().tolist() == benchmark.count_labels().tolist()


def test_forecasts_share_no_reading():
    """Windows of six readings and a target three later, in stretches of different lengths."""
    rng = np.random.default_rng(0)
    starts = np.cumsum(rng.integers(9, 40, 30))
    ends = np.concatenate([start + np.arange(5, 5 + rng.integers(1, 20)) for start in starts])
    ends = rng.permutation(np.unique(ends))
    val = SeriesSamples(np.zeros((2_000, 2)), ends, rng.uniform(0, 5, len(ends)), window=6)
    mask, _ = choose_calibration(make_benchmark(val), horizon=3)
    used = [
        {reading for end in ends[chosen] for reading in range(end - 5, end + 4)}
        for chosen in (mask, ~mask)
    ]
    assert used[0]
    assert used[1]
    assert not used[0] & used[1]


def test_one_sample_cannot_be_divided():
    benchmark = make_benchmark(LabelSamples(np.array([1.0])))
    mask, _ = choose_calibration(benchmark)
    val = VectorDataset(np.zeros((1, 1)), [1.0])
    with raises_with(DataError, "has 1 validation sample, which cannot be divided for --interval"):
        separate_calibration(benchmark, val, mask)
