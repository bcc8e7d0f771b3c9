"""Ranks of real numbers, largest first, with three rules for equal values."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Ties = Literal["min", "average", "ordinal"]
TIES: tuple[str, ...] = get_args(Ties)


def rank(values: Tensor, *, ties: Ties = "min", normalize: bool = False) -> Tensor:
    r"""Rank the last dimension, the largest value first.

    .. math::  \mathrm{rk}(a)_i = 1 + |\{ j : a_j > a_i \}|

    Args:
        values: real numbers, shape ``(..., M)``, any real dtype.
        ties: how equal values are ranked: ``"min"`` (the equation: they share the smaller rank),
            ``"average"`` (they share their mean rank) or ``"ordinal"`` (distinct ranks, the lower
            index first).
        normalize: divide by M, so that ranks lie in (0, 1].

    Returns:
        Ranks of shape ``(..., M)``: float64 for float64 and integer values, float32 otherwise
        (exact up to M = 2²⁴). A row that holds a NaN has NaN ranks. Ranks are piecewise constant:
        no gradient flows through them.

    Raises:
        ValueError: ``ties`` is none of the three, or ``values`` has no dimension.

    Example:
        >>> rank(torch.tensor([0.3, 0.9, 0.3, 0.1]))
        tensor([2., 1., 2., 4.])
        >>> rank(torch.tensor([0.3, 0.9, 0.3, 0.1]), ties="average")
        tensor([2.5000, 1.0000, 2.5000, 4.0000])
        >>> rank(torch.tensor([0.3, 0.9, 0.3, 0.1]), ties="ordinal")
        tensor([2., 1., 3., 4.])

    Source: RankSim (ICML 2022), section 3; ``ties="min"`` is its formula, ``"ordinal"`` is how its
    published results were made.
    """
    check_ties(ties)
    if values.ndim == 0:
        raise ValueError("values must have shape (..., M), got a scalar")
    values = values.detach()
    size = values.shape[-1]
    exact = values.dtype == torch.float64 or not values.dtype.is_floating_point
    dtype = torch.float64 if exact and values.device.type != "mps" else torch.float32
    if values.dtype in (torch.bfloat16, torch.float16, torch.bool):
        values = values.to(torch.float32)  # searchsorted has no kernel for these

    if ties == "ordinal":
        order = values.argsort(dim=-1, descending=True, stable=True)
        places = torch.arange(1, size + 1, dtype=dtype, device=values.device)
        ranks = torch.empty(values.shape, dtype=dtype, device=values.device)
        ranks.scatter_(-1, order, places.expand(values.shape))
    else:
        ordered = values.contiguous().sort(dim=-1).values
        larger = size - torch.searchsorted(ordered, values.contiguous(), right=True)
        if ties == "min":
            ranks = (larger + 1).to(dtype)
        else:
            not_smaller = size - torch.searchsorted(ordered, values.contiguous())
            ranks = (larger + not_smaller + 1).to(dtype) / 2

    if values.dtype.is_floating_point:
        ranks = ranks.masked_fill(values.isnan().any(dim=-1, keepdim=True), float("nan"))
    return ranks / size if normalize else ranks


def check_ties(ties: str) -> None:
    """Refuse a rule for equal values that does not exist."""
    if ties not in TIES:
        raise ValueError(f"ties must be one of {', '.join(TIES)}, got {ties!r}")
