"""Negative log-likelihoods of a predicted location and scale, weighted by the scale (β-NLL)."""

from typing import NamedTuple

from torch import Tensor

from ranksim._utils.checks import check_positive
from ranksim.functional._validation import check_tensors, prepare_regression

LOG_LIMIT = 5.0  # of the logarithm of a scale in label deviations


class Located(NamedTuple):
    """A location and a scale of each sample ``(N, ...)``, in the unit of the label."""

    preds: Tensor
    scale: Tensor


def split_scale(outputs: Tensor, label_std: float | Tensor = 1.0) -> Located:
    """Return the location and the scale of outputs ``(N, ..., 2)`` of a network.

    Args:
        outputs: location in the unit of the label, and logarithm of the scale in standard
            deviations of the labels, which is clamped to ±5; floating point.
        label_std: the standard deviation of the training labels.

    Example:
        >>> import torch
        >>> preds, scale = split_scale(torch.tensor([[40.0, 0.0], [60.0, -50.0]]), 10.0)
        >>> preds, scale
        (tensor([40., 60.]), tensor([10.0000,  0.0674]))
    """
    check_outputs(outputs, 2)
    return Located(outputs[..., 0], label_std * limit_log(outputs[..., 1]).exp())


def gaussian_loss(
    outputs: Tensor,
    target: Tensor,
    sample_weight: Tensor | None = None,
    *,
    beta: float = 0.5,
    label_std: float = 1.0,
) -> Tensor:
    r"""Compute the mean Gaussian negative log-likelihood, weighted by the predicted variance.

    .. math::
        \frac 1N \sum_i w_i \operatorname{sg}(s_i^{2\beta})
        \Bigl( \log s_i + \frac{(p_i - y_i)^2}{2 \sigma^2 s_i^2} \Bigr)

    with the location p and the scale s in label deviations σ; sg stops the gradient. With β = 0 it
    is the likelihood, under which samples with a large error teach little, and with β = 1 locations
    get the gradient of the squared error.

    Args:
        outputs: p and log s, floating point ``(N, ..., 2)``, see :func:`split_scale`.
        target: labels ``(N, ...)``, real or integer.
        sample_weight: weights w of the same shape, floating point. They get no gradient.
        beta: β from 0 to 1.
        label_std: σ > 0, the standard deviation of the training labels.

    Returns:
        A scalar, float64 for float64 outputs, else float32. An empty batch gives a zero with a
        gradient. Scales of any size give finite values; NaN and infinite predictions propagate.

    Raises:
        ValueError: if shapes or devices differ, weights require gradients, or an argument is
            outside its range.
        TypeError: if an argument is not a tensor, or has a wrong dtype.

    Example:
        >>> import torch
        >>> outputs, ages = torch.tensor([[31.0, 0.0], [50.0, 1.0]]), torch.tensor([30, 60])
        >>> round(gaussian_loss(outputs, ages, label_std=10.0).item(), 4)
        1.4536

    References:
        Seitzer et al., "On the Pitfalls of Heteroscedastic Uncertainty Estimation with
        Probabilistic Neural Networks" (ICLR 2022). Ours counts scales in label deviations, clamps
        their logarithm to ±5, and leaves out the constant.
    """
    error, log_scale = _standardize(outputs, target, label_std)
    values = log_scale + (error / log_scale.exp()).square() / 2
    return _weight(values, 2 * check_beta(beta) * log_scale, sample_weight, target)


def laplace_loss(
    outputs: Tensor,
    target: Tensor,
    sample_weight: Tensor | None = None,
    *,
    beta: float = 0.5,
    label_std: float = 1.0,
) -> Tensor:
    r"""Compute the mean Laplace negative log-likelihood, weighted by the predicted scale.

    .. math::
        \frac 1N \sum_i w_i \operatorname{sg}(s_i^{\beta})
        \Bigl( \log s_i + \frac{|p_i - y_i|}{\sigma s_i} \Bigr)

    The scale s is the mean absolute deviation. With β = 1 locations get the gradient of the
    absolute error: β-NLL of the Gaussian, carried over. It takes the same arguments as
    :func:`gaussian_loss` and raises the same errors.

    Example:
        >>> import torch
        >>> outputs, ages = torch.tensor([[31.0, 0.0], [50.0, 1.0]]), torch.tensor([30, 60])
        >>> round(laplace_loss(outputs, ages, label_std=10.0).item(), 4)
        1.1776
    """
    error, log_scale = _standardize(outputs, target, label_std)
    values = log_scale + error.abs() / log_scale.exp()
    return _weight(values, check_beta(beta) * log_scale, sample_weight, target)


def limit_log(log_scale: Tensor) -> Tensor:
    """Return logarithms of scales clamped to ±5."""
    return log_scale.clamp(-LOG_LIMIT, LOG_LIMIT)


def check_outputs(outputs: Tensor, count: int) -> None:
    """Raise an error unless outputs are floating point with ``count`` numbers a sample."""
    check_tensors(outputs=outputs)
    if not outputs.is_floating_point():
        raise TypeError(f"outputs must be floating point, got {outputs.dtype}")
    if outputs.ndim < 2 or outputs.shape[-1] != count:
        raise ValueError(
            f"outputs must have shape (N, ..., {count}), got {tuple(outputs.shape)}: give the last "
            f"layer {count} outputs"
        )


def _standardize(outputs: Tensor, target: Tensor, label_std: float) -> tuple[Tensor, Tensor]:
    """Return errors in label deviations, and clamped logarithms of scales."""
    check_outputs(outputs, 2)
    std = check_positive("label_std", label_std)
    preds, target, _ = prepare_regression(outputs[..., 0], target, None, "mean")
    return (preds - target) / std, limit_log(outputs[..., 1].to(preds.dtype))


def check_beta(beta: float) -> float:
    """Return β as a float; raise a ValueError unless it is from 0 to 1."""
    value = check_positive("beta", beta, or_zero=True)
    if value > 1:
        raise ValueError(f"beta must be from 0 to 1, got {value:g}")
    return value


def _weight(
    values: Tensor, log_factor: Tensor, sample_weight: Tensor | None, target: Tensor
) -> Tensor:
    """Return the mean of values times factors without a gradient and sample weights."""
    prepare_regression(values, target, sample_weight, "mean")
    values = values * log_factor.detach().exp()
    if sample_weight is not None:
        values = values * sample_weight.to(values.dtype)
    return values.sum() / max(values.numel(), 1)
