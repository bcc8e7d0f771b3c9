"""The squared error weighted by the relevance of labels."""

from torch import Tensor

from ranksim.functional._validation import check_tensors, prepare_regression
from ranksim.functional.regression import mse_loss


def sera_loss(
    preds: Tensor, target: Tensor, relevance: Tensor, sample_weight: Tensor | None = None
) -> Tensor:
    r"""Compute the mean squared error weighted by the relevance of the labels.

    .. math::
        \frac 1N \sum_i w_i \, \varphi(y_i) (p_i - y_i)^2
        = \frac 1N \int_0^1 \sum_{\varphi(y_i) \ge t} w_i (p_i - y_i)^2 \, dt

    The integral is SERA, the squared error-relevance area: the squared error of labels of at least
    a relevance, over all relevances.

    Args:
        preds: predictions ``(N, ...)``, floating point.
        target: labels of the same shape, real or integer.
        relevance: φ of each label from 0 to 1, of the same shape, floating point; see
            :class:`ranksim.imbalance.PchipRelevance`.
        sample_weight: weights of the same shape, floating point. They get no gradient.

    Returns:
        A scalar, float64 for float64 predictions, else float32. An empty batch gives a zero with a
        gradient. NaN and infinity propagate.

    Raises:
        ValueError: if shapes or devices differ, or weights or relevance require gradients.
        TypeError: if an argument is not a tensor, or has a wrong dtype.

    Example:
        >>> import torch
        >>> preds, ages = torch.tensor([30.0, 42.0, 50.0]), torch.tensor([31, 40, 60])
        >>> sera_loss(preds, ages, torch.tensor([0.0, 0.5, 1.0]))
        tensor(34.)

    References:
        Ribeiro, Moniz, "Imbalanced regression and extreme value prediction" (Machine Learning
        2020).
    """
    check_tensors(preds=preds, target=target, relevance=relevance)
    _, _, factor = prepare_regression(preds, target, relevance, "mean", weights="relevance")
    if sample_weight is not None:
        _, _, other = prepare_regression(preds, target, sample_weight, "mean")
        factor = None if factor is None or other is None else factor * other
    return mse_loss(preds, target, factor)
