"""Numbers as they are written in sentences, tables and pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_ANY_UNIT = ("mae", "gm")

MIN_SEEDS = 3
"""Seeds that two methods must share before one may be called better than the other.

With two the spread over seeds is known by one number, and intervals tell next to nothing.
"""


def is_significant(effect: Mapping[str, Any]) -> bool:
    """Whether a change is sure even when all methods are compared at once.

    Example:
        >>> is_significant({"ci_adjusted": [-0.3, -0.1]}), is_significant({"ci_adjusted": None})
        (True, False)
    """
    interval = effect.get("ci_adjusted")
    return interval is not None and bool(interval[0] * interval[1] > 0)


def format_percent(value: float, sign: str = "+", digits: int = 1) -> str:
    """A share with a true minus sign; ``sign``: ``"+"`` for a change.

    Example:
        >>> format_percent(-0.0612), format_percent(0.002), format_percent(0.5, ""), format_percent(0.25, "", 0)
        ('−6.1\u202f%', '+0.2\u202f%', '50.0\u202f%', '25\u202f%')
    """
    return f"{format_signed(100 * value, digits, sign)}\u202f%"


def format_signed(value: float, digits: int, sign: str = "+") -> str:
    """A number with a true minus sign; one that is rounded to zero keeps its sign.

    Example:
        >>> format_signed(-0.25, 2), format_signed(1234.5, 1), format_signed(-0.001, 2), format_signed(3.0, 1, "")
        ('−0.25', '+1,234.5', '−0.00', '3.0')
    """
    return f"{value:{sign},.{digits}f}".replace("-", "−")


def describe_failure(run: Mapping[str, Any]) -> str:
    """Why a run failed, in few words; of an older one, in its own.

    Args:
        run: its record.

    Example:
        >>> describe_failure({"result": {"diverged": {"step": 120, "lr": 0.1}, "error": "…"}})
        'diverged at step 120 (lr 0.1)'
        >>> describe_failure({"result": {"error": "Training diverged."}})
        'Training diverged.'
    """
    result = run["result"]
    found = result.get("diverged") or {}
    if "step" not in found:
        return str(result.get("error", ""))
    stage = " in stage one" * ("stage_one" in found)
    return f"diverged{stage} at step {found['step']} (lr {found['lr']:g})"


def format_value(value: Any) -> str:
    """A value in a message: at most 40 characters of one line."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:36]} …{text[-1]}"


def single_line(text: str) -> str:
    r"""What a file or another library says, in a message: at most 100 characters of one line.

    Example:
        >>> single_line("two\nlines\x1b")
        'two lines\\x1b'
    """
    text = " ".join(text.split())
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= 100 else f"{text[:96]} …"


def format_list(names: Sequence[str]) -> str:
    r"""Names in a message: the first twenty, each of them plain or as :func:`format_value` has it.

    Example:
        >>> format_list(["size", "two\nlines"])
        "size, 'two\\nlines'"
    """
    plain = (
        each if each.isprintable() and len(each) <= 40 else format_value(each)
        for each in names[:20]
    )
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(plain) + more


# the figures of published tables, and their digits; the rest is in results.json
METRIC_TITLES = {
    "mse": ("MSE", 3),
    "pearson": ("Pearson, %", 1),
    "mae": ("MAE", 2),
    "gm": ("GM", 2),
}


def choose_digits(metric: str, values: Sequence[float | None]) -> int:
    """Decimals of a score: as published, and where an error has another unit, three that count.

    Example:
        >>> choose_digits("mae", [7.123, 6.5]), choose_digits("mae", [0.0312]), choose_digits("gm", [48_213.0])
        (2, 4, 0)
    """
    usual, known = METRIC_TITLES[metric][1], [abs(value) for value in values if value]
    if metric not in _ANY_UNIT or not known or 1 <= min(known) < 1_000:
        return usual
    return min(max(2 - math.floor(math.log10(min(known))), 0), 12)


def format_count(number: int, thing: str) -> str:
    """``1 seed``, ``2 seeds``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
