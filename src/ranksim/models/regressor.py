"""An encoder and one linear output."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Regressor(nn.Module):
    """Features from an encoder, one number from a linear head.

    Args:
        encoder: maps a batch to features ``(N, D)`` and has an attribute ``width``, its D.

    Returns (forward):
        The prediction ``(N,)`` and the features ``(N, D)``, the layer that RankSim works on.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.width = int(encoder.width)  # type: ignore[arg-type]
        self.head = nn.Linear(self.width, 1)

    def forward(self, *inputs: Any) -> tuple[Tensor, Tensor]:
        features = self.encoder(*inputs)
        return self.head(features).squeeze(-1), features
