"""One term for all paths: what autograd, the compiler, transforms and other devices see of it."""

import logging

import numpy as np
import pytest
import torch

from ranksim.functional import ranksim_loss
from ranksim.functional._kernels import dispatch, reference
from ranksim.functional._kernels.cpu import cpu_term, matmul
from ranksim.functional._kernels.cpu.cosine import Cosine, TooCloseError
from ranksim.losses import RankSimLoss

REFERENCE = (100.0, 2.0, "min", "neg_l1", False, True)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def batch(size, width=64, seed=0, kind="random"):
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn(size, width, generator=draw)
    if kind == "alike":  # similarities that float32 hardly tells apart
        features = torch.randn(1, width, generator=draw) + features * 1e-3
    if kind == "doubles":
        features[size // 2 :] = features[: size - size // 2].clone()
    return features, torch.randint(0, 101, (size, 1), generator=draw)


def both(features, labels, keep=None, anchors=None, settings=REFERENCE):
    gamma, lambda_, ties, similarity, per_anchor, gradient = settings
    given = (features, labels, keep, None, anchors or len(features), gamma, lambda_)
    rest = (ties, similarity, per_anchor, gradient)
    return cpu_term.compute_term(*given, *rest), reference.compute_term(*given, *rest)


def assert_same(found, expected, tolerance=4e-6):
    torch.testing.assert_close(found[0], expected[0], rtol=1e-6, atol=0)
    off = (found[1] - expected[1]).norm() / expected[1].norm()
    assert off < tolerance


@pytest.mark.parametrize("ties", ["min", "average", "ordinal"])
@pytest.mark.parametrize("kind", ["random", "alike", "doubles"])
@pytest.mark.parametrize("size", [31, 32, 33, 70, 130, 260])
def test_float32_products_rank_as_float64_does(size, kind, ties):
    """An exchange of two neighbours' ranks moves the gradient by more than the tolerance."""
    features, labels = batch(size, width=257, seed=size, kind=kind)
    assert_same(*both(features, labels, settings=(100.0, 2.0, ties, "neg_l1", False, True)))


def test_float32_alone_would_rank_otherwise():
    """Were nothing settled in float64, the test above could not fail."""
    found = 0
    for seed in range(5):
        features, _ = batch(260, width=257, seed=seed)
        inverse = 1 / features.double().norm(dim=1).numpy()
        block = Cosine(features, inverse, slice(0, 260)).block(slice(0, 260))
        raw = block.values.copy()
        ranks = block.ranks("ordinal")
        alone = np.argsort(np.argsort(-raw, axis=1, kind="stable"), axis=1) + 1
        found += int((ranks != alone).sum())
        assert block.settled is not None
    assert found > 0


def test_similarities_too_close_for_float32_are_made_in_float64():
    features, _ = batch(200, width=257, kind="alike")
    inverse = 1 / features.double().norm(dim=1).numpy()
    with pytest.raises(TooCloseError):
        Cosine(features, inverse, slice(0, 200)).block(slice(0, 200)).ranks("min")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("anchors", [90, 40])
def test_blocks_of_rows_change_nothing(monkeypatch, dtype, anchors):
    features, labels = batch(90, seed=3)
    features = features.to(dtype)
    whole, expected = both(features, labels, anchors=anchors)
    monkeypatch.setattr(cpu_term, "AT_ONCE", 90 * 32)
    monkeypatch.setattr(cpu_term, "RANKED", 90 * 7)
    found, _ = both(features, labels, anchors=anchors)
    torch.testing.assert_close(found[0], whole[0], rtol=1e-12, atol=0)
    assert_same(found, expected)


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_lengths_whose_products_leave_float32(scale):
    features, labels = batch(50)
    features[3] *= 1e-3
    features[4] = 0
    found, expected = both(features * scale, labels)
    assert_same((found[0], found[1] * scale), (expected[0], expected[1] * scale))
    assert (found[1][4] == 0).all()


@pytest.mark.parametrize("gamma", [3e-4, 1.0, 1e4, 1e9])
def test_perturbations_of_any_size(gamma):
    features, labels = batch(70)
    assert_same(*both(features, labels, settings=(gamma, 2.0, "min", "neg_l1", False, True)))


@pytest.mark.parametrize("scale", [1.0, 0.1, 1e-7, 1e12])
def test_labels_of_any_unit(scale):
    """Whole ones, those of float32, decimals of float64, and what has no common step."""
    features, labels = batch(70)
    for given in (labels * scale, labels.float() * scale, labels.double() ** 3.3 * scale):
        assert_same(*both(features, given))


@pytest.mark.parametrize("reach", [2**15, 2**16, 2**17, 10**6, 10**7, 2**31, 2**46, 2**50, 2**52])
@pytest.mark.parametrize("size", [20, 33, 64, 128, 256])
def test_whole_labels_of_any_reach(size, reach):
    """A label's distance shares a word with a place, and must leave it room."""
    features, _ = batch(size)
    labels = torch.randint(-reach // 2, reach // 2, (size, 1), generator=torch.Generator())
    for given in (labels, labels.float()):
        assert_same(*both(features, given))


def test_labels_off_whole_numbers_tie_as_their_differences_do():
    features, _ = batch(20)
    for seed in range(20):
        draw = torch.Generator().manual_seed(seed)
        labels = torch.randint(0, 30, (20, 1), generator=draw).double() + 0.1
        assert_same(*both(features, labels))


def test_labels_alike_in_direction_have_no_order():
    """The anchor's one label decides; others' are neighbours' alone."""
    features, labels = batch(8)[0], torch.tensor([0, 1, 1, 1, 1, 1, 1, 1])[:, None]
    settings = (100.0, 2.0, "min", "cosine", False, True)
    found, expected = both(features, labels, anchors=1, settings=settings)
    assert found[0] == expected[0] == 0


def test_multiples_of_a_vector_tie_beside_ones_of_extreme_length():
    features, labels = batch(64, width=257)
    features[1:8] = features[8] * torch.tensor([1, 3, 1 / 8, 5, 7, 9, 11])[:, None]
    for scale in (1e-12, 1e12, 1e-30):
        features[0] *= scale
        assert_same(*both(features, labels))


@pytest.mark.parametrize("apart", [1e-2, 1e-3])
def test_large_batches_of_nearly_parallel_features(monkeypatch, apart):
    monkeypatch.setattr(cpu_term, "AT_ONCE", 2000)
    features = torch.randn(1, 64) + apart * torch.randn(150, 64)
    assert_same(*both(features, batch(150)[1]))


def test_many_zero_vectors_are_no_reason_for_float64():
    features, _ = batch(200, width=257)
    features[::10] = 0
    inverse = features.double().norm(dim=1).reciprocal().nan_to_num(posinf=0.0).numpy()
    block = Cosine(features, inverse, slice(0, 200)).block(slice(0, 200))
    block.ranks("min")  # TooCloseError else
    assert (block.values[10] == 0).all()


def test_apart_losses_allow_features_to_be_changed_in_place():
    features = torch.randn(12, 4, requires_grad=True)
    changed = features * 2
    loss = ranksim_loss(changed, torch.arange(12), reduction="none")
    expected = torch.autograd.grad(loss.sum(), changed, retain_graph=True)[0]
    changed.relu_()
    loss.sum().backward()
    torch.testing.assert_close(features.grad, 2 * expected)


def test_neighbours_keep_whole_labels_whole():
    features, labels, rest = torch.randn(40, 8), torch.arange(40) // 2, torch.randn(20, 8)
    values = [
        ranksim_loss(
            features,
            labels + offset,
            unique_labels=False,
            ref_features=rest,
            ref_labels=torch.arange(20.0, dtype=dtype) + 0.5 + offset,
        )
        for offset, dtype in ((0, torch.float32), (0, torch.float64), (2**30, torch.float64))
    ]
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(values[2], values[1])


def test_ref_features_need_ref_labels():
    with pytest.raises(ValueError, match="must be given together, ref_labels is None"):
        ranksim_loss(torch.randn(4, 2), torch.arange(4), ref_features=torch.randn(4, 2))


def test_without_onednn(monkeypatch):
    features, labels = batch(70)
    expected = cpu_term.compute_term(features, labels, None, None, 70, *REFERENCE)
    monkeypatch.setattr(matmul, "_onednn", lambda: None)
    found = cpu_term.compute_term(features, labels, None, None, 70, *REFERENCE)
    assert_same(found, expected)


@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_compiles_to_one_graph(unique, reduction):
    """Labels that all differ leave nothing to chance."""
    features, _ = batch(20)
    labels = torch.randperm(20)
    loss = RankSimLoss(unique_labels=unique, reduction=reduction, weight=0.5)
    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    found, expected = (features.clone().requires_grad_() for _ in range(2))
    values = compiled(found, labels), loss(expected, labels)
    for value in values:
        (3 * value).backward()
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(found.grad, expected.grad)


def test_compiled_draws_of_unique_labels_are_draws():
    features, labels = batch(40)[0], torch.arange(40) // 4
    torch._dynamo.reset()
    compiled = torch.compile(ranksim_loss, fullgraph=True, backend="aot_eager")
    values = {float(compiled(features, labels)) for _ in range(4)}
    assert len(values) > 1


@pytest.mark.parametrize("per_anchor", [False, True])
@pytest.mark.parametrize("gradient", [False, True])
def test_the_operator_is_what_it_says(per_anchor, gradient):
    features, labels = batch(12)
    keep = torch.arange(12) % 3 != 0
    given = (features, labels, keep, None, 9, 100.0, 2.0, "min", "neg_l1", per_anchor, gradient)
    checks = ("test_schema", "test_faketensor", "test_aot_dispatch_static")
    torch.library.opcheck(torch.ops.ranksim.term, given, test_utils=checks)


def test_torch_func_is_refused_in_a_sentence():
    features, labels = torch.randn(3, 8, 4), torch.arange(8)
    with pytest.raises(RuntimeError, match=r"does not work under torch\.func\.vmap: call it once"):
        torch.func.vmap(lambda z: ranksim_loss(z, labels))(features)
    with pytest.raises(RuntimeError, match=r"does not work under torch\.func\.grad: call it once"):
        torch.func.grad(lambda z: ranksim_loss(z, labels))(features[0])


def test_a_device_without_a_path_takes_the_reference_and_says_so_once(caplog):
    dispatch.path_for.cache_clear()
    with caplog.at_level(logging.INFO, logger="ranksim"):
        for _ in range(3):
            assert dispatch.path_for(torch.device("meta")) is reference.compute_term
    (told,) = caplog.messages
    assert told == "RankSim runs as plain PyTorch on meta: it has no path of its own"


def test_a_length_too_small_to_invert_is_none():
    features = torch.tensor([[5e-324], [1e9], [2e9]], dtype=torch.float64, requires_grad=True)
    value = ranksim_loss(features, torch.tensor([0.0, 1.0, 2.0]))
    value.backward()
    assert value.isfinite()
    assert features.grad.isfinite().all()
