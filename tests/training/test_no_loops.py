"""No Python loop over samples or labels in what a training step and an epoch's end do."""

import sys

import numpy as np
import pytest
import torch

from ranksim.data.batch import VectorDataset
from ranksim.data.series import SeriesDataset
from ranksim.data.text import TokenDataset
from ranksim.imbalance import FDS, LDS, DensityWeights, LabelBins
from ranksim.metrics import RegionMetrics, ShotRegions

FEW, MANY = 40, 640  # samples, and at most as many labels as half of them


def lines_run(work):
    """Lines of Python that a call runs, and calls of C functions that it makes."""
    count = 0

    def line(frame, event, argument):
        nonlocal count
        count += event == "line"
        return line

    def call(frame, event, argument):
        nonlocal count
        count += event == "c_call"

    before = sys.gettrace(), sys.getprofile()
    sys.settrace(line)
    sys.setprofile(call)
    try:
        work()
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
    return count


def data(count):
    """Features, and labels of which half are distinct."""
    draw = np.random.default_rng(0)
    labels = np.repeat(np.arange(count / 2), 2)
    return torch.from_numpy(draw.normal(size=(count, 3))).float(), labels


def bins(count):
    return LabelBins.integers(0, count // 2 - 1)


def fds(count):
    features, labels = data(count)
    module = FDS(3, bins(count))
    tensor = torch.from_numpy(labels)

    def epoch():
        module.accumulate(features, tensor)
        module.update()
        module.calibrate(features, tensor)

    return epoch


def fds_of_gaps(count):
    features, labels = data(count)
    module = FDS(3, bins(count))
    some = torch.from_numpy(labels % 4 == 0)

    def epoch():
        module.accumulate(features[some], torch.from_numpy(labels)[some])
        module.update()

    return epoch


def weights_of_bins(count):
    _, labels = data(count)
    return lambda: DensityWeights.fit(labels, bins=bins(count), lds=LDS())(labels)


def weights_of_a_kernel(count):
    _, labels = data(count)
    return lambda: DensityWeights.fit(labels)(labels)


def metrics(count):
    features, labels = data(count)
    module = RegionMetrics(ShotRegions.from_counts(bins(count), labels))
    prediction, target = features[:, 0].double(), torch.from_numpy(labels)

    def epoch():
        module.update(prediction, target, torch.arange(count))
        module.compute()
        module.reset()

    return epoch


def batch(make):
    """A batch of all samples of a data set."""

    def ready(count):
        module, rows = make(count), list(range(count))
        return lambda: module.__getitems__(rows)

    return ready


def texts(count):
    lengths = np.full((2, count), 5)
    return TokenDataset(np.ones((2, count, 5), dtype=np.int32), lengths, data(count)[1])


def vectors(count):
    return VectorDataset(*data(count))


def windows(count):
    values = np.ones((count + 3, 1), dtype=np.float32)
    return SeriesDataset(values, np.arange(count) + 3, data(count)[1], window=4)


PIECES = {
    "FDS": fds,
    "FDS with gaps": fds_of_gaps,
    "weights": weights_of_bins,
    "weights of a kernel density": weights_of_a_kernel,
    "metrics": metrics,
    "batch of texts": batch(texts),
    "batch of vectors": batch(vectors),
    "batch of windows": batch(windows),
}


@pytest.mark.parametrize("piece", PIECES)
def test_work_in_python_does_not_grow_with_samples(piece):
    few, many = PIECES[piece](FEW), PIECES[piece](MANY)
    for work in (few, many):
        work()  # what is done once is done
    assert lines_run(many) <= 1.1 * lines_run(few)


@pytest.mark.parametrize(
    "loop",
    [
        lambda labels: [abs(label) for label in labels],
        lambda labels: sum(label > 3 for label in labels),
        lambda labels: [labels[labels == label].sum() for label in np.unique(labels)],
    ],
)
def test_a_loop_is_seen(loop):
    few, many = (lines_run(lambda n=n: loop(data(n)[1])) for n in (FEW, MANY))
    assert many > 1.1 * few
