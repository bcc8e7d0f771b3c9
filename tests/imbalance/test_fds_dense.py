"""FDS of dense targets, compared with the oracle on a loop over positions."""

import numpy as np
import pytest
import torch
from torch import nn

from ranksim import FDS, LabelBins
from tests.helpers.dense import SHAPES, labeled_positions, make_dense_batch
from tests.oracles import fds as oracle

BINS = LabelBins.integers(0, 9)


def to_rows(tensor):
    return tensor.movedim(1, -1).reshape(-1, tensor.shape[1]).detach().numpy()


@pytest.mark.parametrize("shape", SHAPES[:3])
def test_fds_calibrates_each_position(shape):
    expected_fds, fds = oracle.FDS(shape[1], BINS.edges), FDS(shape[1], BINS).double()
    for epoch in (0, 1):
        batches = [make_dense_batch(shape, seed=2 * epoch + k) for k in (0, 1)]
        rows = [labeled_positions(*batch) for batch in batches]
        expected_fds.update(*(np.concatenate(parts) for parts in zip(*rows, strict=True)))
        fds.fit_epoch(nn.Identity(), batches)
    features, labels = make_dense_batch(shape, seed=9)
    features.requires_grad_()
    upstream = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    output = fds(features, labels)
    (gradient,) = torch.autograd.grad(output, features, upstream)
    raw, upstream_rows = to_rows(features), to_rows(upstream)
    for i, label in enumerate(labels.flatten().numpy()):
        value, slope = raw[i], np.ones(shape[1])
        if not np.isnan(label):
            (value,), (slope,) = expected_fds.smooth(raw[i : i + 1], [label])
        np.testing.assert_allclose(to_rows(output)[i], value, rtol=1e-5, atol=1e-6)
        expected = upstream_rows[i] * slope
        np.testing.assert_allclose(to_rows(gradient)[i], expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(to_rows(output), raw)


def test_pooled_features_keep_their_shape():
    fds = FDS(4, BINS)
    features, ages = torch.randn(20, 4), torch.arange(20) % 10
    fds.accumulate(features.view(20, 4, 1, 1), ages)
    fds.update()
    pooled = fds(features.view(20, 4, 1, 1), ages)
    assert pooled.shape == (20, 4, 1, 1)
    assert torch.equal(pooled.flatten(1), fds(features, ages))
