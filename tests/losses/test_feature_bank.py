import io
import re
from collections import Counter

import numpy as np
import pytest
import torch

from ranksim import RankSimLoss
from ranksim.functional import ranksim_loss
from ranksim.losses.feature_bank import FeatureBank
from tests.functional.test_ranksim import relative_error
from tests.oracles import ranksim as oracle

CPU = torch.device("cpu")


def unique_settings(unique):
    """Arguments of a draw by value (True), by bins of a width, or of none (False)."""
    return {
        "unique_labels": unique is not False,
        "label_width": None if unique in (True, False) else unique,
    }


class Ring:
    """Rows one at a time: into the next free place, then into that of the oldest."""

    def __init__(self, capacity):
        self.capacity, self.rows, self.place = capacity, [], 0

    def take(self, z, y):
        for row in list(zip(z, y, strict=True))[-self.capacity :]:
            if len(self.rows) < self.capacity:
                self.rows.append(row)
            else:
                self.rows[self.place] = row
                self.place = (self.place + 1) % self.capacity

    def beside(self, z=(), y=()):
        """Features and labels, those of a batch first."""
        rows = [*zip(z, y, strict=True), *self.rows]
        return [np.array(column) for column in zip(*rows, strict=True)]


def batches(kind, sizes, seed=0):
    """Features (N, 5) and labels (N,); ``ties``: rows of ±1 and one of zeros, few labels."""
    draw = np.random.default_rng(seed)
    for size in sizes:
        z, y = draw.normal(size=(size, 5)), draw.integers(18, 60, size)
        if kind == "ties":
            z, y = draw.choice([-1.0, 1.0], size=(size, 5)), draw.integers(0, 4, size)
            z[: size // 5] = 0
        yield z, y


def steps(criterion, kind="ages", sizes=(6, 9, 4, 7), seed=0):
    """Value and gradient of each batch."""
    found = []
    for z, y in batches(kind, sizes, seed):
        features = torch.tensor(z, requires_grad=True)
        loss = criterion(features, torch.tensor(y))
        loss.sum().backward()
        found.append((loss.detach(), features.grad))
    return found


def same(some, others):
    return all(a.equal(c) and b.equal(d) for (a, b), (c, d) in zip(some, others, strict=True))


@pytest.mark.parametrize("capacity", [1, 10, 16, 30, 100])
@pytest.mark.parametrize("kind", ["ages", "ties"])
@pytest.mark.parametrize("ties", ["min", "average", "ordinal"])
def test_value_and_gradient_equal_the_oracle(ties, kind, capacity):
    """The batch's samples are the anchors, and they alone move; the order of neighbours counts."""
    ring = Ring(capacity)
    settings = {"ties": ties, "unique_labels": False, "reduction": "none"}
    criterion = RankSimLoss(10.0, 2.0, memory_size=capacity, **settings)
    for z, y in batches(kind, (7, 12, 1, 9, 35, 8)):
        all_z, all_y = ring.beside(z, y)
        value, gradient = oracle.ranksim(all_z, oracle.neg_l1(all_y), 10.0, 2.0, ties)
        size = len(z) if len(set(all_y)) > 1 else 0
        features = torch.tensor(z, requires_grad=True)
        loss = criterion(features, torch.tensor(y))
        weights = torch.linspace(-2, 3, len(z), dtype=torch.float64)
        loss.backward(weights)  # after the memory was written over
        spread = np.einsum("i,ijd->jd", weights[:size], gradient[:size, : len(z)])
        assert relative_error(loss, value[: len(z)] * bool(size)) < 1e-9
        assert relative_error(features.grad, spread) < 1e-9
        ring.take(z, y)


def test_the_oracle_sees_a_wrong_order_a_lost_row_and_none():
    ring = Ring(10)
    for z, y in batches("ages", (7, 12)):
        ring.take(z, y)
    own = next(batches("ages", (6,), seed=1))
    pairs = list(zip(*own, strict=True))

    def value(rows):
        z, y = (np.array(column) for column in zip(*rows, strict=True))
        return oracle.ranksim(z, oracle.neg_l1(y), 10.0, 2.0)[0][:6].sum()

    turned = [
        (z, y) for (z, _), (_, y) in zip(ring.rows, ring.rows[1:] + ring.rows[:1], strict=True)
    ]
    values = [value(pairs + rows) for rows in (ring.rows, ring.rows[1:], turned, [])]
    assert len({round(each, 6) for each in values}) == 4


def test_the_order_is_that_of_a_ring():
    memory, ring = FeatureBank(10), Ring(10)
    assert memory.get_samples(CPU) is None
    for z, y in batches("ages", (4, 4, 4, 1, 0, 9, 10, 23, 3)):
        memory.enqueue(torch.tensor(z), torch.tensor(y))
        ring.take(z, y)
        features, labels = memory.get_samples(CPU)
        expected = ring.beside()
        assert features.equal(torch.tensor(expected[0]))
        assert labels.equal(torch.tensor(expected[1]).unsqueeze(1))


def test_once_full_it_is_written_in_place():
    memory = FeatureBank(10)
    places = []
    for z, y in batches("ages", [4] * 6):
        memory.enqueue(torch.tensor(z), torch.tensor(y))
        places.append([held.data_ptr() for held in memory.get_samples(CPU)])
    assert places[2] == places[3] == places[5]


def test_two_losses_may_wait_for_one_backward():
    """Gradients are those of the memory as it was, though it was written over since."""
    for z, y in batches("ages", (6,)):
        features = torch.tensor(np.stack([z, 2 - z, z**2]), requires_grad=True)
        losses = [RankSimLoss(memory_size=6), RankSimLoss(memory_size=6)]
        for criterion, together in zip(losses, (True, False), strict=True):
            features.grad, terms = None, []
            for part in features:
                terms.append(criterion(part, torch.tensor(y)))
                if not together:
                    terms.pop().backward()
            if together:
                sum(terms).backward()
                gradient = features.grad
        assert gradient.any()
        assert gradient.equal(features.grad)


class TestUniqueLabels:
    def test_the_batch_comes_first_and_the_memory_gives_one_of_each_other_label(self):
        """Every possible draw is made, each as often as the others."""
        draw = np.random.default_rng(1)  # of which all six differ
        z, y = draw.normal(size=(8, 4)), np.array([20, 25, 20, 30, 30, 30, 41, 41])
        possible = set()
        for thirty in (3, 4, 5):
            for forty in (6, 7):
                rows = [0, 1, thirty, forty]
                _, gradient = oracle.ranksim(z[rows], oracle.neg_l1(y[rows]), 100.0, 2.0)
                possible.add(tuple(gradient[:2, :2].sum(0).round(9).flatten()))
        assert len(possible) == 6
        criterion = RankSimLoss(generator=torch.Generator().manual_seed(0), memory_size=6)
        seen = Counter()
        for _ in range(600):
            criterion.feature_bank.clear()
            criterion.feature_bank.enqueue(torch.tensor(z[2:]), torch.tensor(y[2:]))
            features = torch.tensor(z[:2], requires_grad=True)
            criterion(features, torch.tensor(y[:2])).backward()
            seen[tuple(features.grad.numpy().round(9).flatten())] += 1
        assert seen.keys() == possible
        assert all(65 < times < 140 for times in seen.values())

    @pytest.mark.parametrize("unique", [True, 5.0, False])
    @pytest.mark.parametrize("reduction", ["sum", "mean", "none"])
    def test_it_hands_on_to_the_function(self, unique, reduction):
        """On a CPU the draw comes first, and is the same."""
        settings = {"reduction": reduction, **unique_settings(unique)}
        generators = [torch.Generator().manual_seed(3) for _ in range(2)]
        criterion = RankSimLoss(generator=generators[0], memory_size=12, **settings)
        memory = FeatureBank(12)

        def direct(features, labels):
            loss = ranksim_loss(
                features,
                labels,
                generator=generators[1],
                **dict(
                    zip(
                        ("ref_features", "ref_labels"),
                        memory.get_samples(CPU) or (None, None),
                        strict=True,
                    )
                ),
                **settings,
            )
            memory.enqueue(features, labels)
            return loss

        for found, expected in zip(steps(criterion), steps(direct), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)

    @pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
    @pytest.mark.parametrize("unique", [True, False])
    def test_it_compiles_as_one_graph(self, unique):
        plain, compiled = (RankSimLoss(unique_labels=unique, memory_size=12) for _ in range(2))
        found = []
        for criterion in (plain, torch.compile(compiled, backend="eager", fullgraph=True)):
            torch.manual_seed(0)
            found.append(steps(criterion, sizes=[5] * 6))
        for (value, gradient), (other, its) in zip(*found, strict=True):
            torch.testing.assert_close(value, other, rtol=1e-12, atol=0)
            torch.testing.assert_close(gradient, its, rtol=1e-10, atol=1e-12)


def test_without_gradients_or_training_it_is_neither_read_nor_written():
    criterion, plain = (
        RankSimLoss(memory_size=12, unique_labels=False),
        RankSimLoss(unique_labels=False),
    )
    steps(criterion)
    before = [held.clone() for held in criterion.feature_bank.get_samples(CPU)]
    ((z, y),) = batches("ages", (8,), seed=5)
    features, labels = torch.tensor(z, requires_grad=True), torch.tensor(y)
    with torch.no_grad():
        assert criterion(features, labels).equal(plain(features, labels))
    with torch.inference_mode():
        assert criterion(features, labels).equal(plain(features, labels))
    assert criterion.eval()(features, labels).equal(plain(features, labels))
    assert all(map(torch.equal, before, criterion.feature_bank.get_samples(CPU)))
    assert not criterion.train()(features, labels).equal(plain(features, labels))
    assert not all(map(torch.equal, before, criterion.feature_bank.get_samples(CPU)))


def test_what_fails_is_not_remembered():
    criterion = RankSimLoss(memory_size=12)
    steps(criterion)
    before = [held.clone() for held in criterion.feature_bank.get_samples(CPU)]
    message = "ref_features must have 3 columns and be on cpu like the batch's features, got"
    with pytest.raises(ValueError, match=re.escape(message)):
        criterion(torch.randn(4, 3), torch.arange(4))
    assert all(map(torch.equal, before, criterion.feature_bank.get_samples(CPU)))
    criterion.feature_bank.clear()
    criterion(torch.randn(4, 3), torch.arange(4))
    assert [len(held) for held in criterion.feature_bank.get_samples(CPU)] == [4, 4]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_it_has_the_dtype_of_its_first_batch(dtype):
    memory = FeatureBank(6)
    torch.manual_seed(0)
    z = torch.randn(8, 3, dtype=torch.float64)
    memory.enqueue(z[:4].to(dtype), torch.arange(4, dtype=torch.int16))
    memory.enqueue(z[4:], torch.tensor([4.5, 5, 6, 7]))
    features, labels = memory.get_samples(CPU)
    assert features.equal(z[[6, 7, 2, 3, 4, 5]].to(dtype))
    assert labels.flatten().tolist() == [6, 7, 2, 3, 4.5, 5]  # which int16 could not hold


def test_an_overflow_is_forgotten_and_seen_once():
    criterion = RankSimLoss(memory_size=12, unique_labels=False)
    features = torch.randn(4, 3)
    features[1, 2], features[3, 0] = torch.inf, torch.nan
    assert criterion(features, torch.arange(4)).isnan()
    held, _ = criterion.feature_bank.get_samples(CPU)
    assert held[[0, 2]].equal(features[[0, 2]])
    assert not held[[1, 3]].any()
    assert criterion(torch.randn(4, 3), torch.arange(4)).isfinite()


@pytest.mark.parametrize("shape", [(), (1,), (3,)])
@pytest.mark.parametrize("unique", [True, False])
def test_an_empty_batch_is_a_differentiable_zero(shape, unique):
    criterion = RankSimLoss(memory_size=12, unique_labels=unique)
    for size in (0, 4, 0):
        features = torch.randn(size, 2, requires_grad=True)
        loss = criterion(features, torch.randint(0, 99, (size, *shape)))
        loss.backward()
        assert size or loss == 0
        assert features.grad.shape == (size, 2)
    assert len(criterion.feature_bank.get_samples(CPU)[0]) == 4


def test_positions_that_were_drawn_are_remembered():
    criterion = RankSimLoss(memory_size=50, num_positions=6)
    for count in (6, 12):
        features = torch.randn(2, 3, 4, 4, requires_grad=True)
        criterion(features, torch.randn(2, 1, 4, 4)).backward()
        features, labels = criterion.feature_bank.get_samples(CPU)
        assert (features.shape, labels.shape) == ((count, 3), (count, 1))


class TestState:
    def saved(self, criterion):
        file = io.BytesIO()
        torch.save(criterion.state_dict(), file)
        file.seek(0)
        return torch.load(file, weights_only=True)

    @pytest.mark.parametrize("sizes", [(), (4,), (6, 9, 4, 7)])
    def test_it_goes_on_from_what_was_saved(self, sizes):
        criterion, again = (RankSimLoss(memory_size=12, ties="ordinal") for _ in range(2))
        steps(criterion, sizes=sizes)
        state = self.saved(criterion)
        again.load_state_dict(state)
        torch.manual_seed(1)
        expected = steps(criterion, seed=1)
        for loaded in range(2):  # a second time: what was loaded is a copy
            again.load_state_dict(state)
            torch.manual_seed(1)
            assert same(steps(again, seed=1), expected), loaded
        torch.manual_seed(1)
        afresh = steps(RankSimLoss(memory_size=12, ties="ordinal"), seed=1)
        assert same(afresh, expected) is (not sizes)

    def test_another_capacity_is_refused(self):
        message = "memory_size is 12, but the saved state has 13: create the loss with the same memory_size"
        with pytest.raises(ValueError, match=f"^{message}$"):
            RankSimLoss(memory_size=12).load_state_dict(RankSimLoss(memory_size=13).state_dict())

    def test_a_loss_without_one_has_no_state(self):
        assert not RankSimLoss().state_dict()


@pytest.mark.parametrize(
    ("memory", "error", "message"),
    [
        (-1, ValueError, "memory_size must be at least 1, got -1"),
        (2.5, TypeError, r"memory_size must be a whole number of samples, got 2\.5"),
        (True, TypeError, "memory_size must be a whole number of samples, got True"),
    ],
)
def test_what_is_no_size_is_refused(memory, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        RankSimLoss(memory_size=memory)


def test_it_is_printed():
    assert "(feature_bank): FeatureBank(4096)" in repr(RankSimLoss(memory_size=4096))
