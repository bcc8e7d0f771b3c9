"""How many training samples are near a label."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.polynomial.hermite_e import hermeval
from numpy.typing import ArrayLike, NDArray

from ranksim.imbalance._labels import label_vector
from ranksim.imbalance.bins import LabelBins

TERMS = 20  # the next term is below 1e-16 of the count
REACH = 9  # in bandwidths; beyond it a sample counts less than 3e-18
BLOCK = 32_768


class LabelDensity(Protocol):
    """The number of training samples near a label, possibly an effective (fractional) one."""

    def at(self, labels: ArrayLike) -> NDArray[np.float64]:
        """Count of each label, shape ``(N,)``."""
        ...


@dataclass(frozen=True, eq=False)
class BinnedDensity:
    """The count of the bin that a label falls into.

    Args:
        bins: K bins; labels outside them belong to the first or last.
        counts: shape ``(K,)``, not negative, not necessarily whole.

    Example:
        >>> density = BinnedDensity.of([20, 20, 22], LabelBins.integers(20, 22))
        >>> density.at([20, 21, 22, 90]).tolist()
        [2.0, 0.0, 1.0, 1.0]
    """

    bins: LabelBins
    counts: NDArray[np.float64]

    def __post_init__(self) -> None:
        counts = np.asarray(self.counts, dtype=np.float64)
        if counts.shape != (len(self.bins),):
            raise ValueError(f"counts must have shape ({len(self.bins)},), got {counts.shape}")
        if not (np.isfinite(counts) & (counts >= 0)).all():
            raise ValueError(f"counts must be finite and at least 0, got {counts}")
        object.__setattr__(self, "counts", counts)

    @classmethod
    def of(cls, labels: ArrayLike, bins: LabelBins) -> BinnedDensity:
        """Count training labels, shape ``(N,)``, at least one."""
        return cls(bins, bins.counts(label_vector(labels)).astype(np.float64))

    def at(self, labels: ArrayLike) -> NDArray[np.float64]:
        """Count of the bin of each label, shape ``(N,)``."""
        return self.counts[self.bins.index(label_vector(labels, allow_empty=True))]


@dataclass(frozen=True, eq=False)
class KernelDensity:
    """An effective count without bins: a sample at distance d counts exp(−d² / 2h²).

    Equation::

        n(y) = Σ_i exp(−(y − y_i)² / 2h²)

    Made by :meth:`of`. The sum is not run over all pairs: the samples of a box h wide, at s from
    its middle in units of h, are kept as the moments Σ sᵖ / p!, which give their sum at t by ::

        exp(−(t − s)² / 2) = exp(−t² / 2) Σ_p He_p(t) sᵖ / p!

    The result is that of the plain sum up to rounding.

    Args:
        bandwidth: h, in the unit of the label.
        origin: the lower edge of box 0.
        boxes: numbers of the boxes that hold a sample, ascending, shape ``(B,)``.
        moments: shape ``(TERMS, B)``.

    Example:
        >>> density = KernelDensity.of([20.0, 20.0, 23.0], bandwidth=1.0)
        >>> density.at([20.0, 21.5, 80.0]).round(3).tolist()
        [2.011, 0.974, 0.0]

    Source: Greengard, Strain, "The fast Gauss transform" (1991); bandwidth: Silverman, "Density
    Estimation" (1986), section 3.4.2.
    """

    bandwidth: float
    origin: float
    boxes: NDArray[np.float64]
    moments: NDArray[np.float64]

    @classmethod
    def of(cls, labels: ArrayLike, bandwidth: float | None = None) -> KernelDensity:
        """Fit to training labels.

        Args:
            labels: shape ``(N,)``, at least one.
            bandwidth: above 0, in the unit of the label. Without it Silverman's rule,
                0.9 · min(sd, IQR / 1.34) · N^(−1/5), where an IQR of 0 is left out.

        Raises:
            TypeError: labels are not numbers.
            ValueError: labels are empty or not finite, all equal with no bandwidth given, or the
                bandwidth is not above 0 or vanishes beside the range of the labels.
        """
        values = label_vector(labels)
        h = silverman_bandwidth(values) if bandwidth is None else bandwidth
        if not (isinstance(h, numbers.Real) and math.isfinite(h) and h > 0):
            raise ValueError(f"bandwidth must be a finite number above 0, got {h!r}")
        h, origin = float(h), float(np.median(values))  # boxes are exact where samples are many
        extent = float(values.max()) - float(values.min())
        if math.isinf(extent):
            raise ValueError("labels must span a finite range, got one beyond 1.8e308")
        if not extent / h < 2**40:  # boxes must stay whole numbers
            raise ValueError(
                f"bandwidth must be above {extent / 2**40:.3g} for labels that span {extent:.6g}, "
                f"got {h!r}"
            )
        place = (values - origin) / h
        box = np.floor(place)
        boxes, member = np.unique(box, return_inverse=True)
        offset = place - (box + 0.5)
        moments, power = np.empty((TERMS, len(boxes))), np.ones(len(values))
        for p in range(TERMS):
            moments[p] = np.bincount(member, weights=power, minlength=len(boxes))
            power = power * offset / (p + 1)
        return cls(h, origin, boxes, moments)

    def at(self, labels: ArrayLike) -> NDArray[np.float64]:
        """Effective count of each label, shape ``(N,)``."""
        values, where = np.unique(label_vector(labels, allow_empty=True), return_inverse=True)
        counts = np.zeros(len(values))
        for start in range(0, len(values), BLOCK):
            counts[start : start + BLOCK] = self._sum(values[start : start + BLOCK])
        return counts[where]

    def _sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(over="ignore"):
            place = (values - self.origin) / self.bandwidth
        # far outside all is zero; there, differences of huge numbers would not be exact
        place = np.clip(place, self.boxes[0] - 2 * REACH, self.boxes[-1] + 2 * REACH)
        home, total = np.floor(place), np.zeros(len(values))
        for step in range(-REACH, REACH + 1):
            box = home + step
            found = np.minimum(np.searchsorted(self.boxes, box), len(self.boxes) - 1)
            held = self.boxes[found] == box
            t = (place - (box + 0.5))[held]
            series = hermeval(t, self.moments[:, found[held]], tensor=False)
            total[held] += np.exp(-0.5 * t**2) * series
        return total


def silverman_bandwidth(labels: ArrayLike) -> float:
    """0.9 · min(sd, IQR / 1.34) · N^(−1/5) of labels ``(N,)`` that are not all equal.

    Where half of the labels are equal the IQR is 0 and sd alone is used.

    Example:
        >>> round(silverman_bandwidth([1.0, 2.0, 3.0, 4.0]), 3)
        0.764
    """
    values = label_vector(labels)
    if values.min() == values.max():
        raise ValueError(
            f"labels must differ for a default bandwidth, all are {float(values[0])!r}: "
            "give bandwidth=, in the unit of the label"
        )
    # of two, so that no other label changes by it; squares of huge ones would overflow
    unit = 2.0 ** (math.frexp(float(np.abs(values).max()))[1] - 1)
    values = values / unit
    lower, upper = np.quantile(values, [0.25, 0.75])
    spread = float(values.std(ddof=1))
    if upper > lower:
        spread = min(spread, float(upper - lower) / 1.34)
    return 0.9 * spread / math.pow(len(values), 0.2) * unit
