"""DILA as a module."""

from torch import Tensor, nn

from ranksim._utils.checks import check_positive
from ranksim.functional.dila import dila_loss
from ranksim.losses.label_table import LabelTable


class DILALoss(nn.Module):
    r"""Distance correlation between the absolute errors of a batch and the density of its labels.

    .. math::
        \text{weight} \cdot \operatorname{dCor} \bigl( |p - y|, \, d(y) \bigr)

    A term to add to a regression loss. It falls when errors do not depend on how rare a label is.
    ``forward(preds, target)`` takes tensors of one shape ``(N, ...)`` and returns a scalar.
    Equation, special cases and errors: :func:`ranksim.functional.dila_loss`.

    Args:
        labels: training labels, floating point ``(M,)``.
        density: their density ``(M,)``, in any unit, for example
            ``KernelDensity.from_labels(labels).evaluate(labels)``. Between training labels it is
            interpolated linearly.
        weight: κ > 0.

    Example:
        >>> import torch
        >>> from ranksim.imbalance import KernelDensity
        >>> ages = torch.tensor([21.0, 22, 22, 25, 31, 40, 68, 80])
        >>> density = torch.from_numpy(KernelDensity.from_labels(ages).evaluate(ages))
        >>> criterion, dila = nn.L1Loss(), DILALoss(ages, density, weight=0.1)
        >>> preds = torch.randn(8, requires_grad=True)
        >>> loss = criterion(preds, ages) + dila(preds, ages)
        >>> loss.backward()

    References:
        DILA (2026). Distance correlation: Székely, Rizzo, Bakirov (Annals of Statistics 2007).
    """

    def __init__(self, labels: Tensor, density: Tensor, weight: float = 0.1) -> None:
        super().__init__()
        self.weight = check_positive("weight", weight)
        self.density = LabelTable(labels, density, "density")

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        return self.weight * dila_loss(preds, target, self.density(target))

    def extra_repr(self) -> str:
        return f"weight={self.weight!r}"
