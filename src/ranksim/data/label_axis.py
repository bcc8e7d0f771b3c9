"""The label axis of anyone's data: its bins, and its regions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ranksim.data.binning import suggest_bins, suggest_thresholds
from ranksim.data.options import UserDataSpec
from ranksim.exceptions import UsageError
from ranksim.imbalance import LabelBins
from ranksim.imbalance.label_range import LabelRange, parse_named
from ranksim.metrics.shot_regions import ShotRegions

_MOST_BINS = 10_000


def choose_label_bins(labels: NDArray[np.float64], options: UserDataSpec) -> LabelBins:
    """The label bins that are asked for, or those that suit the labels ``(N,)``.

    Raises:
        UsageError: too many bins are asked for, or some that make no sense.
    """
    width = options.bin_width
    if width is not None and width > 0 and np.ptp(labels) / width > _MOST_BINS:
        raise UsageError(
            f"--bin-width {width:g} makes {np.ptp(labels) / width:,.0f} bins over column "
            f"{options.target!r}: give a width that makes at most {_MOST_BINS:,}."
        )
    try:
        return suggest_bins(labels, width=width).bins
    except ValueError as error:
        raise _cannot(error) from error


def choose_shot_regions(
    bins: LabelBins, training: NDArray[np.float64], options: UserDataSpec
) -> tuple[ShotRegions, int, int]:
    """The regions of anyone's labels, and the thresholds that make them.

    Args:
        bins: of all labels.
        training: labels that are trained on, float64 ``(N,)``.
        options: what is said of regions; the rest is by the rule of inspect.

    Raises:
        UsageError: regions that make no sense.
    """
    named = dict(_named(text) for text in options.region)
    try:
        many, few, _ = suggest_thresholds(bins.counts(training), many=options.many, few=options.few)
    except ValueError as error:
        raise _cannot(error) from error
    return ShotRegions.by_rule(bins, training, many=many, few=few, named=named), many, few


def _cannot(error: ValueError) -> UsageError:
    return UsageError(f"The label axis cannot be cut like this: {error}.")


def _named(text: str) -> tuple[str, LabelRange]:
    try:
        return parse_named(text)
    except ValueError as error:
        raise UsageError(f"--region {text!r}: {error}.") from error
