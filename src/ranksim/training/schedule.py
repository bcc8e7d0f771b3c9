"""Length of a training, and the steps after which it is validated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from ranksim.training.limits import TrainingLimits
from ranksim.training.recipe import NetworkRecipe


@dataclass(frozen=True)
class Schedule:
    """Numbers of optimizer steps, which are those of each process of a distributed training."""

    steps_per_epoch: int
    accumulate: int  # batches per step
    validate_every: int | None  # steps; None: after each epoch
    max_epochs: int | None
    max_steps: int | None

    @classmethod
    def plan(
        cls, recipe: NetworkRecipe, limits: TrainingLimits, samples: int, *, min_batch: int = 1
    ) -> Self:
        """Return the schedule of a recipe within limits, for ``samples`` per process and epoch.

        A last batch of an epoch with fewer samples than ``min_batch`` is left out.
        """
        full, rest = divmod(samples, recipe.batch_size)
        rest = rest if rest >= min_batch or not full else 0
        # a mean over batches equals one over samples only if the batches have equal sizes
        batches = full if recipe.accumulate_grad_batches > 1 and full else full + (rest > 0)
        accumulate = min(recipe.accumulate_grad_batches, batches)
        steps = batches // accumulate
        if limits.steps:  # fit the requested number of epochs into the steps
            steps = min(steps, math.ceil(limits.steps / (limits.epochs or 1)))
        every, validations = recipe.validate_every, limits.epochs or recipe.max_validations
        return cls(
            steps_per_epoch=steps,
            accumulate=accumulate,
            validate_every=min(every, limits.steps or every) or None,
            max_epochs=None if every else validations,
            max_steps=limits.steps or (every * validations or None),
        )
