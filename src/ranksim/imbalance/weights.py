"""Sample weights from the label density: INV, SQINV, both with LDS, and DenseWeight."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ranksim._utils.checks import check_choice, describe_value
from ranksim.imbalance.bins import LabelBins, label_vector
from ranksim.imbalance.density import BinnedDensity, KernelDensity, LabelDensity
from ranksim.imbalance.smoothing import LDS, smooth

Scheme = Literal["none", "inverse", "sqrt_inverse", "denseweight"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
_MIN_WEIGHT = 1e-6  # of DenseWeight, before the mean is 1


@dataclass(frozen=True, eq=False)
class DensityWeights:
    """Weights that are larger for labels with fewer training samples nearby.

    Built by :meth:`fit` from the training labels, then called with any labels::

        weight(y) = c / x(y),   c such that the mean over the training samples is 1

        inverse (INV)           x = clip(n)
        sqrt_inverse (SQINV)    x = √clip(n)
        with LDS                x convolved over the bins with the kernel, zero boundary
        denseweight             x = 1 / max(1 − α p(y), 1e-6)

    n(y) is the training count of the label's bin or, without bins, the effective count of a
    :class:`KernelDensity`. The clip comes before the root and before LDS, so with a clip of
    (5, 1000) an empty bin counts 5. p(y) is the kernel density, scaled to 0 at its smallest and 1
    at its largest value over the training labels; beyond the smallest value p is 0.

    Weights are finite: where x is 0, far from all training samples, the weight is the largest one
    of a training sample. Without bins this bound applies everywhere.

    Args:
        scheme: as passed to :meth:`fit`.
        density: x; None if all weights are 1.
        scale: c.

    Example:
        >>> weights = DensityWeights.fit([20, 20, 20, 21], bins=LabelBins.integers(0, 120))
        >>> weights([20, 21, 70]).tolist()
        [0.6666666666666666, 2.0, 2.0]

    References:
        Yang et al., "Delving into Deep Imbalanced Regression" (ICML 2021), sections 3.1 and 4;
        DenseWeight: Steininger et al., "Density-based weighting for imbalanced regression",
        Machine Learning 110 (2021).
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
        alpha: float = 1.0,
    ) -> DensityWeights:
        """Fit to the training labels.

        Args:
            labels: real numbers, shape ``(N,)``, at least one.
            bins: bins to count in; None for a kernel density.
            scheme: ``"inverse"``, ``"sqrt_inverse"``, ``"denseweight"``, which takes neither bins
                nor a clip nor LDS, or ``"none"`` for weights of 1.
            clip: smallest and largest count, published for ages: (5, 1000) with ``"inverse"``; the
                largest may be infinite.
            lds: smooths the counts; needs bins and a scheme other than ``"none"``.
            bandwidth: of the kernel density, in the unit of the label; None for Silverman's rule.
            alpha: α of ``"denseweight"``, at least 0: 0 gives weights of 1.

        Raises:
            TypeError: the labels are not numbers, or ``bins`` or ``lds`` has another type.
            ValueError: the labels are empty or not finite, an argument is outside its range, or
                arguments contradict each other.
        """
        _check_arguments(bins, scheme, clip, lds, bandwidth)
        _check_alpha(alpha, scheme)
        values = label_vector(labels)
        if scheme == "none":
            return cls(scheme)
        density: LabelDensity
        if scheme == "denseweight":
            density = _DenseDensity.from_labels(values, bandwidth, alpha)
        elif bins is None:
            kernel = KernelDensity.from_labels(values, bandwidth)
            minimum = float(_transform_counts(kernel.evaluate(values), scheme, clip).min())
            density = _BoundedDensity(kernel, scheme, clip, minimum)
        else:
            counts = BinnedDensity.from_labels(values, bins).counts
            table = _transform_counts(counts, scheme, clip)
            if lds is not None:
                table = smooth(table, lds.window, "zero")
            minimum = float(table[bins.digitize(values)].min())
            density = BinnedDensity(bins, np.where(table > 0, table, minimum))
        return cls(scheme, density, float(1 / np.mean(1 / density.evaluate(values))))

    def __call__(self, labels: ArrayLike) -> NDArray[np.float64]:
        """Return the weight of each label ``(N,)``; they need not be training labels."""
        values = label_vector(labels, allow_empty=True)
        if self.density is None:
            return np.ones(len(values))
        return self.scale / self.density.evaluate(values)


