"""One uniformly drawn sample per distinct label."""

from __future__ import annotations

import numpy as np
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
    return unique_mask(labels, width, generator=generator).nonzero().squeeze(1)


def unique_mask(
    labels: Tensor,
    width: float | None = None,
    *,
    generator: torch.Generator | None = None,
    first: int | None = None,
) -> Tensor:
    """The draw of :func:`draw_unique` as a mask, of a shape that no value decides.

    The host never waits for the device.

    Args (beside those):
        first: samples before this index come before all others of their label.

    Returns:
        bool, shape ``(N,)``: True for the one sample drawn of each distinct label.
    """
    count, device = labels.shape[0], labels.device
    if width is not None:
        labels = labels.to(working_dtype(device))
        labels = (labels / width).round(decimals=4).floor()
    where = generator.device if generator is not None else device
    order = torch.randperm(count if first is None else first, generator=generator, device=where)
    if first is not None:
        rest = torch.randperm(count - first, generator=generator, device=where)
        order = torch.cat([order, rest + first])
    order = order.to(device)
    if device.type == "cpu" and type(labels) is Tensor and not torch.compiler.is_compiling():
        return _by_numpy(labels, order)
    columns = labels.unsqueeze(1) if labels.ndim == 1 else labels
    # a stable sort by all columns: the first of each run of equal labels is a uniform draw
    for column in reversed(range(columns.shape[1])):
        order = order[columns[order, column].argsort(stable=True)]
    ordered = columns[order]
    differs = (ordered[1:] != ordered[:-1]).any(dim=1)
    begins = torch.cat([torch.ones_like(differs[:1]), differs]) if count > 1 else order == order
    return torch.zeros(count, dtype=torch.bool, device=device).scatter(0, order, begins)


def _by_numpy(labels: Tensor, shuffled: Tensor) -> Tensor:
    """The same on a CPU, where NumPy sorts a batch ten times faster."""
    if labels.dtype in (torch.bfloat16, torch.bool):
        labels = labels.float()
    columns = labels.detach().numpy().reshape(len(labels), -1 if labels.numel() else 1)
    order = shuffled.numpy()
    order = order[np.lexsort(columns[order].T[::-1])]
    ordered = columns[order]
    keep = np.ones(len(order), dtype=bool)
    keep[order[1:]] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return torch.from_numpy(keep)
