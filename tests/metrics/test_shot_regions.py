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


@pytest.mark.parametrize("shape", [(240, 1), (1, 240), (120, 2), ()])
@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor])
def test_labels_of_another_shape_are_rejected(shape, make):
    labels = make(np.resize(TRAINING, shape))
    methods = [
        lambda: ShotRegions.from_counts(BINS, labels),
        lambda: ShotRegions.from_bin_ids(BINS, labels, many=[4], medium=[3]),
        lambda: ShotRegions.from_counts(BINS, TRAINING).masks(labels),
    ]
    for method in methods:
        with pytest.raises(ValueError, match=r"labels must have shape \(N,\), got") as error:
            method()
        assert ("labels.reshape(-1)" in str(error.value)) == (1 in shape)


@pytest.mark.parametrize("counts", [[500, 300, 90, 20, 1], np.array([7.0, 0, 0, 9, 8])])
def test_counts_instead_of_labels_are_rejected(counts):
    for method in (ShotRegions.from_counts, lambda *args: ShotRegions.from_bin_ids(
        *args, many=[0], medium=[1]
    )):  # fmt: skip
        with pytest.raises(ValueError, match="seem to be counts of the bins: pass the labels"):
            method(BINS, counts)
    assert ShotRegions.from_counts(BINS, [0, 1, 2, 3, 9]).counts.tolist() == [1, 1, 1, 1, 1]


@pytest.mark.parametrize("wrong", [-1, 0.5, np.nan, np.inf])
def test_counts_that_are_none_are_rejected(wrong):
    with pytest.raises(ValueError, match=f"whole numbers of at least 0, got {wrong}"):
        ShotRegions(BINS, np.array([1, 2, wrong, 0, 5]), ("many",) * 5)
