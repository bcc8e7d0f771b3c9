"""Numbers as they are written in sentences, tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ENOUGH_SEEDS = 3
"""Seeds that two methods must share before one may be called better than the other.

With two the spread over seeds is known by one number, and intervals tell next to nothing.
"""


def is_sure(effect: Mapping[str, Any]) -> bool:
    """Whether a change is sure even when all methods are compared at once.

    Example:
        >>> is_sure({"sure_low": -0.3, "sure_high": -0.1}), is_sure({"sure_low": None})
        (True, False)
    """
    low = effect.get("sure_low")
    return low is not None and low * effect["sure_high"] > 0


def per_cent(value: float, sign: str = "+", digits: int = 1) -> str:
    """A share with a true minus sign; ``sign``: ``"+"`` for a change.

    Example:
        >>> per_cent(-0.0612), per_cent(0.002), per_cent(0.5, ""), per_cent(0.25, "", 0)
        ('−6.1\u202f%', '+0.2\u202f%', '50.0\u202f%', '25\u202f%')
    """
    return f"{signed(100 * value, digits, sign)}\u202f%"


def signed(value: float, digits: int, sign: str = "+") -> str:
    """A number with a true minus sign; one that is rounded to zero keeps its sign.

    Example:
        >>> signed(-0.25, 2), signed(1234.5, 1), signed(-0.001, 2), signed(3.0, 1, "")
        ('−0.25', '+1,234.5', '−0.00', '3.0')
    """
    return f"{value:{sign},.{digits}f}".replace("-", "−")


def why_failed(run: Mapping[str, Any]) -> str:
    """Why a run failed, in few words; of an older one, in its own.

    Args:
        run: its record.

    Example:
        >>> why_failed({"diverged": {"step": 120, "lr": 0.1}, "error": "Training diverged at …"})
        'diverged at step 120 (lr 0.1)'
        >>> why_failed({"error": "Training diverged."})
        'Training diverged.'
    """
    found = run.get("diverged") or {}
    if "step" not in found:
        return str(run.get("error", ""))
    stage = " in stage one" * ("stage_one" in found)
    return f"diverged{stage} at step {found['step']} (lr {found['lr']:g})"
