"""Selection of the test samples whose features are plotted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ranksim.imbalance import LabelBins

MAX_GROUPS, MAX_SAMPLES = 24, 500


@dataclass(frozen=True, eq=False)
class DisplaySamples:
    """Test samples whose features are plotted, the same for all methods and seeds.

    A group of label bins without test samples is merged into the one below.
    """

    rows: NDArray[np.int64]  # their indices in the test split, sorted, (P,)
    group: NDArray[np.int64]  # index of each sample's group, from 0 to B − 1, (P,)
    edges: NDArray[np.float64]  # group boundaries (B + 1,)


def select_display_samples(bins: LabelBins, labels: np.ndarray) -> DisplaySamples:
    """Select at most 500 test samples by their labels ``(N,)``, evenly over groups of label bins.

    All groups have the same quota; smaller groups are taken completely. Within a group, the samples
    are spread evenly over its sorted labels.
    """
    index = bins.digitize(labels)
    first, last = int(index.min()), int(index.max())
    width = math.ceil((last - first + 1) / MAX_GROUPS)
    nonempty, group = np.unique((index - first) // width, return_inverse=True)
    lower = bins.edges[first + width * nonempty]
    upper = bins.edges[min(first + width * (int(nonempty[-1]) + 1), len(bins))]
    members = np.split(np.lexsort((labels, group)), np.cumsum(np.bincount(group))[:-1])
    sizes = np.array([len(rows) for rows in members])
    quota = max(n for n in range(1, MAX_SAMPLES + 1) if np.minimum(sizes, n).sum() <= MAX_SAMPLES)
    counts = sizes.clip(max=quota)
    spread = [r[np.arange(n) * len(r) // n] for r, n in zip(members, counts, strict=True)]
    rows = np.sort(np.concatenate(spread))
    return DisplaySamples(rows, group[rows], np.append(lower, upper).astype(np.float64))
