"""No path for a GPU waits for it, or has a shape that a value decides."""

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from ranksim.functional._kernels import chunked, reference
from ranksim.functional.sampling import unique_mask

WAIT = ("item", "local_scalar_dense", "nonzero", "masked_select", "unique", "equal", "is_nonzero")


class Watch(TorchDispatchMode):
    """Refuses what must wait for values, and remembers the largest tensor that is made."""

    def __init__(self):
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__.strip("_")
        assert not name.startswith(WAIT), name
        if name in ("index", "index_put"):
            assert not any(i is not None and i.dtype == torch.bool for i in args[1]), name
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, list | tuple) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.largest = max(self.largest, tensor.untyped_storage().nbytes())
        return out


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x.unique(),
        lambda x: torch.equal(x, x),
    ],
)
def test_the_watch_sees_what_waits(wrong):
    with Watch(), pytest.raises(AssertionError):
        wrong(torch.randn(5))


@pytest.fixture(params=["eager", "sorted_rows", "triton"])
def path(request, monkeypatch):
    monkeypatch.setattr(chunked, "_BLOCK", 100)
    if request.param != "triton":
        return {"eager": reference, "sorted_rows": chunked}[request.param].compute_term
    pytest.importorskip("triton", reason="Triton is not installed")
    from ranksim.functional._kernels.triton import triton_term

    class Launched:  # the interpreter copies memory, a GPU does not: what is around the kernels
        def __getitem__(self, grid):
            return lambda *args, **settings: None

    monkeypatch.setattr(triton_term, "anchor_rows", Launched())
    monkeypatch.setattr(triton_term, "anchor_weights", Launched())
    return triton_term.compute_term


@pytest.mark.parametrize("mode", [Watch, FakeTensorMode])
@pytest.mark.parametrize(
    ("similarity", "ties"),
    [("neg_l1", "min"), ("neg_l2", "average"), ("cosine", "ordinal"), ("target", "min")],
)
@pytest.mark.parametrize("drawn", [True, False])
@pytest.mark.parametrize("per_anchor", [True, False])
def test_no_path_waits(path, per_anchor, drawn, similarity, ties, mode):
    with mode():
        features, labels = torch.randn(40, 6), torch.randint(0, 9, (40, 2))
        keep = unique_mask(labels, num_preferred=30) if drawn else None
        target = torch.randn(30, 40) if similarity == "target" else None
        name = "neg_l1" if similarity == "target" else similarity
        value, more = path(
            features, labels, keep, target, 30, 100.0, 2.0, ties, name, per_anchor, True
        )
    assert value.shape == ((30,) if per_anchor else ())
    assert more.shape == ((30, 40) if per_anchor else (30, 6))


@pytest.mark.parametrize("width", [None, 0.5])
def test_unique_labels_are_drawn_without_waiting(width):
    for mode in (Watch, FakeTensorMode):
        with mode():
            keep = unique_mask(torch.randint(0, 9, (40, 1)), width)
        assert keep.shape == (40,)


def test_sorted_rows_hold_a_block_at_a_time(monkeypatch):
    """No matrix of all similarities: what is made stays below a block, or the features."""
    monkeypatch.setattr(chunked, "_BLOCK", 4000)
    features, labels = torch.randn(400, 10), torch.randn(400, 1)
    with Watch() as watch:
        chunked.compute_term(
            features, labels, None, None, 400, 100.0, 2.0, "min", "neg_l1", False, True
        )
    assert watch.largest <= 4000 * 8
