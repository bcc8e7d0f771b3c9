import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ranksim import RankSimLoss
from tests.functional.test_distributed import Pair

SHARDS = [(16, 16), (21, 11), (31, 1), (32, 0), (0, 32)]
TOLERANCE = {torch.float64: {"rtol": 1e-12, "atol": 1e-12}, torch.float32: {}}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    processes = Pair(tmp_path_factory.mktemp("pair"))
    yield processes
    processes.close()


def unique_settings(unique):
    """Arguments of a draw by value (True), by bins of a width, or of none (False)."""
    return {
        "unique_labels": bool(unique),
        "label_width": None if unique in (True, False) else unique,
    }


def batch(kind, size=32, seed=1):
    """Features (N, D) and labels (N,), (N, 1) or (N, K): random ones, or full of exact ties."""
    draw = np.random.default_rng((seed, size))
    z, y = draw.normal(size=(size, 6)), draw.integers(18, 40, size)
    if kind == "real":
        y = draw.normal(size=(size, 1)) * 10
    elif kind == "positions":
        y = 3.0 * draw.integers(0, 3, (size, 3))
    elif kind == "ties":
        z, y = draw.choice([-1.0, 1.0], size=(size, 4)), draw.integers(0, 19, size)
        z[size // 2] = 0
    return torch.tensor(z), torch.tensor(y)


def measured(features, labels, settings, factor=1.0, seed=0):
    """Value, gradient, and the generator's next number; ``seed`` None: torch's generator."""
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    features = features.clone().requires_grad_()
    loss = RankSimLoss(generator=generator, **settings)(features, labels)
    (factor * loss.sum()).backward()
    return loss.detach(), features.grad, torch.rand((), generator=generator)


def _measured(rank, features, labels, settings, factor, seeds):
    return measured(features[rank], labels[rank], settings, factor, seeds[rank])


def compare(pair, z, y, counts, factor=1.0, seeds=(0, 0), alone=0, gather=True, **settings):
    """Two processes against one with the whole batch, whose generator has the seed ``alone``.

    DistributedDataParallel halves what backward gives each process.
    """
    shards = z.split(counts), y.split(counts)
    results = pair(_measured, *shards, settings | {"gather_across_devices": gather}, factor, seeds)
    (value, first, after), (other, second, other_after) = results
    expected, gradient, expected_after = measured(z, y, settings, factor, alone)
    assert value.equal(other)
    assert seeds != (0, 0) or after.equal(other_after)
    assert seeds[0] != alone or after.equal(expected_after)
    assert gradient.any()
    tolerance = TOLERANCE[z.dtype]
    torch.testing.assert_close(value, expected, **tolerance)
    scaled = torch.cat([first, second]) / 2 / factor
    torch.testing.assert_close(scaled, gradient / factor, **tolerance)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("unique", [True, False, 5.0, np.True_, np.False_], ids=repr)
@pytest.mark.parametrize("counts", SHARDS, ids=str)
@pytest.mark.parametrize("kind", ["ages", "real", "positions", "ties"])
def test_two_processes_are_one_with_the_whole_batch(pair, kind, counts, unique, dtype):
    z, y = batch(kind)
    compare(pair, z.to(dtype), y, counts, **unique_settings(unique))


@pytest.mark.parametrize("ties", ["min", "average", "ordinal"])
@pytest.mark.parametrize("reduction", ["sum", "mean", "none"])
@pytest.mark.parametrize("kind", ["ages", "ties"])
def test_every_rule_and_reduction(pair, kind, reduction, ties):
    settings = {"reduction": reduction, "ties": ties, "gamma": 10.0, "weight": 0.3}
    compare(pair, *batch(kind, 33), (20, 13), label_similarity="neg_l2", **settings)


@pytest.mark.parametrize("factor", [0.25, 65536.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_linear_in_any_outer_factor(pair, dtype, factor):
    z, y = batch("ages")
    counts = (21, 11)
    shards = z.to(dtype).split(counts), y.split(counts)
    plain = pair(_measured, *shards, {"gather_across_devices": True}, 1.0, (0, 0))
    scaled = pair(_measured, *shards, {"gather_across_devices": True}, factor, (0, 0))
    for (_, gradient, _), (_, other, _) in zip(plain, scaled, strict=True):
        assert gradient.any()
        assert other.equal(factor * gradient)  # a power of two: not a bit is lost
    compare(pair, z.to(dtype), y, counts, factor)


class TestTheDraw:
    def test_it_is_that_of_the_first_process(self, pair):
        compare(pair, *batch("ages"), (21, 11), seeds=(3, 4), alone=3)

    def test_it_is_alike_where_torchs_own_generators_differ(self, pair):
        """``Pair`` seeds them with the rank."""
        torch.manual_seed(0)
        compare(pair, *batch("ages"), (21, 11), seeds=(None, None), alone=None)

    def test_the_comparison_sees_another_one(self, pair):
        with pytest.raises(AssertionError, match="not close"):
            compare(pair, *batch("ages"), (21, 11), seeds=(3, 4), alone=4)


def _nothing(rank, features, labels):
    features = features[rank].clone().requires_grad_()
    loss = RankSimLoss(gather_across_devices=True)(features, labels[rank])
    loss.backward()
    return loss.item(), features.grad


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (0, 1), (3, 2)], ids=str)
def test_nothing_to_rank_is_a_differentiable_zero(pair, counts):
    z, y = torch.randn(sum(counts), 4), torch.full((sum(counts),), 30)
    for value, gradient in pair(_nothing, z.split(counts), y.split(counts)):
        assert value == 0
        assert not gradient.any()


def test_half_precision(pair):
    z, y = batch("ages")
    z = z.bfloat16()
    results = pair(
        _measured,
        z.split((20, 12)),
        y.split((20, 12)),
        {"gather_across_devices": True},
        1.0,
        (0, 0),
    )
    value, gradient, _ = measured(z, y, {})
    assert all(got.equal(value) for got, _, _ in results)
    got = torch.cat([part for _, part, _ in results])
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got, 2 * gradient, rtol=0, atol=0)  # doubling rounds nothing


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 8))
        self.head = nn.Linear(8, 1)

    def forward(self, inputs):
        features = self.encoder(inputs)
        return features, self.head(features).squeeze(1)


