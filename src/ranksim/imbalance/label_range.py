"""Ranges of labels, as people write them: ``30-40``, ``>80``, ``<=-2``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ranksim.imbalance._labels import label_array

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_BETWEEN = re.compile(rf"({_NUMBER})\s*(?:\.\.|-)\s*({_NUMBER})")
_BEYOND = re.compile(rf"(<=|>=|<|>)\s*({_NUMBER})")
_FORMS = "write ranges as 30-40, >80, >=80, <-2 or <=-2, parted by commas"


@dataclass(frozen=True)
class LabelRange:
    """Labels from ``low`` to ``high``, both included; one of them may be open.

    Labels are compared in float32, as in :class:`LabelBins`.

    Args:
        low: in the unit of the label; None: no lower end.
        high: in the unit of the label; None: no upper end.
        strict: whether the only end is left out: ``<70`` and not ``<=70``.

    Raises:
        ValueError: no end, an end that is not finite, ends in the wrong order, or a range of two
            ends that is strict.

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
                f"a range of two ends needs low <= high and holds both, got {self.low!r} and "
                f"{self.high!r}" + (", strict" if self.strict else "")
            )

    @property
    def text(self) -> str:
        """As :func:`parse_ranges` reads it: the same range again."""
        if self.low is not None and self.high is not None:
            return f"{_plain(self.low)}-{_plain(self.high)}"
        sign, end = ("<", self.high) if self.low is None else (">", self.low)
        assert end is not None
        return f"{sign}{'' if self.strict else '='}{_plain(end)}"

    def contains(self, labels: ArrayLike) -> NDArray[np.bool_]:
        """Which of the labels, of any shape, lie in the range; NaN does not."""
        with np.errstate(over="ignore"):  # beyond float32 is beyond every end
            values = label_array(labels).astype(np.float32)
            low, high = (None if end is None else np.float32(end) for end in (self.low, self.high))
        inside = ~np.isnan(values)
        if low is not None:
            inside &= values > low if self.strict else values >= low
        if high is not None:
            inside &= values < high if self.strict else values <= high
        return inside


def parse_ranges(text: str) -> tuple[LabelRange, ...]:
    """Ranges parted by commas: ``30-40`` or ``30..40`` (both ends are held), ``>80``, ``<=-2``.

    Raises:
        ValueError: a part is no range, or its ends are in the wrong order.

    Example:
        >>> [each.text for each in parse_ranges("30-40, >80, -4--3, 2..3")]
        ['30-40', '>80', '-4--3', '2-3']
    """
    return tuple(map(_parse, text.split(",")))


def parse_named(text: str) -> tuple[str, LabelRange]:
    """A name and its range.

    Raises:
        ValueError: the name or the range is missing, or no range.

    Example:
        >>> parse_named("hypoglycaemia=<70")
        ('hypoglycaemia', LabelRange(low=None, high=70.0, strict=True))
    """
    name, _, part = text.partition("=")
    if not (name.strip() and part.strip()):
        raise ValueError(f"{text!r} is no named range: write NAME=RANGE, as in rare=>80")
    return name.strip(), _parse(part)


def _parse(text: str) -> LabelRange:
    part = text.strip()
    if found := _BEYOND.fullmatch(part):
        end, strict = _end(found[2], part), "=" not in found[1]
        below = found[1][0] == "<"
        return LabelRange(None if below else end, end if below else None, strict)
    if found := _BETWEEN.fullmatch(part):
        low, high = _end(found[1], part), _end(found[2], part)
        if low > high:
            raise ValueError(f"range {part!r} ends before it begins: write its lower end first")
        return LabelRange(low, high)
    raise ValueError(f"{part!r} is no range of labels: {_FORMS}")


def _end(text: str, part: str) -> float:
    end = float(text)
    if math.isinf(end):
        raise ValueError(f"range {part!r} has an end that is too large: leave it open, as in >80")
    return end


def _plain(end: float) -> str:
    """The shortest text of a number; whole ones without a point."""
    return str(int(end)) if float(end).is_integer() and abs(end) < 1e16 else repr(float(end))
