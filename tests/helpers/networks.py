"""Networks of a user, built by functions that other processes can import."""

from typing import Any

import torch
from torch import Tensor, nn


def build_mlp(batch: Tensor) -> nn.Module:
    """The built-in network of tables with ``hidden=8``."""
    layers = [nn.Linear(batch.shape[1], 8), nn.ReLU(), nn.Dropout(0.0)]
    return nn.Sequential(*layers, nn.Linear(8, 8), nn.ReLU(), nn.Dropout(0.0))


def build_lazy(batch: Tensor) -> nn.Module:
    """A network whose first layer finds its width itself, with dropout and batch statistics."""
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(6), nn.BatchNorm1d(6), nn.Dropout(0.5))


class WordMean(nn.Module):
    """A layer over the mean word vector of one or two texts."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, 5)

    def forward(self, words: Tensor, lengths: Tensor) -> Any:
        steps = torch.arange(words.shape[-2])
        mask = (steps < lengths.unsqueeze(-1)).unsqueeze(-1).float()
        means = (words * mask).sum(-2) / mask.sum(-2).clamp(min=1)
        return self.layer(means if means.ndim == 2 else means.sum(0))


def build_words(batch: tuple[Tensor, Tensor]) -> nn.Module:
    """A network over word vectors ``(N, T, E)`` and lengths ``(N,)``."""
    words, lengths = batch
    assert words.is_floating_point()
    assert words.shape[:-2] == lengths.shape
    return WordMean(words.shape[-1])


def build_pixels(batch: Tensor) -> nn.Module:
    """A network over RGB images in [0, 1], ``(N, 3, H, W)``."""
    assert batch.shape[1] == 3
    assert 0 <= batch.min() <= batch.max() <= 1
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def build_windows(batch: Tensor) -> nn.Module:
    """A network over windows ``(N, W, C)`` of a series."""
    return nn.Sequential(nn.Flatten(), nn.Linear(batch.shape[1] * batch.shape[2], 4))


def build_broken(batch: Tensor) -> nn.Module:
    """Fail."""
    raise RuntimeError("no layers")
