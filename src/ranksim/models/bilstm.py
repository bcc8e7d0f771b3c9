"""Bidirectional LSTM over frozen word vectors, for one text or a pair of texts."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BiLSTM(nn.Module):
    """A bidirectional LSTM that never reads padding.

    The same function as ``nn.LSTM(bidirectional=True)`` on packed sequences, at less than half its
    time on a CPU: each direction is a plain LSTM over padded rows, the backward one over rows
    reversed within their own length, so that padding always comes after the text.

    Args:
        inputs: width of a time step.
        hidden: width of one direction.
        layers: number of layers.
    """

    def __init__(self, inputs: int, hidden: int, layers: int = 1) -> None:
        super().__init__()
        widths = [inputs] + [2 * hidden] * (layers - 1)
        self.ahead = nn.ModuleList(nn.LSTM(width, hidden, batch_first=True) for width in widths)
        self.back = nn.ModuleList(nn.LSTM(width, hidden, batch_first=True) for width in widths)

    def forward(self, steps: Tensor, lengths: Tensor) -> Tensor:
        """``(N, T, inputs)`` and lengths ``(N,)`` of at least 1 to ``(N, T, 2 · hidden)``.

        Outputs beyond a row's length mean nothing and are to be masked.
        """
        time = torch.arange(steps.shape[1], device=steps.device)
        reverse = (lengths.unsqueeze(1) - 1 - time).clamp_min(0).unsqueeze(-1)
        for ahead, back in zip(self.ahead, self.back, strict=True):
            reversed_steps = steps.gather(1, reverse.expand_as(steps))
            forth, _ = ahead(steps)
            mirrored, _ = back(reversed_steps)
            steps = torch.cat([forth, mirrored.gather(1, reverse.expand_as(mirrored))], dim=-1)
        return steps


class TextEncoder(nn.Module):
    """Frozen word vectors, dropout, BiLSTM, dropout, maximum over time; pair feature for two texts.

    Two texts u, v share the encoder and give [u, v, |u − v|, u · v]: the encoder of STS-B-DIR.

    Args:
        vectors: word vectors ``(V, E)``, float32; row 0 is padding. They are not trained.
        texts: number of texts a sample has, 1 or 2.
        hidden: width of one LSTM direction.
        layers: number of LSTM layers.
        dropout: probability, on word vectors and on the LSTM's output.
    """

    vectors: Tensor

    def __init__(
        self, vectors: Tensor, *, texts: int, hidden: int, layers: int = 1, dropout: float = 0.2
    ) -> None:
        super().__init__()
        if texts not in (1, 2):
            raise ValueError(f"texts must be 1 or 2, got {texts}")
        self.texts = texts
        self.width = 2 * hidden * (1 if texts == 1 else 4)
        # not saved: a checkpoint need not hold word vectors that are at hand and never change
        self.register_buffer("vectors", vectors.float(), persistent=False)
        self.lstm = BiLSTM(vectors.shape[1], hidden, layers)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Word indices ``(texts, N, T)`` and lengths ``(texts, N)`` to features ``(N, width)``."""
        rows, count = tokens.flatten(0, 1), lengths.flatten()
        steps = self.dropout(nn.functional.embedding(rows, self.vectors))
        outputs: Tensor = self.dropout(self.lstm(steps, count))
        padding = torch.arange(rows.shape[1], device=rows.device) >= count.unsqueeze(1)
        pooled = outputs.masked_fill(padding.unsqueeze(-1), float("-inf")).amax(dim=1)
        if self.texts == 1:
            return pooled
        u, v = pooled.chunk(2)
        return torch.cat([u, v, (u - v).abs(), u * v], dim=-1)
