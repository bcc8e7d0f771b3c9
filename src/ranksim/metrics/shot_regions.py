"""Many-, medium-, few- and zero-shot regions of the label axis."""

from __future__ import annotations

import numbers
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ranksim._utils.checks import describe_value
from ranksim.exceptions import UsageError
from ranksim.imbalance.bins import (
    LabelBins,
    LabelRange,
    check_bins,
    label_array,
    require_vector,
)
from ranksim.metrics.scores import Scores, regression_scores

if TYPE_CHECKING:
    from torch import Tensor

REGION_NAMES = ("all", "many", "medium", "few", "zero", "seen")
SHOT_NAMES = REGION_NAMES[1:4]
MANY, FEW = 100, 20  # training samples of a bin above or below which it is many- or few-shot
NamedRanges = Mapping[str, LabelRange]
_NO_RANGES: NamedRanges = MappingProxyType({})


@dataclass(frozen=True)
class ShotRegions:
    """Regions of the label axis by the number n of training samples in a label's bin.

    Many-shot is n > 100, medium-shot 20 to 100, few-shot n < 20, unless a published list differs.
    Zero-shot (n = 0) is a part of few-shot; seen is the rest of the label axis.

    Args:
        bins: K bins along the label axis.
        counts: training samples in each bin, shape ``(K,)``.
        names: ``"many"``, ``"medium"`` or ``"few"`` for each bin, length K.
        named: names and label ranges of further regions, which may overlap the others.

    Raises:
        UsageError: a named region has the name of one of the six.
        ValueError: there is not one nonnegative count and one name per bin.

    Example:
        >>> bins = LabelBins.uniform(0.0, 3.0, 3)
        >>> regions = ShotRegions.from_counts(bins, [0.5] * 101 + [1.5] * 100)
        >>> regions.names
        ('many', 'medium', 'few')
        >>> regions.masks([0.1, 2.9])["zero"].tolist()
        [False, True]
        >>> low = {"low": LabelRange(None, 1.0)}
        >>> ShotRegions.from_counts(bins, [0.5], named=low).masks([0.1, 2.9])["low"].tolist()
        [True, False]

    References:
        Yang et al., "Delving into Deep Imbalanced Regression" (ICML 2021), section 4.1.
    """

    bins: LabelBins
    counts: NDArray[np.int64]
    names: tuple[str, ...]
    named: tuple[tuple[str, LabelRange], ...] = ()

    def __post_init__(self) -> None:
        check_bins(self.bins)
        counts = np.asarray(self.counts)
        if counts.dtype.kind not in "iuf":
            raise TypeError(
                f"counts must be numbers of samples, got {describe_value(self.counts)}: use "
                "ShotRegions.from_counts for training labels"
            )
        object.__setattr__(self, "counts", counts)
        if not isinstance(self.names, tuple | list) or not all(
            isinstance(name, str) for name in self.names
        ):
            raise TypeError(
                f"names must be region names, one per bin, got {describe_value(self.names)}"
            )
        if not isinstance(self.named, tuple | list):
            raise TypeError(
                f"named must be pairs of a name and a LabelRange, got {describe_value(self.named)}"
            )
        _check_named(dict(self.named))
        if self.counts.shape != (len(self.bins),) or len(self.names) != len(self.bins):
            raise ValueError(
                f"counts and names must have one entry for each of {len(self.bins)} bins, got "
                f"counts of shape {self.counts.shape} and {len(self.names)} names"
            )
        wrong = self.counts[~_are_counts(self.counts)]
        if len(wrong):
            raise ValueError(
                f"counts must be whole numbers of at least 0, got {wrong[0]}: count the training "
                "labels of each bin, as ShotRegions.from_counts does"
            )
        if unknown := set(self.names) - set(SHOT_NAMES):
            raise ValueError(f"names must be among {', '.join(SHOT_NAMES)}, got {sorted(unknown)}")
        for name, _ in self.named:
            if name in REGION_NAMES:
                raise UsageError(
                    f"A region cannot be called {name}, which is a built-in region: rename it."
                )

    @classmethod
    def from_counts(
        cls,
        bins: LabelBins,
        training: ArrayLike,
        *,
        many: int = MANY,
        few: int = FEW,
        named: NamedRanges = _NO_RANGES,
    ) -> ShotRegions:
        """Return regions by training labels per bin: many above ``many``, few below ``few``."""
        check_bins(bins)
        for name, threshold in (("many", many), ("few", few)):
            if not isinstance(threshold, numbers.Real):
                raise TypeError(
                    f"{name} must be a number of samples, got {describe_value(threshold)}"
                )
        _check_named(named)
        _reject_counts(bins, training)
        counts = bins.histogram(training)
        index = np.where(counts > many, 0, np.where(counts < few, 2, 1))
        return cls(bins, counts, tuple(SHOT_NAMES[k] for k in index), tuple(named.items()))

    @classmethod
    def from_bin_ids(
        cls,
        bins: LabelBins,
        training: ArrayLike,
        *,
        many: Collection[int],
        medium: Collection[int],
        named: NamedRanges = _NO_RANGES,
    ) -> ShotRegions:
        """Return regions by published lists of bins; bins in neither list are few-shot."""
        check_bins(bins)
        _check_named(named)
        for name, numbers_of_bins in (("many", many), ("medium", medium)):
            if not isinstance(numbers_of_bins, Collection) or isinstance(numbers_of_bins, str):
                raise TypeError(
                    f"{name} must be the numbers of bins, such as {{0, 1}}, got {numbers_of_bins!r}"
                )
        index = (0 if k in many else 1 if k in medium else 2 for k in range(len(bins)))
        names = tuple(SHOT_NAMES[k] for k in index)
        _reject_counts(bins, training)
        return cls(bins, bins.histogram(training), names, tuple(named.items()))

    def masks(self, labels: ArrayLike) -> dict[str, NDArray[np.bool_]]:
        """Return a mask of the labels ``(N,)`` for each region, the named ones last."""
        index = self.bins.digitize(labels)
        require_vector("labels", index.shape)
        shots, zero = np.asarray(self.names)[index], self.counts[index] == 0
        masks = [np.ones(len(index), dtype=bool), *(shots == name for name in SHOT_NAMES)]
        return {
            **dict(zip(REGION_NAMES, [*masks, zero, ~zero], strict=True)),
            **{name: label_range.contains(labels) for name, label_range in self.named},
        }

    def scores(
        self, preds: Tensor, target: Tensor, *, gmean_epsilon: float = 0.0
    ) -> dict[str, Scores]:
        """Return the scores of predictions ``(N,)`` for each region, in the order of ``masks``.

        Args:
            preds: predictions, as for :func:`ranksim.metrics.regression_scores`.
            target: labels ``(N,)``, which determine the region of each sample.
            gmean_epsilon: replaces errors of exactly zero in the geometric mean.
        """
        return {
            name: regression_scores(preds[mask], target[mask], gmean_epsilon=gmean_epsilon)
            for name, mask in self.masks(target.numpy()).items()
        }


