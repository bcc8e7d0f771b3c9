"""Find label values that most likely stand for a missing label, such as −9999."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ranksim.data.table import Floats, are_absent

_MIN_COUNT = 3
_MIN_LABELS = 10  # different ones, beside the sentinel
_MAX_SENTINELS = 4


@dataclass(frozen=True)
class Sentinel:
    """A label that repeats far from all others."""

    value: float
    count: int
    share: float  # of the labels
    low: float  # range of the other labels
    high: float

    def describe(self, target: str) -> str:
        """Return a warning that names the share of the value and the option to leave it out."""
        percent = f"{100 * self.share:.2g}\u202f%"
        return (
            f"{self.count:,} labels of column {target!r} ({percent}) are exactly "
            f"{self.value:.12g}, far from all others ({self.low:g} to {self.high:g}): if the "
            f"value stands for a missing label, add --missing-target {self.value:.12g}."
        )


def find_sentinels(labels: Floats) -> list[Sentinel]:
    """Return the values that repeat far from all other labels ``(N,)``, the farthest first.

    Such a value occurs at least three times, is the smallest or largest, and differs from its
    neighbor by more than 98 % of the other labels differ from one another.
    """
    sentinels: list[Sentinel] = []
    rest = np.sort(labels)
    while len(sentinels) < _MAX_SENTINELS:
        values, counts = np.unique(rest, return_counts=True)
        if len(values) <= _MIN_LABELS:
            break
        gaps = {}
        for end, neighbor in ((0, 1), (-1, -2)):
            others = rest[rest != values[end]]
            with np.errstate(over="ignore"):
                spread = np.ptp(np.percentile(others, (1, 99), method="inverted_cdf"))
                gap = abs(values[end] - values[neighbor])
            if counts[end] >= _MIN_COUNT and gap > spread > 0:
                gaps[end] = gap
        if not gaps:
            break
        end = max(gaps, key=lambda end: gaps[end])
        others = rest[rest != values[end]]
        count = int(counts[end])
        sentinels.append(
            Sentinel(float(values[end]), count, count / len(labels), others[0], others[-1])
        )
        rest = others
    return sentinels


def describe_unused(target: str, values: Floats, absent: Sequence[float]) -> list[str]:
    """Return a warning for each number of ``--missing-target`` that equals no value ``(N,)``."""
    return [
        f"No value of column {target!r} is {number:.12g}: correct --missing-target."
        for number in absent
        if not are_absent(values, [number]).any()
    ]


def describe_precision(target: str, labels: Floats) -> list[str]:
    """Return a warning if most of the distinct labels ``(N,)`` are equal in float32."""
    distinct = np.unique(labels)
    with np.errstate(over="ignore"):
        n_single = len(np.unique(distinct.astype(np.float32)))
    if 2 * n_single >= len(distinct):
        return []
    return [
        f"The {len(distinct):,} different labels of column {target!r} are only {n_single:,} in "
        f"float32, in which networks compute: subtract a constant such as {distinct[0]:.12g}."
    ]
