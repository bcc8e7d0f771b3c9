"""An encoder that is done learning."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class FrozenEncoder(nn.Module):
    """An encoder in evaluation mode for good, without gradients: the second stage of RRT.

    Args:
        encoder: maps a batch to features ``(N, D)``; it may have an attribute ``width``, its D.
        published: BatchNorm statistics and dropout stay in training mode when the rest of the
            network is, as in the published code. The encoder's weights are frozen either way.

    Example:
        >>> frozen = FrozenEncoder(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))).train()
        >>> frozen.encoder.training, frozen(torch.randn(2, 3)).requires_grad
        (False, False)

    Source: Kang et al. (ICLR 2020), decoupled training; Yang et al. (ICML 2021) for regression.
    """

    def __init__(self, encoder: nn.Module, *, published: bool = False) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        self.published = published
        if hasattr(encoder, "width"):
            self.width = encoder.width
        self.train(self.training)

    def train(self, mode: bool = True) -> FrozenEncoder:
        super().train(mode)
        if not self.published:
            self.encoder.eval()
        return self

    def forward(self, *inputs: Any) -> Tensor:
        with torch.no_grad():
            features: Tensor = self.encoder(*inputs)
        return features


class PrecomputedFeatures(nn.Module):
    """Features that were made before, handed through: the encoder of a head trained alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, features: Tensor) -> Tensor:
        return features
