"""Ranks of real numbers, largest first, with three rules for ties."""

from typing import Literal, get_args

import torch
from torch import Tensor

from ranksim.functional._validation import check_choice

Ties = Literal["min", "average", "ordinal"]
TIES: tuple[str, ...] = get_args(Ties)


def rank(values: Tensor, *, ties: Ties = "min", normalize: bool = False) -> Tensor:
    r"""Rank the values along the last dimension, the largest first.

    .. math::  \mathrm{rk}(a)_i = 1 + |\{ j : a_j > a_i \}|

    Args:
        values: real numbers of shape ``(..., M)``, any real dtype.
        ties: rule for equal values. ``"min"``: they share the smallest rank (the equation above);
            ``"average"``: they share their mean rank; ``"ordinal"``: distinct ranks, the lower
            index first.
        normalize: divide the ranks by M, so that they lie in (0, 1].

    Returns:
        Ranks of shape ``(..., M)``: float64 for float64 and integer values, else float32 (exact up
        to M = 2²⁴). All ranks of a row with a NaN are NaN. No gradient flows through ranks, which
        are piecewise constant.

    Raises:
        ValueError: if ``ties`` is unknown or ``values`` is a scalar.

    Example:
        >>> rank(torch.tensor([0.3, 0.9, 0.3, 0.1]))
        tensor([2., 1., 2., 4.])
        >>> rank(torch.tensor([0.3, 0.9, 0.3, 0.1]), ties="average")
        tensor([2.5000, 1.0000, 2.5000, 4.0000])
        >>> rank(torch.tensor([0.3, 0.9, 0.3, 0.1]), ties="ordinal")
        tensor([2., 1., 3., 4.])

    References:
        Gong, Mori, Tung, "RankSim" (ICML 2022), section 3. ``"min"`` is the paper's formula,
        ``"ordinal"`` is the rule behind its published results.
    """
    check_choice("ties", ties, TIES)
    if values.ndim == 0:
        raise ValueError("values must have shape (..., M), got a scalar")
    values = values.detach()
    size = values.shape[-1]
    exact = values.dtype == torch.float64 or not values.dtype.is_floating_point
    dtype = torch.float64 if exact and values.device.type != "mps" else torch.float32
    if values.dtype in (torch.bfloat16, torch.float16, torch.bool):
        values = values.to(torch.float32)  # searchsorted has no kernel for these dtypes

    if ties == "ordinal":
        order = values.argsort(dim=-1, descending=True, stable=True)
        positions = torch.arange(1, size + 1, dtype=dtype, device=values.device)
        ranks = torch.empty(values.shape, dtype=dtype, device=values.device)
        ranks.scatter_(-1, order, positions.expand(values.shape))
    else:
        ordered = values.contiguous().sort(dim=-1).values
        num_larger = size - torch.searchsorted(ordered, values.contiguous(), right=True)
        if ties == "min":
            ranks = (num_larger + 1).to(dtype)
        else:
            num_not_smaller = size - torch.searchsorted(ordered, values.contiguous())
            ranks = (num_larger + num_not_smaller + 1).to(dtype) / 2

    if values.dtype.is_floating_point:
        ranks = ranks.masked_fill(values.isnan().any(dim=-1, keepdim=True), float("nan"))
    return ranks / size if normalize else ranks
