"""Part 1: every path of the loss on a GPU, against the float64 oracle."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.figures import Figure, Settings
from ranksim import RankSimLoss
from ranksim.functional import rank, ranksim_loss, sample_positions
from ranksim.functional._kernels import RankSimInputs, RankSimParams, dispatch, reference
from ranksim.functional.sampling import unique_mask
from tests.helpers.pairwise import pairwise
from tests.helpers.ranksim_cases import (
    TIES,
    TOLERANCES,
    compute_term,
    make_batch,
    oracle_of_batch,
    relative_error,
)
from tests.oracles import ranksim as oracle

Case = Callable[[], float]  # returns the largest error divided by its tolerance
# of the gradient, which has the dtype of the features
ROUNDING = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-10}
ORACLE_SIZES = (16, 33, 127)


def measure(settings: Settings) -> Iterator[Figure]:
    """Yield cases, failures and the largest error of each check; raise an error if any failed."""
    messages: list[str] = []
    for name, list_cases in CHECKS.items():
        errors: list[float] = []
        for case in list_cases(settings):
            try:
                error = case()
            except Exception as exception:  # a kernel that cannot run is one failure
                messages.append(f"{name}, {describe(case)}: {exception}")
                error = float("inf")
            else:
                if not error <= 1:
                    messages.append(f"{name}, {describe(case)}: {error:.2g} times its tolerance")
            errors.append(error)
        failures = sum(not error <= 1 for error in errors)
        largest = max((error for error in errors if error <= 1), default=0.0)
        yield Figure(name, "cases", len(errors))
        yield Figure(name, "failures", failures, at_most=0)
        yield Figure(name, "largest error / tolerance", largest)
    if messages:
        raise AssertionError(f"{len(messages)} checks failed, the first: {messages[0]}")


def describe(case: Case) -> str:
    """Return the arguments of a case."""
    arguments = case.keywords if isinstance(case, functools.partial) else {}
    return ", ".join(f"{name}={value}" for name, value in arguments.items()) or "one case"


def compare(result: Any, expected: Any, limits: tuple[float, float]) -> float:
    """Return the larger relative error of value and gradient, divided by its tolerance."""
    pairs = zip(result, expected, limits, strict=True)
    return max(relative_error(got, wanted) / limit for got, wanted, limit in pairs)


def loss_limits(dtype: torch.dtype) -> tuple[float, float]:
    """Return the tolerances of value and gradient of ``ranksim_loss``."""
    value, gradient = TOLERANCES[dtype]
    return value, max(gradient, ROUNDING.get(dtype, 0.0))


def run_loss(
    settings: Settings, z: Any, y: Any, dtype: torch.dtype = torch.float64, **arguments: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return value and gradient of the loss, multiplied by 3 and divided again."""
    features = torch.as_tensor(z).to(settings.device, dtype).requires_grad_()
    loss = ranksim_loss(features, torch.as_tensor(y).to(settings.device), **arguments)
    (3 * loss).backward()
    assert features.grad is not None
    return loss, features.grad.double() / 3


def list_paths(settings: Settings) -> list[str]:
    """Return the implementations that run here."""
    paths = ["reference", "blocks"] if settings.smoke else ["reference on CUDA", "blocks on CUDA"]
    return paths if importlib.util.find_spec("triton") is None else [*paths, "triton"]


def term_cases(settings: Settings) -> Iterator[Case]:
    """Yield cases of each implementation, dtype, size, kind of batch and rule for ties."""

    def run(path: str, dtype: torch.dtype, size: int, kind: str, ties: str) -> float:
        value, gradient = oracle_of_batch(kind, size, ties, dtype)
        result = compute_term(path, *make_batch(kind, size), dtype=dtype, ties=ties)
        return compare(result, (value.sum(), gradient.sum(0)), TOLERANCES[dtype])

    sizes = (9,) if settings.smoke else (1, 2, *ORACLE_SIZES)
    kinds = ("ties",) if settings.smoke else ("random", "ages", "ties")
    for case in pairwise(
        path=list_paths(settings), dtype=TOLERANCES, size=sizes, kind=kinds, ties=TIES
    ):
        yield functools.partial(run, **case)


