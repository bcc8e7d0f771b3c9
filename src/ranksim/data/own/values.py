"""What a cell of a table means: a number, a moment, nothing."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from ranksim.errors import DataError

# raises an error that names these rows, what is wrong with them and what to do; none: does nothing
Refuse = Callable[[Iterable[int], str, str], None]


def refuse_rows(rows: Iterable[int], what: str, remedy: str) -> None:
    """An error that names rows by their number, counted from 1, where no file's lines are known.

    Example:
        >>> refuse_rows([4], "no number", "correct it")
        Traceback (most recent call last):
        ranksim.errors.DataError: Row 5: no number; correct it.
    """
    at = [row + 1 for row in rows]
    if at:
        more = f" and {len(at) - 5:,} more" if len(at) > 5 else ""
        shown = ", ".join(map(str, at[:5]))
        raise DataError(f"Row{'s' * (len(at) > 1)} {shown}{more}: {what}; {remedy}.")


def as_number(value: Any) -> float | None:
    """A number, or text that is one; None for what is none: text, booleans, dates.

    Example:
        >>> as_number(" 3.5 "), as_number("1e3"), as_number("about 3"), as_number(True)
        (3.5, 1000.0, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, str | numbers.Real | Decimal):
        return None
    if isinstance(value, str) and "_" in value:
        return None  # Python's own way to write 1_000
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def as_seconds(value: Any) -> float | None:
    """An ISO date or date-time to seconds since 1970; None for what is none.

    A moment without a time zone is taken as it stands, so that no clock ever jumps.

    Example:
        >>> as_seconds("1970-01-02"), as_seconds("1970-01-01 01:00:30"), as_seconds("soon")
        (86400.0, 3630.0, None)
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        return None
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()


def is_nan(value: Any) -> bool:
    """Whether a value is a float that is no number."""
    return isinstance(value, float) and math.isnan(value)
