"""The label density that a model was trained on, as JSON and as shot regions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ranksim.imbalance import LabelBins
from ranksim.imbalance.label_range import parse_ranges
from ranksim.metrics import ShotRegions


def density_to_dict(regions: ShotRegions, *, many: int, few: int) -> dict[str, Any]:
    """Return label bins, training counts and regions as JSON values.

    Args:
        regions: the regions of the training labels.
        many: a bin with more training samples is many-shot.
        few: a bin with fewer training samples is few-shot.

    Example:
        >>> bins = LabelBins.uniform(0.0, 2.0, 2)
        >>> regions = ShotRegions.from_counts(bins, [0.5] * 30, many=20, few=5)
        >>> density_to_dict(regions, many=20, few=5)
        {'edges': [0.0, 1.0, 2.0], 'train': [30, 0], 'regions': ['many', 'few'],
         'many': 20, 'few': 5, 'named': {}}
    """
    return {
        "edges": [float(edge) for edge in regions.bins.edges],  # float32, so exact in JSON
        "train": regions.counts.tolist(),
        "regions": list(regions.names),
        "many": many,
        "few": few,
        "named": {name: label_range.text for name, label_range in regions.named},
    }


def density_from_dict(density: Mapping[str, Any]) -> ShotRegions:
    """Return the regions that :func:`density_to_dict` wrote.

    Example:
        >>> regions = ShotRegions.from_counts(LabelBins.uniform(0.0, 2.0, 2), [0.5] * 30)
        >>> density_from_dict(density_to_dict(regions, many=100, few=20)).names
        ('medium', 'few')
    """
    named = {name: parse_ranges(text)[0] for name, text in density["named"].items()}
    return ShotRegions(
        LabelBins(np.asarray(density["edges"], dtype=np.float64)),
        np.asarray(density["train"], dtype=np.int64),
        tuple(density["regions"]),
        tuple(named.items()),
    )


def extend_regions(regions: ShotRegions, labels: ArrayLike) -> ShotRegions:
    """Return regions with an empty few-shot bin on each side that labels exceed.

    Args:
        regions: the regions of the training labels.
        labels: finite, ``(N,)``.

    Example:
        >>> bins = LabelBins.uniform(0.0, 2.0, 2)
        >>> regions = ShotRegions.from_counts(bins, [0.5, 1.5], many=0, few=0)
        >>> extend_regions(regions, [9.0]).masks([2.0, 9.0])["zero"]
        array([False,  True])
    """
    values = np.asarray(labels, dtype=np.float64).astype(np.float32)
    edges, counts, names = regions.bins.edges, regions.counts, regions.names
    first, last = edges[0], edges[-1]
    if (values < first).any():
        edges = np.append(values.min(), edges)
        counts, names = np.append(0, counts), ("few", *names)
    if (values > last).any():
        # the last bin includes its upper edge, which must stay in it
        above = np.nextafter(last, np.float32(np.inf))
        end = max(values.max(), np.nextafter(above, np.float32(np.inf)))
        edges = np.concatenate([edges[:-1], [above, end]])
        counts, names = np.append(counts, 0), (*names, "few")
    return ShotRegions(LabelBins(edges), counts.astype(np.int64), names, regions.named)
