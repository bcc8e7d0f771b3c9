"""Scores of the mean of several members, and of the members, on samples that they held out."""

import numpy as np
import pytest

from ranksim.imbalance import LabelBins
from ranksim.inference.held_out import HeldOutPredictions
from ranksim.metrics import ShotRegions


def average_over_bins(errors, bins):
    return np.mean([np.mean(errors[bins == k]) for k in set(bins.tolist())])


@pytest.mark.parametrize("members", [1, 3])
def test_mean_over_label_bins_is_scored(members):
    draw = np.random.default_rng(members)
    labels = draw.exponential(2.0, 90).clip(0, 9.9)
    preds = labels + draw.normal(size=(members, 90))
    regions = ShotRegions.from_counts(LabelBins.uniform(0.0, 10.0, 10), labels)
    held_out = HeldOutPredictions(preds, labels, regions)
    bins = labels.astype(int)
    metrics = held_out.to_metrics()
    error = np.abs(preds.mean(axis=0) - labels)
    overall = metrics["test"]["all"]
    assert overall["balanced_mae"] == pytest.approx(average_over_bins(error, bins))
    assert overall["balanced_mse"] == pytest.approx(average_over_bins(error**2, bins))
    assert "balanced_mae" not in metrics["test"]["few"]
    assert ("members" in metrics) == (members > 1)
    if members > 1:
        each = [average_over_bins(np.abs(row - labels), bins) for row in preds]
        assert metrics["members"]["all"]["balanced_mae"] == pytest.approx(np.mean(each))
