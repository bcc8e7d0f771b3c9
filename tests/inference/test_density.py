"""The label density of a model: JSON round trip and labels beyond the training range."""

import json

import numpy as np
import pytest

from ranksim.imbalance import LabelBins
from ranksim.imbalance.bins import LabelRange
from ranksim.inference.saved_model import density_from_dict, density_to_dict
from ranksim.metrics import ShotRegions
from ranksim.metrics.shot_regions import extend_regions

BINS = LabelBins(np.array([0.1, 0.7, 2.3, 9.9]))


def test_density_round_trip():
    named = {"low": LabelRange(None, 0.5, strict=True), "mid": LabelRange(-1, 2)}
    labels = [0.2] * 7 + [0.8] * 3
    regions = ShotRegions.from_counts(BINS, labels, many=6, few=2, named=named)
    copy = density_from_dict(json.loads(json.dumps(density_to_dict(regions, many=6, few=2))))
    assert copy.bins == BINS
    assert (copy.names, copy.named) == (regions.names, regions.named)
    assert copy.counts.tolist() == [7, 3, 0]


@pytest.mark.parametrize("labels", [[0.1, 9.9], [-3.0, 5.0], [11.0], [-1e30, 1e30], [9.9000015]])
def test_labels_beyond_the_bins_are_zero_shot(labels):
    training = [0.2] * 7 + [0.8] * 3 + [3.0] * 9
    regions = ShotRegions.from_counts(BINS, training, many=6, few=2)
    values = [*labels, 0.1, 0.5, 0.7, 5.0, 9.9]
    masks = extend_regions(regions, values).masks(values)
    for k, label in enumerate(np.array(values, dtype=np.float32)):
        inside = BINS.edges[0] <= label <= BINS.edges[-1]
        expected = regions.masks([label]) if inside else {"zero": [True], "few": [True]}
        for name in ("zero", "few"):
            assert masks[name][k] == expected[name][0], (label, name)
