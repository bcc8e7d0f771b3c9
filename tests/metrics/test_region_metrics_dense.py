"""Metrics by region of dense targets."""

import numpy as np
import pytest
import torch

from ranksim import LabelBins
from ranksim.metrics import RegionMetrics, ShotRegions, regression_scores
from tests.helpers.dense import SHAPES, make_dense_batch

BINS = LabelBins.integers(0, 9)
REGIONS = ShotRegions.from_counts(BINS, np.repeat([0.0, 1.0, 2.0], [200, 50, 5]))


@pytest.mark.parametrize("shape", SHAPES)
def test_dense_metrics_equal_those_of_labeled_positions(shape):
    metrics, preds, labels = RegionMetrics(REGIONS), [], []
    for seed in range(3):
        _, target = make_dense_batch(shape, seed=seed)
        prediction = target.nan_to_num(4.0) + 0.1 * seed + 0.1
        metrics.update(prediction, target)
        preds.append(prediction[~target.isnan()])
        labels.append(target[~target.isnan()])
    labels = torch.cat(labels)
    assert metrics.compute()["all"] == regression_scores(torch.cat(preds), labels)
    few = np.isin(labels.numpy(), range(2, 10))
    assert metrics.compute()["few"]["n"] == few.sum()


def test_repeated_dense_sample_counts_once():
    metrics = RegionMetrics(REGIONS)
    small = make_dense_batch((2, 1, 2, 2), seed=1)[1]
    large = make_dense_batch((2, 1, 5, 5), seed=2)[1]
    for target, index in ((small, [0, 1]), (large, [2, 3]), (small[:1], [0])):
        metrics.update(target + 1, target, torch.tensor(index))
    labels = torch.cat([small.flatten(), large.flatten()])
    assert metrics.compute()["all"]["n"] == int((~labels.isnan()).sum())
    metrics.update(torch.empty(0, 1, 2, 2), torch.empty(0, 1, 2, 2), torch.empty(0, dtype=int))
