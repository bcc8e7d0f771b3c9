"""Batches of dense targets, and their positions by a loop."""

import itertools

import numpy as np
import torch

SHAPES = [(3, 4, 5, 6), (2, 4, 7), (1, 4, 2, 3, 2), (2, 1, 1, 1)]


def make_dense_batch(shape, *, missing=0.3, seed=0, dtype=torch.float64, columns=1):
    """Return features, and integer labels of 0..9 that are NaN at some positions."""
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn(shape, generator=draw, dtype=dtype)
    labels = torch.randint(10, (shape[0], columns, *shape[2:]), generator=draw).to(dtype)
    is_missing = torch.rand(labels.shape, generator=draw) < missing
    return features, labels.masked_fill(is_missing, torch.nan)


def labeled_positions(features, labels):
    """Return features (P, D) and labels (P, K) of every position that has a label, by a loop."""
    z, y = features.detach().numpy(), labels.numpy()
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
