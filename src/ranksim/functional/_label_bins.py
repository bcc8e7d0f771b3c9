"""Label bins of a batch: their edges, the bin of each label, and sums of features by bin."""

import numpy as np
import torch
from torch import Tensor

from ranksim._utils.checks import describe_value


def read_edges(edges: object) -> Tensor:
    """Return edges of bins as float64 ``(K + 1,)``; raise a ValueError if they are none."""
    try:
        borders = torch.tensor(np.asarray(edges, dtype=np.float64))
    except (TypeError, ValueError):
        borders = torch.empty(0, dtype=torch.float64)
    if borders.ndim != 1 or len(borders) < 2 or not bool((borders.diff() > 0).all()):
        raise ValueError(
            f"edges must be at least two ascending numbers, got {describe_value(edges)}"
        )
    return borders


def is_fine_in_float32(edges: Tensor) -> bool:
    """Return True if rounding to float32 moves labels by less than 1/1000 of their bin."""
    sizes = torch.maximum(edges[1:].abs(), edges[:-1].abs())
    return bool((sizes * torch.finfo(torch.float32).eps <= 1e-3 * edges.diff()).all())


def find_bins(labels: Tensor, edges: Tensor, in_float32: bool) -> Tensor:
    """Return the bin of each label, int64 ``(N,)``, by inner edges ``(K - 1,)``; -1 for NaN.

    Compared in float32, decimals such as 0.3 equal their edge in spite of rounding.
    """
    dtype = torch.float32 if in_float32 else labels.dtype
    values = labels.to(dtype)
    index = torch.bucketize(values, edges.to(dtype), right=True)
    return torch.where(values.isnan(), -1, index)


def sum_bins(rows: Tensor, index: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the sums of the rows ``(K, D)`` and the number of rows ``(K,)`` of each bin.

    Rows that are not finite are left out.
    """
    bins = torch.arange(count, device=index.device)
    finite = rows.isfinite().all(dim=1)
    members = ((index == bins.unsqueeze(1)) & finite).to(rows.dtype)
    return members @ torch.where(finite.unsqueeze(1), rows, 0.0), members.sum(dim=1)
