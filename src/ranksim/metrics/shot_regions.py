"""Many-, medium-, few- and zero-shot regions of the label axis."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ranksim.exceptions import UsageError
from ranksim.imbalance.bins import LabelBins
from ranksim.imbalance.label_range import LabelRange

REGION_NAMES = ("all", "many", "medium", "few", "zero", "seen")
SHOTS = REGION_NAMES[1:4]
MANY, FEW = 100, 20  # training samples of a bin, beyond which it is many- or few-shot
Named = Mapping[str, LabelRange]
_NONE: Named = MappingProxyType({})


@dataclass(frozen=True)
class ShotRegions:
    """Which region each label bin belongs to.

    By the training count n of the label's bin: many n > 100, medium 20..100, few < 20; zero-shot
    is n = 0, a part of few that is reported on its own too, and what is left without it is seen. A
    published list may say otherwise for the first three.

    Args:
        bins: bins along the label axis, K of them.
        counts: training samples in each bin, shape ``(K,)``.
        names: ``"many"``, ``"medium"`` or ``"few"`` for each bin, K of them.
        named: further regions, each a name and its range of labels; they may overlap the others.

    Raises:
        UsageError: a named region has the name of one of the six.
        ValueError: not one count of at least 0 and one name for each bin.

    Example:
        >>> bins = LabelBins.uniform(0.0, 3.0, 3)
        >>> regions = ShotRegions.by_rule(bins, [0.5] * 101 + [1.5] * 100)
        >>> regions.names
        ('many', 'medium', 'few')
        >>> {name: mask.tolist() for name, mask in regions.masks([0.1, 2.9]).items()}["zero"]
        [False, True]
        >>> own = ShotRegions.by_rule(bins, [0.5], named={"low": LabelRange(None, 1.0)})
        >>> own.masks([0.1, 2.9])["low"].tolist()
        [True, False]

    Source: Yang et al., "Delving into Deep Imbalanced Regression" (ICML 2021), section 4.1.
    """

    bins: LabelBins
    counts: NDArray[np.int64]
    names: tuple[str, ...]
    named: tuple[tuple[str, LabelRange], ...] = ()

    def __post_init__(self) -> None:
        shape = (len(self.bins),)
        if self.counts.shape != shape or len(self.names) != len(self.bins):
            raise ValueError(
                f"counts and names must be one for each of {len(self.bins)} bins, got shape "
                f"{self.counts.shape} and {len(self.names)}"
            )
        if (self.counts < 0).any():
            raise ValueError(f"counts must be at least 0, got {self.counts.min()}")
        if unknown := set(self.names) - set(SHOTS):
            raise ValueError(f"names must be among {', '.join(SHOTS)}, got {sorted(unknown)}")
        for name, _ in self.named:
            if name in REGION_NAMES:
                raise UsageError(
                    f"A region cannot be called {name}, as one of the six is: give it another name."
                )

    @classmethod
    def by_rule(
        cls,
        bins: LabelBins,
        training: ArrayLike,
        *,
        many: int = MANY,
        few: int = FEW,
        named: Named = _NONE,
    ) -> ShotRegions:
        """Regions by count: more than ``many``, fewer than ``few``, medium between."""
        counts = bins.counts(training)
        names = ["many" if n > many else "few" if n < few else "medium" for n in counts]
        return cls(bins, counts, tuple(names), tuple(named.items()))

    @classmethod
    def by_list(
        cls,
        bins: LabelBins,
        training: ArrayLike,
        *,
        many: Collection[int],
        medium: Collection[int],
        named: Named = _NONE,
    ) -> ShotRegions:
        """Regions by a published list of bins; what it does not name is few-shot."""
        names = [
            "many" if k in many else "medium" if k in medium else "few" for k in range(len(bins))
        ]
        return cls(bins, bins.counts(training), tuple(names), tuple(named.items()))

    def masks(self, labels: ArrayLike) -> dict[str, NDArray[np.bool_]]:
        """For each region, which of the labels ``(N,)`` lie in it."""
        index = self.bins.index(labels)
        names = np.asarray(self.names)[index]
        masks = {"all": np.ones(len(index), dtype=bool)}
        masks |= {name: names == name for name in SHOTS}
        zero = self.counts[index] == 0
        masks |= {"zero": zero, "seen": ~zero}
        return masks | {name: own.contains(labels) for name, own in self.named}
