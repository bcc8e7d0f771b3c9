"""Batches of dense targets, and their positions by a loop."""

import itertools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SHAPES = [(3, 4, 5, 6), (2, 4, 7), (1, 4, 2, 3, 2), (2, 1, 1, 1)]


def make_dense_batch(
    shape: tuple[int, ...],
    *,
    missing: float = 0.3,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    columns: int = 1,
) -> tuple[Tensor, Tensor]:
    """Return features, and integer labels of 0..9 that are NaN at some positions."""
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn(shape, generator=draw, dtype=dtype)
    labels = torch.randint(10, (shape[0], columns, *shape[2:]), generator=draw).to(dtype)
    is_missing = torch.rand(labels.shape, generator=draw) < missing
    return features, labels.masked_fill(is_missing, torch.nan)


def labeled_positions(features: Tensor, labels: Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return features (P, D) and labels (P, K) of every position that has a label, by a loop."""
    z: Any = features.detach().numpy()
    y: Any = labels.numpy()
    rows = []
    for n in range(z.shape[0]):
        for position in itertools.product(*map(range, z.shape[2:])):
            label = y[(n, slice(None), *position)]
            if not np.isnan(label).any():
                rows.append((z[(n, slice(None), *position)], label))
    width, columns = z.shape[1], y.shape[1]
    return (
        np.array([row for row, _ in rows]).reshape(-1, width),
        np.array([label for _, label in rows]).reshape(-1, columns),
    )
