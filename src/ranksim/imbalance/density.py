"""Density of training labels: counts per bin, or a kernel density."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.polynomial.hermite_e import hermeval
from numpy.typing import ArrayLike, NDArray

from ranksim._utils.checks import describe_value
from ranksim.imbalance.bins import LabelBins, check_bins, label_vector, to_real_array

TERMS = 20  # the next term is below 1e-16 of the count
REACH = 9  # in bandwidths; a sample farther away counts less than 3e-18
BLOCK = 32_768


class LabelDensity(Protocol):
    """Number of training samples near a label, possibly effective (fractional)."""

    def evaluate(self, labels: ArrayLike) -> NDArray[np.float64]:
        """Return the count at each label, shape ``(N,)``."""
        ...


@dataclass(frozen=True, eq=False)
class BinnedDensity:
    """Training count of the bin that contains the label.

    Example:
        >>> density = BinnedDensity.from_labels([20, 20, 22], LabelBins.integers(20, 22))
        >>> density.evaluate([20, 21, 22, 90]).tolist()
        [2.0, 0.0, 1.0, 1.0]
    """

    bins: LabelBins  # K bins; labels outside belong to the first or last one
    counts: NDArray[np.float64]  # (K,), at least 0, not necessarily integers

    def __post_init__(self) -> None:
        check_bins(self.bins)
        counts = to_real_array(self.counts, "counts").astype(np.float64)
        if counts.shape != (len(self.bins),):
            raise ValueError(f"counts must have shape ({len(self.bins)},), got {counts.shape}")
        if not (np.isfinite(counts) & (counts >= 0)).all():
            raise ValueError(f"counts must be finite and at least 0, got {counts}")
        object.__setattr__(self, "counts", counts)

    @classmethod
    def from_labels(cls, labels: ArrayLike, bins: LabelBins) -> BinnedDensity:
        """Count at least one training label ``(N,)`` per bin."""
        check_bins(bins)
        return cls(bins, bins.histogram(label_vector(labels)).astype(np.float64))

    def evaluate(self, labels: ArrayLike) -> NDArray[np.float64]:
        """Return the count of the bin of each label, shape ``(N,)``."""
        return self.counts[self.bins.digitize(label_vector(labels, allow_empty=True))]


@dataclass(frozen=True, eq=False)
class KernelDensity:
    """Effective count without bins; a sample at distance d counts exp(−d² / 2h²).

    ::

        n(y) = Σ_i exp(−(y − y_i)² / 2h²)

    Built by :meth:`from_labels`. The sum over all pairs is avoided: samples are grouped into boxes
    of width h. With s the offset of a sample from its box center in units of h, each box stores the
    moments Σ sᵖ / p!, which give its sum at offset t, up to rounding, by ::

        exp(−(t − s)² / 2) = exp(−t² / 2) Σ_p He_p(t) sᵖ / p!

    Example:
        >>> density = KernelDensity.from_labels([20.0, 20.0, 23.0], bandwidth=1.0)
        >>> density.evaluate([20.0, 21.5, 80.0]).round(3).tolist()
        [2.011, 0.974, 0.0]

    References:
        Greengard, Strain, "The fast Gauss transform" (1991); bandwidth: Silverman, "Density
        Estimation" (1986), section 3.4.2.
    """

    bandwidth: float  # h, in the unit of the label
    origin: float  # lower edge of box 0
    boxes: NDArray[np.float64]  # indices of nonempty boxes, ascending, (B,)
    moments: NDArray[np.float64]  # (TERMS, B)

    @classmethod
    def from_labels(cls, labels: ArrayLike, bandwidth: float | None = None) -> KernelDensity:
        """Fit the density to at least one training label ``(N,)``.

        The bandwidth is above 0, in the unit of the label, and not negligible beside their range;
        None for :func:`silverman_bandwidth`.
        """
        values = label_vector(labels)
        h = silverman_bandwidth(values) if bandwidth is None else bandwidth
        if not (isinstance(h, numbers.Real) and math.isfinite(h) and h > 0):
            raise ValueError(f"bandwidth must be a finite number above 0, got {describe_value(h)}")
        h, origin = float(h), float(np.median(values))  # precise where most samples are
        extent = float(values.max()) - float(values.min())
        if math.isinf(extent):
            raise ValueError("labels must span a finite range, got a range beyond 1.8e308")
        if not extent / h < 2**40:  # box indices must be exact integers
            raise ValueError(
                f"bandwidth must be above {extent / 2**40:.3g} for labels that span {extent:.6g}, "
                f"got {h!r}"
            )
        position = (values - origin) / h
        box = np.floor(position)
        boxes, member = np.unique(box, return_inverse=True)
        offset = position - (box + 0.5)
        moments, power = np.empty((TERMS, len(boxes))), np.ones(len(values))
        for p in range(TERMS):
            moments[p] = np.bincount(member, weights=power, minlength=len(boxes))
            power = power * offset / (p + 1)
        return cls(h, origin, boxes, moments)

    def evaluate(self, labels: ArrayLike) -> NDArray[np.float64]:
        """Return the effective count at each label, shape ``(N,)``."""
        values, inverse = np.unique(label_vector(labels, allow_empty=True), return_inverse=True)
        blocks = np.split(values, range(BLOCK, len(values), BLOCK))
        return np.concatenate([self._sum_boxes(block) for block in blocks])[inverse]

    def _sum_boxes(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum the expansions of all boxes within reach of each value."""
        with np.errstate(over="ignore"):
            position = (values - self.origin) / self.bandwidth
        # the sum is zero far outside, where differences of huge numbers would be inexact
        position = np.clip(position, self.boxes[0] - 2 * REACH, self.boxes[-1] + 2 * REACH)
        center, total = np.floor(position), np.zeros(len(values))
        for step in range(-REACH, REACH + 1):
            box = center + step
            index = np.minimum(np.searchsorted(self.boxes, box), len(self.boxes) - 1)
            occupied = self.boxes[index] == box
            t = (position - (box + 0.5))[occupied]
            series = hermeval(t, self.moments[:, index[occupied]], tensor=False)
            total[occupied] += np.exp(-0.5 * t**2) * series
        return total


def silverman_bandwidth(labels: ArrayLike) -> float:
    """Return Silverman's bandwidth 0.9 · min(sd, IQR / 1.34) · N^(−1/5) of labels ``(N,)``.

    If the IQR is 0, because half of the labels are equal, the standard deviation alone is used; if
    all are equal, a ``ValueError`` is raised.

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
    # scaling by a power of two is exact, and keeps squares of huge labels finite
    unit = 2.0 ** (math.frexp(float(np.abs(values).max()))[1] - 1)
    values = values / unit
    lower, upper = np.quantile(values, [0.25, 0.75])
    spread = float(values.std(ddof=1))
    if upper > lower:
        spread = min(spread, float(upper - lower) / 1.34)
    return 0.9 * spread / math.pow(len(values), 0.2) * unit
