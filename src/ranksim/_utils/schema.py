"""Check the field types of dataclasses that were read from JSON."""

from __future__ import annotations

import dataclasses
import math
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ranksim._utils.formatting import format_value

T = TypeVar("T")


def validate_types(instance: T) -> T:
    """Return a dataclass after checking its field types; raise a TypeError for a wrong one.

    Example:
        >>> @dataclasses.dataclass
        ... class Column:
        ...     mean: float
        >>> validate_types(Column(float("nan")))
        Traceback (most recent call last):
        TypeError: mean of Column must be float, got nan
    """
    kind: Any = type(instance)
    hints = get_type_hints(kind)
    for item in dataclasses.fields(kind):
        value = getattr(instance, item.name)
        if not _has_type(value, hints[item.name]):
            raise TypeError(
                f"{item.name} of {kind.__name__} must be {item.type}, got {format_value(value)}"
            )
    return instance


def _has_type(value: Any, hint: Any) -> bool:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_has_type(value, arg) for arg in args)
    if origin is tuple:
        return isinstance(value, tuple) and all(_has_type(item, args[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(_has_type(v, args[1]) for v in value.values())
    if hint in (int, float):
        is_number = isinstance(value, int if hint is int else int | float)
        return is_number and not isinstance(value, bool) and _is_finite(value)
    return isinstance(value, hint)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a huge int
        return False
