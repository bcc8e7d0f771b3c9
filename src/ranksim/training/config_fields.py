"""Fields of a recipe that know which values they take."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from ranksim._utils.formatting import format_value
from ranksim.exceptions import UsageError


def number(
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    odd: bool = False,
    default: Any = dataclasses.MISSING,
) -> Any:
    """A dataclass field for a number within limits; with a default, for one that came later."""
    limits = {"at_least": at_least, "above": above, "at_most": at_most, "below": below}
    return dataclasses.field(default=default, metadata={**limits, "odd": odd})


def field_any() -> Any:
    """A dataclass field for any value of its type."""
    return dataclasses.field()


def field_choice(choices: Sequence[str]) -> Any:
    """A dataclass field for one of these words."""
    return dataclasses.field(metadata={"choices": tuple(choices)})


def check(item: dataclasses.Field[Any], value: Any) -> None:
    """Refuse a value that its field does not take.

    Raises:
        UsageError: naming the field, what it takes, and the value.
    """
    limits = item.metadata
    if isinstance(value, float):
        require(math.isfinite(value), item.name, "a finite number", value)
    if choices := limits.get("choices"):
        require(value in choices, item.name, f"one of {', '.join(choices)}", value)
    least, most = limits.get("at_least"), limits.get("at_most")
    above, below = limits.get("above"), limits.get("below")
    for each in value if isinstance(value, tuple) else (value,):
        if least is not None and below is not None:
            require(least <= each < below, item.name, f"in [{least:g}, {below:g})", value)
            continue
        require(least is None or each >= least, item.name, f"at least {least}", value)
        require(above is None or each > above, item.name, f"above {above}", value)
        require(most is None or each <= most, item.name, f"at most {most:,}" if most else "", value)
    if limits.get("odd"):
        require(value % 2 == 1, item.name, "odd", value)


def require(holds: bool, name: str, wanted: str, got: object) -> None:
    """Refuse a value in one sentence."""
    if not holds:
        told = format_value(list(got) if isinstance(got, tuple) else got)
        raise UsageError(f"Recipe field {name} must be {wanted}, got {told}.")


def coerce(name: str, value: Any, kind: str) -> Any:
    """The value as its field's type; whole numbers may stand for real ones."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if kind == "str" and isinstance(value, str):
        return value
    if kind == "int" and whole:
        return value
    if "float" in kind and (whole or isinstance(value, float)):
        try:
            return float(value)
        except OverflowError:
            raise UsageError(f"Recipe field {name} must be a finite number.") from None
    if "bool" in kind and isinstance(value, bool):
        return value
    if kind.startswith("tuple") and isinstance(value, list | tuple):
        return tuple(coerce(name, each, "int") for each in value)
    wanted = "list of int" if kind.startswith("tuple") else kind
    raise UsageError(f"Recipe field {name} must be of type {wanted}, got {format_value(value)}.")
