"""Multilayer perceptron over vectors."""

from __future__ import annotations

from torch import Tensor, nn


class MLPEncoder(nn.Module):
    """Layers of linear map, ReLU and dropout.

    Args:
        inputs: number of input features.
        hidden: width of every layer, and of the features.
        layers: number of layers, at least 1.
        dropout: dropout probability after each layer.

    Example:
        >>> import torch
        >>> MLPEncoder(3, hidden=8)(torch.zeros(2, 3)).shape
        torch.Size([2, 8])
    """

    def __init__(
        self, inputs: int, *, hidden: int = 128, layers: int = 2, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"layers must be at least 1, got {layers}")
        self.width = hidden
        self.layers = nn.Sequential()
        for width in [inputs] + [hidden] * (layers - 1):
            self.layers.extend([nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout)])

    def forward(self, vectors: Tensor) -> Tensor:
        """Map ``(N, inputs)`` to features ``(N, hidden)``."""
        features: Tensor = self.layers(vectors)
        return features
