"""The concordance correlation of predictions and labels as a loss."""

import torch
from torch import Tensor

from ranksim.functional._batch import compute_moments, prepare_batch


def ccc_loss(preds: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> Tensor:
    r"""Compute one minus the concordance correlation of a batch.

    .. math::
        1 - \frac{2 \operatorname{cov}(p, y)}
        {\operatorname{var} p + \operatorname{var} y + (\bar p - \bar y)^2}

    It is 0 for perfect predictions, 1 for constant ones and at most 2, whatever the unit of the
    labels. Unlike an error, it falls when predictions spread as far as the labels, also to rare
    ones. A batch should have at least 16 samples, as the moments of few are noise.

    Args:
        preds: predictions of shape ``(N, ...)``, floating point; all entries are one batch.
        target: labels of the same shape, real or integer.
        sample_weight: weights of the moments, of the same shape, floating point and at least 0.
            They get no gradient.

    Returns:
        A scalar, float64 for float64 predictions, else float32. Equal predictions that equal all
        labels give 0, an empty batch a zero with a gradient. NaN and infinity propagate.

    Raises:
        ValueError: if shapes or devices differ, or weights require gradients.
        TypeError: if an argument is not a tensor, or has a wrong dtype.

    Example:
        >>> round(ccc_loss(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1, 3, 5])).item(), 4)
        0.1429

    References:
        Lin, "A Concordance Correlation Coefficient to Evaluate Reproducibility" (Biometrics 1989).
        Weights are an addition.
    """
    preds, target, sample_weight, dtype = prepare_batch(preds, target, sample_weight)
    if preds.numel() == 0:
        return preds.sum().to(dtype)
    moments = compute_moments(preds, target, sample_weight)
    total = moments.variance_preds + moments.variance_target + moments.mean_error.square()
    differs = total != 0
    concordance = 2 * moments.covariance / torch.where(differs, total, 1.0)
    return (1 - torch.where(differs, concordance, 1.0)).to(dtype)
