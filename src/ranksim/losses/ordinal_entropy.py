"""Ordinal entropy as a module."""

from torch import Tensor, nn

from ranksim._utils.checks import check_positive
from ranksim.functional.ordinal_entropy import ordinal_entropy_loss


class OrdinalEntropyLoss(nn.Module):
    r"""Ordinal entropy: centers of different labels spread, features of equal labels gather.

    .. math::
        \text{weight} \cdot \Bigl( -\frac{1}{M (M - 1)} \sum_{k \ne l} |y_k - y_l| \,
        \lVert c_k - c_l \rVert_2 + \frac 1N \sum_i \lVert \hat z_i - c_{k(i)} \rVert_2 \Bigr)

    with unit features :math:`\hat z` and the mean :math:`c_k` of those of each distinct label.
    ``forward(features, labels)`` takes features ``(N, ...)`` and labels ``(N,)``, ``(N, 1)`` or
    ``(N, K)``, and returns a scalar to add to a regression loss. Special cases and errors:
    :func:`ranksim.functional.ordinal_entropy_loss`.

    Args:
        weight: factor above 0.
        label_range: largest minus smallest training label; ``None``: that of each batch.

    Example:
        >>> import torch
        >>> criterion = OrdinalEntropyLoss(weight=1e-3, label_range=80)
        >>> features = torch.randn(6, 4, requires_grad=True)
        >>> ages = torch.tensor([21, 21, 31, 40, 68, 80])
        >>> loss = (features.sum(1) - ages).abs().mean() + criterion(features, ages)
        >>> loss.backward()

    References:
        Zhang et al., "Improving Deep Regression with Ordinal Entropy" (ICLR 2023).
    """

    def __init__(self, weight: float = 1e-3, *, label_range: float | None = None) -> None:
        super().__init__()
        self.weight = check_positive("weight", weight)
        is_given = label_range is not None
        self.label_range = check_positive("label_range", label_range) if is_given else None

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        return self.weight * ordinal_entropy_loss(features, labels, label_range=self.label_range)

    def extra_repr(self) -> str:
        return f"weight={self.weight!r}, label_range={self.label_range!r}"
