"""Bins along the label axis."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ranksim.imbalance._labels import label_array, label_vector

MAX_BINS = 10_000_000  # more bins indicate a wrong unit, and would exhaust memory


@dataclass(frozen=True, eq=False)
class LabelBins:
    """Half-open bins [edge k, edge k+1) compared in float32; the last bin includes its upper edge.

    float32 is the field's precision: with float64 edges, 1,587 of the 6,249 training and validation
    labels of STS-B-DIR would fall into another bin. Bins with equal edges compare and hash equal.

    Args:
        edges: ascending, shape ``(K + 1,)``, in the unit of the label; stored as a read-only copy.

    Raises:
        ValueError: the edges are not at least two ascending finite numbers.

    Example:
        >>> bins = LabelBins.uniform(0.0, 5.0, 50)
        >>> bins.digitize([0.0, 0.1, 0.25, 5.0]).tolist()
        [0, 1, 2, 49]
        >>> bins.histogram([0.0, 0.05, 5.0]).sum()
        np.int64(3)
    """

    edges: NDArray[np.float32]

    def __post_init__(self) -> None:
        with np.errstate(over="ignore"):
            edges = np.array(self.edges, dtype=np.float32)
        finite = edges.ndim == 1 and len(edges) > 1 and np.isfinite(edges).all()
        if not finite or not (edges[1:] > edges[:-1]).all():
            raise ValueError(
                f"edges must be at least two numbers, ascending in float32, got {self.edges!r}"
            )
        edges.flags.writeable = False  # keeps the hash constant
        object.__setattr__(self, "edges", edges)

    @classmethod
    def uniform(cls, low: float, high: float, count: int) -> LabelBins:
        """Return ``count`` bins of equal width from ``low`` to ``high``."""
        if not (isinstance(count, numbers.Integral) and count >= 1 and low < high):
            raise ValueError(f"need low < high and count >= 1, got {low!r}, {high!r}, {count!r}")
        _check_float32_range(low, high)
        _check_count(count)
        return cls(np.linspace(low, high, int(count) + 1))

    @classmethod
    def integers(cls, low: int, high: int) -> LabelBins:
        """Return one bin per integer from ``low`` to ``high``, both included.

        Example:
            >>> ages = LabelBins.integers(0, 120)
            >>> len(ages), ages.digitize([0, 33, 120]).tolist()
            (121, [0, 33, 120])
        """
        whole_numbers = all(isinstance(end, numbers.Integral) for end in (low, high))
        if not (whole_numbers and low <= high):
            raise ValueError(f"need integers low <= high, got {low!r} and {high!r}")
        first, last = int(low), int(high)
        _check_float32_range(first, last)
        _check_count(last - first + 1)
        return cls(np.arange(first, last + 2, dtype=np.float64).astype(np.float32))

    @classmethod
    def from_width(cls, labels: ArrayLike, width: float) -> LabelBins:
        """Return bins of this width that cover ``labels``; their edges are multiples of it.

        The largest label lies below the last edge, so integer labels and width 1 give one bin per
        integer.

        Args:
            labels: training labels, shape ``(N,)``, at least one.
            width: above 0, in the unit of the label.

        Raises:
            TypeError: the labels are not numbers.
            ValueError: the labels are empty or not finite, or the width is not above 0, needs more
                than 10,000,000 bins, or is too small for float32.

        Example:
            >>> LabelBins.from_width([20, 22, 21], 1).edges.tolist()
            [20.0, 21.0, 22.0, 23.0]
            >>> LabelBins.from_width([-0.2, 0.7], 0.5).edges.tolist()
            [-0.5, 0.0, 0.5, 1.0]
        """
        if not (isinstance(width, numbers.Real) and math.isfinite(width) and width > 0):
            raise ValueError(f"width must be a finite number above 0, got {width!r}")
        (low, high), step = _label_range(labels), float(width)
        _check_count((high - low) / step)
        if max(abs(low), abs(high)) / step > 2**24:
            raise ValueError(
                f"width must be large enough for float32 to distinguish labels of {low!r} to "
                f"{high!r}, got {width!r}"
            )
        first, last = _bin_of_multiples(low, step), _bin_of_multiples(high, step)
        _check_count(last - first + 1)
        return cls(np.arange(first, last + 2) * step)

    @classmethod
    def from_count(cls, labels: ArrayLike, count: int) -> LabelBins:
        """Return ``count`` bins of equal width from the smallest to the largest label ``(N,)``.

        Example:
            >>> LabelBins.from_count([1.0, 9.0, 4.0], 4).edges.tolist()
            [1.0, 3.0, 5.0, 7.0, 9.0]
        """
        low, high = _label_range(labels)
        if low == high:
            raise ValueError(f"labels must differ to span {count!r} bins, all are {low!r}")
        return cls.uniform(low, high, count)

    def __len__(self) -> int:
        return len(self.edges) - 1

    # the methods that dataclass generates do not support arrays
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LabelBins):
            return NotImplemented
        return np.array_equal(self.edges, other.edges)

    def __hash__(self) -> int:
        return hash(tuple(self.edges.tolist()))

    def digitize(self, labels: ArrayLike) -> NDArray[np.int64]:
        """Return the bin index of each label; labels outside go to the first or last bin."""
        with np.errstate(over="ignore"):  # a label beyond float32 is outside the edges
            values = label_array(labels).astype(np.float32)
        if np.isnan(values).any():
            raise ValueError(f"labels must not be NaN, got {np.isnan(values).sum()} NaN")
        index = np.searchsorted(self.edges, values, side="right") - 1
        return np.clip(index, 0, len(self) - 1).astype(np.int64)

    def histogram(self, labels: ArrayLike) -> NDArray[np.int64]:
        """Return the number of labels in each bin, shape ``(K,)``."""
        return np.bincount(self.digitize(labels), minlength=len(self)).astype(np.int64)


def _label_range(labels: ArrayLike) -> tuple[float, float]:
    """Return the smallest and the largest label."""
    values = label_vector(labels)
    low, high = float(values.min()), float(values.max())
    _check_float32_range(low, high)
    return low, high


def _bin_of_multiples(label: float, width: float) -> int:
    """Return k so that [k · width, (k + 1) · width) contains the label in float32."""
    k = math.floor(label / width)
    # 0.3 / 0.1 is below 3
    return k + 1 if np.float32((k + 1) * width) <= np.float32(label) else k


def _check_float32_range(low: float, high: float) -> None:
    limit = float(np.finfo(np.float32).max) / 2
    if not (abs(low) < limit and abs(high) < limit):
        raise ValueError(f"labels must be finite in float32, got {low!r} to {high!r}")


def _check_count(count: float) -> None:
    if count > MAX_BINS:
        raise ValueError(f"need at most {MAX_BINS:,} bins, got {count:,.0f}")
