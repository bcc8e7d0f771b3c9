"""Gaussian noise on numeric inputs, reproducible by seed, epoch and sample."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ranksim.data.batch import BatchDataset
from ranksim.data.random_bits import splitmix64

_MAX_ROWS = 10_000  # from which deviations are estimated
_HALF = 2.0**-33  # so that no uniform number is 0


class GaussianNoise:
    """Adds noise to a batch of vectors or windows, in proportion to the deviation of each feature.

    The draws of a sample depend only on ``seed``, its position in the data set and the epoch, not
    on batches, devices or earlier draws, so a resumed run gets the same noise.

    Args:
        seed: seed of the run.
        scale: standard deviation of the noise of each feature ``(F,)``.
    """

    def __init__(self, seed: int, scale: Tensor) -> None:
        self.seed, self.scale = seed, scale

    def __call__(self, inputs: tuple[Tensor, ...], index: Tensor, epoch: int) -> tuple[Tensor, ...]:
        """Return inputs ``(N, ..., F)`` of the samples ``index`` ``(N,)`` with noise."""
        (values,) = inputs
        noise = self.draw(index.to(values.device), epoch, math.prod(values.shape[1:]))
        noise = noise.reshape(values.shape) * self.scale.to(values.device)
        return (values + noise.to(values.dtype),)

    def draw(self, index: Tensor, epoch: int, count: int) -> Tensor:
        """Draw ``count`` standard normal numbers for each sample, float32 ``(N, count)``."""
        key = int(splitmix64(splitmix64(torch.tensor(self.seed)) + epoch))
        places = torch.arange(count, device=index.device)
        bits = splitmix64(splitmix64(key + index).unsqueeze(1) + places)
        # Box-Muller
        first, second = ((bits >> shift & 0xFFFFFFFF).float() * 2.0**-32 for shift in (0, 32))
        return (-2 * (first + _HALF).clamp(max=1).log()).sqrt() * (2 * math.pi * second).cos()


def measure_deviations(samples: BatchDataset) -> Tensor:
    """Return the standard deviation of each feature of samples, float32 ``(F,)``.

    It is 0 for features of at most two values, such as indicators of a category.
    """
    count = min(len(samples), _MAX_ROWS)
    rows = torch.linspace(0, len(samples) - 1, count, dtype=torch.float64).round().long()
    (values,) = samples.get_inputs(rows)
    values = values.reshape(-1, values.shape[-1]).double()
    distinct = values.sort(dim=0).values.diff(dim=0).ne(0).sum(dim=0) + 1
    return torch.where(distinct > 2, values.std(dim=0, correction=0), 0.0).float()
