"""Rules of recipe fields: what a value must be, in words and as a test."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import MISSING
from typing import Any

from ranksim._utils.formatting import format_value
from ranksim.exceptions import UsageError

Rules = dict[str, Callable[[Any], bool]]  # what a value must be, in words and as a test
POSITIVE: Rules = {"above 0": lambda value: value > 0}
NONNEGATIVE: Rules = {"at least 0": lambda value: value >= 0}
COUNT: Rules = {"at least 1": lambda value: value >= 1}
FRACTION: Rules = {"in [0, 1)": lambda value: 0 <= value < 1}
TWEEDIE: Rules = {"in (1, 2)": lambda value: 1 < value < 2}
ODD: Rules = {"odd": lambda value: value % 2 == 1}


def at_least(limit: int) -> Rules:
    """Return the rule that a value is at least this limit."""
    return {f"at least {limit:,}": lambda value: value >= limit}


def at_most(limit: int) -> Rules:
    """Return the rule that a value is at most this limit."""
    return {f"at most {limit:,}": lambda value: value <= limit}


def one_of(choices: Sequence[str]) -> Rules:
    """Return the rule that a value is one of these choices."""
    return {f"one of {', '.join(choices)}": lambda value: value in choices}


def setting(*rules: Rules, default: Any = MISSING) -> Any:
    """Return a dataclass field with validation rules; only fields added later have a default."""
    return dataclasses.field(
        default=default, metadata={name: rule for each in rules for name, rule in each.items()}
    )


def require(condition: bool, name: str, rule: str, value: object) -> None:
    """Raise a UsageError that names a recipe field, its rule and its value, unless they agree."""
    if not condition:
        value = format_value(list(value) if isinstance(value, tuple) else value)
        raise UsageError(f"Recipe field {name} must be {rule}, got {value}.")
