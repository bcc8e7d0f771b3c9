"""Splits whose training labels leave a gap that is tested: out of range, in between, in a hole."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ranksim.data.splitting import Split
from ranksim.exceptions import UsageError

PROTOCOLS = ("extrapolation", "interpolation", "blindspot")
TEST_PER_BIN = 50  # test samples of a bin
_ENOUGH = {"extrapolation": 1.0, "interpolation": 2.5, "blindspot": 2.8}  # times per_bin
_FEWEST = 10  # test bins, below which the shapes are not resolved
_HEIGHT = 3137 / 50  # times per_bin: the top of the bell, far above what any bin of AgeDB holds
_VAL = 0.109  # of what is drawn for training
# centres and width, in parts of the range of the test bins
_BELLS = {
    "extrapolation": ((0.493,), 0.1043, _HEIGHT),
    "interpolation": ((0.0909, 1.0909), 0.1309, _HEIGHT / 2),
}
_BLIND_CENTRE, _BLIND_HALF = 0.566, 0.066


def zero_shot_split(
    groups: NDArray[np.int64], protocol: str, *, seed: int, per_bin: int = TEST_PER_BIN
) -> Split:
    """Draw a test set uniform over the label, and a training set that leaves a part of it out.

    The rule is inferred from the published AgeDB files, whose ages it reproduces. Test bins are,
    for ``extrapolation``, all with at least ``per_bin`` samples, else the longest run of
    neighbours with at least 2.5 (``interpolation``) or 2.8 (``blindspot``) times as many; each
    gives ``per_bin`` samples to test. Of the other samples in that range, training takes

    - extrapolation: at most the height of a bell in the middle, so that both ends are unseen;
    - interpolation: at most the height of two bells at the ends, so that the middle is thin;
    - blindspot: all but those of a few bins just above the middle;

    and gives 10.9 % of them to validation.

    Deviation: the published files draw with replacement, so that a third of their training rows
    and a sixth of their test rows repeat an image; here each image is drawn once at most.

    Args:
        groups: the label bin of each sample, shape ``(N,)``, at least 0.
        protocol: one of ``PROTOCOLS``.
        seed: fixes the draw.
        per_bin: test samples of each test bin.

    Raises:
        UsageError: an unknown protocol, or too few bins with enough samples.

    Source: Puetz et al., Artificial Intelligence Review (2026).
    """
    if protocol not in PROTOCOLS:
        raise UsageError(f"Protocol {protocol!r} does not exist: choose {', '.join(PROTOCOLS)}.")
    if per_bin < 1:
        raise ValueError(f"per_bin must be at least 1, got {per_bin!r}")
    counts = np.bincount(groups)
    tested = _test_bins(counts, protocol, per_bin)
    bins = np.arange(tested[0], tested[-1] + 1)
    held = np.where(np.isin(bins, tested), per_bin, 0)
    wanted = np.minimum(counts[bins] - held, _most(bins, protocol, per_bin))
    draw = np.random.default_rng(seed)
    test, drawn = [], []
    for label, held_out, count in zip(bins, held, wanted, strict=True):
        rows = draw.permutation(np.flatnonzero(groups == label))
        test.append(rows[:held_out])
        drawn.append(rows[held_out : held_out + count])
    seen = draw.permutation(np.concatenate(drawn))
    val = round(_VAL * len(seen))
    return Split(*(np.sort(part) for part in (seen[val:], seen[:val], np.concatenate(test))))


def _test_bins(counts: NDArray[np.int64], protocol: str, per_bin: int) -> NDArray[np.int64]:
    least = int(np.ceil(_ENOUGH[protocol] * per_bin))
    enough = np.flatnonzero(counts >= least)
    kind = "label bins" if protocol == "extrapolation" else "neighbouring label bins"
    if protocol != "extrapolation":
        runs = np.split(enough, np.flatnonzero(np.diff(enough) > 1) + 1)
        enough = max(runs, key=len)
    if len(enough) < _FEWEST:
        raise UsageError(
            f"Protocol {protocol} needs {_FEWEST} {kind} of at least {least} samples each, and "
            f"{len(enough)} are there: use more data, or the split without a protocol."
        )
    return enough


def _most(bins: NDArray[np.int64], protocol: str, per_bin: int) -> NDArray[np.int64]:
    """Most training samples of each bin."""
    position = (bins - bins[0]) / (bins[-1] - bins[0])
    if protocol == "blindspot":
        blind = np.abs(position - _BLIND_CENTRE) <= _BLIND_HALF
        return np.where(blind, 0, np.iinfo(np.int64).max)
    centres, width, height = _BELLS[protocol]
    bells = np.sum(
        [np.exp(-(((position - centre) / width) ** 2) / 2) for centre in centres], axis=0
    )
    most: NDArray[np.int64] = np.floor(height * per_bin * bells).astype(np.int64)
    return most
