"""``RankSimLoss(gather_across_devices=True)`` on two processes equals one with the whole batch."""

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ranksim import RankSimLoss
from tests.helpers.pairwise import parametrize_pairwise
from tests.helpers.ranksim_cases import TIES, unique_settings

pytestmark = pytest.mark.distributed

SHARDS = [(16, 16), (21, 11), (31, 1), (32, 0), (0, 32)]
TOLERANCE = {torch.float64: {"rtol": 1e-12, "atol": 1e-12}, torch.float32: {}}


def make_batch(kind, size=32, seed=1):
    """Return features (N, D) and labels (N,), (N, 1) or (N, K): random, or full of exact ties."""
    draw = np.random.default_rng((seed, size))
    z, y = draw.normal(size=(size, 6)), draw.integers(18, 40, size)
    if kind == "real":
        y = draw.normal(size=(size, 1)) * 10
    elif kind == "coordinates":
        y = 3.0 * draw.integers(0, 3, (size, 3))
    elif kind == "ties":
        z, y = draw.choice([-1.0, 1.0], size=(size, 4)), draw.integers(0, 19, size)
        z[size // 2] = 0
    return torch.tensor(z), torch.tensor(y)


def compute(features, labels, settings, factor=1.0, seed=0):
    """Return value, gradient, and the generator's next number; no seed: PyTorch's generator."""
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    features = features.clone().requires_grad_()
    loss = RankSimLoss(generator=generator, **settings)(features, labels)
    (factor * loss.sum()).backward()
    return loss.detach(), features.grad, torch.rand((), generator=generator)


def _compute(rank, features, labels, settings, factor, seeds):
    return compute(features[rank], labels[rank], settings, factor, seeds[rank])


def gather(settings=None):
    return {"gather_across_devices": True} | (settings or {})


def compare(pair, z, y, counts, factor=1.0, seeds=(0, 0), single_seed=0, **settings):
    """Compare two processes with one that has the whole batch and the generator ``single_seed``.

    DistributedDataParallel halves the gradients of each process.
    """
    shards = z.split(counts), y.split(counts)
    results = pair(_compute, *shards, gather(settings), factor, seeds)
    (value, first, after), (other, second, other_after) = results
    expected, gradient, expected_after = compute(z, y, settings, factor, single_seed)
    assert value.equal(other)
    assert seeds != (0, 0) or after.equal(other_after)
    assert seeds[0] != single_seed or after.equal(expected_after)
    assert gradient.any()
    tolerance = TOLERANCE[z.dtype]
    torch.testing.assert_close(value, expected, **tolerance)
    scaled = torch.cat([first, second]) / 2 / factor
    torch.testing.assert_close(scaled, gradient / factor, **tolerance)


@parametrize_pairwise(
    kind=["ages", "real", "coordinates", "ties"],
    counts=SHARDS,
    unique=[True, False, 5.0, np.True_, np.False_],
    dtype=[torch.float64, torch.float32],
)
def test_two_processes_equal_one_with_the_whole_batch(process_pair, kind, counts, unique, dtype):
    z, y = make_batch(kind)
    compare(process_pair, z.to(dtype), y, counts, **unique_settings(unique))


@parametrize_pairwise(ties=TIES, reduction=["sum", "mean", "none"], kind=["ages", "ties"])
def test_every_rule_and_reduction(process_pair, kind, reduction, ties):
    settings = {"reduction": reduction, "ties": ties, "gamma": 10.0, "weight": 0.3}
    batch = make_batch(kind, 33)
    compare(process_pair, *batch, (20, 13), label_similarity="neg_l2", **settings)


@parametrize_pairwise(factor=[0.25, 65536.0], dtype=[torch.float64, torch.float32])
def test_linear_in_any_outer_factor(process_pair, dtype, factor):
    z, y = make_batch("ages")
    counts = (21, 11)
    shards = z.to(dtype).split(counts), y.split(counts)
    plain = process_pair(_compute, *shards, gather(), 1.0, (0, 0))
    scaled = process_pair(_compute, *shards, gather(), factor, (0, 0))
    for (_, gradient, _), (_, scaled_gradient, _) in zip(plain, scaled, strict=True):
        assert gradient.any()
        assert scaled_gradient.equal(factor * gradient)  # exact: a power of two
    compare(process_pair, z.to(dtype), y, counts, factor)


class TestDraw:
    def test_process_0_decides(self, process_pair):
        compare(process_pair, *make_batch("ages"), (21, 11), seeds=(3, 4), single_seed=3)

    def test_default_generators_may_differ(self, process_pair):
        """``ProcessPair`` seeds them with the rank."""
        torch.manual_seed(0)
        seeds = {"seeds": (None, None), "single_seed": None}
        compare(process_pair, *make_batch("ages"), (21, 11), **seeds)

    def test_comparison_fails_for_another_draw(self, process_pair):
        with pytest.raises(AssertionError, match="not close"):
            compare(process_pair, *make_batch("ages"), (21, 11), seeds=(3, 4), single_seed=4)


def _compute_zero(rank, features, labels):
    features = features[rank].clone().requires_grad_()
    loss = RankSimLoss(**gather())(features, labels[rank])
    loss.backward()
    return loss.item(), features.grad


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (0, 1), (3, 2)], ids=str)
def test_equal_labels_are_a_differentiable_zero(process_pair, counts):
    z, y = torch.randn(sum(counts), 4), torch.full((sum(counts),), 30)
    for value, gradient in process_pair(_compute_zero, z.split(counts), y.split(counts)):
        assert value == 0
        assert not gradient.any()


