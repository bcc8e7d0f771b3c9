"""The RankSim regulariser: value and gradient in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ranksim.functional.checks import Reduction, as_matrices, check_arguments
from ranksim.functional.ranking import Ties, rank
from ranksim.functional.similarity import (
    LabelSimilarity,
    cosine_similarity,
    label_similarity,
    on_grid,
    unit_rows,
    working_dtype,
)
from ranksim.functional.unique import draw_unique


def ranksim_loss(
    features: Tensor,
    labels: Tensor,
    gamma: float = 100.0,
    lambda_: float = 2.0,
    *,
    strength: float = 1.0,
    ties: Ties = "min",
    unique_labels: bool | float = True,
    reduction: Reduction = "sum",
    label_similarity: LabelSimilarity = "neg_l1",
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Ranking-similarity regularisation: neighbours rank alike in features and in labels.

    .. math::
        \text{strength} \cdot \gamma \sum_i \frac{1}{M} \sum_j
        \bigl( r(S^z_{i:})_j - r(S^y_{i:})_j \bigr)^2

    with :math:`S^z` the cosine similarities of the features, :math:`S^y` the label similarities and
    :math:`r` the ranks divided by M (:func:`rank`). The ranks of the features are differentiated
    by blackbox differentiation: with :math:`g = (2\gamma/M)(r(S^z) - r(S^y))`,

    .. math::
        \partial S^z := -\bigl( r(S^z) - r(S^z + \lambda g) \bigr) / \lambda

    The gradient is computed in the forward pass; backward multiplies it by what arrives, so the
    loss is exactly linear in any outer factor (``strength``, a loss scaler, 1/accumulation). γ·λ
    alone sets the size of the perturbation and saturates; ``strength`` scales the term.

    Args:
        features: shape ``(N, ...)``, flattened to (N, D); float64, float32, bfloat16 or float16.
        labels: shape ``(N,)``, ``(N, 1)`` or ``(N, K)``, real or integer, in any unit: only their
            order counts. Ties are exact, so give decimals as float64 integers of their last digit
            (2.6 as 26) where equidistant neighbours are to tie.
        gamma: γ ≥ 0, the weight of the term inside the perturbation.
        lambda_: λ > 0, the interpolation strength of the perturbation.
        strength: factor on value and gradient; 1 is the published algorithm.
        ties: rule for equal similarities, in label and feature space (see :func:`rank`).
        unique_labels: reduce the batch to one uniformly drawn sample per distinct label first;
            a number is the bin width within which real labels are the same.
        reduction: ``"sum"`` over anchors (published), ``"mean"`` or ``"none"`` (one value each).
        label_similarity: ``"neg_l1"``, ``"neg_l2"``, ``"cosine"`` or a callable (M, K) -> (M, M).
        generator: draws the samples of ``unique_labels``.

    Returns:
        A scalar, or shape ``(M,)`` with ``reduction="none"``; float64 for float64 features, else
        float32. An empty batch, one anchor or labels that are all equal give a differentiable
        zero. NaN or infinite features or labels give NaN.

    Raises:
        ValueError: shapes that do not fit, or an argument outside its range.
        TypeError: features that are not floating point, or arguments that are not tensors.

    Example:
        >>> features = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], requires_grad=True)
        >>> ranksim_loss(features, torch.tensor([20, 21, 60]))
        tensor(0., grad_fn=<MulBackward0>)
        >>> ranksim_loss(features, torch.tensor([20, 60, 21])).item()  # every order is wrong
        22.22222...

    Source: Gong, Mori, Tung, "RankSim: Ranking Similarity Regularization for Deep Imbalanced
    Regression" (ICML 2022), equations 2 to 7; Vlastelica et al. (ICLR 2020) for the gradient.
    Deviations: linear in outer factors; ties by rule, not by sort order; a zero feature vector is
    similar to nothing and gets no gradient.
    """
    check_arguments(gamma, lambda_, strength, ties, unique_labels, reduction, label_similarity)
    features, labels = as_matrices(features, labels)
    if not (isinstance(unique_labels, bool | np.bool_) and not unique_labels):
        width = None if isinstance(unique_labels, bool | np.bool_) else float(unique_labels)
        chosen = draw_unique(labels, width, generator=generator)
        features, labels = features[chosen], labels[chosen]
    loss: Tensor = _RankSim.apply(  # type: ignore[no-untyped-call]
        features, labels, gamma, lambda_, ties, reduction == "none", label_similarity
    )
    if reduction == "mean":
        loss = loss / max(features.shape[0], 1)
    return strength * loss


class _RankSim(torch.autograd.Function):
    """γ · L_RankSim over all anchors, its gradient made in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        labels: Tensor,
        gamma: float,
        lambda_: float,
        ties: Ties,
        per_anchor: bool,
        similarity: LabelSimilarity,
    ) -> Tensor:
        size = features.shape[0]
        out_dtype = torch.promote_types(features.dtype, torch.float32)
        with torch.autocast(features.device.type, enabled=False):
            work = features.to(working_dtype(features.device))
            unit, norm = unit_rows(work, torch.finfo(features.dtype).tiny)
            feature_similarity = cosine_similarity(unit)
            feature_rank = rank(feature_similarity, ties=ties, normalize=True)
            target_similarity = label_similarity(labels, similarity)
            target_rank = rank(target_similarity, ties=ties, normalize=True).to(work.dtype)

            # where no label differs from another there is no order to learn
            ordered = (target_similarity != target_similarity[:1, :1]).any().to(work.dtype)
            difference = (feature_rank - target_rank) * ordered
            values = gamma * difference.square().sum(dim=1) / max(size, 1)

            if ctx.needs_input_grad[0]:
                perturbation = difference * (lambda_ * 2 * gamma / max(size, 1))
                perturbed = on_grid(feature_similarity + perturbation)
                moved = rank(perturbed, ties=ties, normalize=True)
                slope = (moved - feature_rank) / lambda_
                if per_anchor:
                    ctx.save_for_backward(slope, unit, norm)
                else:
                    ctx.save_for_backward(_feature_gradient(slope, unit, norm).to(out_dtype))
        ctx.per_anchor, ctx.dtype = per_anchor, features.dtype
        return (values if per_anchor else values.sum()).to(out_dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.per_anchor:
            slope, unit, norm = ctx.saved_tensors
            weighted = slope * upstream.to(slope.dtype).unsqueeze(1)
            gradient = _feature_gradient(weighted, unit, norm)
        else:
            (gradient,) = ctx.saved_tensors
            gradient = gradient * upstream
        return gradient.to(ctx.dtype), None, None, None, None, None, None


def _feature_gradient(slope: Tensor, unit: Tensor, norm: Tensor) -> Tensor:
    """Chain rule through S = ẐẐᵀ and ẑ = z/‖z‖: ``(M, M) -> (M, D)``; zero rows get zero."""
    of_unit = (slope + slope.T) @ unit
    along = (unit * of_unit).sum(dim=1, keepdim=True)
    return ((of_unit - unit * along) / norm).masked_fill(norm == 0, 0.0)
