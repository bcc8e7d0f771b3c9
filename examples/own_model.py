"""A PyTorch model and loop of your own: weights with LDS, FDS and RankSim in a few lines.

Run it with ``python examples/own_model.py``.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ranksim import FDS, LDS, DensityWeights, LabelBins, RankSimLoss
from ranksim.functional import l1_loss

BINS = LabelBins.integers(0, 100)  # years


def people(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Generate inputs ``(N, 12)`` and ages ``(N,)``, most of them between 20 and 40."""
    draw = np.random.default_rng(seed)
    ages = np.clip(draw.gamma(7.0, 4.6, count), 1, 95).round()
    mixing = np.random.default_rng(7).normal(size=(3, 12))
    signal = np.stack([np.sin(ages / 30), np.cos(ages / 17), ages / 60], axis=1) @ mixing
    inputs = signal + draw.normal(0, 0.4, signal.shape)
    return torch.from_numpy(inputs).float(), torch.from_numpy(ages).float()


def train(x: Tensor, ages: Tensor, epochs: int, *, balanced: bool) -> nn.Module:
    """Train a small network, with all methods if ``balanced``."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
    head = nn.Linear(32, 1)
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=2e-3)
    loader = DataLoader(TensorDataset(x, ages), batch_size=64, shuffle=True)
    lds = LDS("gaussian", 5, 2.0)
    weights = DensityWeights.fit(ages, bins=BINS, scheme="sqrt_inverse", lds=lds)
    fds, criterion = FDS(32, BINS), RankSimLoss(100.0, 2.0, weight=0.01)
    for _ in range(epochs):
        for inputs, labels in loader:
            features = encoder(inputs)
            if balanced:
                preds = head(fds(features, labels)).squeeze(1)
                loss = l1_loss(preds, labels, torch.from_numpy(weights(labels)).float())
                loss = loss + criterion(features, labels)
            else:
                loss = l1_loss(head(features).squeeze(1), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if balanced:
            fds.fit_epoch(encoder, loader)
    return nn.Sequential(encoder, head).eval()


def main(count: int = 2000, epochs: int = 20) -> None:
    """Print the errors of common and of rare ages, without and with the methods."""
    torch.set_num_threads(1)  # faster for a small network
    x, ages = people(count, seed=0)
    unseen, targets = people(4000, seed=1)
    for name, balanced in (("plain", False), ("balanced", True)):
        model = train(x, ages, epochs, balanced=balanced)
        with torch.no_grad():
            errors = (model(unseen).squeeze(1) - targets).abs()
        rare = targets > 60
        print(f"{name:9} MAE {errors[~rare].mean():.2f} up to 60, {errors[rare].mean():.2f} above")


if __name__ == "__main__":
    main()
