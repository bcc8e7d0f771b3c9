"""Encoders that are trained from scratch: vectors, time series and texts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

PAIR_FEATURES = ("all", "symmetric")


class MLPEncoder(nn.Module):
    """Layers of linear map, ReLU and dropout.

    Args:
        inputs: number of input features.
        hidden: width of every layer, and of the features.
        layers: number of layers, at least 1.
        dropout: dropout probability after each layer.

    Example:
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


class BiLSTM(nn.Module):
    """Bidirectional LSTM that ignores padding.

    It computes the same function as ``nn.LSTM(bidirectional=True)`` on packed sequences, more than
    twice as fast on a CPU. Each direction is a plain LSTM over padded rows; the backward one reads
    each row reversed within its own length, so that padding always follows the text.

    Args:
        inputs: features per time step.
        hidden: width of one direction.
        layers: number of layers.
    """

    def __init__(self, inputs: int, hidden: int, layers: int = 1) -> None:
        super().__init__()
        widths = [inputs] + [2 * hidden] * (layers - 1)
        self.ahead = nn.ModuleList(nn.LSTM(width, hidden, batch_first=True) for width in widths)
        self.back = nn.ModuleList(nn.LSTM(width, hidden, batch_first=True) for width in widths)

    def forward(self, steps: Tensor, lengths: Tensor) -> Tensor:
        """Map ``(N, T, inputs)`` and lengths ``(N,)``, at least 1, to ``(N, T, 2 · hidden)``.

        Outputs beyond the length of a row are undefined.
        """
        time = torch.arange(steps.shape[1], device=steps.device)
        reverse = (lengths.unsqueeze(1) - 1 - time).clamp_min(0).unsqueeze(-1)
        for ahead, back in zip(self.ahead, self.back, strict=True):
            reversed_steps = steps.gather(1, reverse.expand_as(steps))
            forward, _ = ahead(steps)
            backward, _ = back(reversed_steps)
            steps = torch.cat([forward, backward.gather(1, reverse.expand_as(backward))], dim=-1)
        return steps


class TextEncoder(nn.Module):
    """Encoder of STS-B-DIR: frozen word vectors, dropout, BiLSTM, dropout, maximum over time.

    Two texts u, v share the encoder and give [u, v, |u − v|, u · v].

    Args:
        vectors: word vectors ``(V, E)``, not trained; row 0 is padding.
        texts: number of texts per sample, 1 or 2.
        hidden: width of one LSTM direction.
        layers: number of LSTM layers.
        dropout: dropout probability of word vectors and of the LSTM's output.
    """

    vectors: Tensor

    def __init__(
        self, vectors: Tensor, *, texts: int, hidden: int, layers: int = 1, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.texts, self.width = texts, 2 * hidden * width_factor(texts)
        # not saved: word vectors are available elsewhere and never change
        self.register_buffer("vectors", vectors.float(), persistent=False)
        self.lstm = BiLSTM(vectors.shape[1], hidden, layers)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Map token ids ``(texts, N, T)`` and lengths ``(texts, N)`` to features ``(N, width)``."""
        rows, count = tokens.flatten(0, 1), lengths.flatten()
        steps = self.dropout(nn.functional.embedding(rows, self.vectors))
        outputs: Tensor = self.dropout(self.lstm(steps, count))
        padding = torch.arange(rows.shape[1], device=rows.device) >= count.unsqueeze(1)
        pooled = outputs.masked_fill(padding.unsqueeze(-1), float("-inf")).amax(dim=1)
        return combine_texts(pooled, self.texts)


def width_factor(texts: int, pair_features: str = "all") -> int:
    """Return the width of combined features relative to those of one text."""
    if texts not in (1, 2):
        raise ValueError(f"texts must be 1 or 2, got {texts}")
    if pair_features not in PAIR_FEATURES:
        choices = ", ".join(PAIR_FEATURES)
        raise ValueError(f"pair_features must be one of {choices}, got {pair_features!r}")
    return 1 if texts == 1 else 4 if pair_features == "all" else 2


def combine_texts(pooled: Tensor, texts: int, pair_features: str = "all") -> Tensor:
    """Return features ``(N, D)`` of one text, or combined features of pairs.

    Args:
        pooled: features of texts ``(texts · N, D)``, those of all first texts first.
        texts: 1, which returns ``pooled``, or 2.
        pair_features: ``all``, [u, v, |u − v|, u · v] of a pair u, v; or ``symmetric``,
            [|u − v|, u · v], which does not depend on the order of the texts.
    """
    if texts == 1:
        return pooled
    u, v = pooled.chunk(2)
    parts = [u, v] if pair_features == "all" else []
    return torch.cat([*parts, (u - v).abs(), u * v], dim=-1)
