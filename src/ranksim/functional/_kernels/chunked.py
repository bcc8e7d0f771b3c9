"""RankSim by sorts, in rows of anchors: any batch in bounded memory, on every device."""

from __future__ import annotations

import torch
from torch import Tensor

from ranksim.functional.ranking import Ties, rank
from ranksim.functional.similarity import (
    normalize_rows,
    pairwise_similarity,
    round_to_grid,
    working_dtype,
)

_BLOCK = 2**22  # similarities that are ranked at a time, 32 MiB a matrix of float64


def compute_term(
    features: Tensor,
    labels: Tensor,
    keep: Tensor | None,
    target: Tensor | None,
    anchors: int,
    gamma: float,
    lambda_: float,
    ties: Ties,
    similarity: str,
    per_anchor: bool,
    gradient: bool,
) -> tuple[Tensor, Tensor]:
    """The same as :func:`ranksim.functional._kernels.reference.compute_term`, without a wait for the device.

    Beside features and gradient in float64 it holds some ten blocks of 32 MiB, and the slopes
    where ``per_anchor`` returns them: else each block of slopes goes into the gradient at once, by
    its two products.
    """
    samples, dtype = len(features), working_dtype(features.device)
    out_dtype = torch.promote_types(features.dtype, torch.float32)
    if keep is None:
        keep = torch.ones(samples, dtype=torch.bool, device=features.device)
    dropped = ~keep.unsqueeze(1)
    work = features.detach().to(dtype).masked_fill(dropped, 0.0)
    labels = labels.detach().to(dtype).masked_fill(dropped, 0.0)
    count = keep.sum().clamp(min=1).to(dtype)
    unit, norm = normalize_rows(work, torch.finfo(features.dtype).tiny)
    own, length = unit[:anchors], norm[:anchors]

    def ranks(similar: Tensor) -> Tensor:
        last = similar.masked_fill(dropped.T, -torch.inf)
        return rank(last, ties=ties).to(dtype) / count

    values, of_unit = work.new_zeros(anchors), torch.zeros_like(own)
    slopes = work.new_zeros((anchors, samples) if per_anchor and gradient else 0)
    least, most = work.new_full((), torch.inf), work.new_full((), -torch.inf)
    rows = max(_BLOCK // max(samples * labels.shape[1], 1), 1)
    for part in (slice(at, min(at + rows, anchors)) for at in range(0, anchors, rows)):
        outside = dropped[part] | dropped.T
        if target is None:
            wanted = pairwise_similarity(labels[part], labels, similarity)
        else:
            wanted = target[part].to(dtype)
        least = torch.minimum(least, wanted.masked_fill(outside, torch.inf).amin())
        most = torch.maximum(most, wanted.masked_fill(outside, -torch.inf).amax())
        similar = unit[part] @ unit.T
        before = ranks(round_to_grid(similar.clone()))
        difference = (before - ranks(wanted)).masked_fill_(outside, 0.0)
        values[part] = gamma * difference.square().sum(dim=1) / count
        if not gradient:
            continue
        moved = ranks(round_to_grid(similar.add_(difference * (lambda_ * 2 * gamma / count))))
        slope = ((moved - before) / lambda_).masked_fill_(outside, 0.0)
        if per_anchor:
            slopes[part] = slope
        else:
            of_unit[part].addmm_(slope, unit)
            of_unit.addmm_(slope[:, :anchors].T, own[part])

    ordered = (least != most).to(dtype)  # where no label differs there is no order to learn
    values = (values if per_anchor else values.sum()) * ordered
    if per_anchor or not gradient:
        slopes *= ordered
        return values.to(out_dtype), slopes if gradient else slopes.to(out_dtype)
    along = (own * of_unit).sum(dim=1, keepdim=True)
    spread = ((of_unit - own * along) / length * ordered).masked_fill_(length == 0, 0.0)
    return values.to(out_dtype), spread.to(out_dtype)
