"""Bins along the label axis, label ranges, and validation of labels."""

from __future__ import annotations

import math
import numbers
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ranksim._utils.checks import describe_value, reject_masked

MAX_BINS = 10_000_000  # more bins indicate a wrong unit, and would exhaust memory
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_CLOSED = re.compile(rf"({_NUMBER})\s*(?:\.\.|-)\s*({_NUMBER})")
_OPEN = re.compile(rf"(<=|>=|<|>)\s*({_NUMBER})")


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
        edges = to_real_array(self.edges, "edges")
        with np.errstate(over="ignore"):
            edges = np.array(edges, dtype=np.float32)
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
        if not all(isinstance(end, numbers.Real) for end in (low, high)):
            ends = f"{describe_value(low)} and {describe_value(high)}"
            raise TypeError(f"low and high must be numbers, got {ends}")
        if not isinstance(count, numbers.Integral):
            raise TypeError(f"count must be a whole number of bins, got {describe_value(count)}")
        if not (count >= 1 and low < high):
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
            ends = f"{describe_value(low)} and {describe_value(high)}"
            raise ValueError(f"need integers low <= high, got {ends}")
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
            raise ValueError(f"width must be a finite number above 0, got {describe_value(width)}")
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
        """Return the number of labels ``(N,)`` in each bin, shape ``(K,)``."""
        index = self.digitize(labels)
        require_vector("labels", index.shape)
        return np.bincount(index, minlength=len(self)).astype(np.int64)


def check_bins(bins: object) -> None:
    """Raise a TypeError unless the argument is LabelBins."""
    if not isinstance(bins, LabelBins):
        raise TypeError(
            f"bins must be LabelBins, got {describe_value(bins)}: create them with "
            "LabelBins.uniform(low, high, count), LabelBins.from_width(labels, width) or "
            "LabelBins(edges)"
        )


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
        raise ValueError(
            f"at most {MAX_BINS:,} bins are allowed, got {count:,.0f}: use fewer or wider bins"
        )


def label_vector(
    labels: ArrayLike, *, allow_empty: bool = False, name: str = "labels"
) -> NDArray[np.float64]:
    """Convert labels to float64 of shape ``(N,)``; raise an error unless all are finite.

    ``name`` is that of the argument in messages.
    """
    values = to_real_array(labels, name).astype(np.float64)
    require_vector(name, values.shape)
    if len(values) == 0 and not allow_empty:
        raise ValueError(f"{name} must contain at least one label, got none")
    if not np.isfinite(values).all():
        nan, infinite = np.isnan(values).sum(), np.isinf(values).sum()
        raise ValueError(f"{name} must be finite, got {nan} NaN and {infinite} infinite")
    return values


def require_vector(name: str, shape: tuple[int, ...]) -> None:
    """Raise a ValueError unless an argument has one dimension."""
    if len(shape) != 1:
        is_column = len(shape) == 2 and 1 in shape
        remedy = f": pass {name}.reshape(-1)" if is_column else ""
        raise ValueError(f"{name} must have shape (N,), got {shape}{remedy}")


def label_array(labels: ArrayLike) -> NDArray[Any]:
    """Convert labels of any shape to an array; raise an error if they are not real numbers."""
    return to_real_array(labels, "labels")


def to_real_array(values: Any, name: str) -> NDArray[Any]:
    """Convert a list, array or CPU tensor to an array; raise an error if not of numbers."""
    reject_masked(name, values)
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"{name} must be real numbers in a list, an array, or a tensor on the CPU without "
            f"gradients, got {describe_value(values)}"
        ) from error
    if array.dtype.kind not in "biuf":
        kind = {"O": "objects", "U": "text", "S": "text", "M": "dates"}.get(array.dtype.kind)
        raise TypeError(f"{name} must be real numbers, got {kind or array.dtype}")
    return array


@dataclass(frozen=True)
class LabelRange:
    """Labels from ``low`` to ``high``, both included; one end may be open.

    Labels are compared in float32, as in :class:`LabelBins`.

    Example:
        >>> hypoglycaemia = LabelRange(None, 70, strict=True)
        >>> hypoglycaemia.text, hypoglycaemia.contains([69.5, 70.0]).tolist()
        ('<70', [True, False])
    """

    low: float | None  # in the unit of the label; None: no lower end
    high: float | None
    strict: bool = False  # excludes the only end: ``<70`` instead of ``<=70``

    def __post_init__(self) -> None:
        ends = [end for end in (self.low, self.high) if end is not None]
        if not all(isinstance(end, numbers.Real) for end in ends):
            both = f"{describe_value(self.low)} and {describe_value(self.high)}"
            raise TypeError(f"the ends of a range must be numbers or None, got {both}")
        if not isinstance(self.strict, bool | np.bool_):
            raise TypeError(f"strict must be True or False, got {describe_value(self.strict)}")
        if not ends or not all(map(math.isfinite, ends)):
            raise ValueError(f"a range needs finite ends, got {self.low!r} and {self.high!r}")
        if len(ends) == 2 and (ends[0] > ends[1] or self.strict):
            raise ValueError(
                f"a range with two ends needs low <= high and includes both, got {self.low!r} and "
                f"{self.high!r}" + (", strict" if self.strict else "")
            )

    @property
    def text(self) -> str:
        """The range as text that :func:`parse_ranges` parses back."""
        if self.low is not None and self.high is not None:
            return f"{_format(self.low)}-{_format(self.high)}"
        sign, end = ("<", self.high) if self.low is None else (">", self.low)
        assert end is not None
        return f"{sign}{'' if self.strict else '='}{_format(end)}"

    def contains(self, labels: ArrayLike) -> NDArray[np.bool_]:
        """Return a mask of the labels, of any shape, that lie in the range; NaN does not."""
        with np.errstate(over="ignore"):  # a label beyond float32 is beyond every end
            values = label_array(labels).astype(np.float32)
            low, high = (None if end is None else np.float32(end) for end in (self.low, self.high))
        inside = ~np.isnan(values)
        if low is not None:
            inside &= values > low if self.strict else values >= low
        if high is not None:
            inside &= values < high if self.strict else values <= high
        return inside


def parse_ranges(text: str) -> tuple[LabelRange, ...]:
    """Parse ranges separated by commas: ``30-40`` or ``30..40`` (ends included), ``>80``, ``<=-2``.

    A ``ValueError`` names a part that is not a range, or whose ends are in the wrong order.
    """
    return tuple(map(_parse, text.split(",")))


def parse_named_range(text: str) -> tuple[str, LabelRange]:
    """Parse ``NAME=RANGE``, as in ``hypoglycaemia=<70``, to the name and the range."""
    name, _, part = text.partition("=")
    if not (name.strip() and part.strip()):
        raise ValueError(f"{text!r} is not a named range: write NAME=RANGE, as in rare=>80")
    return name.strip(), _parse(part)


def _parse(text: str) -> LabelRange:
    part = text.strip()
    if match := _OPEN.fullmatch(part):
        low, high = (None, float(match[2])) if match[1][0] == "<" else (float(match[2]), None)
        return LabelRange(low, high, strict="=" not in match[1])
    if match := _CLOSED.fullmatch(part):
        return LabelRange(float(match[1]), float(match[2]))
    raise ValueError(
        f"{part!r} is not a label range: write ranges as 30-40, >80, >=80, <-2 or <=-2, separated "
        "by commas"
    )


def _format(end: float) -> str:
    """Return the shortest text of a number; integers without a decimal point."""
    return str(int(end)) if float(end).is_integer() and abs(end) < 1e16 else repr(float(end))
