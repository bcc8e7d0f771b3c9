"""The feature bank, and ``RankSimLoss(memory_size=...)`` compared with the oracle."""

import io
import re
from collections import Counter

import numpy as np
import pytest
import torch

from ranksim import RankSimLoss
from ranksim.functional import ranksim_loss
from ranksim.losses.ranksim import FeatureBank
from tests.helpers.pairwise import parametrize_pairwise
from tests.helpers.ranksim_cases import TIES, assert_matches_oracle, unique_settings
from tests.oracles import ranksim as oracle

CPU = torch.device("cpu")


class RingOracle:
    """Rows one at a time: into the next free place, then replacing the oldest."""

    def __init__(self, size):
        self.size, self.rows, self.place = size, [], 0

    def enqueue(self, z, y):
        for row in list(zip(z, y, strict=True))[-self.size :]:
            if len(self.rows) < self.size:
                self.rows.append(row)
            else:
                self.rows[self.place] = row
                self.place = (self.place + 1) % self.size

    def append_to(self, z=(), y=()):
        """Return features and labels of a batch followed by those of the ring."""
        rows = [*zip(z, y, strict=True), *self.rows]
        return [np.array(column) for column in zip(*rows, strict=True)]


def make_batches(kind, sizes, seed=0):
    """Yield features (N, 5) and labels (N,); ``ties``: rows of ±1 or zeros, few labels."""
    draw = np.random.default_rng(seed)
    for size in sizes:
        z, y = draw.normal(size=(size, 5)), draw.integers(18, 60, size)
        if kind == "ties":
            z, y = draw.choice([-1.0, 1.0], size=(size, 5)), draw.integers(0, 4, size)
            z[: size // 5] = 0
        yield z, y


def run_steps(criterion, kind="ages", sizes=(6, 9, 4, 7), seed=0):
    """Return value and gradient of each batch."""
    results = []
    for z, y in make_batches(kind, sizes, seed):
        features = torch.tensor(z, requires_grad=True)
        loss = criterion(features, torch.tensor(y))
        loss.sum().backward()
        results.append((loss.detach(), features.grad))
    return results


def equal(results, others):
    return all(a.equal(c) and b.equal(d) for (a, b), (c, d) in zip(results, others, strict=True))


@parametrize_pairwise(size=[1, 10, 16, 30, 100], kind=["ages", "ties"], ties=TIES)
def test_value_and_gradient_match_oracle(size, kind, ties):
    """The batch's samples are the anchors and alone get gradients."""
    ring = RingOracle(size)
    settings = {"ties": ties, "unique_labels": False, "reduction": "none"}
    criterion = RankSimLoss(10.0, 2.0, memory_size=size, **settings)
    for z, y in make_batches(kind, (7, 12, 1, 9, 35, 8)):
        all_z, all_y = ring.append_to(z, y)
        value, gradient = oracle.ranksim(all_z, oracle.neg_l1(all_y), 10.0, 2.0, ties)
        anchors = len(z) if len(set(all_y)) > 1 else 0
        features = torch.tensor(z, requires_grad=True)
        loss = criterion(features, torch.tensor(y))
        weights = torch.linspace(-2, 3, len(z), dtype=torch.float64)
        loss.backward(weights)  # after the bank was overwritten
        expected = np.einsum("i,ijd->jd", weights[:anchors], gradient[:anchors, : len(z)])
        result = loss, features.grad
        assert_matches_oracle(result, (value[: len(z)] * bool(anchors), expected))
        ring.enqueue(z, y)


def test_oracle_distinguishes_order_and_number_of_references():
    ring = RingOracle(10)
    for z, y in make_batches("ages", (7, 12)):
        ring.enqueue(z, y)
    batch = list(zip(*next(make_batches("ages", (6,), seed=1)), strict=True))

    def value(rows):
        z, y = (np.array(column) for column in zip(*rows, strict=True))
        return oracle.ranksim(z, oracle.neg_l1(y), 10.0, 2.0)[0][:6].sum()

    rotated = ring.rows[1:] + ring.rows[:1]
    shifted_labels = [(z, y) for (z, _), (_, y) in zip(ring.rows, rotated, strict=True)]
    references = (ring.rows, ring.rows[1:], shifted_labels, [])
    assert len({round(value(batch + rows), 6) for rows in references}) == 4


class TestFeatureBank:
    def test_replaces_the_oldest_samples(self):
        bank, ring = FeatureBank(10), RingOracle(10)
        assert bank.get_samples(CPU) is None
        for z, y in make_batches("ages", (4, 4, 4, 1, 0, 9, 10, 23, 3)):
            bank.enqueue(torch.tensor(z), torch.tensor(y))
            ring.enqueue(z, y)
            features, labels = bank.get_samples(CPU)
            expected = ring.append_to()
            assert features.equal(torch.tensor(expected[0]))
            assert labels.equal(torch.tensor(expected[1]).unsqueeze(1))

    def test_full_bank_is_written_in_place(self):
        bank, pointers = FeatureBank(10), []
        for z, y in make_batches("ages", [4] * 6):
            bank.enqueue(torch.tensor(z), torch.tensor(y))
            pointers.append([tensor.data_ptr() for tensor in bank.get_samples(CPU)])
        assert pointers[2] == pointers[3] == pointers[5]

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
    def test_keeps_the_dtype_of_its_first_batch(self, dtype):
        bank = FeatureBank(6)
        torch.manual_seed(0)
        z = torch.randn(8, 3, dtype=torch.float64)
        bank.enqueue(z[:4].to(dtype), torch.arange(4, dtype=torch.int16))
        bank.enqueue(z[4:], torch.tensor([4.5, 5, 6, 7]))
        features, labels = bank.get_samples(CPU)
        assert features.equal(z[[6, 7, 2, 3, 4, 5]].to(dtype))
        assert labels.flatten().tolist() == [6, 7, 2, 3, 4.5, 5]  # int16 could not hold 4.5


def test_two_losses_before_one_backward():
    """Gradients are those of the bank before it was overwritten."""
    for z, y in make_batches("ages", (6,)):
        features = torch.tensor(np.stack([z, 2 - z, z**2]), requires_grad=True)
        gradients = []
        for together in (True, False):
            criterion, terms = RankSimLoss(memory_size=6), []
            features.grad = None
            for part in features:
                terms.append(criterion(part, torch.tensor(y)))
                if not together:
                    terms.pop().backward()
            if together:
                sum(terms).backward()
            gradients.append(features.grad)
        assert gradients[0].any()
        assert gradients[0].equal(gradients[1])


class TestUniqueLabels:
    @pytest.mark.slow
    def test_draw_prefers_the_batch_and_is_uniform_over_the_bank(self):
        """Every possible draw occurs, each equally often."""
        draw = np.random.default_rng(1)  # all six gradients differ
        z, y = draw.normal(size=(8, 4)), np.array([20, 25, 20, 30, 30, 30, 41, 41])
        possible = set()
        for thirty in (3, 4, 5):
            for forty in (6, 7):
                rows = [0, 1, thirty, forty]
                _, gradient = oracle.ranksim(z[rows], oracle.neg_l1(y[rows]), 100.0, 2.0)
                possible.add(tuple(gradient[:2, :2].sum(0).round(9).flatten()))
        assert len(possible) == 6
        criterion = RankSimLoss(generator=torch.Generator().manual_seed(0), memory_size=6)
        counts = Counter()
        for _ in range(600):
            criterion.feature_bank.clear()
            criterion.feature_bank.enqueue(torch.tensor(z[2:]), torch.tensor(y[2:]))
            features = torch.tensor(z[:2], requires_grad=True)
            criterion(features, torch.tensor(y[:2])).backward()
            counts[tuple(features.grad.numpy().round(9).flatten())] += 1
        assert counts.keys() == possible
        assert all(65 < count < 140 for count in counts.values())

    @parametrize_pairwise(unique=[True, 5.0, False], reduction=["sum", "mean", "none"])
    def test_equals_the_function_with_references(self, unique, reduction):
        """On a CPU the draw comes before the references are appended, and is the same."""
        settings = {"reduction": reduction, **unique_settings(unique)}
        generators = [torch.Generator().manual_seed(3) for _ in range(2)]
        criterion = RankSimLoss(generator=generators[0], memory_size=12, **settings)
        bank = FeatureBank(12)

        def call_function(features, labels):
            ref_features, ref_labels = bank.get_samples(CPU) or (None, None)
            references = {"ref_features": ref_features, "ref_labels": ref_labels}
            loss = ranksim_loss(features, labels, generator=generators[1], **references, **settings)
            bank.enqueue(features, labels)
            return loss

        results = zip(run_steps(criterion), run_steps(call_function), strict=True)
        for result, expected in results:
            torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-15)

    @pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
    @pytest.mark.slow
    @pytest.mark.parametrize("unique", [True, False])
    def test_compiles_to_one_graph(self, unique):
        plain, compiled = (RankSimLoss(unique_labels=unique, memory_size=12) for _ in range(2))
        results = []
        for criterion in (plain, torch.compile(compiled, backend="eager", fullgraph=True)):
            torch.manual_seed(0)
            results.append(run_steps(criterion, sizes=[5] * 6))
        for expected, result in zip(*results, strict=True):
            torch.testing.assert_close(result, expected, rtol=1e-10, atol=1e-12)


