import multiprocessing
import pickle
import re
import warnings

import pytest
import torch
import torch.distributed as dist

from ranksim.functional.distributed import gather_rows

SHARDS = [(3, 3), (5, 2), (0, 4), (4, 0), (1, 0), (0, 0)]
DTYPES = [
    torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.complex64,
    torch.int64, torch.int32, torch.int16, torch.uint8, torch.bool,
]  # fmt: skip


def _serve(rank, folder, pipe):
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    while task := pickle.loads(pipe.recv_bytes()):
        function, args = task
        torch.manual_seed(rank)  # torch's default generators differ, as they do in training
        try:
            result = True, function(rank, *args)
        except Exception as error:
            result = False, f"{type(error).__name__}: {error}"
        pipe.send_bytes(pickle.dumps(result))
    dist.destroy_process_group()


class Pair:
    """Two gloo processes; called with a function and arguments, both results: f(rank, *args)."""

    def __init__(self, folder):
        context = multiprocessing.get_context("spawn")
        self.pipes, self.workers = [], []
        for rank in range(2):
            own, other = context.Pipe()
            worker = context.Process(target=_serve, args=(rank, folder, other), daemon=True)
            worker.start()
            self.pipes.append(own)
            self.workers.append(worker)

    def __call__(self, function, *args, fails=False):
        for pipe in self.pipes:
            # plain pickle: tensors are copied, not shared through a file
            pipe.send_bytes(pickle.dumps((function, args)))
        results = []
        for pipe in self.pipes:
            assert pipe.poll(60), "a process hangs"
            results.append(pickle.loads(pipe.recv_bytes()))
        assert all(done is not fails for done, _ in results), results
        return [result for _, result in results]

    def close(self):
        for pipe in self.pipes:
            pipe.send_bytes(pickle.dumps(None))
        for worker in self.workers:
            worker.join(30)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    processes = Pair(tmp_path_factory.mktemp("pair"))
    yield processes
    processes.close()


def numbers(shape, dtype=torch.float64, seed=0):
    draw = torch.Generator().manual_seed(seed)
    values = 50 + 40 * torch.randn(shape, generator=draw, dtype=torch.float64)
    return values > 50 if dtype == torch.bool else values.clamp(1, 99).to(dtype)


def _gathered(rank, shards):
    return gather_rows(shards[rank])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("trailing", [(), (5,), (2, 3), (0,)], ids=str)
def test_all_processes_have_all_rows_in_order(pair, trailing, dtype):
    for counts in SHARDS:
        whole = numbers((sum(counts), *trailing), dtype)
        for got in pair(_gathered, whole.split(counts)):
            assert got.dtype == dtype
            assert got.shape == whole.shape
            assert got.equal(whole)


def _strided(rank, whole, counts):
    wide = torch.zeros(2 * len(whole), 3, 2 * whole.shape[1], dtype=whole.dtype)
    wide[::2, 1, 1::2] = whole
    rows = wide[::2, 1, 1::2].split(counts)[rank]
    turned = whole.T.contiguous().T.split(counts)[rank]
    assert not rows.is_contiguous()
    assert not turned.is_contiguous()
    conjugate = torch.complex(rows, rows).conj()
    return gather_rows(rows), gather_rows(turned), gather_rows(conjugate).imag.resolve_neg()


def test_rows_in_any_layout(pair):
    whole = numbers((7, 4))
    for rows, turned, imaginary in pair(_strided, whole, (4, 3)):
        assert rows.equal(whole)
        assert turned.equal(whole)
        assert imaginary.equal(-whole)


def _wrong(rank, rows):
    """All rows, of which the own ones have a gradient: what a plain all_gather gives."""
    whole = gather_rows(rows.detach())
    start = rank * (len(whole) - len(rows))
    return torch.cat([whole[:start], rows, whole[start + len(rows) :]])


def _gradient(rank, shards, weights, wrong=False):
    """Of the loss Σ wᵣ sin(x) that only process r has, with respect to its own rows."""
    rows = shards[rank].clone().requires_grad_()
    whole = _wrong(rank, rows) if wrong else gather_rows(rows)
    (whole.sin() * weights[rank]).sum().backward()
    assert rows.grad.dtype == rows.dtype
    assert rows.grad.shape == rows.shape
    return rows.grad


