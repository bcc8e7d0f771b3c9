"""Label ranges and their text form: ``30-40``, ``>80``, ``<=-2``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ranksim.imbalance._labels import label_array

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_CLOSED = re.compile(rf"({_NUMBER})\s*(?:\.\.|-)\s*({_NUMBER})")
_OPEN = re.compile(rf"(<=|>=|<|>)\s*({_NUMBER})")


@dataclass(frozen=True)
class LabelRange:
    """Labels from ``low`` to ``high``, both included; one end may be open.

    Labels are compared in float32, as in :class:`LabelBins`.

    Args:
        low: in the unit of the label; None: no lower end.
        high: in the unit of the label; None: no upper end.
        strict: whether the only end is excluded: ``<70`` instead of ``<=70``.

    Raises:
        ValueError: there is no end, an end is not finite, the ends are in the wrong order, or a
            range with two ends is strict.

    Example:
        >>> hypoglycaemia = LabelRange(None, 70, strict=True)
        >>> hypoglycaemia.text, hypoglycaemia.contains([69.5, 70.0]).tolist()
        ('<70', [True, False])
    """

    low: float | None
    high: float | None
    strict: bool = False

    def __post_init__(self) -> None:
        ends = [end for end in (self.low, self.high) if end is not None]
        if not ends or not all(map(math.isfinite, ends)):
            raise ValueError(f"a range needs a finite end, got {self.low!r} and {self.high!r}")
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

    Raises:
        ValueError: a part is not a range, or its ends are in the wrong order.

    Example:
        >>> [label_range.text for label_range in parse_ranges("30-40, >80, -4--3, 2..3")]
        ['30-40', '>80', '-4--3', '2-3']
    """
    return tuple(map(_parse, text.split(",")))


def parse_named_range(text: str) -> tuple[str, LabelRange]:
    """Parse ``NAME=RANGE``.

    Raises:
        ValueError: the name or the range is missing, or the range cannot be parsed.

    Example:
        >>> parse_named_range("hypoglycaemia=<70")
        ('hypoglycaemia', LabelRange(low=None, high=70.0, strict=True))
    """
    name, _, part = text.partition("=")
    if not (name.strip() and part.strip()):
        raise ValueError(f"{text!r} is not a named range: write NAME=RANGE, as in rare=>80")
    return name.strip(), _parse(part)


def _parse(text: str) -> LabelRange:
    part = text.strip()
    if match := _OPEN.fullmatch(part):
        end, strict = _parse_end(match[2], part), "=" not in match[1]
        below = match[1][0] == "<"
        return LabelRange(None if below else end, end if below else None, strict)
    if match := _CLOSED.fullmatch(part):
        low, high = _parse_end(match[1], part), _parse_end(match[2], part)
        if low > high:
            raise ValueError(f"range {part!r} ends before it begins: write its lower end first")
        return LabelRange(low, high)
    raise ValueError(
        f"{part!r} is not a label range: write ranges as 30-40, >80, >=80, <-2 or <=-2, separated "
        "by commas"
    )


def _parse_end(text: str, part: str) -> float:
    end = float(text)
    if math.isinf(end):
        raise ValueError(f"range {part!r} has an end that is too large: leave it open, as in >80")
    return end


def _format(end: float) -> str:
    """Return the shortest text of a number; integers without a decimal point."""
    return str(int(end)) if float(end).is_integer() and abs(end) < 1e16 else repr(float(end))
