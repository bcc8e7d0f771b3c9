"""Rank-N-Contrast: the nearer two labels, the nearer their features among all samples."""

import torch
from torch import Tensor

from ranksim._utils.checks import check_positive
from ranksim.functional._features import (
    join_views,
    label_distances,
    pairwise_distances,
    prepare_features,
    propagate_nan,
)
from ranksim.functional._validation import to_matrices


def rnc_loss(
    features: Tensor,
    labels: Tensor,
    *,
    features_2: Tensor | None = None,
    temperature: float = 2.0,
) -> Tensor:
    r"""Compute Rank-N-Contrast in time :math:`N^2 \log N`.

    .. math::
        \frac{1}{N (N - 1)} \sum_{i \ne j} -\log \frac{\exp(s_{ij} / \tau)}
        {\sum_{k \ne i, \, |y_i - y_k| \ge |y_i - y_j|} \exp(s_{ik} / \tau)},
        \qquad s_{ij} = -\lVert z_i - z_j \rVert_2

    The rows of similarities are sorted by label distance, and the sums of all denominators are
    cumulative log-sum-exps; equal distances are part of each other's sum.

    Args:
        features: shape ``(N, ...)``, flattened to (N, D); any floating-point dtype.
        labels: shape ``(N,)``, ``(N, 1)`` or ``(N, K)``, real or integer; distances are summed over
            K. Ties are exact: pass decimals as whole numbers of their last digit (2.6 as 26).
        features_2: a second view of the samples, of the shape of ``features``; both views are
            samples, so that N doubles.
        temperature: τ > 0.

    Returns:
        A scalar of at least 0, float64 for float64 features, else float32. Fewer than two samples
        give a zero with a gradient. Features or labels that are not finite give NaN, with a NaN
        gradient.

    Raises:
        ValueError: if shapes do not match, or the temperature is not above 0.
        TypeError: if features are not floating point, or an argument is not a tensor.

    Example:
        >>> features = torch.tensor([[0.0], [1.0], [4.0]], requires_grad=True)
        >>> round(rnc_loss(features, torch.tensor([20, 21, 24])).item(), 4)
        0.1648

    References:
        Zha et al., "Rank-N-Contrast: Learning Continuous Representations for Regression"
        (NeurIPS 2023). The value and gradient of a sorted row are our derivation.
    """
    temperature = check_positive("temperature", temperature)
    if features_2 is not None:
        to_matrices(features, labels)  # errors name the shapes before the views are joined
        features = join_views(features, features_2, "features")
        labels = torch.cat([labels, labels])
    features, labels, dtype = prepare_features(features, labels)
    if len(features) < 2:
        return propagate_nan((features * 0).sum(), features, labels).to(dtype)
    logits = pairwise_distances(features) / -temperature
    known = torch.where(labels.isfinite(), labels, 0.0)  # NaN has no place in an order
    value, slope = _contrast(logits.detach(), label_distances(known))
    # the gradient in closed form, as that of a sum that is 0
    loss = value + (slope * (logits - logits.detach())).sum()
    return propagate_nan(loss, features, labels).to(dtype)


@torch.no_grad()
def _contrast(logits: Tensor, distance: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the loss of similarities ``(N, N)``, and its gradient ``(N, N)``.

    In row i, :math:`\log L_{ij}` is the log-sum-exp over the samples at least as far as j, and the
    gradient :math:`\sum_{j: |y_i - y_j| \le |y_i - y_k|} \exp(s_{ik}) / L_{ij} - 1`.
    """
    count = len(logits)
    logits = logits.clone().fill_diagonal_(-torch.inf)
    order = distance.argsort(dim=1, descending=True)
    nearness = -distance.gather(1, order)  # ascending
    last = torch.searchsorted(nearness, nearness, right=True) - 1  # of equal distances
    first = torch.searchsorted(nearness, nearness)
    is_pair = order != torch.arange(count, device=order.device).unsqueeze(1)
    ordered = logits.gather(1, order)
    sums = ordered.logcumsumexp(dim=1).gather(1, last)
    value = torch.where(is_pair, sums - ordered, 0.0).sum()
    inverse = torch.where(is_pair, -sums, -torch.inf)
    inverse = inverse.flip(1).logcumsumexp(dim=1).flip(1).gather(1, first)
    slope = torch.where(is_pair, (ordered + inverse).exp() - 1, 0.0)
    pairs = count * (count - 1)
    return value / pairs, torch.zeros_like(slope).scatter_(1, order, slope) / pairs
