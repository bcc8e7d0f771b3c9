"""A multilayer perceptron over vectors."""

from __future__ import annotations

from torch import Tensor, nn


class MLPEncoder(nn.Module):
    """Layers of a linear map, ReLU and dropout.

    Args:
        inputs: width of the vectors.
        hidden: width of every layer, and of the features.
        layers: number of layers, at least 1.
        dropout: probability, after each layer.

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
        widths = [inputs] + [hidden] * (layers - 1)
        self.layers = nn.Sequential(
            *(
                part
                for width in widths
                for part in (nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout))
            )
        )

    def forward(self, vectors: Tensor) -> Tensor:
        """``(N, inputs)`` to features ``(N, hidden)``."""
        features: Tensor = self.layers(vectors)
        return features