def extend_regions(regions: ShotRegions, labels: ArrayLike) -> ShotRegions:
    """Extend shot regions by an empty few-shot bin on each side that labels ``(N,)`` exceed."""
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


def _reject_counts(bins: LabelBins, training: ArrayLike) -> None:
    """Raise a ValueError for counts of each bin where the training labels themselves belong.

    They are as many whole numbers as there are bins, most of them outside the bins.
    """
    values = label_array(training)
    if values.shape != (len(bins),) or not _are_counts(values).all():
        return
    is_outside = (values < bins.edges[0]) | (values > bins.edges[-1])
    if 2 * np.count_nonzero(is_outside) > len(values):
        raise ValueError(
            f"training must be the training labels, got {describe_value(training)}, which seem to "
            "be counts of the bins: pass the labels, or create ShotRegions(bins, counts, names)"
        )


def _are_counts(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which values ``(K,)`` are whole numbers of at least 0."""
    valid: NDArray[np.bool_] = np.isfinite(values) & (values >= 0) & (values == np.floor(values))
    return valid


def _check_named(named: object) -> None:
    valid = isinstance(named, Mapping) and all(isinstance(v, LabelRange) for v in named.values())
    if not valid:
        raise TypeError(
            f"named must be a dictionary from names to LabelRange, got "
            f"{describe_value(named)}: write "
            '{"low": LabelRange(None, 70)}'
        )
