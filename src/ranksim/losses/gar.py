"""Gradient Aligned Regression as a module."""

from torch import Tensor, nn

from ranksim.functional.gar import Join, check_gar, gar_loss
from ranksim.functional.regression import FocalBase


class GARLoss(nn.Module):
    r"""Gradient Aligned Regression (GAR): errors of values, of differences and of correlation.

    .. math::
        L_1 = \frac 1N \sum_i |e_i|, \qquad L_2 = 2 \operatorname{var} e, \qquad
        L_3 = 1 - \operatorname{corr}(p, y)

    with e = p − y, joined by a soft maximum :math:`\alpha \log \tfrac13 \sum_k e^{L_k / \alpha}` or
    by their sum. It is a whole loss, linear in the batch: no pair is formed.
    ``forward(preds, target, sample_weight=None)`` takes tensors of one shape ``(N, ...)`` and
    returns a scalar. Special cases and errors: :func:`ranksim.functional.gar_loss`.

    Args:
        base: ``"l1"``, or ``"mse"`` for squared errors in L₁.
        join: ``"softmax"`` or ``"sum"``.
        alpha: α > 0, temperature of the soft maximum.
        label_std: standard deviation of the training labels, in the unit of the target.

    Example:
        >>> import torch
        >>> ages = torch.tensor([21.0, 25, 31, 40, 68, 80])
        >>> criterion = GARLoss(alpha=0.1, label_std=float(ages.std()))
        >>> preds = torch.randn(6, requires_grad=True)
        >>> criterion(preds, ages).backward()

    References:
        Zhu et al., "Gradient Aligned Regression via Pairwise Losses" (ICML 2025).
    """

    def __init__(
        self,
        base: FocalBase = "l1",
        join: Join = "softmax",
        alpha: float = 0.1,
        *,
        label_std: float = 1.0,
    ) -> None:
        super().__init__()
        self.alpha, self.label_std = check_gar(base, join, alpha, label_std)
        self.base, self.join = base, join

    def forward(self, preds: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        return gar_loss(
            preds,
            target,
            sample_weight,
            base=self.base,
            join=self.join,
            alpha=self.alpha,
            label_std=self.label_std,
        )

    def extra_repr(self) -> str:
        names = ("base", "join", "alpha", "label_std")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
