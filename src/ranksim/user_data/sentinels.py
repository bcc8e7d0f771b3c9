"""Find label values that most likely stand for a missing label, such as −9999."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ranksim.data.table import Floats

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
            f"{self.count:,} labels of column {target!r} ({percent}) are exactly {self.value:g}, "
            f"far from all others ({self.low:g} to {self.high:g}): if the value stands for a "
            f"missing label, add --missing-target {self.value:.12g}."
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
