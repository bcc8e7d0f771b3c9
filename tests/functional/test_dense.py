"""Dense targets: the loss, FDS, the metrics and the callbacks against loops over positions."""

import itertools
import re

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from ranksim import FDS, LabelBins, RankSimLoss
from ranksim.functional import ranksim_loss, sample_positions
from ranksim.integrations.lightning import FDSCallback, RankSimCallback
from ranksim.metrics import RegionMetrics, ShotRegions, regression_scores
from tests.helpers.trainings import trainer_for
from tests.oracles import fds as oracle

SHAPES = [(3, 4, 5, 6), (2, 4, 7), (1, 4, 2, 3, 2), (2, 1, 1, 1)]
BINS = LabelBins.integers(0, 9)


def batch(shape, *, missing=0.3, seed=0, dtype=torch.float64, kinds=1):
    """Features, and whole labels of 0..9 that are NaN at some positions."""
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn(shape, generator=draw, dtype=dtype)
    labels = torch.randint(10, (shape[0], kinds, *shape[2:]), generator=draw).to(dtype)
    gone = torch.rand(labels.shape, generator=draw) < missing
    return features, labels.masked_fill(gone, torch.nan)


def positions(features, labels):
    """Features (P, D) and labels (P, K) of every position that has a label, by a loop."""
    z, y = features.detach().numpy(), labels.numpy()
    rows = []
    for n in range(z.shape[0]):
        for place in itertools.product(*map(range, z.shape[2:])):
            label = y[(n, slice(None), *place)]
            if not np.isnan(label).any():
                rows.append((z[(n, slice(None), *place)], label))
    width, kinds = z.shape[1], y.shape[1]
    return (
        np.array([row for row, _ in rows]).reshape(-1, width),
        np.array([label for _, label in rows]).reshape(-1, kinds),
    )