def trained(batches, wrap=lambda net: net, **settings):
    """Parameters after one step of SGD a batch, with L1 + RankSim."""
    torch.manual_seed(5)
    net = Net().double()
    model, optimiser = wrap(net), torch.optim.SGD(net.parameters(), lr=0.05)
    criterion = RankSimLoss(weight=0.1, generator=torch.Generator().manual_seed(0), **settings)
    for inputs, labels in batches:
        features, predicted = model(inputs)
        loss = nn.functional.l1_loss(predicted, labels.double()) + criterion(features, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return nn.utils.parameters_to_vector(net.parameters()).detach()


def _trained(rank, shards, settings):
    return trained(shards[rank], DistributedDataParallel, **settings)


def compare_training(pair, gather_across_devices, **settings):
    whole = [batch("ages", seed=seed) for seed in range(3)]
    shards = [[(z[part], y[part]) for z, y in whole] for part in (slice(16), slice(16, 32))]
    first, second = pair(
        _trained, shards, {"gather_across_devices": gather_across_devices, **settings}
    )
    assert first.equal(second)
    torch.testing.assert_close(first, trained(whole, **settings), rtol=0, atol=1e-10)


def test_training_on_two_processes_is_training_on_one(pair):
    compare_training(pair, gather_across_devices=True)


@pytest.mark.parametrize("unique", [True, 5.0, False])
def test_with_a_memory_that_is_full_at_the_third_batch_too(pair, unique):
    compare_training(pair, gather_across_devices=True, memory_size=50, **unique_settings(unique))


@pytest.mark.parametrize("settings", [{}, {"memory_size": 50}], ids=str)
def test_it_is_not_without_gather(pair, settings):
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        compare_training(pair, gather_across_devices=False, **settings)


def _loss(rank, features, labels):
    RankSimLoss(gather_across_devices=True)(features[rank], labels[rank])


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
def test_all_processes_refuse_what_does_not_fit(pair, features, labels, message):
    error = f"ValueError: {message}"
    assert pair(_loss, features, labels, fails=True) == [error, error]


@pytest.mark.parametrize("unique", [True, False, 5.0])
@pytest.mark.parametrize("kind", ["ages", "real", "positions"])
def test_one_process_alone_is_as_without(kind, unique):
    gathered = measured(*batch(kind), {**unique_settings(unique), "gather_across_devices": True})
    plain = measured(*batch(kind), unique_settings(unique))
    assert all(got.equal(expected) for got, expected in zip(gathered, plain, strict=True))


def test_one_process_alone_refuses_what_does_not_fit():
    message = "features and labels must have the same length N, got features (3, 2) and labels (4,)"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        RankSimLoss(gather_across_devices=True)(torch.zeros(3, 2), torch.zeros(4))


def test_it_is_printed():
    assert repr(RankSimLoss(gather_across_devices=True)).endswith("gather_across_devices=True)")