def density_weights(
    labels: ArrayLike,
    *,
    bins: LabelBins | None = None,
    scheme: Scheme = "inverse",
    clip: tuple[float, float] | None = None,
    lds: LDS | None = None,
    bandwidth: float | None = None,
    alpha: float = 1.0,
) -> NDArray[np.float64]:
    """Return weights of the training labels themselves, shape ``(N,)``, with mean 1.

    They can be passed as ``sample_weight`` to scikit-learn, XGBoost and others. Arguments and
    errors are those of :meth:`DensityWeights.fit`.

    Example:
        >>> density_weights([0, 0, 0, 0, 1], bins=LabelBins.integers(0, 1)).tolist()
        [0.625, 0.625, 0.625, 0.625, 2.5]
    """
    return DensityWeights.fit(
        labels, bins=bins, scheme=scheme, clip=clip, lds=lds, bandwidth=bandwidth, alpha=alpha
    )(labels)


@dataclass(frozen=True, eq=False)
class _BoundedDensity:
    """A density whose counts are clipped or square-rooted and bounded from below."""

    density: LabelDensity
    scheme: Scheme
    clip: tuple[float, float] | None
    minimum: float

    def evaluate(self, labels: ArrayLike) -> NDArray[np.float64]:
        counts = _transform_counts(self.density.evaluate(labels), self.scheme, self.clip)
        return np.maximum(counts, self.minimum)


@dataclass(frozen=True, eq=False)
class _DenseDensity:
    """The inverse of DenseWeight's weights before their mean is 1."""

    kernel: KernelDensity
    low: float  # smallest and largest density of a training label
    high: float
    alpha: float

    @classmethod
    def from_labels(
        cls, values: NDArray[np.float64], bandwidth: float | None, alpha: float
    ) -> _DenseDensity:
        kernel = KernelDensity.from_labels(values, bandwidth)
        density = kernel.evaluate(values)
        return cls(kernel, float(density.min()), float(density.max()), alpha)

    def evaluate(self, labels: ArrayLike) -> NDArray[np.float64]:
        density = self.kernel.evaluate(labels) - self.low
        extent = self.high - self.low
        scaled = density.clip(0, extent) / extent if extent > 0 else np.zeros(len(density))
        return 1 / np.maximum(1 - self.alpha * scaled, _MIN_WEIGHT)


def _transform_counts(
    counts: NDArray[np.float64], scheme: Scheme, clip: tuple[float, float] | None
) -> NDArray[np.float64]:
    """Clip the counts, and take their square root for SQINV."""
    if clip is not None:
        counts = np.clip(counts, *clip)
    return np.sqrt(counts) if scheme == "sqrt_inverse" else counts


def _check_arguments(
    bins: object, scheme: object, clip: object, lds: object, bandwidth: float | None
) -> None:
    if bins is not None and not isinstance(bins, LabelBins):
        raise TypeError(
            f"bins must be LabelBins or None, got {describe_value(bins)}: create them with "
            "LabelBins.uniform, LabelBins.from_width or LabelBins.from_count"
        )
    if lds is not None and not isinstance(lds, LDS):
        raise TypeError(f"lds must be an LDS or None, got {describe_value(lds)}: pass LDS()")
    check_choice("scheme", scheme, SCHEMES)
    if clip is not None and not _is_clip(clip):
        raise ValueError(
            f"clip must be (low, high) with 0 <= low <= high and high above 0, got "
            f"{describe_value(clip)}"
        )
    if lds is not None and scheme == "none":
        raise ValueError("LDS needs scheme inverse or sqrt_inverse, got 'none'")
    if lds is not None and bins is None:
        raise ValueError("LDS smooths counts of bins: pass bins=, or drop lds= for kernel density")
    if scheme == "denseweight" and (bins is not None or clip is not None or lds is not None):
        raise ValueError("scheme denseweight takes no bins, clip or lds: it uses a kernel density")
    if bins is not None and bandwidth is not None:
        raise ValueError(f"bandwidth applies without bins only, got {bandwidth!r} and bins")


def _check_alpha(alpha: object, scheme: object) -> None:
    if not isinstance(alpha, numbers.Real) or not 0 <= float(alpha) < float("inf"):
        raise ValueError(f"alpha must be a number of at least 0, got {describe_value(alpha)}")
    if alpha != 1 and scheme != "denseweight":
        raise ValueError(f"alpha applies to scheme denseweight only, got {scheme!r}")


def _is_clip(clip: Any) -> bool:
    try:
        low, high = clip
        return bool(0 <= low <= high and high > 0 and low < float("inf"))
    except (TypeError, ValueError):
        return False
