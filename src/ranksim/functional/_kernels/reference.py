"""The reference: RankSim in plain tensor operations, on every device, without a wait for it."""

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
    r"""γ · L_RankSim of the first A samples as anchors, ranked among all N.

    Args:
        features: shape ``(N, D)``, floating point.
        labels: shape ``(N, K)``, real or integer.
        keep: bool, shape ``(N,)``: the samples that count; ``None`` is all. M is their number.
        target: label similarities, shape ``(A, N)``, in the place of ``similarity``; or ``None``.
        anchors: A ≤ N; the rest are neighbours alone, and get no gradient.
        gamma: γ.
        lambda_: λ.
        ties: the rule for equal similarities.
        similarity: ``"neg_l1"``, ``"neg_l2"`` or ``"cosine"`` of labels.
        per_anchor: keep the anchors apart.
        gradient: whether one is needed.

    Returns:
        The value, a scalar or shape ``(A,)``, and what backward needs: the gradient, shape
        ``(A, D)``; with ``per_anchor`` the gradient of each anchor by its similarities, shape
        ``(A, N)``, in float64; nothing, shape ``(0,)``, without ``gradient``. The value and the
        gradient are float64 for float64 features, else float32. What is not kept gives and gets
        zero.
    """
    out_dtype = torch.promote_types(features.dtype, torch.float32)
    work, labels = features.to(working_dtype(features.device)), labels.detach()
    count: Tensor | int = max(len(features), 1)
    if keep is not None:
        work = work.masked_fill(~keep.unsqueeze(1), 0.0)
        labels = labels.masked_fill(~keep.unsqueeze(1), 0)
        count = keep.sum().clamp(min=1).to(work.dtype)
    unit, norm = normalize_rows(work, torch.finfo(features.dtype).tiny)
    own = unit[:anchors] @ unit.T
    if target is None:
        labels = labels.to(work.dtype)
        target = pairwise_similarity(labels[:anchors], labels, similarity)

    def ranks(values: Tensor) -> Tensor:
        if keep is not None:
            values = values.masked_fill(~keep, -torch.inf)  # after all others
        return rank(values, ties=ties).to(work.dtype) / count

    feature_rank = ranks(round_to_grid(own.clone()))
    difference = (feature_rank - ranks(target)) * ordered(target, keep).to(work.dtype)
    if keep is not None:
        difference = difference.masked_fill(~(keep[:anchors].unsqueeze(1) & keep), 0.0)
    values = gamma * difference.square().sum(dim=1) / count
    value = (values if per_anchor else values.sum()).to(out_dtype)
    if not gradient:
        return value, features.new_empty(0, dtype=out_dtype)

    moved = ranks(round_to_grid(own + difference * (lambda_ * 2 * gamma / count)))
    slope = (moved - feature_rank) / lambda_
    if keep is not None:
        slope = slope.masked_fill(~(keep[:anchors].unsqueeze(1) & keep), 0.0)
    if per_anchor:
        return value, slope
    return value, feature_gradient(slope, unit, norm).to(out_dtype)


def feature_gradient(slope: Tensor, unit: Tensor, norm: Tensor) -> Tensor:
    """Chain rule through S = ẐẐᵀ and ẑ = z/‖z‖: ``(A, N), (N, D) -> (A, D)``; zero rows get zero.

    Neighbours that are no anchors stand still.
    """
    anchors = slope.shape[0]
    both = slope.clone()
    both[:, :anchors] += slope[:, :anchors].T
    of_unit, own, length = both @ unit, unit[:anchors], norm[:anchors]
    along = (own * of_unit).sum(dim=1, keepdim=True)
    return ((of_unit - own * along) / length).masked_fill(length == 0, 0.0)


def ordered(target: Tensor, keep: Tensor | None) -> Tensor:
    """Whether any label differs from another: where none does there is no order to learn."""
    if keep is None:
        return (target != target[:1, :1]).any()
    pairs = keep[: len(target)].unsqueeze(1) & keep
    least = target.masked_fill(~pairs, torch.inf).amin()
    return least != target.masked_fill(~pairs, -torch.inf).amax()