def test_half_precision(process_pair):
    z, y = make_batch("ages")
    z = z.bfloat16()
    shards = z.split((20, 12)), y.split((20, 12))
    results = process_pair(_compute, *shards, gather(), 1.0, (0, 0))
    expected, gradient, _ = compute(z, y, {})
    assert all(value.equal(expected) for value, _, _ in results)
    gathered = torch.cat([part for _, part, _ in results])
    assert gathered.dtype == torch.bfloat16
    torch.testing.assert_close(gathered, 2 * gradient, rtol=0, atol=0)  # doubling does not round


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 8))
        self.head = nn.Linear(8, 1)

    def forward(self, inputs):
        features = self.encoder(inputs)
        return features, self.head(features).squeeze(1)


def train(batches, wrap=lambda network: network, **settings):
    """Return the parameters after one step of SGD per batch, with L1 + RankSim."""
    torch.manual_seed(5)
    network = Network().double()
    model, optimizer = wrap(network), torch.optim.SGD(network.parameters(), lr=0.05)
    criterion = RankSimLoss(weight=0.1, generator=torch.Generator().manual_seed(0), **settings)
    for inputs, labels in batches:
        features, preds = model(inputs)
        loss = nn.functional.l1_loss(preds, labels.double()) + criterion(features, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return nn.utils.parameters_to_vector(network.parameters()).detach()


def _train(rank, shards, settings):
    return train(shards[rank], DistributedDataParallel, **settings)


def compare_training(pair, gather_across_devices, **settings):
    """Compare the parameters that two processes and one process train."""
    whole = [make_batch("ages", seed=seed) for seed in range(3)]
    shards = [[(z[part], y[part]) for z, y in whole] for part in (slice(16), slice(16, 32))]
    gathering = {"gather_across_devices": gather_across_devices}
    first, second = pair(_train, shards, gathering | settings)
    assert first.equal(second)
    torch.testing.assert_close(first, train(whole, **settings), rtol=0, atol=1e-10)


def test_training_on_two_processes_equals_training_on_one(process_pair):
    compare_training(process_pair, True)


@pytest.mark.parametrize("unique", [True, 5.0, False])
def test_training_with_a_feature_bank_that_fills_up(process_pair, unique):
    compare_training(process_pair, True, memory_size=50, **unique_settings(unique))


@pytest.mark.parametrize("settings", [{}, {"memory_size": 50}], ids=str)
def test_training_differs_without_gathering(process_pair, settings):
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        compare_training(process_pair, False, **settings)


def _compute_loss(rank, features, labels):
    RankSimLoss(**gather())(features[rank], labels[rank])


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (
            (torch.zeros(3, 2, 2), torch.zeros(3, 5)),
            (torch.zeros(3), torch.zeros(3)),
            "features must agree in trailing shape and dtype on all processes, got (3, 4) of "
            "torch.float32 on process 0 and (3, 5) of torch.float32 on process 1",
        ),
        (
            (torch.zeros(3, 4), torch.zeros(2, 4)),
            (torch.zeros(3), torch.arange(2)),
            "labels must agree in trailing shape and dtype on all processes, got (3, 1) of "
            "torch.float32 on process 0 and (2, 1) of torch.int64 on process 1",
        ),
    ],
    ids=["features", "labels"],
)
def test_mismatched_batches_raise_on_all_processes(process_pair, features, labels, message):
    error = f"ValueError: {message}"
    assert process_pair(_compute_loss, features, labels, fails=True) == [error, error]


@parametrize_pairwise(unique=[True, False, 5.0], kind=["ages", "real", "coordinates"])
def test_single_process_ignores_gathering(kind, unique):
    settings = unique_settings(unique)
    gathered = compute(*make_batch(kind), gather(settings))
    plain = compute(*make_batch(kind), settings)
    assert all(result.equal(expected) for result, expected in zip(gathered, plain, strict=True))


def test_single_process_checks_shapes():
    message = "features and labels must have the same length N, got features (3, 2) and labels (4,)"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        RankSimLoss(**gather())(torch.zeros(3, 2), torch.zeros(4))