def test_bank_is_unused_without_gradients_or_training():
    criterion = RankSimLoss(memory_size=12, unique_labels=False)
    plain = RankSimLoss(unique_labels=False)
    run_steps(criterion)
    before = [tensor.clone() for tensor in criterion.feature_bank.get_samples(CPU)]
    ((z, y),) = make_batches("ages", (8,), seed=5)
    features, labels = torch.tensor(z, requires_grad=True), torch.tensor(y)
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            assert criterion(features, labels).equal(plain(features, labels))
    assert criterion.eval()(features, labels).equal(plain(features, labels))
    assert all(map(torch.equal, before, criterion.feature_bank.get_samples(CPU)))
    assert not criterion.train()(features, labels).equal(plain(features, labels))
    assert not all(map(torch.equal, before, criterion.feature_bank.get_samples(CPU)))


@parametrize_pairwise(
    shapes=[("features", (4, 3), (4,)), ("labels", (4, 2), (4, 2)), ("labels", (4, 2), (4, 3))],
    unique=[True, False],
    direct=[True, False],
)
def test_batch_of_another_width_raises_and_is_not_stored(shapes, unique, direct):
    name, shape, label_shape = shapes
    criterion = RankSimLoss(memory_size=12, unique_labels=unique)
    criterion(torch.randn(5, 2), torch.arange(5))
    before = [tensor.clone() for tensor in criterion.feature_bank.get_samples(CPU)]
    batch = torch.randn(shape), torch.randn(label_shape)
    columns, stored = (shape[1], 2) if name == "features" else (label_shape[1], 1)
    message = (
        f"{name} have {columns} columns, those of the batches in memory {stored}: keep one width, "
        "or call feature_bank.clear() before the batch"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        criterion.feature_bank.enqueue(*batch) if direct else criterion(*batch)
    assert all(map(torch.equal, before, criterion.feature_bank.get_samples(CPU)))


def test_cleared_bank_takes_another_width():
    criterion = RankSimLoss(memory_size=12)
    run_steps(criterion)
    criterion.feature_bank.clear()
    criterion(torch.randn(4, 3), torch.arange(4))
    assert [len(tensor) for tensor in criterion.feature_bank.get_samples(CPU)] == [4, 4]


def test_non_finite_rows_are_stored_as_zeros():
    criterion = RankSimLoss(memory_size=12, unique_labels=False)
    features = torch.randn(4, 3)
    features[1, 2], features[3, 0] = torch.inf, torch.nan
    assert criterion(features, torch.arange(4)).isnan()
    stored, _ = criterion.feature_bank.get_samples(CPU)
    assert stored[[0, 2]].equal(features[[0, 2]])
    assert not stored[[1, 3]].any()
    assert criterion(torch.randn(4, 3), torch.arange(4)).isfinite()


@parametrize_pairwise(shape=[(), (1,), (3,)], unique=[True, False])
def test_empty_batch_is_a_differentiable_zero(shape, unique):
    criterion = RankSimLoss(memory_size=12, unique_labels=unique)
    for size in (0, 4, 0):
        features = torch.randn(size, 2, requires_grad=True)
        loss = criterion(features, torch.randint(0, 99, (size, *shape)))
        loss.backward()
        assert size or loss == 0
        assert features.grad.shape == (size, 2)
    assert len(criterion.feature_bank.get_samples(CPU)[0]) == 4


def test_drawn_positions_are_stored():
    criterion = RankSimLoss(memory_size=50, num_positions=6)
    for count in (6, 12):
        features = torch.randn(2, 3, 4, 4, requires_grad=True)
        criterion(features, torch.randn(2, 1, 4, 4)).backward()
        features, labels = criterion.feature_bank.get_samples(CPU)
        assert (features.shape, labels.shape) == ((count, 3), (count, 1))


class TestState:
    def save_state(self, criterion):
        file = io.BytesIO()
        torch.save(criterion.state_dict(), file)
        file.seek(0)
        return torch.load(file, weights_only=True)

    @pytest.mark.parametrize("sizes", [(), (4,), (6, 9, 4, 7)])
    def test_resumes_from_a_saved_state(self, sizes):
        criterion, resumed = (RankSimLoss(memory_size=12, ties="ordinal") for _ in range(2))
        run_steps(criterion, sizes=sizes)
        state = self.save_state(criterion)
        torch.manual_seed(1)
        expected = run_steps(criterion, seed=1)
        for attempt in range(2):  # twice, because a loaded state is a copy
            resumed.load_state_dict(state)
            torch.manual_seed(1)
            assert equal(run_steps(resumed, seed=1), expected), attempt
        torch.manual_seed(1)
        fresh = run_steps(RankSimLoss(memory_size=12, ties="ordinal"), seed=1)
        assert equal(fresh, expected) is (not sizes)

    def test_state_of_another_size_raises(self):
        message = "memory_size is 12, but the saved state has 13: create the loss with the same"
        with pytest.raises(ValueError, match=re.escape(message)):
            RankSimLoss(memory_size=12).load_state_dict(RankSimLoss(memory_size=13).state_dict())

    def test_loss_without_bank_has_no_state(self):
        assert not RankSimLoss().state_dict()


@pytest.mark.parametrize(
    ("memory_size", "error", "message"),
    [
        (-1, ValueError, "memory_size must be at least 1, got -1"),
        (2.5, TypeError, r"memory_size must be a whole number of samples, got 2\.5"),
        (True, TypeError, "memory_size must be a whole number of samples, got True"),
    ],
)
def test_wrong_size_raises(memory_size, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        RankSimLoss(memory_size=memory_size)


def test_repr_shows_the_size():
    assert "FeatureBank(4096)" in repr(RankSimLoss(memory_size=4096))
