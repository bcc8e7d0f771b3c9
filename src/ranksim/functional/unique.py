"""One uniformly drawn sample per distinct label."""

from __future__ import annotations

import torch
from torch import Tensor

from ranksim.functional.similarity import working_dtype


def draw_unique(
    labels: Tensor, width: float | None = None, *, generator: torch.Generator | None = None
) -> Tensor:
    """Indices of one uniformly drawn sample per distinct label, in ascending order.

    Args:
        labels: shape ``(N,)`` or ``(N, K)``, real or integer.
        width: real labels are "the same" when they fall into the same bin of this width, in units
            of the label (bin k covers [k·width, (k+1)·width), an edge is met to 1e-4 of a width).
            ``None``: the same value.
        generator: draws the samples; ``None`` is torch's default one.

    Returns:
        int64 indices of shape ``(M,)``, M = number of distinct labels.

    Example:
        >>> draw_unique(torch.tensor([20, 21, 23]))
        tensor([0, 1, 2])
        >>> draw_unique(torch.tensor([0.12, 0.31, 0.17]), 0.1).numel()
        2

    Source: RankSim (ICML 2022), section 3: the step removes ties and raises the share of rare
    labels.
    """
    count, device = labels.shape[0], labels.device
    if count == 0:
        return torch.empty(0, dtype=torch.int64, device=device)
    if width is not None:
        labels = labels.to(working_dtype(device))
        labels = (labels / width).round(decimals=4).floor()
    distinct, group = torch.unique(labels, dim=0, return_inverse=True)
    where = generator.device if generator is not None else device
    shuffled = torch.randperm(count, generator=generator, device=where).to(device)
    # the first of each group in a shuffled order is a uniform draw
    first = torch.full((distinct.shape[0],), count, dtype=torch.int64, device=device)
    first.scatter_reduce_(0, group[shuffled], torch.arange(count, device=device), reduce="amin")
    return shuffled[first].sort().values
