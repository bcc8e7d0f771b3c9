"""Sample weights from the density of labels: INV, SQINV, and both with LDS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ranksim.imbalance._labels import label_vector
from ranksim.imbalance.bins import LabelBins
from ranksim.imbalance.density import BinnedDensity, KernelDensity, LabelDensity
from ranksim.imbalance.lds import LDS
from ranksim.imbalance.smoothing import smooth

Scheme = Literal["none", "inverse", "sqrt_inverse"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)


@dataclass(frozen=True, eq=False)
class DensityWeights:
    """Weights of labels, the larger the fewer training samples are near.

    Made by :meth:`fit` on the training labels, then callable on any labels::

        weight(y) = c / x(y),   c such that the mean over the training samples is 1

        inverse (INV)           x = clip(n)
        sqrt_inverse (SQINV)    x = √clip(n)
        with LDS                x convolved over the bins with the kernel, zero boundary

    n(y) is the training count of the label's bin, or without bins the effective count of a
    :class:`KernelDensity`. The clip comes before the root and before LDS, so with a clip of
    (5, 1000) an empty bin inside the table counts 5.

    No weight is infinite: where x = 0, far from every training sample, the weight is the largest
    of a training sample. Without bins that is the bound everywhere, for x fades and never ends.

    Args:
        scheme: as given to :meth:`fit`.
        density: x, None where all weights are 1.
        scale: c.

    Example:
        >>> weights = DensityWeights.fit([20, 20, 20, 21], bins=LabelBins.integers(0, 120))
        >>> weights([20, 21, 70]).tolist()
        [0.6666666666666666, 2.0, 2.0]

    Source: Yang et al., "Delving into Deep Imbalanced Regression" (ICML 2021), sections 3.1
    and 4.
    """

    scheme: Scheme
    density: LabelDensity | None = None
    scale: float = 1.0

    @classmethod
    def fit(
        cls,
        labels: ArrayLike,
        *,
        bins: LabelBins | None = None,
        scheme: Scheme = "inverse",
        clip: tuple[float, float] | None = None,
        lds: LDS | None = None,
        bandwidth: float | None = None,
    ) -> DensityWeights:
        """Fit to the training labels.

        Args:
            labels: shape ``(N,)``, at least one, whole or real.
            bins: what is counted; None for a kernel density.
            scheme: ``"inverse"``, ``"sqrt_inverse"``, or ``"none"`` for weights of 1.
            clip: smallest and largest count, ages (5, 1000) with ``"inverse"``; the largest may be
                infinite.
            lds: smooths the counts; it needs bins and a scheme that weights.
            bandwidth: of the kernel density, in the unit of the label; None for Silverman's rule.

        Raises:
            TypeError: labels are not numbers, or bins or lds are of another type.
            ValueError: labels are empty or not finite, an argument is outside its range, or two
                do not go together.
        """
        _check(bins, scheme, clip, lds, bandwidth)
        values = label_vector(labels)
        if scheme == "none":
            return cls(scheme)
        density: LabelDensity
        if bins is None:
            near = KernelDensity.of(values, bandwidth)
            least = float(_tempered(near.at(values), scheme, clip).min())
            density = _Tempered(near, scheme, clip, least)
        else:
            table = _tempered(BinnedDensity.of(values, bins).counts, scheme, clip)
            if lds is not None:
                table = smooth(table, lds.window, "zero")
            least = float(table[bins.index(values)].min())
            density = BinnedDensity(bins, np.where(table > 0, table, least))
        return cls(scheme, density, float(1 / np.mean(1 / density.at(values))))

    def __call__(self, labels: ArrayLike) -> NDArray[np.float64]:
        """Weight of each label, shape ``(N,)``; the labels need not be training labels."""
        values = label_vector(labels, allow_empty=True)
        if self.density is None:
            return np.ones(len(values))
        return self.scale / self.density.at(values)


def density_weights(
    labels: ArrayLike,
    *,
    bins: LabelBins | None = None,
    scheme: Scheme = "inverse",
    clip: tuple[float, float] | None = None,
    lds: LDS | None = None,
    bandwidth: float | None = None,
) -> NDArray[np.float64]:
    """Weights of the training labels themselves, shape ``(N,)``, their mean 1.

    Arguments and errors are those of :meth:`DensityWeights.fit`. The result is what scikit-learn,
    XGBoost and others take as ``sample_weight``.

    Example:
        >>> density_weights([0, 0, 0, 0, 1], bins=LabelBins.integers(0, 1)).tolist()
        [0.625, 0.625, 0.625, 0.625, 2.5]
    """
    return DensityWeights.fit(
        labels, bins=bins, scheme=scheme, clip=clip, lds=lds, bandwidth=bandwidth
    )(labels)


@dataclass(frozen=True, eq=False)
class _Tempered:
    """A density after clip and root, and at least ``least``."""

    density: LabelDensity
    scheme: Scheme
    clip: tuple[float, float] | None
    least: float

    def at(self, labels: ArrayLike) -> NDArray[np.float64]:
        return np.maximum(_tempered(self.density.at(labels), self.scheme, self.clip), self.least)


def _tempered(
    counts: NDArray[np.float64], scheme: Scheme, clip: tuple[float, float] | None
) -> NDArray[np.float64]:
    if clip is not None:
        counts = np.clip(counts, *clip)
    return np.sqrt(counts) if scheme == "sqrt_inverse" else counts


def _check(
    bins: object, scheme: object, clip: object, lds: object, bandwidth: float | None
) -> None:
    if bins is not None and not isinstance(bins, LabelBins):
        raise TypeError(f"bins must be LabelBins or None, got {type(bins).__name__}")
    if lds is not None and not isinstance(lds, LDS):
        raise TypeError(f"lds must be an LDS or None, got {type(lds).__name__}")
    if scheme not in SCHEMES:
        raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}, got {scheme!r}")
    if clip is not None and not _is_clip(clip):
        raise ValueError(
            f"clip must be (low, high) with 0 <= low <= high and high above 0, got {clip!r}"
        )
    if lds is not None and scheme == "none":
        raise ValueError("LDS re-weights: scheme must be inverse or sqrt_inverse, got 'none'")
    if lds is not None and bins is None:
        raise ValueError("LDS smooths the counts of bins: give bins; a kernel density is smooth")
    if bins is not None and bandwidth is not None:
        raise ValueError(f"bandwidth is for weights without bins, got {bandwidth!r} and bins")


def _is_clip(clip: object) -> bool:
    if not isinstance(clip, tuple | list) or len(clip) != 2:
        return False
    low, high = clip
    try:
        return bool(0 <= low <= high and high > 0 and low < float("inf"))
    except TypeError:
        return False
