"""Gathering of rows across two processes."""

import re

import pytest
import torch
import torch.distributed as dist

from ranksim.functional.distributed import gather_rows
from tests.helpers.pairwise import parametrize_pairwise

pytestmark = pytest.mark.distributed

SHARDS = [(3, 3), (5, 2), (0, 4), (4, 0), (1, 0), (0, 0)]
DTYPES = [
    torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.complex64,
    torch.int64, torch.int32, torch.int16, torch.uint8, torch.bool,
]  # fmt: skip
ROUNDING = {
    torch.float64: 1e-14, torch.float32: 1e-6, torch.bfloat16: 2**-8, torch.float16: 2**-10
}  # fmt: skip


def make_rows(shape, dtype=torch.float64, seed=0):
    draw = torch.Generator().manual_seed(seed)
    values = 50 + 40 * torch.randn(shape, generator=draw, dtype=torch.float64)
    return values > 50 if dtype == torch.bool else values.clamp(1, 99).to(dtype)


def _gather(rank, shards):
    return gather_rows(shards[rank])


@parametrize_pairwise(dtype=DTYPES, trailing=[(), (5,), (2, 3), (0,)], counts=SHARDS)
def test_all_processes_have_all_rows_in_order(process_pair, dtype, trailing, counts):
    whole = make_rows((sum(counts), *trailing), dtype)
    for gathered in process_pair(_gather, whole.split(counts)):
        assert gathered.dtype == dtype
        assert gathered.shape == whole.shape
        assert gathered.equal(whole)


def _gather_strided(rank, whole, counts):
    wide = torch.zeros(2 * len(whole), 3, 2 * whole.shape[1], dtype=whole.dtype)
    wide[::2, 1, 1::2] = whole
    rows = wide[::2, 1, 1::2].split(counts)[rank]
    turned = whole.T.contiguous().T.split(counts)[rank]
    assert not rows.is_contiguous()
    assert not turned.is_contiguous()
    conjugate = torch.complex(rows, rows).conj()
    return gather_rows(rows), gather_rows(turned), gather_rows(conjugate).imag.resolve_neg()


def test_rows_of_any_stride(process_pair):
    whole = make_rows((7, 4))
    for rows, turned, imaginary in process_pair(_gather_strided, whole, (4, 3)):
        assert rows.equal(whole)
        assert turned.equal(whole)
        assert imaginary.equal(-whole)


def _gather_own_gradient(rank, rows):
    """Gather rows, with a gradient only for this process, as a plain all_gather does."""
    whole = gather_rows(rows.detach())
    start = rank * (len(whole) - len(rows))
    return torch.cat([whole[:start], rows, whole[start + len(rows) :]])


def _gradient(rank, shards, weights, wrong=False):
    """Return the gradient of this process's loss Σ wᵣ sin(x) with respect to its rows."""
    rows = shards[rank].clone().requires_grad_()
    whole = _gather_own_gradient(rank, rows) if wrong else gather_rows(rows)
    (whole.sin() * weights[rank]).sum().backward()
    assert rows.grad.dtype == rows.dtype
    assert rows.grad.shape == rows.shape
    return rows.grad


def compare_gradients(process_pair, counts, dtype, rtol, wrong=False):
    whole = make_rows((sum(counts), 3), dtype)
    weights = torch.stack([make_rows(whole.shape, dtype, seed) - 45 for seed in (1, 2)])
    got = torch.cat(process_pair(_gradient, whole.split(counts), weights, wrong))
    # autograd multiplies each by the cosine in the rows' own precision
    expected = (weights * whole.cos()).double().sum(0)
    torch.testing.assert_close(got.double(), expected, rtol=rtol, atol=rtol)


@parametrize_pairwise(counts=SHARDS, dtype=list(ROUNDING))
def test_gradients_of_all_processes_are_summed(process_pair, counts, dtype):
    """The losses differ: each process gets the gradient of both with respect to its rows."""
    compare_gradients(process_pair, counts, dtype, ROUNDING[dtype])


def test_comparison_fails_for_gradients_of_one_loss(process_pair):
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        compare_gradients(process_pair, (3, 3), torch.float64, 1e-3, wrong=True)


def _gather_strided_gradients(rank, shards):
    """Return gradients for expanded, transposed and shared upstream gradients."""
    x = shards[rank].clone().requires_grad_()
    whole = gather_rows(x)
    held = make_rows(whole.shape, seed=3)
    turned = held.T.contiguous().T if rank else held.clone()
    arrive = [torch.ones(()).double().expand(whole.shape), turned, held]
    gradients = [torch.autograd.grad(whole, x, part, retain_graph=True)[0] for part in arrive]
    assert held.equal(make_rows(whole.shape, seed=3))  # the sum is not made in what arrived
    assert turned.equal(held)
    return gradients


