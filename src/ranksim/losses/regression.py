"""Weighted regression losses as modules."""

from collections.abc import Callable
from typing import ClassVar, get_args

from torch import Tensor, nn

from ranksim._utils.checks import check_choice, check_positive
from ranksim.functional import focal_r_loss, huber_loss, l1_loss, mse_loss
from ranksim.functional._validation import WeightedReduction
from ranksim.functional.regression import FocalActivation, FocalBase, check_focal_r


class _RegressionLoss(nn.Module):
    """A loss function with its settings, which are attributes of the module."""

    _function: ClassVar[Callable[..., Tensor]]
    _settings: ClassVar[tuple[str, ...]] = ("reduction",)

    def __init__(self, *, reduction: WeightedReduction = "mean") -> None:
        super().__init__()
        check_choice("reduction", reduction, get_args(WeightedReduction))
        self.reduction: WeightedReduction = reduction

    def forward(self, preds: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        settings = {name: getattr(self, name) for name in self._settings}
        return self._function(preds, target, sample_weight, **settings)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self._settings)


class L1Loss(_RegressionLoss):
    """Weighted absolute error :math:`w_i |e_i|` of e = preds − target.

    ``forward(preds, target, sample_weight=None)`` takes tensors of one shape ``(N, ...)``; weights
    should have mean 1 over the training samples (see :func:`ranksim.functional.l1_loss`).

    Args:
        reduction: ``"mean"`` over all entries, ``"weighted_mean"``, ``"sum"`` or ``"none"``.

    Example:
        >>> import torch
        >>> L1Loss()(torch.tensor([30.0, 42.0]), torch.tensor([31, 40]), torch.tensor([0.5, 1.5]))
        tensor(1.7500)

    References:
        Sample weights: Yang et al., "Delving into Deep Imbalanced Regression" (ICML 2021).
    """

    _function = staticmethod(l1_loss)


class MSELoss(_RegressionLoss):
    """Weighted squared error :math:`w_i e_i^2` of e = preds − target.

    ``forward`` takes ``preds``, ``target`` and ``sample_weight`` as that of :class:`L1Loss`.

    Args:
        reduction: ``"mean"`` over all entries, ``"weighted_mean"``, ``"sum"`` or ``"none"``.

    Example:
        >>> import torch
        >>> MSELoss()(torch.tensor([30.0, 42.0]), torch.tensor([31, 40]))
        tensor(2.5000)
    """

    _function = staticmethod(mse_loss)


class HuberLoss(_RegressionLoss):
    r"""Weighted Huber loss of e = preds − target: quadratic for small errors, then linear.

    .. math::
        w_i h(e_i), \qquad h(e) = e^2/2 \text{ if } |e| \le \delta, \text{ else }
        \delta (|e| - \delta/2)

    ``forward`` takes ``preds``, ``target`` and ``sample_weight`` as that of :class:`L1Loss`.

    Args:
        delta: δ > 0, in the unit of the target.
        reduction: ``"mean"`` over all entries, ``"weighted_mean"``, ``"sum"`` or ``"none"``.

    Example:
        >>> import torch
        >>> HuberLoss(delta=2.0)(torch.tensor([30.0, 45.0]), torch.tensor([31, 40]))
        tensor(4.2500)

    References:
        Huber, "Robust Estimation of a Location Parameter" (1964).
    """

    _function = staticmethod(huber_loss)
    _settings = ("delta", "reduction")

    def __init__(self, delta: float = 1.0, *, reduction: WeightedReduction = "mean") -> None:
        super().__init__(reduction=reduction)
        self.delta = check_positive("delta", delta)


class FocalRLoss(_RegressionLoss):
    r"""Weighted Focal-R loss of e = preds − target: down-weights samples with small errors.

    .. math::
        w_i \, v_i \, f_i^\gamma, \qquad v_i = e_i^2 \text{ or } |e_i|, \qquad
        f_i = 2\sigma(\beta |e_i|) - 1 \text{ or } \tanh(\beta |e_i|)

    ``forward`` takes ``preds``, ``target`` and ``sample_weight`` as that of :class:`L1Loss`.

    Args:
        base: base loss v, ``"mse"`` or ``"l1"``.
        activation: function of the factor f, ``"sigmoid"`` or ``"tanh"``.
        beta: β > 0, in 1/unit of the target: 0.2 per year for ages, 20 for STS-B scaled to [0, 1].
        gamma: γ ≥ 0, exponent of the factor; 0 gives the base loss.
        reduction: ``"mean"`` over all entries, ``"weighted_mean"``, ``"sum"`` or ``"none"``.

    Example:
        >>> import torch
        >>> criterion = FocalRLoss("l1", beta=0.2)  # ages in years
        >>> criterion(torch.tensor([30.0, 60.0]), torch.tensor([31, 40]), torch.tensor([0.5, 1.5]))
        tensor(14.4853)

    References:
        Focal-R of Yang et al. (ICML 2021), with the factor 2σ − 1, which vanishes at e = 0.
    """

    _function = staticmethod(focal_r_loss)
    _settings = ("base", "activation", "beta", "gamma", "reduction")

    def __init__(
        self,
        base: FocalBase = "mse",
        activation: FocalActivation = "sigmoid",
        beta: float = 0.2,
        gamma: float = 1.0,
        *,
        reduction: WeightedReduction = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        self.beta, self.gamma = check_focal_r(base, activation, beta, gamma)
        self.base, self.activation = base, activation
