"""Batches as vectors in the most precise dtype, and their weighted moments."""

from typing import NamedTuple

import torch
from torch import Tensor

from ranksim.functional._validation import check_tensors, prepare_regression
from ranksim.functional.similarity import working_dtype


class Batch(NamedTuple):
    """A checked batch as vectors of float64, where the device has it, and the result's dtype."""

    preds: Tensor
    target: Tensor
    sample_weight: Tensor | None
    dtype: torch.dtype


def prepare_batch(
    preds: Tensor, target: Tensor, sample_weight: Tensor | None, *, weights: str = "sample_weight"
) -> Batch:
    """Check the tensors of a loss that compares samples, and flatten them.

    ``weights`` is the name of the third argument in messages. The few numbers of a batch cost
    nothing in float64, and differences of moments cancel.
    """
    exact = working_dtype(preds.device) if isinstance(preds, Tensor) else torch.float64
    preds, target, sample_weight = prepare_regression(
        preds, target, sample_weight, "mean", weights=weights
    )
    return Batch(
        preds.flatten().to(exact),
        target.flatten().to(exact),
        None if sample_weight is None else sample_weight.flatten().to(exact),
        preds.dtype,
    )


class Moments(NamedTuple):
    """Moments of predictions p and labels y over a batch, divided by N or the sum of weights."""

    covariance: Tensor
    variance_preds: Tensor
    variance_target: Tensor
    variance_error: Tensor
    mean_error: Tensor


def check_vectors(preds: Tensor, target: Tensor, sample_weight: Tensor | None) -> Batch:
    """Check predictions and labels ``(N,)`` or ``(N, K)`` and return them as ``(N, K)``."""
    check_tensors(preds=preds, target=target)
    if target.ndim not in (1, 2):
        raise ValueError(f"target must have shape (N,) or (N, K), got {tuple(target.shape)}")
    exact = working_dtype(preds.device)
    preds, target, _ = prepare_regression(preds, target, None, "mean")
    vectors = [each.unsqueeze(1) if each.ndim == 1 else each for each in (preds, target)]
    first, _, sample_weight = prepare_regression(
        vectors[0].detach()[:, 0], vectors[1][:, 0], sample_weight, "mean"
    )
    weights = None if sample_weight is None else sample_weight.to(exact)
    return Batch(vectors[0].to(exact), vectors[1].to(exact), weights, first.dtype)


def weighted_mean(values: Tensor, sample_weight: Tensor | None) -> Tensor:
    """Return the mean of weighted values ``(N,)``, divided by N as in all losses."""
    return (values if sample_weight is None else values * sample_weight).mean()


def interpolate(x: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Interpolate ``values`` ``(K,)`` linearly between ascending knots, constant beyond them."""
    if len(knots) == 1:
        return values.expand_as(x)
    right = torch.searchsorted(knots, x.contiguous()).clamp(1, len(knots) - 1)
    low, width = knots[right - 1], knots[right] - knots[right - 1]
    distinct = width > 0  # a cast can make knots equal
    share = (x - low) / torch.where(distinct, width, 1.0)
    share = torch.where(distinct, share, (x > low).to(share.dtype)).clamp(0, 1)
    return torch.lerp(values[right - 1], values[right], share)


def normalize_weights(values: Tensor, sample_weight: Tensor | None) -> Tensor:
    """Return weights ``(N,)`` that sum to one, or to zero if all weights are zero."""
    if sample_weight is None:
        return values.new_full(values.shape, 1 / max(values.numel(), 1))
    total = sample_weight.sum()
    return sample_weight / torch.where(total == 0, 1.0, total)


def compute_moments(preds: Tensor, target: Tensor, sample_weight: Tensor | None) -> Moments:
    """Return the moments of predictions and labels of one dtype ``(N,)`` with N ≥ 1.

    Values are shifted by the first one, so that equal values have a variance of exactly zero.
    """
    share = normalize_weights(preds, sample_weight)
    error = preds - target
    p, y = preds - preds[0].detach(), target - target[0]
    e = error - error[0].detach()
    p, y, e = (value - (share * value).sum() for value in (p, y, e))
    return Moments(
        (share * p * y).sum(),
        (share * p * p).sum(),
        (share * y * y).sum(),
        (share * e * e).sum(),
        (share * error).sum(),
    )


def correlate(moments: Moments) -> Tensor:
    """Return Pearson's correlation; 0, without a gradient, if predictions or labels are equal."""
    # NaN varies, so that it propagates
    varies = ~((moments.variance_preds <= 0) | (moments.variance_target <= 0))
    # roots of each factor: their product can underflow
    norms = [
        torch.where(varies, variance, 1.0).sqrt()
        for variance in (moments.variance_preds, moments.variance_target)
    ]
    return torch.where(varies, moments.covariance / norms[0] / norms[1], 0.0)
