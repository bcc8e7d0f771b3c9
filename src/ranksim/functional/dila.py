"""The distance correlation between residuals and the density of labels."""

import torch
from torch import Tensor

from ranksim.functional._batch import prepare_batch
from ranksim.functional._validation import check_tensors

_TINY = 1e-24  # of squared distance covariances in squared units: rounding


def dila_loss(preds: Tensor, target: Tensor, density: Tensor) -> Tensor:
    r"""Compute how much the absolute errors of a batch depend on the density of their labels.

    It is the distance correlation of :math:`r_i = |p_i - y_i|` and the density :math:`d(y_i)`:

    .. math::
        \sqrt{ \frac{\overline{A \circ B}}
        {\sqrt{\overline{A \circ A} \; \overline{B \circ B}}} }, \qquad
        A = H \bigl[ |r_i - r_j| \bigr] H, \quad B = H \bigl[ |d_i - d_j| \bigr] H

    with :math:`H = I - \tfrac 1N 1 1^\top`, between 0 (independent) and 1. It punishes any
    dependence, not a linear one alone, in time N². Add it with a small factor to a regression loss.

    Args:
        preds: predictions ``(N, ...)``, floating point; all entries are one batch.
        target: labels of the same shape, real or integer.
        density: density of the training labels at each label, of the same shape, in any unit.

    Returns:
        A scalar, float64 for float64 predictions, else float32. Where errors or densities are all
        equal, it is 0 without a gradient. NaN and infinity propagate.

    Raises:
        ValueError: if shapes or devices differ, or the density requires gradients.
        TypeError: if an argument is not a tensor, or has a wrong dtype.

    Example:
        >>> ages, density = torch.tensor([30, 31, 60, 80]), torch.tensor([9.0, 8.0, 2.0, 1.0])
        >>> round(dila_loss(torch.tensor([31.0, 31.0, 50.0, 60.0]), ages, density).item(), 4)
        0.9493

    References:
        DILA (2026). Distance correlation: Székely, Rizzo, Bakirov, "Measuring and Testing
        Dependence by Correlation of Distances" (Annals of Statistics 2007).
    """
    check_tensors(preds=preds, target=target, density=density)
    preds, target, densities, dtype = prepare_batch(preds, target, density, weights="density")
    assert densities is not None
    if preds.numel() == 0:
        return preds.sum().to(dtype)
    errors = (preds - target).abs()
    centered = []
    for values in (errors, densities):
        scale = (values.max() - values.min()).detach()
        values = values / torch.where(scale > 0, scale, 1.0)
        distances = (values[:, None] - values[None, :]).abs()
        means = distances.mean(dim=1)
        centered.append(distances - means[:, None] - means[None, :] + means.mean())
    a, b = centered
    covariance, variances = (a * b).mean(), (a * a).mean() * (b * b).mean()
    varies = ~((variances <= _TINY) | (covariance <= _TINY))  # NaN propagates
    correlation = torch.where(varies, covariance, 1.0) / torch.where(varies, variances, 1.0).sqrt()
    return torch.where(varies, correlation.sqrt(), 0.0).to(dtype)
