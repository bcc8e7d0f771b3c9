"""The second view of training samples that contrastive terms compare with the first."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ranksim.data.noise import GaussianNoise, measure_deviations
from ranksim.training.module import Augment
from ranksim.training.recipe import NetworkRecipe, SentenceRecipe
from ranksim.training.task import TrainingTask

NOISE = 0.05  # standard deviations of each numeric input


@dataclass(frozen=True)
class SecondAugmentation:
    """Another draw of an augmentation, that of an epoch before the first."""

    augment: Augment

    def __call__(self, inputs: tuple[Tensor, ...], index: Tensor, epoch: int) -> tuple[Tensor, ...]:
        return self.augment(inputs, index, -1 - epoch)


def repeat_inputs(inputs: tuple[Tensor, ...], index: Tensor, epoch: int) -> tuple[Tensor, ...]:
    """Return the same inputs, of which dropout makes another view."""
    return inputs


def make_second_view(task: TrainingTask, recipe: NetworkRecipe, seed: int) -> Augment:
    """Return what makes the second view of a batch from its inputs.

    Images are augmented again, numbers of tables and series get noise of 0.05 standard deviations,
    and texts differ by the masks of dropout.
    """
    if task.augment is not None:
        return SecondAugmentation(task.augment)
    inputs = task.train.get_inputs(task.train.length_order()[:1])
    is_numeric = len(inputs) == 1 and inputs[0].is_floating_point()
    if not is_numeric or isinstance(recipe, SentenceRecipe):
        return repeat_inputs
    return GaussianNoise(seed, NOISE * measure_deviations(task.train))
