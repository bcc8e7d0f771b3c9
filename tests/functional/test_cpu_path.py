"""The CPU implementation: ranks are those of float64, in one compiled call and in blocks."""

import logging
import os
import shutil
from unittest import mock

import pytest
import torch

from ranksim.functional import ranksim_loss
from ranksim.functional._kernels import RankSimInputs, RankSimParams, dispatch, reference
from ranksim.functional._kernels.cpu import cpu_term
from ranksim.functional._kernels.cpu.compile import compile_libraries, library_path
from ranksim.functional._kernels.cpu.library import open_library
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
    result, expected = result[1].double(), expected[1].double()
    assert (result - expected).norm() / expected.norm() < tolerance


@parametrize_pairwise(
    size=[31, 32, 33, 70, 130, 260], kind=["random", "parallel", "duplicates"], ties=TIES
)
def test_float32_products_rank_as_float64(size, kind, ties):
    """Two exchanged ranks move the gradient by more than the tolerance."""
    assert_same(*compute_both(*make_features(size, 257, size, kind), ties=ties))


def test_float32_alone_ranks_differently():
    """With float32 similarities the test above would fail."""
    exchanged = 0
    for seed in range(5):
        features = torch.nn.functional.normalize(make_features(260, 257, seed)[0])
        orders = [(z @ z.T).argsort(dim=1) for z in (features, features.double())]
        exchanged += int((orders[0] != orders[1]).sum())
    assert exchanged > 0


@parametrize_pairwise(
    size=[1, 2, 7, 16, 17, 40, 90],
    width=[1, 3, 33, 130],
    keep=[None, 0.5, 0.1],
    anchors=[1.0, 0.6],
    ties=TIES,
    labels=[torch.int64, torch.int32, torch.float32, torch.float64, torch.bfloat16],
    gradient=[True, False],
    dtype=[torch.float32, torch.float16],
)  # fmt: skip
def test_one_call_equals_reference(size, width, keep, anchors, ties, labels, gradient, dtype):
    draw = torch.Generator().manual_seed(size)
    features = torch.randn(size, width, generator=draw).to(dtype)
    features[size // 2] = 0
    mask = None if keep is None else torch.rand(size, generator=draw) < keep
    inputs = RankSimInputs(
        *(features, torch.randint(0, 9, (size, 1), generator=draw).to(labels)),
        *(mask, None, max(int(size * anchors), 1)),
    )
    params = RankSimParams(**(PARAMS | {"ties": ties}))
    result = cpu_term.compute_term(inputs, params, gradient)
    expected = reference.compute_term(inputs, params, gradient)
    torch.testing.assert_close(result[0], expected[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(
        result[1], expected[1], rtol=1e-4, atol=4e-6 * float(expected[1].norm()) if gradient else 0
    )


@parametrize_pairwise(dtype=[torch.float32, torch.float64], anchors=[90, 40])
def test_block_size_changes_nothing(monkeypatch, dtype, anchors):
    features, labels = make_features(90, seed=3)
    whole, expected = compute_both(features.to(dtype), labels, anchors)
    monkeypatch.setattr(cpu_term, "PRODUCT_BLOCK", 90 * 32)
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
        result, expected = compute_both(features, labels)
        assert_same(result, expected)
        assert_same((result[0], result[1][1:]), (expected[0], expected[1][1:]))


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


@parametrize_pairwise(threads=[1, 3], size=[257, 300], similarity=["neg_l1", "cosine"], ties=TIES)
def test_threads_change_nothing(threads, size, similarity, ties):
    features, labels = make_features(size, 40)
    labels = labels.expand(-1, 2) + torch.tensor([0, 3])
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        result, expected = compute_both(features, labels, similarity=similarity, ties=ties)
    finally:
        torch.set_num_threads(before)
    assert_same(result, expected)


@pytest.mark.parametrize("size", [40, 300])
def test_steals_no_memory_of_inputs(size):
    features, labels = make_features(size)
    copies = features.clone(), labels.clone()
    compute_both(features, labels)
    assert features.equal(copies[0])
    assert labels.equal(copies[1])


class TestLibrary:
    def test_is_in_use(self):
        """Fails where the package was installed without a compiler, or before term.c changed."""
        if not (os.environ.get("CC") or any(map(shutil.which, ("cc", "gcc", "clang", "cl")))):
            pytest.skip("there is no C compiler")
        dispatch.path_for.cache_clear()
        assert dispatch.path_for(torch.device("cpu")) is cpu_term.compute_term
        features = torch.randn(20, 4, requires_grad=True)
        with mock.patch.object(reference, "compute_term", side_effect=AssertionError):
            ranksim_loss(features, torch.arange(20)).backward()

    def test_missing_library_means_reference(self, monkeypatch, caplog):
        monkeypatch.setattr(dispatch, "load_library", mock.Mock(side_effect=OSError("no file")))
        dispatch.path_for.cache_clear()
        features, labels = make_features(20)
        features.requires_grad_()
        with caplog.at_level(logging.INFO, logger="ranksim"):
            for _ in range(3):
                value = ranksim_loss(features, labels, unique_labels=False)
        dispatch.path_for.cache_clear()
        assert caplog.messages == [
            "RankSim runs as plain PyTorch on cpu: the package was built without a C compiler"
        ]
        monkeypatch.undo()
        torch.testing.assert_close(value, ranksim_loss(features, labels, unique_labels=False))

    @pytest.mark.parametrize("instructions", ["baseline", "avx2", "avx512"])
    def test_every_instruction_set_gives_the_same(self, monkeypatch, instructions):
        path, available = library_path(instructions), torch.backends.cpu.get_cpu_capability()
        if not path.exists() or (instructions > available.lower() and instructions != "baseline"):
            pytest.skip(f"this processor or compiler has no {instructions}")
        monkeypatch.setattr(cpu_term, "load_library", lambda *_: open_library(path))
        for size, width in ((5, 3), (33, 70), (130, 257)):
            assert_same(*compute_both(*make_features(size, width)))

    def test_no_compiler_is_an_error_of_the_build_alone(self, monkeypatch):
        monkeypatch.setattr(shutil, "which", lambda _: None)
        with pytest.raises(FileNotFoundError, match="there is no C compiler"):
            compile_libraries()
        assert library_path("baseline").exists()
