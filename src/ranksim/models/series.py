"""Windows of a series to features: a recurrent and a convolutional encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GRUEncoder(nn.Module):
    """A GRU over the window; its last state is the feature.

    Args:
        channels: values of a reading.
        hidden: width of the state, and of the features.
        layers: number of layers.
        dropout: probability, between layers and on the features.

    Example:
        >>> GRUEncoder(1, hidden=8)(torch.zeros(2, 24, 1)).shape
        torch.Size([2, 8])

    Source: Cho et al. (EMNLP 2014).
    """

    def __init__(
        self, channels: int, *, hidden: int = 64, layers: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.width = hidden
        between = dropout if layers > 1 else 0.0  # of one layer PyTorch warns
        self.gru = nn.GRU(channels, hidden, layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(dropout)

    def forward(self, windows: Tensor) -> Tensor:
        """``(N, W, channels)`` to features ``(N, hidden)``."""
        _, last = self.gru(windows)
        features: Tensor = self.dropout(last[-1])
        return features


class ConvEncoder(nn.Module):
    """Causal convolutions of width 3, dilated by 1, 2, 4, …; the last place is the feature.

    So each layer sees twice as far back as the one before: L layers 2 · (2^L − 1) + 1 readings. A
    window need not be that long: zeros stand before it.

    Args:
        channels: values of a reading.
        hidden: width of every layer, and of the features.
        layers: number of layers.
        dropout: probability, after each layer.

    Example:
        >>> ConvEncoder(1, hidden=8)(torch.zeros(2, 24, 1)).shape
        torch.Size([2, 8])

    Source: Bai, Kolter and Koltun (2018), without their residual blocks.
    """

    def __init__(
        self, channels: int, *, hidden: int = 64, layers: int = 3, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"layers must be at least 1, got {layers}")
        self.width = hidden
        widths = [channels] + [hidden] * (layers - 1)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, hidden, 3, dilation=2**level) for level, width in enumerate(widths)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, windows: Tensor) -> Tensor:
        """``(N, W, channels)`` to features ``(N, hidden)``."""
        states = windows.transpose(1, 2)
        for level, convolution in enumerate(self.convolutions):
            before = nn.functional.pad(states, (2 * 2**level, 0))
            states = self.dropout(torch.relu(convolution(before)))
        return states[:, :, -1]
