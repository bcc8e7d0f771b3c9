"""Zero-shot splits: the test set contains labels that are rare or absent in training."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ranksim.data.splitting import Split
from ranksim.exceptions import UsageError

PROTOCOLS = ("extrapolation", "interpolation", "blindspot")
TEST_PER_BIN = 50  # default of the test samples per bin
_MIN_COUNT = {"extrapolation": 1.0, "interpolation": 2.5, "blindspot": 2.8}  # × per_bin
_MIN_BINS = 10  # test bins that the bells need
_HEIGHT = 3137 / 50  # × per_bin: peak of the bell, more than any bin of AgeDB contains
_VAL_SHARE = 0.109  # of the samples drawn for training
# centers and width as fractions of the range of the test bins, and height
_BELLS = {
    "extrapolation": ((0.493,), 0.1043, _HEIGHT),
    "interpolation": ((0.0909, 1.0909), 0.1309, _HEIGHT / 2),
}
_GAP_CENTER, _GAP_HALF_WIDTH = 0.566, 0.066


def zero_shot_split(
    bins: NDArray[np.int64], protocol: str, *, seed: int, per_bin: int = TEST_PER_BIN
) -> Split:
    """Draw a uniform test set, and a training set that lacks a part of the label range.

    The rule is inferred from the published AgeDB files, whose ages it reproduces. The test bins
    are all bins with at least ``per_bin`` samples (``extrapolation``), or the longest run of
    neighboring bins with at least 2.5 (``interpolation``) or 2.8 (``blindspot``) times as many.
    ``per_bin`` samples of each test bin are used for test. From the remaining samples within their
    range, training uses

    - extrapolation: at most a bell-shaped count around the middle, so both ends are missing;
    - interpolation: at most two bells at the ends, so the middle is rare;
    - blindspot: all samples except those of a few bins just above the middle.

    10.9 % of them are used for validation. The published files draw with replacement, so a third of
    their training rows and a sixth of their test rows repeat an image; here no image is repeated.

    Args:
        bins: label bin of each sample, shape ``(N,)``, at least 0.
        protocol: one of ``PROTOCOLS``.
        seed: seed of the draw.
        per_bin: test samples per test bin.

    Raises:
        UsageError: the protocol is unknown, or too few bins have enough samples.

    References:
        Puetz et al., Artificial Intelligence Review, 2026.
    """
    if protocol not in PROTOCOLS:
        raise UsageError(f"Protocol {protocol!r} does not exist: choose {', '.join(PROTOCOLS)}.")
    if per_bin < 1:
        raise ValueError(f"per_bin must be at least 1, got {per_bin!r}")
    counts = np.bincount(bins)
    test_bins = _choose_test_bins(counts, protocol, per_bin)
    labels = np.arange(test_bins[0], test_bins[-1] + 1)
    n_test = np.where(np.isin(labels, test_bins), per_bin, 0)
    n_train = np.minimum(counts[labels] - n_test, _limit_counts(labels, protocol, per_bin))
    rng = np.random.default_rng(seed)
    test, train = [], []
    for label, first, count in zip(labels, n_test, n_train, strict=True):
        rows = rng.permutation(np.flatnonzero(bins == label))
        test.append(rows[:first])
        train.append(rows[first : first + count])
    rows = rng.permutation(np.concatenate(train))
    n_val = round(_VAL_SHARE * len(rows))
    return Split(*(np.sort(part) for part in (rows[n_val:], rows[:n_val], np.concatenate(test))))


def _choose_test_bins(counts: NDArray[np.int64], protocol: str, per_bin: int) -> NDArray[np.int64]:
    min_count = int(np.ceil(_MIN_COUNT[protocol] * per_bin))
    bins = np.flatnonzero(counts >= min_count)
    kind = "label bins" if protocol == "extrapolation" else "neighboring label bins"
    if protocol != "extrapolation":
        bins = max(np.split(bins, np.flatnonzero(np.diff(bins) > 1) + 1), key=len)
    if len(bins) < _MIN_BINS:
        raise UsageError(
            f"Protocol {protocol} needs {_MIN_BINS} {kind} with at least {min_count} samples each, "
            f"but the data has {len(bins)}: use more data, or a split without a protocol."
        )
    return bins


def _limit_counts(bins: NDArray[np.int64], protocol: str, per_bin: int) -> NDArray[np.int64]:
    """Return the largest number of training samples of each bin."""
    position = (bins - bins[0]) / (bins[-1] - bins[0])
    if protocol == "blindspot":
        is_gap = np.abs(position - _GAP_CENTER) <= _GAP_HALF_WIDTH
        return np.where(is_gap, 0, np.iinfo(np.int64).max)
    centers, width, height = _BELLS[protocol]
    bells = np.sum([np.exp(-(((position - c) / width) ** 2) / 2) for c in centers], axis=0)
    limits: NDArray[np.int64] = np.floor(height * per_bin * bells).astype(np.int64)
    return limits