def loss_cases(settings: Settings) -> Iterator[Case]:
    """Yield cases of the loss through autograd."""

    def run(dtype: torch.dtype, size: int, ties: str, reduction: str) -> float:
        z, y = make_batch("ages", size)
        value, gradient = oracle_of_batch("ages", size, ties, dtype)
        factor = 1 if reduction == "sum" else 1 / size
        result = run_loss(
            settings, z, y, dtype, ties=ties, reduction=reduction, unique_labels=False
        )
        expected = factor * value.sum(), factor * gradient.sum(0)
        return compare(result, expected, loss_limits(dtype))

    sizes = (5,) if settings.smoke else ORACLE_SIZES
    for case in pairwise(dtype=TOLERANCES, size=sizes, ties=TIES, reduction=("sum", "mean")):
        yield functools.partial(run, **case)


def rank_cases(settings: Settings) -> Iterator[Case]:
    """Yield cases of ranks, which must be exactly those of the oracle."""

    def run(dtype: torch.dtype, size: int, ties: str) -> float:
        values = np.random.default_rng(size).integers(0, size, (2, size)) / 8
        inputs = torch.tensor(values).to(dtype)
        ranks = rank(inputs.to(settings.device), ties=ties)  # type: ignore[arg-type]
        expected = [oracle.fast_rank(row, ties) for row in inputs.double().numpy()]
        return 0.0 if np.array_equal(ranks.double().cpu().numpy(), expected) else np.inf

    sizes = (9,) if settings.smoke else (1, 64, 1025, 3000)
    for case in pairwise(dtype=TOLERANCES, size=sizes, ties=TIES):
        yield functools.partial(run, **case)


def similarity_cases(settings: Settings) -> Iterator[Case]:
    """Yield cases of label similarities, with and without samples that do not count."""

    def run(path: str, similarity: str, width: int, masked: bool) -> float:
        draw = np.random.default_rng(width)
        z, y = draw.normal(size=(20, 5)), draw.normal(size=(20, width))
        distance = y[:, None] - y[None, :]
        length = np.sqrt((y**2).sum(1))
        matrix = {
            "neg_l1": -np.abs(distance).sum(-1),
            "neg_l2": -np.sqrt((distance**2).sum(-1)),
            "cosine": y @ y.T / np.outer(length, length),
        }[similarity].round(12)
        keep = draw.random(20) < 0.6 if masked else np.ones(20, dtype=bool)
        value, gradient = oracle.ranksim(z[keep], matrix[keep][:, keep], 100.0, 2.0)
        result = compute_term(path, z, y, keep if masked else None, similarity=similarity)
        assert (result[1][~keep] == 0).all(), "a dropped sample has a gradient"
        expected = value.sum(), gradient.sum(0)
        return compare((result[0], result[1][keep]), expected, TOLERANCES[torch.float64])

    similarities = ("neg_l1", "neg_l2", "cosine")
    paths = list_paths(settings)[-1:] if settings.smoke else list_paths(settings)
    for case in pairwise(path=paths, similarity=similarities, width=(1, 3), masked=(False, True)):
        yield functools.partial(run, **case)


def memory_cases(settings: Settings) -> Iterator[Case]:
    """Yield cases of batches that are ranked along with those in the memory."""

    def run(ties: str, memory_size: int) -> float:
        draw = np.random.default_rng(memory_size)
        criterion = RankSimLoss(ties=ties, unique_labels=False, memory_size=memory_size)  # type: ignore[arg-type]
        old_z, old_y = np.empty((0, 7)), np.empty(0)
        errors = []
        for _ in range(4):
            z, y = draw.normal(size=(9, 7)), draw.integers(18, 60, 9)
            all_z, all_y = np.concatenate([z, old_z]), np.concatenate([y, old_y])
            value, gradient = oracle.ranksim(all_z, oracle.neg_l1(all_y), 100.0, 2.0, ties)
            features = torch.tensor(z, device=settings.device, requires_grad=True)
            loss = criterion(features, torch.tensor(y, device=settings.device))
            loss.backward()
            expected = value[:9].sum(), gradient[:9, :9].sum(0)
            errors.append(compare((loss, features.grad), expected, TOLERANCES[torch.float64]))
            old_z, old_y = all_z[:memory_size], all_y[:memory_size]
        return max(errors)

    # the order of samples in the memory, which ordinal ties depend on, is not specified
    for case in pairwise(ties=TIES[:2], memory_size=(9,) if settings.smoke else (9, 18)):
        yield functools.partial(run, **case)


