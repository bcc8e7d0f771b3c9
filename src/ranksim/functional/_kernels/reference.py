"""Arguments of the RankSim term, and its reference implementation in plain PyTorch.

The reference works in blocks of anchors on every device, in bounded memory for any batch, and never
synchronizes the host with the device.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ranksim.functional.similarity import (
    Ties,
    normalize_rows,
    pairwise_similarity,
    rank,
    round_to_grid,
    working_dtype,
)

BLOCK = 2**22  # similarities per block: 32 MiB per float64 matrix, about ten at a time


class RankSimInputs(NamedTuple):
    """The samples of a batch; the first ``anchors`` are anchors, the others are only ranked."""

    features: Tensor  # (N, D), floating point
    labels: Tensor  # (N, K), real or integer
    keep: Tensor | None  # mask (N,) of the M samples that count, None: all; others get no gradient
    target: Tensor | None  # label similarities (A, N) to use instead of those of the labels
    anchors: int  # A

    @property
    def out_dtype(self) -> torch.dtype:
        """Return float64 for float64 features, else float32."""
        return torch.promote_types(self.features.dtype, torch.float32)


class RankSimParams(NamedTuple):
    """Settings of the term, see :func:`ranksim.functional.ranksim_loss`."""

    gamma: float
    lambda_: float
    ties: Ties
    similarity: str  # "neg_l1", "neg_l2" or "cosine", of labels
    per_anchor: bool  # return one value per anchor instead of their sum
    weight: float = 1.0  # factor on value and gradient


def compute_term(
    inputs: RankSimInputs, params: RankSimParams, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    """Compute weight · γ · L_RankSim and what its backward pass needs.

    Returns the value, a scalar, and the gradient with respect to the anchors' features ``(A, D)``,
    both of ``inputs.out_dtype``. With ``params.per_anchor`` they are values ``(A,)`` and each
    anchor's gradient with respect to its similarities, ``(A, N)`` in the working dtype. Without
    ``with_gradient`` the second tensor is empty.
    """
    features, labels, keep = inputs.features, inputs.labels.detach(), inputs.keep
    samples, anchors, dtype = len(features), inputs.anchors, working_dtype(features.device)
    if keep is None:
        keep = torch.ones(samples, dtype=torch.bool, device=features.device)
    dropped = ~keep.unsqueeze(1)
    unit, norm = unit_features(features, inputs.keep)
    labels, count = labels.to(dtype).masked_fill(dropped, 0.0), keep.sum().clamp(min=1).to(dtype)

    def normalized_ranks(similarity: Tensor) -> Tensor:
        """Rank each row among the kept samples and divide by their number."""
        last = similarity.masked_fill(dropped.T, -torch.inf)
        return rank(last, ties=params.ties).to(dtype) / count

    rows = max(BLOCK // max(samples * labels.shape[1], 1), 1)
    store_slopes = with_gradient and (params.per_anchor or rows >= anchors)
    slopes = unit.new_zeros((anchors, samples) if store_slopes else 0)
    values, unit_gradient = unit.new_zeros(anchors), torch.zeros_like(unit[:anchors])
    smallest, largest = unit.new_full((), torch.inf), unit.new_full((), -torch.inf)
    for part in (slice(i, min(i + rows, anchors)) for i in range(0, anchors, rows)):
        excluded = dropped[part] | dropped.T
        if inputs.target is None:
            target = pairwise_similarity(labels[part], labels, params.similarity)
        else:
            target = inputs.target[part].to(dtype)
        smallest = torch.minimum(smallest, target.masked_fill(excluded, torch.inf).amin())
        largest = torch.maximum(largest, target.masked_fill(excluded, -torch.inf).amax())
        similarity = unit[part] @ unit.T
        before = normalized_ranks(round_to_grid(similarity.clone()))
        difference = (before - normalized_ranks(target)).masked_fill_(excluded, 0.0)
        values[part] = params.gamma * difference.square().sum(dim=1) / count
        if not with_gradient:
            continue
        similarity.add_(difference * (params.lambda_ * 2 * params.gamma / count))
        slope = (normalized_ranks(round_to_grid(similarity)) - before) / params.lambda_
        slope.masked_fill_(excluded, 0.0)
        if store_slopes:
            slopes[part] = slope
        else:
            unit_gradient[part].addmm_(slope, unit)
            unit_gradient.addmm_(slope[:, :anchors].T, unit[part])

    has_order = (smallest != largest).to(dtype)  # equal labels have no order to learn
    factor = params.weight * has_order
    value = ((values if params.per_anchor else values.sum()) * factor).to(inputs.out_dtype)
    if not with_gradient:
        return value, value.new_empty(0)
    if params.per_anchor:
        return value, slopes * factor
    if store_slopes:
        gradient = feature_gradient(slopes, unit, norm)
    else:
        gradient = normalization_gradient(unit_gradient, unit[:anchors], norm[:anchors])
    return value, (gradient * factor).to(inputs.out_dtype)


def unit_features(features: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return features divided by their norms, and the norms ``(N, 1)``; zero if not kept."""
    work = features.detach().to(working_dtype(features.device))
    if keep is not None:
        work = work.masked_fill(~keep.unsqueeze(1), 0.0)
    return normalize_rows(work, torch.finfo(features.dtype).tiny)


def feature_gradient(slopes: Tensor, unit: Tensor, norm: Tensor) -> Tensor:
    """Apply the chain rule of S = ẐẐᵀ and ẑ = z/‖z‖: slopes ``(A, N)`` to gradients ``(A, D)``.

    Samples that are not anchors are constants.
    """
    anchors = len(slopes)
    both = slopes.clone()
    both[:, :anchors] += slopes[:, :anchors].T
    return normalization_gradient(both @ unit, unit[:anchors], norm[:anchors])


def normalization_gradient(upstream: Tensor, unit: Tensor, norm: Tensor) -> Tensor:
    """Multiply by the Jacobian (I − ẑẑᵀ)/‖z‖ of ẑ = z/‖z‖; zero for zero vectors."""
    radial = (unit * upstream).sum(dim=1, keepdim=True)
    return ((upstream - unit * radial) / norm).masked_fill(norm == 0, 0.0)
