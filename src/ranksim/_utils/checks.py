"""Checks of arguments; each message names the argument, what it takes, and the wrong value."""

import math
import numbers
from collections.abc import Sequence

import numpy as np

from ranksim._utils.arrays import unwrap_scalar

_MAX_TEXT = 40  # characters of a value in an error message


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise a ValueError if the value is not one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {describe_value(value)}")


def check_flag(name: str, value: object) -> bool:
    """Return the value as a bool; raise a TypeError if it is not True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {describe_value(value)}")
    return bool(value)


def check_size(name: str, value: object, unit: str) -> int:
    """Return the value as an int; raise an error if it is not a whole number of at least 1."""
    if not isinstance(value, (int, numbers.Integral)) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number of {unit}, got {describe_value(value)}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value!r}")
    return int(value)


def check_positive(name: str, value: object, or_zero: bool = False) -> float:
    """Return the value as a Python number; raise an error unless it is finite and above 0.

    With ``or_zero``, it may be 0.
    """
    # Real last: its check is slow; a tuple, because PyTorch 2.8 does not compile a union
    finite = isinstance(value, (float, int, numbers.Real)) and math.isfinite(value)
    if not finite or value < 0 or (value == 0 and not or_zero):  # type: ignore[operator]
        bound = "of at least 0" if or_zero else "above 0"
        raise ValueError(f"{name} must be a finite number {bound}, got {describe_value(value)}")
    number: float = unwrap_scalar(value)
    return number


def check_level(value: object) -> float:
    """Return a coverage as a float; raise an error unless it lies between 0 and 1."""
    is_number = isinstance(value, (float, int, numbers.Real))
    if not is_number or not 0 < value < 1:  # type: ignore[operator]
        raise (ValueError if is_number else TypeError)(
            f"level must lie between 0 and 1, such as 0.9, got {describe_value(value)}"
        )
    return float(value)  # type: ignore[arg-type]


def reject_masked(name: str, values: object) -> None:
    """Raise a ValueError for an array with masked values, whose mask NumPy drops silently."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        mask = np.ma.getmaskarray(values)
        count = f"{np.count_nonzero(mask)} masked values of {mask.size}"
        raise ValueError(
            f"{name} must not be masked, got {count}: remove these samples, or fill in values"
        )


def describe_value(value: object) -> str:
    """Describe a wrong argument for an error message: its text, or type and shape if it is long."""
    shape, text = getattr(value, "shape", ()), repr(value)
    if len(text) <= _MAX_TEXT and "\n" not in text and not shape:
        return text
    kind = type(value).__name__
    description = f"an {kind}" if kind[0].lower() in "aeiou" else f"a {kind}"
    if isinstance(value, list | tuple):
        return f"{description} of {len(value)}"
    return f"{description} of shape {tuple(shape)}" if shape else description
