"""No path for a GPU synchronizes the host, or has a shape that depends on values."""

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from ranksim.functional._kernels import RankSimInputs, RankSimParams, reference
from ranksim.functional.sampling import unique_mask
from tests.helpers.pairwise import parametrize_pairwise

SYNCHRONIZING = (
    "item", "local_scalar_dense", "nonzero", "masked_select", "unique", "equal", "is_nonzero"
)  # fmt: skip


class NoSynchronization(TorchDispatchMode):
    """Fails at operators that need values on the host; records the largest tensor."""

    def __init__(self):
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__.strip("_")
        assert not name.startswith(SYNCHRONIZING), name
        if name in ("index", "index_put"):
            assert not any(i is not None and i.dtype == torch.bool for i in args[1]), name
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, list | tuple) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.largest = max(self.largest, tensor.untyped_storage().nbytes())
        return out


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x.unique(),
        lambda x: torch.equal(x, x),
    ],
)
def test_mode_detects_synchronization(operation):
    with NoSynchronization(), pytest.raises(AssertionError):
        operation(torch.randn(5))


@pytest.fixture
def compute_term(monkeypatch):
    """Return the function of a path, without Triton's kernels themselves."""

    class SkippedKernel:  # the interpreter copies memory, which a GPU does not
        def __getitem__(self, grid):
            return lambda *args, **settings: None

    def choose(path):
        monkeypatch.setattr(reference, "BLOCK", 100 if path == "blocks" else 2**22)
        if path != "triton":
            return reference.compute_term
        pytest.importorskip("triton", reason="Triton is not installed")
        from ranksim.functional._kernels import triton_term

        monkeypatch.setattr(triton_term, "anchor_rows", SkippedKernel())
        monkeypatch.setattr(triton_term, "anchor_weights", SkippedKernel())
        return triton_term.compute_term

    return choose


@pytest.mark.slow
@parametrize_pairwise(
    path=["reference", "blocks", "triton"],
    mode=[NoSynchronization, FakeTensorMode],
    rule=[("neg_l1", "min"), ("neg_l2", "average"), ("cosine", "ordinal"), ("target", "min")],
    masked=[True, False],
    per_anchor=[True, False],
)
def test_no_path_synchronizes(compute_term, path, mode, rule, masked, per_anchor):
    similarity, ties = rule
    with mode():
        features, labels = torch.randn(40, 6), torch.randint(0, 9, (40, 2))
        keep = unique_mask(labels, num_preferred=30) if masked else None
        target = torch.randn(30, 40) if similarity == "target" else None
        name = "neg_l1" if similarity == "target" else similarity
        value, second = compute_term(path)(
            RankSimInputs(features, labels, keep, target, 30),
            RankSimParams(100.0, 2.0, ties, name, per_anchor),
            True,
        )
    assert value.shape == ((30,) if per_anchor else ())
    assert second.shape == ((30, 40) if per_anchor else (30, 6))


@parametrize_pairwise(width=[None, 0.5], mode=[NoSynchronization, FakeTensorMode])
def test_unique_mask_does_not_synchronize(width, mode):
    with mode():
        mask = unique_mask(torch.randint(0, 9, (40, 1)), width)
    assert mask.shape == (40,)


def test_reference_memory_is_bounded_by_a_block(monkeypatch):
    """No tensor is larger than a block of similarities, or than the features."""
    monkeypatch.setattr(reference, "BLOCK", 4000)
    inputs = RankSimInputs(torch.randn(400, 10), torch.randn(400, 1), None, None, 400)
    with NoSynchronization() as mode:
        reference.compute_term(inputs, RankSimParams(100.0, 2.0, "min", "neg_l1", False), True)
    assert mode.largest <= 4000 * 8
