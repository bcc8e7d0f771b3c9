import numpy as np
import pytest
import torch

from ranksim.exceptions import UsageError
from ranksim.imbalance import LabelBins
from ranksim.imbalance.bins import LabelRange
from ranksim.metrics import REGION_NAMES, RegionMetrics, ShotRegions

BINS = LabelBins.uniform(0.0, 5.0, 5)
TRAINING = np.repeat([0.5, 1.5, 2.5, 3.5], [101, 100, 20, 19])


def test_from_counts_at_thresholds():
    regions = ShotRegions.from_counts(BINS, TRAINING)
    assert regions.names == ("many", "medium", "medium", "few", "few")
    masks = regions.masks([0.1, 1.1, 2.1, 3.1, 4.1])
    assert {name: mask.astype(int).tolist() for name, mask in masks.items()} == {
        "all": [1, 1, 1, 1, 1],
        "many": [1, 0, 0, 0, 0],
        "medium": [0, 1, 1, 0, 0],
        "few": [0, 0, 0, 1, 1],
        "zero": [0, 0, 0, 0, 1],
        "seen": [1, 1, 1, 1, 0],
    }


def test_from_bin_ids_with_zero_shot():
    regions = ShotRegions.from_bin_ids(BINS, TRAINING, many=[4], medium=[3])
    assert regions.names == ("few", "few", "few", "medium", "many")
    masks = regions.masks([4.5])
    assert masks["many"].all()
    assert masks["zero"].all()


OWN = {"low": LabelRange(None, 1.0, strict=True), "high end": LabelRange(3.0, 4.0)}


@pytest.mark.parametrize("shots", ["rule", "list"])
def test_named_regions_follow_the_six_and_are_scored(shots):
    regions = (
        ShotRegions.from_counts(BINS, TRAINING, named=OWN)
        if shots == "rule"
        else ShotRegions.from_bin_ids(BINS, TRAINING, many=[4], medium=[3], named=OWN)
    )
    labels = np.array([0.5, 1.0, 3.0, 4.0, 4.5])
    masks = regions.masks(labels)
    assert list(masks) == [*REGION_NAMES, "low", "high end"]
    assert masks["low"].tolist() == [True, False, False, False, False]
    assert masks["high end"].tolist() == [False, False, True, True, False]
    metrics = RegionMetrics(regions)
    metrics.update(torch.from_numpy(labels + np.arange(1, 6)), torch.from_numpy(labels))
    scores = metrics.compute()
    assert list(scores) == list(masks)
    assert (scores["low"]["n"], scores["low"]["mae"]) == (1, 1.0)
    assert (scores["high end"]["n"], scores["high end"]["mae"]) == (2, 3.5)


@pytest.mark.parametrize("name", REGION_NAMES)
def test_rejects_built_in_region_names(name):
    message = f"^A region cannot be called {name}, which is a built-in region: "
    with pytest.raises(UsageError, match=message):
        ShotRegions.from_counts(BINS, TRAINING, named={name: OWN["low"]})


def test_thresholds_of_the_rule():
    assert ShotRegions.from_counts(BINS, TRAINING, many=50, few=20).names == (
        "many", "many", "medium", "few", "few",
    )  # fmt: skip