@pytest.mark.parametrize("kinds", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_all_positions_come_in_order(shape, kinds):
    features, labels = batch(shape, kinds=kinds, missing=0.3 if len(shape) > 3 else 0.0)
    found = sample_positions(features, labels, 10_000)
    for got, wanted in zip(found, positions(features, labels), strict=True):
        np.testing.assert_array_equal(got.numpy(), wanted)


def test_some_are_drawn_without_replacement_alike_each_time_and_uniformly():
    labels = torch.arange(12.0).view(2, 1, 2, 3)
    labels[1, 0, 0, 1] = torch.nan  # the 7
    features, draw = labels.expand(2, 4, 2, 3), torch.Generator().manual_seed(0)
    counts = np.zeros(12, int)
    for _ in range(3_000):
        z, y = sample_positions(features, labels, 5, generator=draw)
        assert z.shape == (5, 4)
        assert torch.equal(z, y.expand(5, 4))
        chosen = y.flatten().int().tolist()
        assert chosen == sorted(set(chosen))
        counts[chosen] += 1
    assert counts[7] == 0
    # 3,000 draws of 5 of 11: 1,364 each, with a deviation of 27
    assert np.abs(np.delete(counts, 7) - 3_000 * 5 / 11).max() < 5 * 27
    again = [
        sample_positions(features, labels, 5, generator=torch.Generator().manual_seed(3))[1]
        for _ in range(2)
    ]
    assert torch.equal(*again)


def test_a_label_more_or_less_moves_the_generator_no_further():
    states = []
    for missing in (0.0, 0.9):
        draw = torch.Generator().manual_seed(0)
        sample_positions(*batch((2, 4, 5, 5), missing=missing), 7, generator=draw)
        states.append(draw.get_state())
    assert torch.equal(*states)


def test_the_gradient_goes_where_it_came_from():
    features, labels = batch((2, 3, 3, 2))
    features.requires_grad_()

    def drawn(features):
        return sample_positions(features, labels, 5, generator=torch.Generator().manual_seed(1))[0]

    assert torch.autograd.gradcheck(drawn, features)
    upstream = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    rows = drawn(features)
    (rows * upstream).sum().backward()
    wanted, z = np.zeros(features.shape), features.detach().numpy()
    for row, gradient in zip(rows.detach().numpy(), upstream.numpy(), strict=True):
        ((n, i, j),) = np.argwhere((z == row[None, :, None, None]).all(1))
        wanted[n, :, i, j] = gradient
    np.testing.assert_array_equal(features.grad.numpy(), wanted)


@pytest.mark.parametrize("form", [torch.channels_last, torch.contiguous_format])
def test_memory_formats_and_devices_of_half_precision(form):
    features, labels = batch((2, 4, 3, 3), dtype=torch.float32)
    features = features.bfloat16().contiguous(memory_format=form)
    z, _ = sample_positions(features, labels, 100)
    np.testing.assert_array_equal(z.float().numpy(), positions(features.float(), labels)[0])


def test_the_loss_is_that_of_the_positions():
    features, labels = batch((2, 4, 6, 6), missing=0.5)
    features.requires_grad_()
    criterion = RankSimLoss(
        5.0, num_positions=12, weight=0.3, generator=torch.Generator().manual_seed(4)
    )
    ours = criterion(features, labels)
    (gradient,) = torch.autograd.grad(ours, features)
    draw = torch.Generator().manual_seed(4)
    rows, y = sample_positions(features, labels, 12, generator=draw)
    theirs = ranksim_loss(rows, y, 5.0, weight=0.3, generator=draw)
    assert torch.equal(ours, theirs)
    assert ours > 0
    assert torch.equal(gradient, torch.autograd.grad(theirs, features)[0])
    assert "num_positions=12" in repr(criterion)


@pytest.mark.parametrize("labels", [torch.full((2, 1, 3), torch.nan), torch.empty(0, 1, 3)])
def test_no_label_at_all_is_a_differentiable_zero(labels):
    features = torch.randn(len(labels), 4, 3, requires_grad=True)
    loss = RankSimLoss(num_positions=8)(features, labels)
    loss.backward()
    assert loss == 0
    assert not features.grad.any()


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda: RankSimLoss()(torch.zeros(2, 4, 3, 3), torch.zeros(2, 1, 3, 3)),
            ValueError,
            "labels (2, 1, 3, 3) are dense: give RankSimLoss the number of positions to draw "
            "from a batch, for example num_positions=256",
        ),
        (
            lambda: RankSimLoss(num_positions=8)(torch.zeros(2, 4), torch.zeros(2)),
            ValueError,
            "dense features must have shape (N, D, ...) and labels (N, K, ...) on the same "
            "positions, got features (2, 4) and labels (2,)",
        ),
        (
            lambda: RankSimLoss(num_positions=8)(torch.zeros(2, 4, 3, 3), torch.zeros(2, 3, 3)),
            ValueError,
            "dense features must have shape (N, D, ...) and labels (N, K, ...) on the same "
            "positions, got features (2, 4, 3, 3) and labels (2, 3, 3)",
        ),
        (
            lambda: sample_positions(torch.zeros(2, 4, 3), torch.zeros(2, 1, 4), 8),
            ValueError,
            "dense features must have shape (N, D, ...) and labels (N, K, ...) on the same "
            "positions, got features (2, 4, 3) and labels (2, 1, 4)",
        ),
        (
            lambda: sample_positions([1], torch.zeros(2, 1, 4), 8),
            TypeError,
            "features must be a torch.Tensor, got list",
        ),
        (
            lambda: sample_positions(torch.zeros(2, 4, 3), torch.zeros(2, 1, 3, device="meta"), 8),
            ValueError,
            "features and labels must be on one device, got features on cpu and labels on meta",
        ),
        (
            lambda: RankSimLoss(num_positions=0),
            ValueError,
            "num_positions must be at least 1, got 0",
        ),
        (
            lambda: RankSimLoss(num_positions=2.5),
            TypeError,
            "num_positions must be a whole number of positions, got 2.5",
        ),
    ],
)
def test_what_does_not_fit_is_named(call, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        call()


@pytest.mark.parametrize("shape", SHAPES[:3])
def test_fds_counts_and_calibrates_each_position(shape):
    theirs = oracle.FDS(shape[1], BINS.edges)
    ours = FDS(shape[1], BINS).double()
    for seed in (0, 1):
        both = [batch(shape, seed=2 * seed + k) for k in (0, 1)]
        rows = [positions(*pair) for pair in both]
        theirs.update(*(np.concatenate(parts) for parts in zip(*rows, strict=True)))
        ours.fit_epoch(nn.Identity(), both)
    features, labels = batch(shape, seed=9)
    features.requires_grad_()
    upstream = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    out = ours(features, labels)
    (gradient,) = torch.autograd.grad(out, features, upstream)
    z, g = (part.movedim(1, -1).reshape(-1, shape[1]).detach().numpy() for part in (out, gradient))
    raw, up = (
        part.movedim(1, -1).reshape(-1, shape[1]).detach().numpy() for part in (features, upstream)
    )
    flat = labels.flatten().numpy()
    for i, label in enumerate(flat):
        if np.isnan(label):
            value, slope = raw[i], np.ones(shape[1])
        else:
            (value,), (slope,) = theirs.smooth(raw[i : i + 1], [label])
        np.testing.assert_allclose(z[i], value, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(g[i], up[i] * slope, rtol=1e-5, atol=1e-6)
    assert not np.allclose(z, raw)


def test_pooled_features_keep_their_shape():
    fds = FDS(4, BINS)
    features, ages = torch.randn(20, 4), torch.arange(20) % 10
    fds.accumulate(features.view(20, 4, 1, 1), ages)
    fds.update()
    pooled = fds(features.view(20, 4, 1, 1), ages)
    assert pooled.shape == (20, 4, 1, 1)
    assert torch.equal(pooled.flatten(1), fds(features, ages))


REGIONS = ShotRegions.from_counts(BINS, np.repeat([0.0, 1.0, 2.0], [200, 50, 5]))


@pytest.mark.parametrize("shape", SHAPES)
def test_metrics_of_dense_targets_are_those_of_their_positions(shape):
    metrics, errors, labels = RegionMetrics(REGIONS), [], []
    for seed in range(3):
        _, target = batch(shape, seed=seed)
        prediction = target.nan_to_num(4.0) + 0.1 * seed + 0.1
        metrics.update(prediction, target)
        kept = ~target.isnan()
        errors.append(prediction[kept])
        labels.append(target[kept])
    y = torch.cat(labels)
    assert metrics.compute()["all"] == regression_scores(torch.cat(errors), y)
    few = np.isin(y.numpy(), range(2, 10))
    assert metrics.compute()["few"]["n"] == few.sum()


def test_a_dense_sample_that_comes_twice_counts_once_whatever_its_size():
    metrics = RegionMetrics(REGIONS)
    small, large = batch((2, 1, 2, 2), seed=1)[1], batch((2, 1, 5, 5), seed=2)[1]
    for target, index in ((small, [0, 1]), (large, [2, 3]), (small[:1], [0])):
        metrics.update(target + 1, target, torch.tensor(index))
    both = torch.cat([small.flatten(), large.flatten()])
    assert metrics.compute()["all"]["n"] == int((~both.isnan()).sum())
    metrics.update(torch.empty(0, 1, 2, 2), torch.empty(0, 1, 2, 2), torch.empty(0, dtype=int))


class Pixels(L.LightningModule):
    """A user's module that predicts a value for each pixel."""

    def __init__(self):
        super().__init__()
        self.encoder, self.head = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 1, 1)

    def forward(self, x):
        return self.head(self.encoder(x))

    def training_step(self, batch, batch_idx):
        x, y = batch
        known = ~y.isnan()
        return F.l1_loss(self(x)[known], y[known])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def pixels():
    return [batch((2, 2, 4, 4), seed=seed, dtype=torch.float32) for seed in range(3)]


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
def test_the_callbacks_take_dense_targets():
    def made():
        draw = torch.Generator().manual_seed(0)
        torch.manual_seed(0)
        return Pixels(), FDS(6, BINS), RankSimLoss(weight=0.1, num_positions=9, generator=draw)

    net, fds, ranksim = made()
    callbacks = [FDSCallback(fds, "encoder"), RankSimCallback(ranksim, "encoder")]
    trainer_for(*callbacks, max_epochs=2).fit(net, DataLoader(pixels(), batch_size=None))
    plain, fds, ranksim = made()
    optimizer = plain.configure_optimizers()
    for epoch in range(2):
        if epoch:
            fds.fit_epoch(plain.encoder, pixels())
        for x, y in pixels():
            features, known = plain.encoder(x), ~y.isnan()
            prediction = plain.head(fds(features, y))
            loss = F.l1_loss(prediction[known], y[known]) + ranksim(features, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    for ours, theirs in zip(net.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