def test_gradients_of_any_stride(process_pair):
    counts = (4, 3)
    upstream = make_rows((7, 4), seed=3).split(counts)
    results = process_pair(_gather_strided_gradients, make_rows((7, 4)).split(counts))
    for upstream_gradient, (expanded, turned, held) in zip(upstream, results, strict=True):
        assert (expanded == 2).all()
        assert turned.equal(2 * upstream_gradient)
        assert held.equal(2 * upstream_gradient)


def _gather_with_gradient(rank, shards, upstream_gradient):
    rows = shards[rank].clone().requires_grad_(rank in upstream_gradient)
    whole = gather_rows(rows)
    if whole.requires_grad:
        whole.square().sum().backward()
    return whole.requires_grad, rows.grad


@pytest.mark.parametrize("upstream_gradient", [(0, 1), (0,), (1,), ()], ids=str)
def test_processes_without_gradient_take_part(process_pair, upstream_gradient):
    shards = make_rows((7, 4)).split((4, 3))
    for rank, (needs, gradient) in enumerate(
        process_pair(_gather_with_gradient, shards, upstream_gradient)
    ):
        assert needs is bool(upstream_gradient)
        if rank in upstream_gradient:
            torch.testing.assert_close(gradient, 4 * shards[rank])
        else:
            assert gradient is None


def _without_gradient(rank, shards):
    with torch.no_grad():
        return gather_rows(shards[rank].clone().requires_grad_()).requires_grad


def test_no_gradient_without_grad_mode(process_pair):
    assert process_pair(_without_gradient, make_rows((4, 2)).split(2)) == [False, False]


def _differentiate_twice(rank, rows):
    rows = rows.clone().requires_grad_()
    (first,) = torch.autograd.grad(gather_rows(rows).pow(3).sum(), rows, create_graph=True)
    first.sum().backward()


def test_second_derivative_raises(process_pair):
    for message in process_pair(_differentiate_twice, make_rows((3, 2)), fails=True):
        assert "differentiate twice" in message
        assert "once_differentiable" in message


def _gather_in_groups(rank, shards):
    both = dist.new_group([0, 1])
    alone = [dist.new_group([member]) for member in range(2)]
    rows = shards[rank].clone().requires_grad_()
    whole = gather_rows(rows, both)
    whole.sum().backward()
    same = [gather_rows(rows, group) is rows for group in alone]  # in one, and not in the other
    return whole.detach(), rows.grad, same


def test_process_groups(process_pair):
    whole = make_rows((7, 4))
    for got, gradient, same in process_pair(_gather_in_groups, whole.split((4, 3))):
        assert got.equal(whole)
        assert (gradient == 2).all()
        assert same == [True, True]


FLOATS = torch.zeros(3, 4)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (
            FLOATS,
            torch.zeros(3, 5),
            "rows must agree in trailing shape and dtype on all processes, got (3, 4) of "
            "torch.float32 on process 0 and (3, 5) of torch.float32 on process 1",
        ),
        (
            FLOATS,
            torch.zeros(0, 4, dtype=torch.float64),
            "rows must agree in trailing shape and dtype on all processes, got (3, 4) of "
            "torch.float32 on process 0 and (0, 4) of torch.float64 on process 1",
        ),
        (
            FLOATS,
            torch.zeros(3, 4, 1),
            "rows must agree in trailing shape and dtype on all processes, got (3, 4) of "
            "torch.float32 on process 0 and (3, 4, 1) of torch.float32 on process 1",
        ),
        (
            FLOATS,
            torch.zeros(12),
            "rows must agree in trailing shape and dtype on all processes, got (3, 4) of "
            "torch.float32 on process 0 and (12,) of torch.float32 on process 1",
        ),
        (
            FLOATS,
            torch.tensor(1.0),
            "rows must have shape (N, ...), got a scalar on process 1",
        ),
    ],
    ids=["width", "dtype", "dimensions", "flat", "scalar"],
)
def test_mismatched_rows_raise_on_all_processes(process_pair, first, second, message):
    error = f"ValueError: {message}"
    assert process_pair(_gather, (first, second), fails=True) == [error, error]
    assert process_pair(_gather, (FLOATS, FLOATS))[0].shape == (6, 4)  # and go on


def test_one_process_gets_its_input():
    rows = torch.randn(3, 2, requires_grad=True)
    assert gather_rows(rows) is rows
    message = "features must have shape (N, ...), got a scalar on process 0"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        gather_rows(torch.tensor(1.0), name="features")
