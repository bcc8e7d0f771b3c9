"""What an estimator's arguments come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Settings:
    """What one training is told.

    Args:
        method: its name.
        changes: fields of the recipe.
        bins, bin_width: of the label axis.
        held_out: share of the distinct inputs that is validated on; None: the training samples are.
        seed: fixes all that is drawn.
        device: Lightning's accelerator.
        progress_bar: show Lightning's.
    """

    method: str
    changes: Mapping[str, Any]
    bins: int | None
    bin_width: float | None
    held_out: float | None
    seed: int
    device: str
    progress_bar: bool
