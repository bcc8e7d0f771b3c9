"""The label axis of anyone's data."""

from __future__ import annotations

import numpy as np
import pytest

from ranksim.data.binning import (
    choose_label_bins,
    choose_shot_regions,
    suggest_bins,
    suggest_thresholds,
)
from ranksim.data.options import UserDataSpec
from ranksim.exceptions import UsageError


def test_thresholds_are_those_of_the_very_bins_that_are_reported():
    """Training labels alone would ask for other bins, whose counts say nothing of these."""
    draw = np.random.default_rng(0)
    labels = np.exp(draw.normal(size=2000))
    bins, training = choose_label_bins(labels, UserDataSpec("y")), labels[labels < 1.0][:150]
    assert len(suggest_bins(training).bins) != len(bins)
    regions, many, few = choose_shot_regions(bins, training, UserDataSpec("y"))
    assert (many, few) == suggest_thresholds(bins.counts(training))[:2]
    assert regions.counts.tolist() == bins.counts(training).tolist()
    shot = regions.counts[np.array(regions.names) == "many"].sum()
    assert shot >= len(training) / 3


@pytest.mark.parametrize("options", [{"many": 3, "few": 4}, {"bin_width": -1.0}])
def test_what_makes_no_sense_is_refused(options):
    labels = np.arange(50.0)
    with pytest.raises(UsageError, match="The label axis cannot be cut like this: "):
        choose_shot_regions(
            choose_label_bins(labels, UserDataSpec("y", **options)),
            labels,
            UserDataSpec("y", **options),
        )
