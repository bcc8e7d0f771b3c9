"""Gradient Aligned Regression: errors of values, of pairwise differences and of correlation."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from ranksim._utils.checks import check_choice, check_positive
from ranksim.functional._batch import compute_moments, correlate, prepare_batch
from ranksim.functional.regression import FocalBase, l1_loss, mse_loss

Join = Literal["softmax", "sum"]


def gar_loss(
    preds: Tensor,
    target: Tensor,
    sample_weight: Tensor | None = None,
    *,
    base: FocalBase = "l1",
    join: Join = "softmax",
    alpha: float = 0.1,
    label_std: float = 1.0,
) -> Tensor:
    r"""Compute the loss of Gradient Aligned Regression (GAR) in time linear in the batch.

    .. math::
        L_1 = \frac 1N \sum_i |e_i|, \qquad
        L_2 = \frac{1}{N^2} \sum_{i,j} \bigl( (p_i - p_j) - (y_i - y_j) \bigr)^2
            = 2 \operatorname{var} e, \qquad
        L_3 = 1 - \operatorname{corr}(p, y)

    with e = p − y, joined by a soft maximum :math:`\alpha \log \tfrac13 \sum_k e^{L_k / \alpha}` or
    by their sum. The second part aligns the differences, and so the gradients, of predictions and
    labels, the third their order.

    Args:
        preds: predictions of shape ``(N, ...)``, floating point; all entries are one batch.
        target: labels of the same shape, real or integer.
        sample_weight: weights of the same shape, floating point, with mean 1 over the training
            samples: factors in L₁, weights of the moments in L₂ and L₃. They get no gradient.
        base: ``"l1"``, or ``"mse"`` for squared errors in L₁.
        join: ``"softmax"`` or ``"sum"``.
        alpha: α > 0, temperature of the soft maximum; the closer to 0, the more it is the maximum.
        label_std: standard deviation of the training labels, in the unit of the target; errors are
            divided by it, so that the three parts are comparable.

    Returns:
        A scalar, float64 for float64 predictions, else float32. Where predictions or labels are all
        equal, L₃ is 1 and has no gradient. An empty batch gives a zero with a gradient. NaN and
        infinity propagate.

    Raises:
        ValueError: if shapes or devices differ, weights require gradients, or an argument is
            outside its range.
        TypeError: if an argument is not a tensor, or has a wrong dtype.

    Example:
        >>> preds, ages = torch.tensor([30.0, 42.0, 50.0]), torch.tensor([31, 40, 60])
        >>> round(gar_loss(preds, ages, label_std=15.0, join="sum").item(), 4)
        0.5741

    References:
        Zhu et al., "Gradient Aligned Regression via Pairwise Losses" (ICML 2025). The soft maximum
        of the parts themselves is our reading of how they are joined; weights are an addition.
    """
    check_gar(base, join, alpha, label_std)
    preds, target, weights, dtype = prepare_batch(preds, target, sample_weight)
    if preds.numel() == 0:
        return preds.sum().to(dtype)
    preds, target = preds / label_std, target / label_std
    errors = (l1_loss if base == "l1" else mse_loss)(preds, target, weights)
    moments = compute_moments(preds, target, weights)
    parts = torch.stack([errors, 2 * moments.variance_error, 1 - correlate(moments)])
    if join == "sum":
        return parts.sum().to(dtype)
    return (alpha * (torch.logsumexp(parts / alpha, dim=0) - math.log(3))).to(dtype)


def check_gar(base: str, join: str, alpha: float, label_std: float) -> tuple[float, float]:
    """Return α and the deviation as Python numbers; raise a ValueError if a setting is invalid."""
    check_choice("base", base, get_args(FocalBase))
    check_choice("join", join, get_args(Join))
    return check_positive("alpha", alpha), check_positive("label_std", label_std)
