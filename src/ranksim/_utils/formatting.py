"""Format numbers, values and lists for messages, tables and figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

# title and published decimals of the scores, first of those in the unit of the label
_ANY_UNIT = {
    "mae": ("MAE", 2),
    "gm": ("GM", 2),
    "balanced_mae": ("balanced MAE", 2),
    "sera": ("SERA per sample", 2),
    "crps": ("CRPS", 2),
    "pinball": ("pinball loss", 2),
}
MONITOR_TITLES = {
    "balanced_mae": "balanced MAE",
    "balanced_mse": "balanced MSE",
    "ccc": "1 − CCC",
    "sera": "SERA per sample",
}
METRIC_TITLES = {
    "mse": ("MSE", 3),
    "pearson": ("Pearson, %", 1),
    "spearman": ("Spearman, %", 1),
    "ccc": ("CCC", 3),
    "balanced_mse": ("balanced MSE", 3),
    **_ANY_UNIT,
}
_MAX_VALUE, _MAX_LINE = 40, 100  # characters


def format_percent(value: float, sign: str = "+", digits: int = 1) -> str:
    """Format a fraction as a percentage; ``sign="+"`` also shows the sign of positive numbers."""
    digits = digits if abs(value) < 10 else 0
    return f"{format_signed(100 * value, digits, sign)}\u202f%"


def format_signed(value: float, digits: int, sign: str = "+") -> str:
    """Format a number with its sign (U+2212 for minus), also if it rounds to −0."""
    return f"{value:{sign},.{digits}f}".replace("-", "−")


def choose_digits(metric: str, values: Sequence[float | None]) -> int:
    """Return the number of decimals for scores of a metric."""
    published, sizes = METRIC_TITLES[metric][1], [abs(value) for value in values if value]
    if metric not in _ANY_UNIT or not sizes or 1 <= min(sizes) < 100:
        return published
    return min(max(2 - math.floor(math.log10(min(sizes))), 0), 12)


def format_count(number: int, noun: str) -> str:
    """Format a count with a singular or plural noun: ``1 seed``, ``2,000 seeds``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def format_compact(value: float, digits: int = 4) -> str:
    """Format a number with ``digits`` significant digits, or with an exponent if extreme."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e7 or size < 1e-4:
        return f"{value:.1e}".replace("-", "−")
    decimals = max(0, digits - 1 - math.floor(math.log10(size)))
    text = f"{value:,.{decimals}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")


def join_names(names: Iterable[str], limit: int = 4) -> str:
    """Join names as in ``a, b and c``, or ``a, b, c, d and 2 more`` beyond ``limit`` names."""
    listed = list(names)
    if len(listed) > limit:
        return f"{', '.join(listed[:limit])} and {len(listed) - limit} more"
    return " and ".join([", ".join(listed[:-1]), listed[-1]] if len(listed) > 1 else listed)


def format_value(value: Any) -> str:
    """Format the repr of a value for a message, truncated to 40 characters."""
    text = repr(value)
    return text if len(text) <= _MAX_VALUE else f"{text[: _MAX_VALUE - 4]} …{text[-1]}"


def single_line(content: str | Exception) -> str:
    """Format text or the first line of an error on one line of at most 100 characters."""
    if isinstance(content, Exception):
        first = str(content).strip().partition("\n")[0].rstrip(".:")
        content = first or type(content).__name__
    text = " ".join(content.split())
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= _MAX_LINE else f"{text[: _MAX_LINE - 4]} …"


def format_name(name: str) -> str:
    """Format a name for a message, with quotes if it is empty, long or not printable."""
    is_plain = name.isprintable() and 0 < len(name) <= _MAX_VALUE
    return name if is_plain else format_value(name)
