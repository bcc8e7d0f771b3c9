"""What was read from JSON, held against the types that its dataclass says."""

from __future__ import annotations

import dataclasses
import math
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ranksim._utils.formatting import format_value

T = TypeVar("T")


def validate_types(made: T) -> T:
    """The dataclass, if each of its fields is of its type, and each number finite.

    Raises:
        TypeError: a field that is not.

    Example:
        >>> @dataclasses.dataclass
        ... class Column:
        ...     name: str
        ...     mean: float
        >>> validate_types(Column("size", 3)).mean
        3
        >>> validate_types(Column("size", float("nan")))
        Traceback (most recent call last):
        TypeError: mean of Column must be float, got nan
    """
    kind: Any = type(made)
    hints = get_type_hints(kind)
    for item in dataclasses.fields(kind):
        value = getattr(made, item.name)
        if not _fits(value, hints[item.name]):
            raise TypeError(
                f"{item.name} of {kind.__name__} must be {item.type}, got {format_value(value)}"
            )
    return made


def _fits(value: Any, hint: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, each) for each in inner)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(each, inner[0]) for each in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(each, inner[1]) for each in value.values())
    if hint in (int, float):
        number = isinstance(value, int if hint is int else int | float)
        return number and not isinstance(value, bool) and _is_finite(value)
    return isinstance(value, hint)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # of an int
        return False