def compare(pair, counts, dtype, rtol, wrong=False):
    whole = numbers((sum(counts), 3), dtype)
    weights = torch.stack([numbers(whole.shape, dtype, seed) - 45 for seed in (1, 2)])
    got = torch.cat(pair(_gradient, whole.split(counts), weights, wrong))
    # autograd multiplies each by the cosine in the rows' own precision
    expected = (weights * whole.cos()).double().sum(0)
    torch.testing.assert_close(got.double(), expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("counts", SHARDS, ids=str)
@pytest.mark.parametrize(
    ("dtype", "rtol"),
    [
        (torch.float64, 1e-14),
        (torch.float32, 1e-6),
        (torch.bfloat16, 2**-8),
        (torch.float16, 2**-10),
    ],
    ids=str,
)
def test_gradients_of_all_processes_are_summed(pair, counts, dtype, rtol):
    """The losses differ: each process gets what both losses say about its rows."""
    compare(pair, counts, dtype, rtol)


def test_the_comparison_fails_where_only_the_own_loss_counts(pair):
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        compare(pair, (3, 3), torch.float64, 1e-3, wrong=True)


def _layouts(rank, shards):
    """Gradients that arrive expanded, transposed on one process, and in a tensor held by others."""
    x = shards[rank].clone().requires_grad_()
    whole = gather_rows(x)
    held = numbers(whole.shape, seed=3)
    turned = held.T.contiguous().T if rank else held.clone()
    arrive = [torch.ones(()).double().expand(whole.shape), turned, held]
    gradients = [torch.autograd.grad(whole, x, part, retain_graph=True)[0] for part in arrive]
    assert held.equal(numbers(whole.shape, seed=3))  # the sum is not made in what arrived
    assert turned.equal(held)
    return gradients


def test_gradients_in_any_layout(pair):
    counts = (4, 3)
    upstream = numbers((7, 4), seed=3).split(counts)
    results = pair(_layouts, numbers((7, 4)).split(counts))
    for own, (expanded, turned, held) in zip(upstream, results, strict=True):
        assert (expanded == 2).all()
        assert turned.equal(2 * own)
        assert held.equal(2 * own)


def _needs(rank, shards, own):
    rows = shards[rank].clone().requires_grad_(rank in own)
    whole = gather_rows(rows)
    if whole.requires_grad:
        whole.square().sum().backward()
    return whole.requires_grad, rows.grad


@pytest.mark.parametrize("own", [(0, 1), (0,), (1,), ()], ids=str)
def test_a_process_whose_rows_need_no_gradient_still_takes_part(pair, own):
    shards = numbers((7, 4)).split((4, 3))
    for rank, (needs, gradient) in enumerate(pair(_needs, shards, own)):
        assert needs is bool(own)
        if rank in own:
            torch.testing.assert_close(gradient, 4 * shards[rank])
        else:
            assert gradient is None


def _without_gradient(rank, shards):
    with torch.no_grad():
        return gather_rows(shards[rank].clone().requires_grad_()).requires_grad


def test_no_gradient_where_none_is_wanted(pair):
    assert pair(_without_gradient, numbers((4, 2)).split(2)) == [False, False]


def _second(rank, rows):
    rows = rows.clone().requires_grad_()
    (first,) = torch.autograd.grad(gather_rows(rows).pow(3).sum(), rows, create_graph=True)
    first.sum().backward()


def test_no_second_derivative_is_pretended(pair):
    for message in pair(_second, numbers((3, 2)), fails=True):
        assert "differentiate twice" in message
        assert "once_differentiable" in message


def _in_groups(rank, shards):
    both = dist.new_group([0, 1])
    alone = [dist.new_group([member]) for member in range(2)]
    rows = shards[rank].clone().requires_grad_()
    whole = gather_rows(rows, both)
    whole.sum().backward()
    same = [gather_rows(rows, group) is rows for group in alone]  # in one, and not in the other
    return whole.detach(), rows.grad, same


def test_groups(pair):
    whole = numbers((7, 4))
    for got, gradient, same in pair(_in_groups, whole.split((4, 3))):
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
def test_all_processes_refuse_what_does_not_fit(pair, first, second, message):
    error = f"ValueError: {message}"
    assert pair(_gathered, (first, second), fails=True) == [error, error]
    assert pair(_gathered, (FLOATS, FLOATS))[0].shape == (6, 4)  # and go on


def test_one_process_alone_gets_its_input():
    rows = torch.randn(3, 2, requires_grad=True)
    assert gather_rows(rows) is rows
    message = "features must have shape (N, ...), got a scalar on process 0"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        gather_rows(torch.tensor(1.0), name="features")
