"""Losses of heads that predict a distribution, as modules."""

from collections.abc import Sequence

from torch import Tensor, nn

from ranksim._utils.checks import check_positive
from ranksim.functional.nll import Located, check_beta, gaussian_loss, laplace_loss, split_scale
from ranksim.functional.quantile import LEVELS, check_levels, quantile_loss


class GaussianLoss(nn.Module):
    """Negative log-likelihood of a Gaussian with a predicted mean and standard deviation (β-NLL).

    ``forward(outputs, target, sample_weight=None)`` takes outputs ``(N, ..., 2)`` and labels
    ``(N, ...)`` and returns a scalar; ``split(outputs)`` returns the predictions and their scale.
    Equation, special cases and errors: :func:`ranksim.functional.gaussian_loss`.

    Args:
        beta: β from 0 (plain likelihood) to 1 (means get the gradient of the squared error).
        label_std: standard deviation of the training labels, the unit of the scale.

    Example:
        >>> import torch
        >>> model, criterion = nn.Linear(3, 2), GaussianLoss(label_std=12.0)
        >>> x, ages = torch.randn(8, 3), torch.randint(20, 80, (8,))
        >>> criterion(model(x), ages).backward()
        >>> preds, scale = criterion.split(model(x))
        >>> preds.shape, bool((scale > 0).all())
        (torch.Size([8]), True)

    References:
        Seitzer et al., "On the Pitfalls of Heteroscedastic Uncertainty Estimation with
        Probabilistic Neural Networks" (ICLR 2022).
    """

    _function = staticmethod(gaussian_loss)

    def __init__(self, beta: float = 0.5, label_std: float = 1.0) -> None:
        super().__init__()
        self.beta, self.label_std = check_beta(beta), check_positive("label_std", label_std)

    def forward(
        self, outputs: Tensor, target: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        settings = {"beta": self.beta, "label_std": self.label_std}
        return self._function(outputs, target, sample_weight, **settings)

    def split(self, outputs: Tensor) -> Located:
        """Return the predictions and their scale, in the unit of the label, ``(N, ...)`` each."""
        return split_scale(outputs, self.label_std)

    def extra_repr(self) -> str:
        return f"beta={self.beta!r}, label_std={self.label_std!r}"


class LaplaceLoss(GaussianLoss):
    """Negative log-likelihood of a Laplace distribution with a predicted median and scale (β-NLL).

    The scale is the mean absolute deviation. It is used like
    :class:`GaussianLoss`, with the same arguments; equation:
    :func:`ranksim.functional.laplace_loss`.

    Example:
        >>> import torch
        >>> criterion = LaplaceLoss(beta=1.0, label_std=12.0)
        >>> outputs, ages = torch.randn(8, 2, requires_grad=True), torch.randint(20, 80, (8,))
        >>> criterion(outputs, ages).backward()
    """

    _function = staticmethod(laplace_loss)


class QuantileLoss(nn.Module):
    """Pinball losses of several predicted quantiles.

    ``forward(outputs, target, sample_weight=None)`` takes outputs ``(N, ..., Q)`` and labels
    ``(N, ...)`` and returns a scalar; ``split(outputs)`` returns quantiles that do not cross.
    Equation, special cases and errors: :func:`ranksim.functional.quantile_loss`.

    Args:
        levels: Q levels, ascending, above 0 and below 1.

    Example:
        >>> import torch
        >>> model, criterion = nn.Linear(3, 3), QuantileLoss((0.05, 0.5, 0.95))
        >>> x, ages = torch.randn(8, 3), torch.randint(20, 80, (8,))
        >>> criterion(model(x), ages).backward()
        >>> low, median, high = criterion.split(model(x)).unbind(-1)
        >>> bool((low <= high).all())
        True

    References:
        Koenker, Bassett, "Regression Quantiles" (Econometrica 1978).
    """

    def __init__(self, levels: Sequence[float] = LEVELS) -> None:
        super().__init__()
        self.levels = check_levels(levels)

    def forward(
        self, outputs: Tensor, target: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        return quantile_loss(outputs, target, sample_weight, levels=self.levels)

    def split(self, outputs: Tensor) -> Tensor:
        """Return the quantiles ``(N, ..., Q)`` in ascending order."""
        return outputs.sort(dim=-1).values

    def extra_repr(self) -> str:
        return f"levels={self.levels!r}"
