"""Weighted regression losses as modules.

Arguments, value, gradient, shapes and errors are those of the functions of
:mod:`ranksim.functional` to which they hand on.
"""

from __future__ import annotations

from torch import Tensor, nn

from ranksim.functional import focal_r_loss, huber_loss, l1_loss, mse_loss
from ranksim.functional._regression_validation import Activation, Base, check_focal_r
from ranksim.functional._validation import Reduction, check_positive, check_reduction


class _Loss(nn.Module):
    """What the four share: a checked reduction."""

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        check_reduction(reduction)
        self.reduction: Reduction = reduction

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"


class L1Loss(_Loss):
    """Weighted absolute error: see :func:`ranksim.functional.l1_loss`.

    Example:
        >>> import torch
        >>> L1Loss()(torch.tensor([30.0, 42.0]), torch.tensor([31, 40]), torch.tensor([0.5, 1.5]))
        tensor(1.7500)
    """

    def forward(self, prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        return l1_loss(prediction, target, weights, reduction=self.reduction)


class MSELoss(_Loss):
    """Weighted squared error: see :func:`ranksim.functional.mse_loss`.

    Example:
        >>> import torch
        >>> MSELoss()(torch.tensor([30.0, 42.0]), torch.tensor([31, 40]))
        tensor(2.5000)
    """

    def forward(self, prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        return mse_loss(prediction, target, weights, reduction=self.reduction)


class HuberLoss(_Loss):
    """Weighted Huber loss: see :func:`ranksim.functional.huber_loss`.

    Example:
        >>> import torch
        >>> HuberLoss(delta=2.0)(torch.tensor([30.0, 45.0]), torch.tensor([31, 40]))
        tensor(4.2500)
    """

    def __init__(self, delta: float = 1.0, *, reduction: Reduction = "mean") -> None:
        super().__init__(reduction=reduction)
        check_positive("delta", delta)
        self.delta = delta

    def forward(self, prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        return huber_loss(prediction, target, weights, delta=self.delta, reduction=self.reduction)

    def extra_repr(self) -> str:
        return f"delta={self.delta}, {super().extra_repr()}"


class FocalRLoss(_Loss):
    """Weighted Focal-R: see :func:`ranksim.functional.focal_r_loss`.

    Example:
        >>> import torch
        >>> criterion = FocalRLoss("l1", beta=0.2)  # ages, in years
        >>> criterion(torch.tensor([30.0, 60.0]), torch.tensor([31, 40]), torch.tensor([0.5, 1.5]))
        tensor(14.4853)
    """

    def __init__(
        self,
        base: Base = "mse",
        activation: Activation = "sigmoid",
        beta: float = 0.2,
        gamma: float = 1.0,
        *,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        check_focal_r(base, activation, beta, gamma)
        self.base: Base = base
        self.activation: Activation = activation
        self.beta = beta
        self.gamma = gamma

    def forward(self, prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        return focal_r_loss(
            prediction,
            target,
            weights,
            base=self.base,
            activation=self.activation,
            beta=self.beta,
            gamma=self.gamma,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        return (
            f"base={self.base!r}, activation={self.activation!r}, beta={self.beta}, "
            f"gamma={self.gamma}, {super().extra_repr()}"
        )
