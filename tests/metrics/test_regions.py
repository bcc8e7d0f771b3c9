import numpy as np

from ranksim.balance import LabelBins
from ranksim.metrics import Regions

BINS = LabelBins.uniform(0.0, 5.0, 5)
TRAINING = np.repeat([0.5, 1.5, 2.5, 3.5], [101, 100, 20, 19])


def test_by_rule_at_its_very_borders():
    regions = Regions.by_rule(BINS, TRAINING)
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


def test_by_list_counts_zero_shot_all_the_same():
    regions = Regions.by_list(BINS, TRAINING, many=[4], medium=[3])
    assert regions.names == ("few", "few", "few", "medium", "many")
    masks = regions.masks([4.5])
    assert masks["many"].all()
    assert masks["zero"].all()
