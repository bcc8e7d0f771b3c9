"""An encoder with a linear head, frozen encoders and precomputed features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ranksim.models.heads import Head


class Regressor(nn.Module):
    """An encoder and a linear head, by default with one output.

    Args:
        encoder: maps a batch to features ``(N, D)``; its attribute ``width`` is D.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.width = int(encoder.width)  # type: ignore[arg-type]
        self.head = Head(self.width)

    def forward(self, *inputs: Any) -> tuple[Tensor, Tensor]:
        """Return predictions ``(N,)`` and features ``(N, D)``, the layer that RankSim works on."""
        features = self.encoder(*inputs)
        return self.head.locate(self.head(features)), features

    def compute_outputs(self, features: Tensor) -> Tensor:
        """Return what the loss is called with: outputs ``(N, K)`` of the head, ``(N,)`` of one."""
        outputs: Tensor = self.head(features)
        return outputs.squeeze(-1) if self.head.out_features == 1 else outputs


class MeanRegressor(nn.Module):
    """The mean of networks of the same inputs.

    Args:
        members: return predictions ``(N,)`` and features, as :class:`Regressor` does.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, *inputs: Any) -> tuple[Tensor, Tensor]:
        """Return the mean predictions ``(N,)``, and the features of the last member."""
        results = [member(*inputs) for member in self.members]
        return torch.stack([preds for preds, _ in results]).mean(dim=0), results[-1][1]


class FrozenEncoder(nn.Module):
    """Encoder that stays in evaluation mode, without gradients: the second stage of RRT.

    Args:
        encoder: maps a batch to features ``(N, D)``; its attribute ``width``, D, is copied.
        paper_compat: BatchNorm and dropout follow the mode of the rest of the network, as in the
            published code. The weights are frozen either way.

    Example:
        >>> frozen = FrozenEncoder(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))).train()
        >>> frozen.encoder.training, frozen(torch.randn(2, 3)).requires_grad
        (False, False)

    References:
        Kang et al., "Decoupling Representation and Classifier" (ICLR 2020); for regression, Yang et
        al., "Delving into Deep Imbalanced Regression" (ICML 2021).
    """

    def __init__(self, encoder: nn.Module, *, paper_compat: bool = False) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        self.paper_compat = paper_compat
        if hasattr(encoder, "width"):
            self.width = encoder.width
        self.train(self.training)

    def train(self, mode: bool = True) -> FrozenEncoder:
        super().train(mode)
        if not self.paper_compat:
            self.encoder.eval()
        return self

    def forward(self, *inputs: Any) -> Tensor:
        with torch.no_grad():
            features: Tensor = self.encoder(*inputs)
        return features


class PrecomputedFeatures(nn.Identity):
    """Encoder whose inputs already are features ``(N, width)``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
