"""The RankSim regulariser: value and gradient in closed form."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ranksim.functional._kernels import ranksim_term
from ranksim.functional._validation import (
    Reduction,
    as_matrices,
    check_arguments,
    reject_functorch,
)
from ranksim.functional.ranking import Ties
from ranksim.functional.similarity import LabelSimilarity, working_dtype
from ranksim.functional.similarity import label_similarity as similarity_by
from ranksim.functional.unique import unique_mask


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
    neighbours: tuple[Tensor, Tensor] | None = None,
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
        neighbours: features ``(K, ...)`` and labels of further samples, of earlier batches for
            example: anchors rank them too, so that M counts them, but they are no anchors and get
            no gradient. Where a label is in the batch too, the draw of ``unique_labels`` takes the
            batch's.

    Returns:
        A scalar, or one value for each anchor kept with ``reduction="none"``; float64 for float64
        features, else float32. An empty batch, one anchor or labels that are all equal give a
        differentiable zero. NaN or infinite features or labels give NaN.

    Raises:
        ValueError: shapes that do not fit, or an argument outside its range.
        TypeError: features that are not floating point, arguments that are not tensors, or
            ``neighbours`` that are no pair.

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
    reject_functorch(features, labels)
    anchors, per_anchor = features.shape[0], reduction == "none"
    if neighbours is not None:
        features, labels = _with_neighbours(features, labels, neighbours)
    keep = target = None
    if not (isinstance(unique_labels, (bool, np.bool_)) and not unique_labels):
        width = None if isinstance(unique_labels, (bool, np.bool_)) else float(unique_labels)
        keep = unique_mask(labels, width, generator=generator, first=anchors)
    name = label_similarity
    if callable(name):
        target, name = similarity_by(labels, name)[:anchors], "neg_l1"
    loss = ranksim_term(
        features, labels, keep, target, anchors, gamma, lambda_, ties, name, per_anchor
    )
    if keep is not None and per_anchor:
        loss = loss[keep[:anchors]]
    if reduction == "mean":
        loss = loss / (max(anchors, 1) if keep is None else keep[:anchors].sum().clamp(min=1))
    return strength * loss


def _with_neighbours(
    features: Tensor, labels: Tensor, neighbours: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Anchors first, then those that are neighbours alone and stand still."""
    if not isinstance(neighbours, (tuple, list)) or len(neighbours) != 2:
        raise TypeError(
            f"neighbours must be a pair of features and labels, got {type(neighbours).__name__}"
        )
    more, their_labels = as_matrices(*neighbours)
    for name, own, other in (("features", features, more), ("labels", labels, their_labels)):
        if other.shape[1] != own.shape[1] or other.device != own.device:
            raise ValueError(
                f"{name} of neighbours must be {own.shape[1]} wide and on {own.device} as those of "
                f"the batch are, got {tuple(other.shape)} on {other.device}"
            )
    more = more.detach().to(features.dtype)
    if their_labels.dtype != labels.dtype:  # float32 would round whole labels
        wide = working_dtype(labels.device)
        labels, their_labels = labels.to(wide), their_labels.to(wide)
    return torch.cat([features, more]), torch.cat([labels, their_labels])
