"""Batches for tests of RankSim, and the comparison with the float64 oracle."""

import functools
from collections.abc import Sequence
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray

from ranksim.functional._kernels import RankSimInputs, RankSimParams, reference
from ranksim.functional._kernels.cpu import cpu_term
from tests.oracles import ranksim as oracle

TIES = ["min", "average", "ordinal"]
# implementations of the term; "blocks" is the reference in small blocks
CPU_PATHS, CUDA_PATHS = ["reference", "blocks", "cpu"], ["reference on CUDA", "blocks on CUDA"]
TOLERANCES = {  # relative error of value and gradient by the dtype of features
    torch.float64: (1e-9, 1e-9),
    torch.float32: (1e-6, 4e-6),
    torch.bfloat16: (1e-6, 4e-6),
    torch.float16: (1e-6, 4e-6),
}


def make_batch(kind: str, size: int, seed: int = 1) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return features (N, 7) and labels (N,): random, ages, or ones full of exact ties."""
    draw = np.random.default_rng((seed, size))
    if kind == "random":
        return draw.normal(size=(size, 7)), draw.normal(size=size) * 10
    if kind == "ages":
        return draw.normal(size=(size, 7)), draw.integers(18, 40, size)
    # rows of ±1 have an exact length, so similarities tie exactly; one row is zero
    z = draw.choice([-1.0, 1.0], size=(size, 4))
    z[size // 2] = 0
    return z, draw.integers(0, 4, size)


@functools.cache
def oracle_of_batch(
    kind: str,
    size: int,
    ties: str = "min",
    dtype: torch.dtype = torch.float64,
    gamma: float = 100.0,
    lambda_: float = 2.0,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the oracle's values (N,) and gradients (N, N, D) of a batch rounded to a dtype."""
    z, y = make_batch(kind, size)
    z = torch.tensor(z).to(dtype).double().numpy()
    target = oracle.neg_l1(y)
    value, gradient = oracle.ranksim(z, target, gamma, lambda_, ties)
    has_order = len(set(y)) > 1
    return value * has_order, gradient * has_order


def compute_term(
    path: str,
    z: Any,
    y: Any,
    keep: Any = None,
    target: Any = None,
    anchors: int | None = None,
    dtype: torch.dtype = torch.float64,
    gradient: bool = True,
    **settings: Any,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Run a path on NumPy arrays: value and gradient, or slopes, in float64.

    Triton's kernels run on a GPU if there is one, else in Triton's interpreter.
    """
    device = "cuda" if path in CUDA_PATHS else "cpu"
    module: Any = cpu_term if path == "cpu" else reference
    if path == "triton":
        from ranksim.functional._kernels import triton_term as module

        device = "cuda" if torch.cuda.is_available() else "cpu"
    labels = torch.as_tensor(np.asarray(y)).reshape(len(z), -1 if np.size(y) else 1)
    anchors = len(z) if anchors is None else anchors
    inputs = RankSimInputs(
        torch.as_tensor(np.asarray(z)).to(device, dtype),
        labels.to(device),
        None if keep is None else torch.as_tensor(keep).to(device),
        None if target is None else torch.as_tensor(target)[:anchors].to(device),
        anchors,
    )
    params: dict[str, Any] = {
        "gamma": 100.0, "lambda_": 2.0, "ties": "min", "similarity": "neg_l1", "per_anchor": False,
    }  # fmt: skip
    params |= settings
    with mock.patch.object(reference, "BLOCK", 100 if path.startswith("blocks") else 2**22):
        value, second = module.compute_term(inputs, RankSimParams(**params), gradient)
    slopes = params["per_anchor"] and gradient
    assert value.dtype == inputs.out_dtype
    assert second.dtype == (torch.float64 if slopes else inputs.out_dtype)
    return value.double().cpu().numpy(), second.double().cpu().numpy()


def relative_error(result: Any, expected: Any) -> float:
    """Return the relative distance of two arrays or tensors."""
    if isinstance(result, torch.Tensor):
        result = result.detach().double().cpu().numpy()
    return float(np.linalg.norm(result - expected)) / max(float(np.linalg.norm(expected)), 1e-12)


def assert_matches_oracle(
    result: Sequence[Any],
    expected: Sequence[Any],
    dtype: torch.dtype = torch.float64,
    tolerance: float | None = None,
) -> None:
    """Compare a value and a gradient with those of the oracle, by relative error."""
    limits = TOLERANCES[dtype] if tolerance is None else (tolerance, tolerance)
    for name, got, wanted, limit in zip(
        ("value", "gradient"), result, expected, limits, strict=True
    ):
        error = relative_error(got, wanted)
        assert error < limit, f"{name} is off by {error:.1e}, more than {limit:.0e}"


def unique_settings(unique: bool | float | np.bool_) -> dict[str, Any]:
    """Return arguments for a draw by value (True), by bin width (a number) or none (False)."""
    width = None if isinstance(unique, (bool, np.bool_)) else unique
    return {"unique_labels": unique if width is None else True, "label_width": width}
