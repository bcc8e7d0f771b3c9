"""The RankSim regularizer: value and gradient in closed form."""

import numpy as np
import torch
from torch import Tensor

from ranksim._utils.checks import check_choice, check_positive, describe_value
from ranksim.functional._kernels import RankSimInputs, RankSimParams, ranksim_term
from ranksim.functional._validation import REDUCTIONS, Reduction, check_generator, to_matrices
from ranksim.functional.sampling import unique_mask
from ranksim.functional.similarity import (
    TIES,
    LabelSimilarity,
    Ties,
    check_label_similarity,
    working_dtype,
)
from ranksim.functional.similarity import label_similarity as compute_label_similarity


def ranksim_loss(
    features: Tensor,
    labels: Tensor,
    gamma: float = 100.0,
    lambda_: float = 2.0,
    *,
    weight: float = 1.0,
    ties: Ties = "min",
    unique_labels: bool = True,
    label_width: float | None = None,
    reduction: Reduction = "sum",
    label_similarity: LabelSimilarity = "neg_l1",
    generator: torch.Generator | None = None,
    ref_features: Tensor | None = None,
    ref_labels: Tensor | None = None,
) -> Tensor:
    r"""Compute the RankSim loss: samples should rank alike by features and by labels.

    .. math::
        \text{weight} \cdot \gamma \sum_i \frac{1}{M} \sum_j
        \bigl( r(S^z_{i:})_j - r(S^y_{i:})_j \bigr)^2

    :math:`S^z`: cosine similarities of features; :math:`S^y`: label similarities; :math:`r`: ranks
    divided by M (:func:`rank`). Blackbox differentiation gives the gradient of the ranks, with
    :math:`g = (2\gamma/M)(r(S^z) - r(S^y))`:

    .. math::
        \partial S^z := -\bigl( r(S^z) - r(S^z + \lambda g) \bigr) / \lambda

    It is multiplied by the upstream gradient: the loss is linear in any outer factor. The
    perturbation depends on γ·λ alone and saturates.

    Args:
        features: shape ``(N, ...)``, flattened to (N, D); any floating-point dtype.
        labels: shape ``(N,)``, ``(N, 1)`` or ``(N, K)``, real or integer, in any unit. Ties are
            exact: pass decimals as whole numbers of their last digit (2.6 as 26).
        gamma: γ ≥ 0, weight of the term inside the perturbation.
        lambda_: λ > 0, interpolation strength of the perturbation.
        weight: factor on value and gradient; 1 is the published algorithm.
        ties: rule for equal similarities of features and of labels, see :func:`rank`.
        unique_labels: first reduce the batch to one random sample per distinct label.
        label_width: bin width in which ``unique_labels`` counts labels as equal.
        reduction: ``"sum"`` over anchors (published), ``"mean"``, or ``"none"`` (one value each).
        label_similarity: ``"neg_l1"``, ``"neg_l2"``, ``"cosine"`` or a callable (M, K) -> (M, M).
        generator: random generator of ``unique_labels``.
        ref_features: shape ``(R, ...)``, further samples to rank, for example of earlier batches.
            They count in M, but are not anchors and get no gradient; ``unique_labels`` prefers
            the batch's sample of a label.
        ref_labels: labels of ``ref_features``, shape ``(R,)``, ``(R, 1)`` or ``(R, K)``.

    Returns:
        A scalar, or one value per remaining anchor for ``"none"``; float64 for float64 features,
        else float32. Zero, with a gradient, if all labels are equal; NaN if an input is not finite.

    Raises:
        ValueError: if shapes do not match, or an argument is outside its range.
        TypeError: if features are not floating point, or an argument is not a tensor.

    Example:
        >>> features = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], requires_grad=True)
        >>> ranksim_loss(features, torch.tensor([20, 60, 21])).item()  # every order is wrong
        22.22222...

    References:
        Gong, Mori, Tung, "RankSim" (ICML 2022), equations 2 to 7; gradient: Vlastelica et al.,
        "Differentiation of Blackbox Combinatorial Solvers" (ICLR 2020). Deviations: docs/loss.md.
    """
    gamma, lambda_, weight = check_settings(
        gamma, lambda_, weight, ties, reduction, label_similarity
    )
    label_width = check_unique_labels(unique_labels, label_width)
    check_generator(generator)
    features, labels = to_matrices(features, labels)
    anchors, keep, target, kind = features.shape[0], None, None, label_similarity
    if ref_features is not None or ref_labels is not None:
        features, labels = _append_references(features, labels, ref_features, ref_labels)
    if unique_labels:
        keep = unique_mask(labels, label_width, generator=generator, num_preferred=anchors)
    if callable(kind):
        target, kind = compute_label_similarity(labels, kind)[:anchors], "neg_l1"
    inputs = RankSimInputs(features, labels, keep, target, anchors)
    params = RankSimParams(
        gamma, lambda_, ties, kind, per_anchor=reduction == "none", weight=weight
    )
    return _reduce(ranksim_term(inputs, params), inputs, reduction)


def check_settings(
    gamma: float, lambda_: float, weight: float, ties: str, reduction: str, label_similarity: object
) -> tuple[float, float, float]:
    """Return the three numbers as Python ones; raise an error if a setting is outside its range."""
    check_choice("ties", ties, TIES)
    check_choice("reduction", reduction, REDUCTIONS)
    check_label_similarity(label_similarity)
    return (
        check_positive("gamma", gamma, or_zero=True),
        check_positive("lambda_", lambda_),
        check_positive("weight", weight, or_zero=True),
    )


def check_unique_labels(unique_labels: bool, label_width: float | None) -> float | None:
    """Return the label width; raise an error if an argument has a wrong type or range."""
    if not isinstance(unique_labels, (bool, np.bool_)):
        raise TypeError(
            f"unique_labels must be True or False, got {describe_value(unique_labels)}: give a bin "
            "width as label_width"
        )
    if label_width is None:
        return None
    width = check_positive("label_width", label_width)
    if not unique_labels:
        raise ValueError("label_width has no effect with unique_labels=False: leave it out")
    return width


def _append_references(
    features: Tensor, labels: Tensor, ref_features: Tensor | None, ref_labels: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Append the reference samples, without gradient, to the batch."""
    if ref_features is None or ref_labels is None:
        missing = "ref_features" if ref_features is None else "ref_labels"
        raise ValueError(f"ref_features and ref_labels must be given together, {missing} is None")
    ref_features, ref_labels = to_matrices(ref_features, ref_labels)
    for name, tensor, ref in (("features", features, ref_features), ("labels", labels, ref_labels)):
        if ref.shape[1] != tensor.shape[1] or ref.device != tensor.device:
            raise ValueError(
                f"ref_{name} must have {tensor.shape[1]} columns and be on {tensor.device} like "
                f"the batch's {name}, got shape {tuple(ref.shape)} on {ref.device}"
            )
    ref_features = ref_features.detach().to(features.dtype)
    if ref_labels.dtype != labels.dtype:  # float32 would round large integers
        dtype = working_dtype(labels.device)
        labels, ref_labels = labels.to(dtype), ref_labels.to(dtype)
    return torch.cat([features, ref_features]), torch.cat([labels, ref_labels])


def _reduce(loss: Tensor, inputs: RankSimInputs, reduction: str) -> Tensor:
    """Return the values of the remaining anchors, their mean, or the sum unchanged."""
    keep, anchors = inputs.keep, inputs.anchors
    if reduction == "none" and keep is not None:
        return loss[keep[:anchors]]
    if reduction == "mean":
        return loss / (max(anchors, 1) if keep is None else keep[:anchors].sum().clamp(min=1))
    return loss
