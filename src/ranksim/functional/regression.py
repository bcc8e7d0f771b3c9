"""Regression losses with sample weights: L1, MSE, Huber and Focal-R."""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ranksim._utils.checks import check_choice, check_positive
from ranksim.functional._validation import WeightedReduction, prepare_regression

FocalBase = Literal["mse", "l1"]
FocalActivation = Literal["sigmoid", "tanh"]


def l1_loss(
    preds: Tensor,
    target: Tensor,
    sample_weight: Tensor | None = None,
    *,
    reduction: WeightedReduction = "mean",
) -> Tensor:
    r"""Compute the weighted absolute error :math:`w_i |e_i|`, with e = preds − target.

    Args:
        preds: predictions of shape ``(N, ...)``, floating point, in the unit of the target.
        target: true labels of the same shape, real or integer.
        sample_weight: weights of the same shape, floating point, with mean 1 over the training
            samples. They get no gradient, and their values are not checked.
        reduction: ``"mean"`` over all entries (as published: not divided by the sum of weights),
            ``"weighted_mean"``: Σ w v / Σ w, for which weights are relative, ``"sum"``, or
            ``"none"``. In batches prefer ``"mean"``: a weighted mean over a batch of rare samples
            alone forgets that they are rare.

    Returns:
        A scalar, or the shape of the target for ``"none"``; float64 for float64 predictions, else
        float32. An empty batch gives a zero with a gradient. NaN and infinity propagate.

    Raises:
        ValueError: if shapes or devices differ, weights require gradients, or an argument is
            outside its range.
        TypeError: if an argument is not a tensor, or has a wrong dtype.

    Example:
        >>> preds, ages = torch.tensor([30.0, 42.0]), torch.tensor([31, 40])
        >>> l1_loss(preds, ages)
        tensor(1.5000)
        >>> l1_loss(preds, ages, torch.tensor([0.5, 1.5]), reduction="none")
        tensor([0.5000, 3.0000])

    References:
        Sample weights: Yang et al., "Delving into Deep Imbalanced Regression" (ICML 2021).
    """
    preds, target, sample_weight = prepare_regression(preds, target, sample_weight, reduction)
    return _reduce(F.l1_loss(preds, target, reduction="none"), sample_weight, reduction)


def mse_loss(
    preds: Tensor,
    target: Tensor,
    sample_weight: Tensor | None = None,
    *,
    reduction: WeightedReduction = "mean",
) -> Tensor:
    """Compute the weighted squared error :math:`w_i e_i^2`, with e = preds − target.

    Arguments, result and errors are those of :func:`l1_loss`.

    Example:
        >>> mse_loss(torch.tensor([30.0, 42.0]), torch.tensor([31, 40]))
        tensor(2.5000)
    """
    preds, target, sample_weight = prepare_regression(preds, target, sample_weight, reduction)
    return _reduce(F.mse_loss(preds, target, reduction="none"), sample_weight, reduction)


def huber_loss(
    preds: Tensor,
    target: Tensor,
    sample_weight: Tensor | None = None,
    *,
    delta: float = 1.0,
    reduction: WeightedReduction = "mean",
) -> Tensor:
    """Compute the weighted Huber loss, see :class:`ranksim.HuberLoss` for the equation.

    ``delta`` is δ > 0, in the unit of the target. Further arguments, result and errors are those of
    :func:`l1_loss`.

    Example:
        >>> huber_loss(torch.tensor([30.0, 42.0]), torch.tensor([31, 40]), reduction="none")
        tensor([0.5000, 1.5000])
    """
    delta = check_positive("delta", delta)
    preds, target, sample_weight = prepare_regression(preds, target, sample_weight, reduction)
    values = F.huber_loss(preds, target, reduction="none", delta=delta)
    return _reduce(values, sample_weight, reduction)


def focal_r_loss(
    preds: Tensor,
    target: Tensor,
    sample_weight: Tensor | None = None,
    *,
    base: FocalBase = "mse",
    activation: FocalActivation = "sigmoid",
    beta: float = 0.2,
    gamma: float = 1.0,
    reduction: WeightedReduction = "mean",
) -> Tensor:
    """Compute the weighted Focal-R loss, which down-weights samples with small errors.

    Equation and settings are those of :class:`ranksim.FocalRLoss`, further arguments, result and
    errors those of :func:`l1_loss`. The gradient flows through the factor f too; at e = 0 it is
    zero for every γ.

    Example:
        >>> focal_r_loss(torch.tensor([30.0, 60.0]), torch.tensor([31, 40]), reduction="none")
        tensor([9.9668e-02, 3.8561e+02])
    """
    beta, gamma = check_focal_r(base, activation, beta, gamma)
    preds, target, sample_weight = prepare_regression(preds, target, sample_weight, reduction)
    # 2σ(x) − 1 = tanh(x/2), without the cancellation that makes it zero for small x
    slope = beta / 2 if activation == "sigmoid" else beta
    factor = torch.tanh(slope * (preds - target).abs())
    # f^(γ−1), in the gradient for γ < 1, is infinite at f = 0 but not at the smallest normal number
    factor = factor.clamp_min(torch.finfo(factor.dtype).tiny) ** gamma
    loss = F.mse_loss if base == "mse" else F.l1_loss
    return _reduce(loss(preds, target, reduction="none") * factor, sample_weight, reduction)


def check_focal_r(base: str, activation: str, beta: float, gamma: float) -> tuple[float, float]:
    """Return β and γ as Python numbers; raise a ValueError if a setting is outside its range."""
    check_choice("base", base, get_args(FocalBase))
    check_choice("activation", activation, get_args(FocalActivation))
    return check_positive("beta", beta), check_positive("gamma", gamma, or_zero=True)


def _reduce(values: Tensor, sample_weight: Tensor | None, reduction: str) -> Tensor:
    """Weight the values and reduce them."""
    if sample_weight is not None:
        values = values * sample_weight
    if reduction == "none":
        return values
    total = values.sum()
    if reduction == "weighted_mean" and sample_weight is not None:
        weight = sample_weight.sum()
        return total / torch.where(weight == 0, 1.0, weight)
    return total / max(values.numel(), 1) if reduction != "sum" else total
