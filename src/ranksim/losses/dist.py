"""Dist loss as a module."""

import torch
from torch import Tensor

from ranksim._utils.checks import check_positive
from ranksim._utils.precise_module import PreciseModule
from ranksim.functional._validation import check_tensors
from ranksim.functional.dist import dist_loss


class DistLoss(PreciseModule):
    r"""Distance of the sorted predictions of a batch from quantiles of the training labels.

    .. math::
        \text{weight} \cdot \frac 1N \sum_k \frac{|p_{(k)} - q_k|}{s}, \qquad
        q_k = Q \bigl( \tfrac{k - 1/2}{N} \bigr)

    A term to add to a regression loss, in large batches (256). ``forward(preds)`` takes predictions
    ``(N, ...)`` and returns a scalar. Special cases and errors:
    :func:`ranksim.functional.dist_loss`.

    Args:
        quantiles: training labels, or quantiles of their distribution at the levels (m − ½) / M,
            floating point ``(M,)``; they are sorted.
        weight: factor above 0.
        label_std: s > 0, standard deviation of the training labels.

    Example:
        >>> ages = torch.tensor([21.0, 25, 31, 40, 68, 80])
        >>> criterion, dist = torch.nn.L1Loss(), DistLoss(ages, label_std=float(ages.std()))
        >>> preds = torch.randn(6, requires_grad=True)
        >>> loss = criterion(preds, ages) + dist(preds)
        >>> loss.backward()

    References:
        Nie et al., "Dist Loss: Enhancing Regression in Few-Shot Region through Distribution
        Distance Constraint" (ICLR 2025).
    """

    quantiles: Tensor

    def __init__(self, quantiles: Tensor, weight: float = 1.0, *, label_std: float = 1.0) -> None:
        super().__init__()
        check_tensors(quantiles=quantiles)
        self.weight = check_positive("weight", weight)
        self.label_std = check_positive("label_std", label_std)
        dist_loss(torch.zeros(0, device=quantiles.device), quantiles)  # checks them
        table = quantiles.detach().sort().values
        self.register_buffer("quantiles", table, persistent=False)

    def forward(self, preds: Tensor) -> Tensor:
        return self.weight * dist_loss(preds, self.quantiles, label_std=self.label_std)

    def extra_repr(self) -> str:
        return f"weight={self.weight!r}, label_std={self.label_std!r}"
