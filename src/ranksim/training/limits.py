"""Upper limits of a training."""

from __future__ import annotations

from dataclasses import dataclass

from ranksim._utils.arrays import unwrap_scalar


@dataclass(frozen=True)
class TrainingLimits:
    """Upper limits of a training; ``None``: only the recipe ends it."""

    steps: int | None = None  # optimizer steps
    epochs: int | None = None  # validations if the recipe validates after a number of steps

    def __post_init__(self) -> None:
        for name, value in vars(self).items():  # NumPy scalars cannot be recorded
            object.__setattr__(self, name, unwrap_scalar(value))
