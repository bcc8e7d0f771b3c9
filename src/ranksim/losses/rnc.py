"""Rank-N-Contrast as a module."""

from torch import Tensor, nn

from ranksim._utils.checks import check_positive
from ranksim.functional.rnc import rnc_loss


class RnCLoss(nn.Module):
    r"""Rank-N-Contrast (RnC): the nearer two labels, the nearer their features among all samples.

    .. math::
        \frac{1}{N (N - 1)} \sum_{i \ne j} -\log \frac{\exp(s_{ij} / \tau)}
        {\sum_{k \ne i, \, |y_i - y_k| \ge |y_i - y_j|} \exp(s_{ik} / \tau)},
        \qquad s_{ij} = -\lVert z_i - z_j \rVert_2

    It trains an encoder alone; a linear head on the frozen encoder is trained after.
    ``forward(features, labels, features_2=None)`` takes features ``(N, ...)``, labels ``(N,)``,
    ``(N, 1)`` or ``(N, K)`` and the features of a second view, such as another augmentation, and
    returns a scalar. Special cases and errors: :func:`ranksim.functional.rnc_loss`.

    Args:
        temperature: τ > 0.

    Example:
        >>> import torch
        >>> encoder, criterion = torch.nn.Linear(5, 8), RnCLoss(temperature=2.0)
        >>> x, ages = torch.randn(6, 5), torch.tensor([21, 21, 31, 40, 68, 80])
        >>> views = [encoder(x + 0.05 * torch.randn_like(x)) for _ in range(2)]
        >>> criterion(views[0], ages, views[1]).backward()

    References:
        Zha et al., "Rank-N-Contrast: Learning Continuous Representations for Regression"
        (NeurIPS 2023).
    """

    def __init__(self, temperature: float = 2.0) -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)

    def forward(self, features: Tensor, labels: Tensor, features_2: Tensor | None = None) -> Tensor:
        return rnc_loss(features, labels, features_2=features_2, temperature=self.temperature)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature!r}"
