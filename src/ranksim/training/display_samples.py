"""Test samples whose features are shown in figures."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ranksim.imbalance import LabelBins

GROUPS, SHOWN = 24, 500  # most groups of label bins, most samples shown


@dataclass(frozen=True, eq=False)
class DisplaySamples:
    """Test samples whose features are looked at, the same for all methods and seeds.

    Args:
        rows: their positions, ascending, ``(P,)``.
        group: the group of label bins that each is in, from 0 to B − 1, ``(P,)``.
        edges: ``(B + 1,)``; a group that holds no test sample belongs to the one below it.
    """

    rows: NDArray[np.int64]
    group: NDArray[np.int64]
    edges: NDArray[np.float64]


def select_display_samples(bins: LabelBins, labels: np.ndarray) -> DisplaySamples:
    """Choose at most 500 test samples, spread evenly over at most 24 groups of label bins.

    Each group gives as many as the others, or all that it has; within one they are spread evenly
    over its labels.

    Args:
        bins: those of the label axis.
        labels: of the test set, ``(N,)``, at least one.

    Example:
        >>> shown = select_display_samples(LabelBins.uniform(0.0, 3.0, 3), np.array([0.1, 2.5, 0.2, 2.7]))
        >>> shown.rows.tolist(), shown.group.tolist(), shown.edges.tolist()
        ([0, 1, 2, 3], [0, 1, 0, 1], [0.0, 2.0, 3.0])
    """
    index = bins.index(labels)
    first, last = int(index.min()), int(index.max())
    width = math.ceil((last - first + 1) / GROUPS)
    there, group = np.unique((index - first) // width, return_inverse=True)
    lower = bins.edges[first + width * there]
    upper = bins.edges[min(first + width * (int(there[-1]) + 1), len(bins))]
    by_label = np.lexsort((labels, group))
    own = np.split(by_label, np.cumsum(np.bincount(group))[:-1])
    sizes = np.array([len(rows) for rows in own])
    # the largest share that fits
    share = max(n for n in range(1, SHOWN + 1) if np.minimum(sizes, n).sum() <= SHOWN)
    quota = sizes.clip(max=share)
    taken = [rows[np.arange(n) * len(rows) // n] for rows, n in zip(own, quota, strict=True)]
    rows = np.sort(np.concatenate(taken))
    return DisplaySamples(rows, group[rows], np.append(lower, upper).astype(np.float64))
