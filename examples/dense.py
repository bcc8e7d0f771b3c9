"""One label per pixel: depth estimation on generated scenes, with weights and with RankSim.

Boxes stand in front of a wall; few of them are near, and the sky has no depth. The brightness of a
surface decreases with its distance. Run it with ``python examples/dense.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ranksim import DensityWeights, LabelBins, RankSimLoss
from ranksim.functional import l1_loss
from ranksim.metrics import RegionMetrics, ShotRegions

BINS = LabelBins.uniform(0.0, 20.0, 40)  # meters
SIZE, WALL, SKY = 24, 16.0, 4  # pixels, meters, rows


def scenes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Generate pictures ``(N, 1, H, W)`` and depths ``(N, 1, H, W)`` in meters, NaN in the sky."""
    draw = np.random.default_rng(seed)
    depth = np.full((count, 1, SIZE, SIZE), WALL)
    for scene in depth[:, 0]:
        distances = 1 + (WALL - 1) * draw.beta(4, 1.5, size=4)
        for distance in -np.sort(-distances):  # near boxes hide far ones, and look larger
            side = int(np.clip(24 / distance, 2, 12))
            top, left = draw.integers(0, SIZE - side + 1, size=2)
            scene[top : top + side, left : left + side] = distance
    brightness = 1 / np.sqrt(depth) + draw.normal(0, 0.03, depth.shape)
    depth[:, :, :SKY] = np.nan
    return torch.from_numpy(brightness).float(), torch.from_numpy(depth).float()


def train(
    pictures: Tensor,
    depths: Tensor,
    epochs: int,
    weights: DensityWeights | None = None,
    ranksim: RankSimLoss | None = None,
) -> nn.Module:
    """Train a small convolutional network with L1 on pixels with a known depth."""
    torch.manual_seed(0)
    encoder = nn.Sequential(
        *(nn.Conv2d(1, 16, 5, padding=2), nn.ReLU()),
        *(nn.Conv2d(16, 16, 5, padding=2), nn.ReLU()),
    )
    head = nn.Conv2d(16, 1, 1)
    model = nn.Sequential(encoder, head)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    known = ~depths.isnan()
    weight = torch.ones_like(depths)
    if weights is not None:
        weight[known] = torch.from_numpy(weights(depths[known])).float()
    order = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for rows in torch.randperm(len(pictures), generator=order).split(16):
            features = encoder(pictures[rows])  # (N, D, H, W)
            preds, mask = head(features), known[rows]
            loss = l1_loss(preds[mask], depths[rows][mask], weight[rows][mask])
            if ranksim is not None:
                loss = loss + ranksim(features, depths[rows])  # NaN is ignored
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


def main(count: int = 400, epochs: int = 12) -> None:
    """Train three models and print the mean absolute error per region, in meters."""
    torch.set_num_threads(1)  # faster for a small network
    pictures, depths = scenes(count, seed=0)
    labels = depths[~depths.isnan()]
    regions = ShotRegions.from_counts(BINS, labels, many=len(labels) // 50, few=len(labels) // 200)
    unseen, targets = scenes(200, seed=1)
    weights = DensityWeights.fit(labels, bins=BINS, scheme="sqrt_inverse")
    draw = torch.Generator().manual_seed(0)
    # depths within half a meter count as equal
    ranksim = RankSimLoss(1.0, weight=0.3, num_positions=256, label_width=0.5, generator=draw)
    methods: dict[str, dict[str, Any]] = {
        "vanilla": {},
        "sqinv": {"weights": weights},
        "ranksim": {"ranksim": ranksim},
    }
    for name, options in methods.items():
        model, metrics = train(pictures, depths, epochs, **options), RegionMetrics(regions)
        with torch.no_grad():
            metrics.update(model(unseen), targets)
        scores = {region: s for region, s in metrics.compute().items() if s["n"]}
        errors = (f"{region} {s['mae']:.2f}" for region, s in scores.items())
        print(f"{name:8}MAE: {', '.join(errors)}")


if __name__ == "__main__":
    main()
