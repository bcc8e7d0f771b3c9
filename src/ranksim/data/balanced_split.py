"""The parts of a split, and the published rule for balanced validation and test sets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PARTS = ("train", "val", "test")
PART_NAMES = {name: name for name in PARTS} | dict.fromkeys(("valid", "validation", "dev"), "val")
PART_NAMES |= {"training": "train", "testing": "test"}  # as columns of tables write them
PART_TITLES = {"train": "training", "val": "validation", "test": "test"}


class Split(NamedTuple):
    """Positions of the samples in each part, ascending."""

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]


def balanced_split(groups: NDArray[np.int64], *, cap: int, seed: int) -> Split:
    """Draw balanced validation and test sets.

    For each group of equal labels (a label bin): shuffle, k = min(n // 3, cap) samples to
    validation, the next k to test, the rest to training.

    Args:
        groups: the label bin of each sample, shape ``(N,)``.
        cap: most samples of one group in either set.
        seed: fixes the draw.

    Example:
        >>> split = balanced_split(np.array([0] * 9 + [1] * 4 + [2]), cap=2, seed=0)
        >>> [len(part) for part in split]
        [8, 3, 3]

    Source: Yang et al. (ICML 2021), appendix on the DIR data sets.
    """
    draw = np.random.default_rng(seed)
    val, test = [], []
    for group in np.unique(groups):
        rows = draw.permutation(np.flatnonzero(groups == group))
        k = min(len(rows) // 3, cap)
        val.append(rows[:k])
        test.append(rows[k : 2 * k])
    held_out = np.concatenate(val + test) if val else np.empty(0, dtype=np.int64)
    train = np.setdiff1d(np.arange(len(groups)), held_out)
    return Split(train, *(np.sort(np.concatenate(part)) if part else train for part in (val, test)))
