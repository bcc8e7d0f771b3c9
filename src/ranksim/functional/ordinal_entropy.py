"""Ordinal entropy: features of different labels spread, those of equal labels gather."""

import torch
from torch import Tensor

from ranksim._utils.checks import check_positive
from ranksim.functional._features import label_distances, pairwise_distances, prepare_features
from ranksim.functional.similarity import normalize_rows


def ordinal_entropy_loss(
    features: Tensor, labels: Tensor, *, label_range: float | None = None
) -> Tensor:
    r"""Compute the ordinal entropy of a batch: centers of labels spread, and samples gather there.

    .. math::
        -\frac{1}{M (M - 1)} \sum_{k \ne l} |y_k - y_l| \, \lVert c_k - c_l \rVert_2
        + \frac 1N \sum_i \lVert \hat z_i - c_{k(i)} \rVert_2

    with the unit features :math:`\hat z_i`, the M distinct labels of the batch, divided by
    ``label_range``, and the mean unit feature :math:`c_k` of each. Centers are not normalized.

    Args:
        features: shape ``(N, ...)``, flattened to (N, D); any floating-point dtype.
        labels: shape ``(N,)``, ``(N, 1)`` or ``(N, K)``, real or integer; distances are summed over
            K. Labels are equal if their values are: round continuous ones.
        label_range: largest minus smallest training label, above 0; ``None``: the largest distance
            of two labels of the batch.

    Returns:
        A scalar, float64 for float64 features, else float32, between −2 and 1. A single label has
        no first part. Centers and samples at one place have no gradient there, features of zero
        count as zero. An empty batch gives a zero with a gradient; NaN propagates.

    Raises:
        ValueError: if shapes do not match, or ``label_range`` is not above 0.
        TypeError: if features are not floating point, or an argument is not a tensor.

    Example:
        >>> features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
        >>> round(ordinal_entropy_loss(features, torch.tensor([20, 60, 60])).item(), 4)
        -1.4142

    References:
        Zhang et al., "Improving Deep Regression with Ordinal Entropy" (ICLR 2023).
    """
    if label_range is not None:
        label_range = check_positive("label_range", label_range)
    features, labels, dtype = prepare_features(features, labels)
    count = len(features)
    if count == 0:
        return features.sum().to(dtype)
    unit, _ = normalize_rows(features)
    distance = label_distances(labels)
    same = (distance == 0).to(unit.dtype)
    share = 1 / same.sum(dim=1).clamp(min=1)  # of a sample in its label; NaN equals nothing
    centers = share.unsqueeze(1) * (same @ unit)  # of the label of each sample
    distinct = share.sum()
    extent = distance.max() if label_range is None else distance.new_tensor(label_range)
    extent = torch.where(extent == 0, 1.0, extent)
    # each label counts once: its samples have its center, and shares that sum to one
    weights = share.unsqueeze(1) * share * distance / extent
    pairs = (distinct * (distinct - 1)).round().clamp(min=1)
    spread = (weights * pairwise_distances(centers)).sum() / pairs
    scatter = torch.linalg.vector_norm(_drop_rounding(unit - centers), dim=1).mean()
    loss: Tensor = scatter - spread
    return loss.to(dtype)


def _drop_rounding(deviations: Tensor) -> Tensor:
    """Return deviations of unit vectors from their mean, with rounding errors replaced by zero."""
    limit = 8 * torch.finfo(deviations.dtype).eps
    is_rounding = deviations.detach().abs().amax(dim=1, keepdim=True) <= limit
    return deviations.masked_fill(is_rounding, 0.0)
