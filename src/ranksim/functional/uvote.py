"""Uncertainty voting: heads that weight rarity differently, of which the surest one predicts."""

import torch
from torch import Tensor

from ranksim._utils.checks import check_positive
from ranksim.functional._validation import check_tensors, prepare_regression
from ranksim.functional.nll import Located, check_outputs, limit_log


def uvote_loss(
    outputs: Tensor,
    target: Tensor,
    weights: Tensor,
    sample_weight: Tensor | None = None,
    *,
    label_std: float = 1.0,
) -> Tensor:
    r"""Compute the mean Laplace negative log-likelihood of M heads, each with its own weights.

    .. math::
        \frac{1}{NM} \sum_i u_i \sum_m w_{im}
        \Bigl( \log s_{im} + \frac{|p_{im} - y_i|}{\sigma s_{im}} \Bigr)

    with the location p and the scale s, in label deviations σ, of head m.

    Args:
        outputs: the locations of all heads, then log s of all heads, which is clamped to ±5;
            floating point ``(N, ..., 2M)``.
        target: labels ``(N, ...)``, real or integer.
        weights: w, floating point ``(N, ..., M)``, such as powers of inverse density from 0 to 1.
        sample_weight: weights u ``(N, ...)`` of the samples, floating point. They get no gradient.
        label_std: σ > 0, the standard deviation of the training labels.

    Returns:
        A scalar, float64 for float64 outputs, else float32. An empty batch gives a zero with a
        gradient. Scales of any size give finite values; NaN and infinite predictions propagate.

    Raises:
        ValueError: if shapes or devices differ, weights require gradients, or an argument is
            outside its range.
        TypeError: if an argument is not a tensor, or has a wrong dtype.

    Example:
        >>> outputs, ages = torch.tensor([[31.0, 45.0, 0.0, 1.0]]), torch.tensor([60])
        >>> round(uvote_loss(outputs, ages, torch.tensor([[1.0, 3.0]]), label_std=10.0).item(), 4)
        3.7777

    References:
        Jiang et al., "Uncertainty Voting Ensemble for Imbalanced Deep Regression" (GCPR 2024). Ours
        is a mean over heads instead of a sum, and counts scales in label deviations.
    """
    std = check_positive("label_std", label_std)
    check_tensors(outputs=outputs, target=target, weights=weights)
    if not weights.is_floating_point():
        raise TypeError(f"weights must be floating point, got {weights.dtype}")
    heads = weights.shape[-1] if weights.ndim else 0
    if not heads or weights.shape[:-1] != target.shape or weights.requires_grad:
        raise ValueError(
            f"weights must have shape (N, ..., M) without a gradient for labels of shape "
            f"{tuple(target.shape)}, got {tuple(weights.shape)} and requires_grad="
            f"{weights.requires_grad}"
        )
    check_outputs(outputs, 2 * heads)
    prepare_regression(outputs[..., 0], target, sample_weight, "mean")
    dtype = torch.promote_types(outputs.dtype, torch.float32)
    preds, log_scale = outputs.to(dtype).chunk(2, dim=-1)
    log_scale = limit_log(log_scale)
    errors = (preds - target.to(dtype)[..., None]).abs() / std
    values = weights.to(dtype) * (log_scale + errors / log_scale.exp())
    if sample_weight is not None:
        values = values * sample_weight.to(dtype)[..., None]
    return values.sum() / max(values.numel(), 1)


def vote(outputs: Tensor, label_std: float | Tensor = 1.0) -> Located:
    """Return the location and the scale of the head with the smallest scale, per sample.

    Of equal scales the first head counts.

    Args:
        outputs: as for :func:`uvote_loss`, ``(N, ..., 2M)``.
        label_std: the standard deviation of the training labels.

    Example:
        >>> preds, scale = vote(torch.tensor([[30.0, 50.0, 0.5, 0.0], [30, 50, -1, 0]]), 10.0)
        >>> preds, scale
        (tensor([50., 30.]), tensor([10.0000,  3.6788]))
    """
    check_tensors(outputs=outputs)
    if outputs.ndim < 2 or outputs.shape[-1] % 2 or not outputs.shape[-1]:
        raise ValueError(
            f"outputs must have shape (N, ..., 2M) for M heads, got {tuple(outputs.shape)}"
        )
    preds, log_scale = outputs.chunk(2, dim=-1)
    log_scale = limit_log(log_scale)
    chosen = log_scale.argmin(dim=-1, keepdim=True)
    scale = label_std * log_scale.gather(-1, chosen).squeeze(-1).exp()
    return Located(preds.gather(-1, chosen).squeeze(-1), scale)
