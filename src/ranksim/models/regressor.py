"""An encoder with one linear output."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Regressor(nn.Module):
    """An encoder and a linear head with one output.

    Args:
        encoder: maps a batch to features ``(N, D)``; its attribute ``width`` is D.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.width = int(encoder.width)  # type: ignore[arg-type]
        self.head = nn.Linear(self.width, 1)

    def forward(self, *inputs: Any) -> tuple[Tensor, Tensor]:
        """Return predictions ``(N,)`` and features ``(N, D)``, the layer that RankSim works on."""
        features = self.encoder(*inputs)
        return self.head(features).squeeze(-1), features
