"""ConR as a module."""

from torch import Tensor, nn

from ranksim._utils.checks import check_positive
from ranksim.functional.conr import conr_loss


class ConRLoss(nn.Module):
    r"""ConR: samples that are predicted alike but labeled apart are contrasted.

    .. math::
        \beta \cdot \frac 1N \sum_j -\log \frac{\frac{1}{|P_j|} \sum_{i \in P_j} e_{ji}}
        {\sum_{i \in P_j} e_{ji} + \sum_{q \in Q_j} S_{jq} e_{jq}}, \qquad
        S_{jq} = w_j |y_j - y_q| / \sigma

    with :math:`e_{ji} = \exp(\langle \hat z_j, \hat z_i \rangle / \tau)`, positives P labeled
    within ω and negatives Q labeled apart but predicted within ω. ``forward(features, labels,
    preds)`` takes features ``(N, ...)``, labels ``(N,)`` and predictions of the same shape, and
    optionally density weights ``(N,)`` and the features and predictions of a second view; it
    returns a scalar to add to a regression loss. Special cases and errors:
    :func:`ranksim.functional.conr_loss`.

    Args:
        width: ω > 0, the difference from which labels count as different, such as a bin's width.
        weight: factor β above 0.
        temperature: τ > 0.
        label_std: σ > 0, standard deviation of the training labels.

    Example:
        >>> import torch
        >>> criterion = ConRLoss(width=5.0, label_std=24.0)
        >>> features = torch.randn(6, 4, requires_grad=True)
        >>> ages, preds = torch.tensor([21, 23, 31, 40, 68, 80]), features.sum(1) + 30
        >>> loss = (preds - ages).abs().mean() + criterion(features, ages, preds)
        >>> loss.backward()

    References:
        Keramati et al., "ConR: Contrastive Regularizer for Deep Imbalanced Regression" (ICLR 2024),
        from the paper alone.
    """

    def __init__(
        self,
        width: float,
        *,
        weight: float = 4.0,
        temperature: float = 0.2,
        label_std: float = 1.0,
    ) -> None:
        super().__init__()
        self.width, self.weight = check_positive("width", width), check_positive("weight", weight)
        self.temperature = check_positive("temperature", temperature)
        self.label_std = check_positive("label_std", label_std)

    def forward(
        self,
        features: Tensor,
        labels: Tensor,
        preds: Tensor,
        sample_weight: Tensor | None = None,
        view_2: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        return self.weight * conr_loss(
            features,
            labels,
            preds,
            width=self.width,
            sample_weight=sample_weight,
            view_2=view_2,
            temperature=self.temperature,
            label_std=self.label_std,
        )

    def extra_repr(self) -> str:
        names = ("width", "weight", "temperature", "label_std")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
