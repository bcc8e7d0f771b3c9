"""Regression losses that take a weight for each sample: L1, MSE, Huber and Focal-R."""

from __future__ import annotations

import math
import numbers
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ranksim.functional.checks import REDUCTIONS, Reduction

Base = Literal["mse", "l1"]
Activation = Literal["sigmoid", "tanh"]


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
    prediction, target, weights = _checked(prediction, target, weights, reduction)
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
    prediction, target, weights = _checked(prediction, target, weights, reduction)
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
    check_huber(delta)
    prediction, target, weights = _checked(prediction, target, weights, reduction)
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
    prediction, target, weights = _checked(prediction, target, weights, reduction)
    # 2σ(x) − 1 = tanh(x/2), without the cancellation that makes it zero for small x
    slope = beta / 2 if activation == "sigmoid" else beta
    factor = torch.tanh(slope * (prediction - target).abs())
    # f^(γ−1), in the gradient for γ < 1, is infinite at f = 0 but not at the smallest normal number
    factor = factor.clamp_min(torch.finfo(factor.dtype).tiny) ** gamma
    loss = F.mse_loss if base == "mse" else F.l1_loss
    return _reduced(loss(prediction, target, reduction="none") * factor, weights, reduction)


def check_reduction(reduction: str) -> None:
    """Refuse an unknown reduction."""
    _check_one_of("reduction", reduction, REDUCTIONS)


def check_huber(delta: float) -> None:
    """Refuse settings of Huber outside their range."""
    if not (_is_finite(delta) and delta > 0):
        raise ValueError(f"delta must be a finite number above 0, got {delta!r}")


def check_focal_r(base: str, activation: str, beta: float, gamma: float) -> None:
    """Refuse settings of Focal-R outside their range."""
    _check_one_of("base", base, get_args(Base))
    _check_one_of("activation", activation, get_args(Activation))
    if not (_is_finite(beta) and beta > 0):
        raise ValueError(f"beta must be a finite number above 0, got {beta!r}")
    if not (_is_finite(gamma) and gamma >= 0):
        raise ValueError(f"gamma must be a finite number of at least 0, got {gamma!r}")


def _check_one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")


def _is_finite(value: object) -> bool:
    return isinstance(value, numbers.Real) and math.isfinite(value)


def _checked(
    prediction: Tensor, target: Tensor, weights: Tensor | None, reduction: str
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The tensors in the dtype of the result, or an error; nothing is ever broadcast."""
    check_reduction(reduction)
    named = {"prediction": prediction, "target": target}
    if weights is not None:
        named["weights"] = weights
    for name, value in named.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}")
        if name != "target" and not value.is_floating_point():
            raise TypeError(f"{name} must be floating point, got {value.dtype}")
        if value.is_complex():
            raise TypeError(f"{name} must be real, got {value.dtype}")
    for name, value in named.items():
        if value.shape != target.shape:
            raise ValueError(
                f"{name} and target must have the same shape, got {name} {tuple(value.shape)} and "
                f"target {tuple(target.shape)}"
            )
        if value.device != target.device:
            raise ValueError(
                f"{name} and target must be on one device, got {name} on {value.device} and "
                f"target on {target.device}"
            )
    if weights is not None and weights.requires_grad:
        raise ValueError("weights must not require gradients, got requires_grad=True")
    dtype = torch.promote_types(prediction.dtype, torch.float32)
    return prediction.to(dtype), target.to(dtype), None if weights is None else weights.to(dtype)


def _reduced(values: Tensor, weights: Tensor | None, reduction: str) -> Tensor:
    if weights is not None:
        values = values * weights
    if reduction == "none":
        return values
    total = values.sum()
    return total / max(values.numel(), 1) if reduction == "mean" else total
