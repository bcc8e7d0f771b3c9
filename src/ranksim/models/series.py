"""Recurrent and convolutional encoders of time series windows."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GRUEncoder(nn.Module):
    """A GRU over the window; its last state is the feature.

    Args:
        channels: values per reading.
        hidden: width of the state, and of the features.
        layers: number of layers.
        dropout: dropout probability between layers and on the features.

    Example:
        >>> GRUEncoder(1, hidden=8)(torch.zeros(2, 24, 1)).shape
        torch.Size([2, 8])

    References:
        Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder" (EMNLP 2014).
    """

    def __init__(
        self, channels: int, *, hidden: int = 64, layers: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.width = hidden
        between = dropout if layers > 1 else 0.0  # PyTorch warns about dropout of one layer
        self.gru = nn.GRU(channels, hidden, layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(dropout)

    def forward(self, windows: Tensor) -> Tensor:
        """Map ``(N, W, channels)`` to features ``(N, hidden)``."""
        _, last = self.gru(windows)
        features: Tensor = self.dropout(last[-1])
        return features


class ConvEncoder(nn.Module):
    """Causal convolutions of width 3, dilated by 1, 2, 4, …; the last position is the feature.

    L layers have a receptive field of 2 · (2^L − 1) + 1 readings; shorter windows are padded with
    zeros on the left.

    Args:
        channels: values per reading.
        hidden: width of every layer, and of the features.
        layers: number of layers.
        dropout: dropout probability after each layer.

    Example:
        >>> ConvEncoder(1, hidden=8)(torch.zeros(2, 24, 1)).shape
        torch.Size([2, 8])

    References:
        Bai, Kolter, Koltun, "An Empirical Evaluation of Generic Convolutional and Recurrent
        Networks for Sequence Modeling" (2018); here without residual blocks.
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
        """Map ``(N, W, channels)`` to features ``(N, hidden)``."""
        states = windows.transpose(1, 2)
        for level, convolution in enumerate(self.convolutions):
            padded = nn.functional.pad(states, (2 * 2**level, 0))
            states = self.dropout(torch.relu(convolution(padded)))
        return states[:, :, -1]
