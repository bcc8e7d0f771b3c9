"""The CPU implementation: float32 products rank as float64 does, labels as integers."""

import numpy as np
import pytest
import torch

from ranksim.functional import ranksim_loss
from ranksim.functional._kernels import RankSimInputs, RankSimParams, reference
from ranksim.functional._kernels.cpu import cosine, cpu_term
from ranksim.functional._kernels.cpu.cosine import Cosine, TooCloseError
from tests.helpers.pairwise import parametrize_pairwise
from tests.helpers.ranksim_cases import TIES

PARAMS = {
    "gamma": 100.0, "lambda_": 2.0, "ties": "min", "similarity": "neg_l1", "per_anchor": False
}  # fmt: skip


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def make_features(size, width=64, seed=0, kind="random"):
    """Return float32 features and labels of 0..100."""
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn(size, width, generator=draw)
    if kind == "parallel":  # similarities that float32 can hardly distinguish
        features = torch.randn(1, width, generator=draw) + features * 1e-3
    if kind == "duplicates":
        features[size // 2 :] = features[: size - size // 2].clone()
    return features, torch.randint(0, 101, (size, 1), generator=draw)


def compute_both(features, labels, anchors=None, **settings):
    """Return value and gradient of the CPU path and of the reference."""
    inputs = RankSimInputs(features, labels, None, None, anchors or len(features))
    params = RankSimParams(**(PARAMS | settings))
    return [path.compute_term(inputs, params, True) for path in (cpu_term, reference)]


def assert_same(result, expected, tolerance=4e-6):
    torch.testing.assert_close(result[0], expected[0], rtol=1e-6, atol=0)
    assert (result[1] - expected[1]).norm() / expected[1].norm() < tolerance


def cosine_block(features):
    """Return all similarities of float32 features as one block."""
    inverse = features.double().norm(dim=1).reciprocal().nan_to_num(posinf=0.0).numpy()
    rows = slice(0, len(features))
    return Cosine(features, inverse, rows).block(rows)


@parametrize_pairwise(
    size=[31, 32, 33, 70, 130, 260], kind=["random", "parallel", "duplicates"], ties=TIES
)
def test_float32_products_rank_as_float64(size, kind, ties):
    """Two exchanged ranks move the gradient by more than the tolerance."""
    assert_same(*compute_both(*make_features(size, 257, size, kind), ties=ties))


def test_float32_alone_ranks_differently():
    """Without exact similarities the test above would fail."""
    exchanged = 0
    for seed in range(5):
        block = cosine_block(make_features(260, 257, seed)[0])
        float32_values = block.values.copy()
        ranks = block.ranks("ordinal")
        order = np.argsort(-float32_values, axis=1, kind="stable")
        exchanged += int((ranks != np.argsort(order, axis=1) + 1).sum())
        assert block.is_exact is not None
    assert exchanged > 0


def test_nearly_parallel_features_need_float64():
    block = cosine_block(make_features(200, 257, kind="parallel")[0])
    with pytest.raises(TooCloseError):
        block.ranks("min")


def test_zero_vectors_do_not_need_float64():
    features, _ = make_features(200, 257)
    features[::10] = 0
    block = cosine_block(features)
    block.ranks("min")  # does not raise TooCloseError
    assert (block.values[10] == 0).all()


@parametrize_pairwise(dtype=[torch.float32, torch.float64], anchors=[90, 40])
def test_block_size_changes_nothing(monkeypatch, dtype, anchors):
    features, labels = make_features(90, seed=3)
    whole, expected = compute_both(features.to(dtype), labels, anchors)
    monkeypatch.setattr(cpu_term, "PRODUCT_BLOCK", 90 * 32)
    monkeypatch.setattr(cpu_term, "RANK_BLOCK", 90 * 7)
    result, _ = compute_both(features.to(dtype), labels, anchors)
    torch.testing.assert_close(result[0], whole[0], rtol=1e-12, atol=0)
    assert_same(result, expected)


@pytest.mark.parametrize("distance", [1e-2, 1e-3])
def test_blocks_of_nearly_parallel_features(monkeypatch, distance):
    monkeypatch.setattr(cpu_term, "PRODUCT_BLOCK", 2000)
    features = torch.randn(1, 64) + distance * torch.randn(150, 64)
    assert_same(*compute_both(features, make_features(150)[1]))


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_norms_beyond_float32_products(scale):
    features, labels = make_features(50)
    features[3] *= 1e-3
    features[4] = 0
    result, expected = compute_both(features * scale, labels)
    assert_same((result[0], result[1] * scale), (expected[0], expected[1] * scale))
    assert (result[1][4] == 0).all()


def test_multiples_of_a_vector_tie_beside_extreme_norms():
    features, labels = make_features(64, 257)
    features[1:8] = features[8] * torch.tensor([1, 3, 1 / 8, 5, 7, 9, 11])[:, None]
    for scale in (1e-12, 1e12, 1e-30):
        features[0] *= scale
        assert_same(*compute_both(features, labels))


def test_subnormal_vector_counts_as_zero():
    features = torch.tensor([[5e-324], [1e9], [2e9]], dtype=torch.float64, requires_grad=True)
    value = ranksim_loss(features, torch.tensor([0.0, 1.0, 2.0]))
    value.backward()
    assert value.isfinite()
    assert features.grad.isfinite().all()


@pytest.mark.parametrize("gamma", [3e-4, 1.0, 1e4, 1e9])
def test_perturbations_of_any_size(gamma):
    assert_same(*compute_both(*make_features(70), gamma=gamma))


@parametrize_pairwise(
    scale=[1.0, 0.1, 1e-7, 1e12], form=["scaled", "float32", "no common step"], size=[20, 70]
)
def test_labels_of_any_unit(scale, form, size):
    features, labels = make_features(size)
    labels = {
        "scaled": labels * scale,
        "float32": labels.float() * scale,
        "no common step": labels.double() ** 3.3 * scale,
    }[form]
    assert_same(*compute_both(features, labels))


@parametrize_pairwise(
    span=[2**15, 2**16, 2**17, 10**6, 10**7, 2**31, 2**46, 2**50, 2**52],
    size=[20, 33, 64, 256],
    dtype=[torch.int64, torch.float32],
)
def test_integer_labels_of_any_span(span, size, dtype):
    """A label's distance shares a word with an index, and must leave it room."""
    features, _ = make_features(size)
    labels = torch.randint(-span // 2, span // 2, (size, 1), generator=torch.Generator())
    assert_same(*compute_both(features, labels.to(dtype)))


def test_decimal_labels_tie_as_their_float64_differences():
    features, _ = make_features(20)
    for seed in range(20):
        draw = torch.Generator().manual_seed(seed)
        labels = torch.randint(0, 30, (20, 1), generator=draw).double() + 0.1
        assert_same(*compute_both(features, labels))


def test_labels_of_one_direction_have_no_order_by_cosine():
    """The anchor's labels decide; all other samples are references."""
    features, labels = make_features(8)[0], torch.tensor([0, 1, 1, 1, 1, 1, 1, 1])[:, None]
    result, expected = compute_both(features, labels, anchors=1, similarity="cosine")
    assert result[0] == expected[0] == 0


def test_without_onednn(monkeypatch):
    features, labels = make_features(70)
    expected = compute_both(features, labels)[0]
    monkeypatch.setattr(cosine, "_onednn_linear", lambda: None)
    assert_same(compute_both(features, labels)[0], expected)
