"""The label density that a model was trained on, as JSON and as regions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ranksim.imbalance import LabelBins
from ranksim.imbalance.label_range import parse_ranges
from ranksim.metrics import ShotRegions


def density_of(regions: ShotRegions, *, many: int, few: int) -> dict[str, Any]:
    """Regions as JSON holds them: label bins, training samples and region of each, own regions.

    Args:
        regions: counted over the training labels.
        many: training samples of a bin, beyond which it is many-shot.
        few: those below which it is few-shot.

    Example:
        >>> bins = LabelBins.uniform(0.0, 2.0, 2)
        >>> density_of(ShotRegions.from_counts(bins, [0.5] * 30, many=20, few=5), many=20, few=5)
        {'edges': [0.0, 1.0, 2.0], 'train': [30, 0], 'regions': ['many', 'few'],
         'many': 20, 'few': 5, 'named': {}}
    """
    return {
        "edges": [float(edge) for edge in regions.bins.edges],  # float32: exact in JSON
        "train": regions.counts.tolist(),
        "regions": list(regions.names),
        "many": many,
        "few": few,
        "named": {name: own.text for name, own in regions.named},
    }


def regions_of(density: Mapping[str, Any]) -> ShotRegions:
    """What :func:`density_of` wrote.

    Example:
        >>> bins = LabelBins.uniform(0.0, 2.0, 2)
        >>> written = density_of(ShotRegions.from_counts(bins, [0.5] * 30), many=100, few=20)
        >>> regions_of(written).names
        ('medium', 'few')
    """
    named = {name: parse_ranges(text)[0] for name, text in density["named"].items()}
    return ShotRegions(
        LabelBins(np.asarray(density["edges"], dtype=np.float64)),
        np.asarray(density["train"], dtype=np.int64),
        tuple(density["regions"]),
        tuple(named.items()),
    )


def covering(regions: ShotRegions, labels: ArrayLike) -> ShotRegions:
    """The same regions, and a bin without training samples on either side for labels beyond them.

    Args:
        regions: of the training labels.
        labels: finite, ``(N,)``.

    Example:
        >>> seen = ShotRegions.from_counts(LabelBins.uniform(0.0, 2.0, 2), [0.5, 1.5], many=0, few=0)
        >>> seen.masks([9.0])["zero"], covering(seen, [9.0]).masks([2.0, 9.0])["zero"]
        (array([False]), array([False,  True]))
    """
    values = np.asarray(labels, dtype=np.float64).astype(np.float32)
    edges, counts, names = regions.bins.edges, regions.counts, regions.names
    first, last = edges[0], edges[-1]
    if (values < first).any():
        edges = np.append(values.min(), edges)
        counts, names = np.append(0, counts), ("few", *names)
    if (values > last).any():
        # the last bin holds its upper edge, which stays with it
        beyond = np.nextafter(last, np.float32(np.inf))
        end = max(values.max(), np.nextafter(beyond, np.float32(np.inf)))
        edges = np.concatenate([edges[:-1], [beyond, end]])
        counts, names = np.append(counts, 0), (*names, "few")
    return ShotRegions(LabelBins(edges), counts.astype(np.int64), names, regions.named)
