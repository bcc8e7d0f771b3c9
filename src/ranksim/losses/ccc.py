"""The concordance correlation as a module."""

from torch import Tensor, nn

from ranksim._utils.checks import check_positive
from ranksim.functional.ccc import ccc_loss


class CCCLoss(nn.Module):
    r"""One minus the concordance correlation of a batch, a term to add to a regression loss.

    .. math::
        \text{weight} \cdot \Bigl( 1 - \frac{2 \operatorname{cov}(p, y)}
        {\operatorname{var} p + \operatorname{var} y + (\bar p - \bar y)^2} \Bigr)

    ``forward(preds, target, sample_weight=None)`` takes tensors of one shape ``(N, ...)`` and
    returns a scalar. A batch should have at least 16 samples. Special cases and errors:
    :func:`ranksim.functional.ccc_loss`.

    Args:
        weight: factor above 0.

    Example:
        >>> import torch
        >>> criterion, ccc = torch.nn.MSELoss(), CCCLoss(weight=1.0)
        >>> preds, ages = torch.randn(16, requires_grad=True), torch.arange(16.0)
        >>> loss = criterion(preds, ages) + ccc(preds, ages)
        >>> loss.backward()

    References:
        Lin, "A Concordance Correlation Coefficient to Evaluate Reproducibility" (Biometrics 1989).
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = check_positive("weight", weight)

    def forward(self, preds: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        return self.weight * ccc_loss(preds, target, sample_weight)

    def extra_repr(self) -> str:
        return f"weight={self.weight!r}"
