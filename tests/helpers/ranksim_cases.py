"""Batches for tests of RankSim, and the comparison with the float64 oracle."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tests.oracles import ranksim as oracle

TIES = ["min", "average", "ordinal"]
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


def relative_error(result: Any, expected: Any) -> float:
    """Return the relative distance of two arrays or tensors."""
    if isinstance(result, torch.Tensor):
        result = result.detach().double().numpy()
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
