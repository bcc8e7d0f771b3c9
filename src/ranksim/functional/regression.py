"""Regression losses that take a weight for each sample: L1, MSE, Huber and Focal-R."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ranksim.functional._regression_validation import (
    Activation,
    Base,
    check_focal_r,
    prepare_tensors,
)
from ranksim.functional._validation import Reduction, check_positive


def l1_loss(
    prediction: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Weighted absolute error, :math:`w_i |e_i|` with e = prediction − target.

    Args:
        prediction: shape ``(N, ...)``, floating point, in the unit of the target.
        target: the same shape, real or integer.
        weights: the same shape, floating point, and constants: they get no gradient. Weights have
            mean 1 over the training samples; values are not checked, which would stall a GPU.
        reduction: ``"mean"`` over all entries of weight × value, not divided by the sum of the
            weights; ``"sum"``; or ``"none"``, the shape of the target.

    Returns:
        A scalar, or the shape of the target; float64 for a float64 prediction, else float32. No
        samples give a differentiable zero. NaN and infinity are passed on.

    Raises:
        ValueError: shapes or devices that differ, weights that require gradients, or an argument
            outside its range.
        TypeError: arguments that are not tensors, or of the wrong dtype.

    Example:
        >>> prediction, ages = torch.tensor([30.0, 42.0]), torch.tensor([31, 40])
        >>> l1_loss(prediction, ages)
        tensor(1.5000)
        >>> l1_loss(prediction, ages, torch.tensor([0.5, 1.5]), reduction="none")
        tensor([0.5000, 3.0000])

    Source: weights of Yang et al., "Delving into Deep Imbalanced Regression" (ICML 2021).
    """
    prediction, target, weights = prepare_tensors(prediction, target, weights, reduction)
    return _reduced(F.l1_loss(prediction, target, reduction="none"), weights, reduction)


def mse_loss(
    prediction: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """Weighted squared error, :math:`w_i e_i^2`; all else as in :func:`l1_loss`.

    Example:
        >>> mse_loss(torch.tensor([30.0, 42.0]), torch.tensor([31, 40]))
        tensor(2.5000)
    """
    prediction, target, weights = prepare_tensors(prediction, target, weights, reduction)
    return _reduced(F.mse_loss(prediction, target, reduction="none"), weights, reduction)


def huber_loss(
    prediction: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    *,
    delta: float = 1.0,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Weighted Huber loss: :math:`e^2/2` where :math:`|e| \le \delta`, else δ(\|e\| − δ/2).

    ``delta`` > 0 is in the unit of the label; all else as in :func:`l1_loss`.

    Example:
        >>> huber_loss(torch.tensor([30.0, 42.0]), torch.tensor([31, 40]), reduction="none")
        tensor([0.5000, 1.5000])

    Source: Huber, "Robust Estimation of a Location Parameter" (1964).
    """
    check_positive("delta", delta)
    prediction, target, weights = prepare_tensors(prediction, target, weights, reduction)
    values = F.huber_loss(prediction, target, reduction="none", delta=delta)
    return _reduced(values, weights, reduction)


def focal_r_loss(
    prediction: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    *,
    base: Base = "mse",
    activation: Activation = "sigmoid",
    beta: float = 0.2,
    gamma: float = 1.0,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Weighted Focal-R: a regression loss that counts small errors for less.

    .. math::
        w_i \, v_i \, f_i^\gamma, \qquad v_i = e_i^2 \text{ or } |e_i|, \qquad
        f_i = 2\sigma(\beta |e_i|) - 1 \text{ or } \tanh(\beta |e_i|)

    The gradient flows through the factor too; at e = 0 it is zero for every γ.

    Args:
        prediction: as target and weights, see :func:`l1_loss`; so are returns and errors.
        target: the same shape, real or integer.
        weights: the same shape, floating point, constants of mean 1 over the training samples.
        base: the loss v: ``"mse"`` or ``"l1"``.
        activation: the factor f: ``"sigmoid"`` or ``"tanh"``.
        beta: β > 0, in 1/unit of the label: 0.2 per year for ages, 20 for STS-B scaled to [0, 1].
        gamma: γ ≥ 0, the exponent of the factor; 0 leaves the base loss.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Example:
        >>> focal_r_loss(torch.tensor([30.0, 60.0]), torch.tensor([31, 40]), reduction="none")
        tensor([9.9668e-02, 3.8561e+02])

    Source: Focal-R of Yang et al. (ICML 2021), with the factor 2σ − 1, which vanishes at e = 0.
    """
    check_focal_r(base, activation, beta, gamma)
    prediction, target, weights = prepare_tensors(prediction, target, weights, reduction)
    # 2σ(x) − 1 = tanh(x/2), without the cancellation that makes it zero for small x
    slope = beta / 2 if activation == "sigmoid" else beta
    factor = torch.tanh(slope * (prediction - target).abs())
    # f^(γ−1), in the gradient for γ < 1, is infinite at f = 0 but not at the smallest normal number
    factor = factor.clamp_min(torch.finfo(factor.dtype).tiny) ** gamma
    loss = F.mse_loss if base == "mse" else F.l1_loss
    return _reduced(loss(prediction, target, reduction="none") * factor, weights, reduction)


def _reduced(values: Tensor, weights: Tensor | None, reduction: str) -> Tensor:
    if weights is not None:
        values = values * weights
    if reduction == "none":
        return values
    total = values.sum()
    return total / max(values.numel(), 1) if reduction == "mean" else total