def sampling_cases(settings: Settings) -> Iterator[Case]:
    """Yield cases of the draw of one sample per label, and of positions of dense labels."""

    def run_unique(width: float | None, size: int) -> float:
        z, y = make_batch("ages", size)
        generator = torch.Generator(settings.device).manual_seed(size)
        labels = torch.as_tensor(y).to(settings.device)
        drawn = unique_mask(labels, width, generator=generator).cpu().numpy()
        groups = np.floor(y / (width or 1))
        assert sorted(groups[drawn]) == sorted(set(groups)), "not one sample per label"
        result = run_loss(settings, z, y, label_width=width, generator=generator.manual_seed(size))
        value, gradient = oracle.ranksim(z[drawn], oracle.neg_l1(y[drawn]), 100.0, 2.0)
        expected = np.zeros_like(z)
        expected[drawn] = gradient.sum(0)
        return compare(result, (value.sum(), expected), TOLERANCES[torch.float64])

    def run_uniform() -> float:
        draws = 300 if settings.smoke else 3000
        labels = torch.tensor([5, 7, 5, 5, 7, 9], device=settings.device)
        share = torch.stack([unique_mask(labels) for _ in range(draws)]).double().mean(0).cpu()
        expected = torch.tensor([1 / 3, 1 / 2, 1 / 3, 1 / 3, 1 / 2, 1.0])
        return float((share - expected).abs().max() / (5 * (0.25 / draws) ** 0.5))

    def run_positions() -> float:
        labels = torch.randint(0, 90, (2, 1, 8, 8), device=settings.device).double()
        labels[labels < 30] = torch.nan
        features, targets = sample_positions(labels.expand(2, 3, 8, 8), labels, 40)
        assert len(targets) == 40, f"{len(targets)} positions instead of 40"
        return 0.0 if torch.equal(features, targets.expand(40, 3)) else float("inf")

    sizes = (16,) if settings.smoke else ORACLE_SIZES
    for case in pairwise(width=(None, 3.0), size=sizes):
        yield functools.partial(run_unique, **case)
    yield run_uniform
    yield run_positions


def large_cases(settings: Settings) -> Iterator[Case]:
    """Yield batches at and beyond the largest one that the kernels rank by counting."""

    def run(size: int, ties: str) -> float:
        draw = torch.Generator().manual_seed(size)
        features = torch.randn(size, 64, dtype=torch.float64, generator=draw)
        labels = torch.randint(0, 101, (size, 1), generator=draw)
        params = RankSimParams(100.0, 2.0, ties, "neg_l1", False)  # type: ignore[arg-type]
        results = []
        for device in ("cpu", settings.device):
            inputs = RankSimInputs(features.to(device), labels.to(device), None, None, size)
            path = (
                reference.compute_term
                if device == "cpu"
                else dispatch.path_for(inputs.features.device)
            )
            results.append([tensor.cpu().numpy() for tensor in path(inputs, params, True)])
        return compare(results[1], results[0], (1e-9, 1e-6))

    for case in pairwise(size=(40,) if settings.smoke else (1024, 1025, 2500), ties=TIES):
        yield functools.partial(run, **case)


CHECKS: dict[str, Callable[[Settings], Iterator[Case]]] = {
    "each implementation": term_cases,
    "loss through autograd": loss_cases,
    "ranks": rank_cases,
    "label similarities, dropped samples": similarity_cases,
    "memory of earlier batches": memory_cases,
    "sampling": sampling_cases,
    "large batches, against the CPU": large_cases,
}
