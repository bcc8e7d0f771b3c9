"""The squared error weighted by relevance as a module."""

from torch import Tensor, nn

from ranksim._utils.checks import check_positive
from ranksim.functional.sera import sera_loss
from ranksim.losses.label_table import LabelTable


class SERALoss(nn.Module):
    r"""Mean squared error weighted by the relevance of the labels, the loss of SERA.

    .. math::
        \text{weight} \cdot \frac 1N \sum_i w_i \, \varphi(y_i) (p_i - y_i)^2

    ``forward(preds, target, sample_weight=None)`` takes tensors of one shape ``(N, ...)`` and
    returns a scalar. Labels of relevance 0, at the median, count nothing. Special cases and errors:
    :func:`ranksim.functional.sera_loss`.

    Args:
        labels: training labels, or the points of a curve, floating point ``(M,)``.
        relevance: φ of each from 0 to 1, ``(M,)``, for example
            ``PchipRelevance.from_fences(labels)(labels)``. Between them it is linear.
        weight: factor above 0, for example one over the mean relevance.

    Example:
        >>> import torch
        >>> from ranksim.imbalance import PchipRelevance
        >>> ages = torch.tensor([21.0, 22, 22, 23, 24, 25, 26, 180])
        >>> relevance = torch.from_numpy(PchipRelevance.from_fences(ages)(ages))
        >>> criterion = SERALoss(ages, relevance)
        >>> preds = torch.randn(8, requires_grad=True)
        >>> criterion(preds, ages).backward()

    References:
        Ribeiro, Moniz, "Imbalanced regression and extreme value prediction" (Machine Learning
        2020).
    """

    def __init__(self, labels: Tensor, relevance: Tensor, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = check_positive("weight", weight)
        self.relevance = LabelTable(labels, relevance, "relevance")
        values = self.relevance.values
        if bool((values < 0).any() | (values > 1).any()):
            raise ValueError(
                f"relevance must be from 0 to 1, got {float(values.min()):g} to "
                f"{float(values.max()):g}"
            )

    def forward(self, preds: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        return self.weight * sera_loss(preds, target, self.relevance(target), sample_weight)

    def extra_repr(self) -> str:
        return f"weight={self.weight!r}"
