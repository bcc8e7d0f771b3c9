"""Batches as vectors in the most precise dtype, and their weighted moments."""

from typing import NamedTuple

import torch
from torch import Tensor

from ranksim.functional._validation import prepare_regression
from ranksim.functional.similarity import working_dtype


class Batch(NamedTuple):
    """A checked batch as vectors of float64, where the device has it, and the result's dtype."""

    preds: Tensor
    target: Tensor
    sample_weight: Tensor | None
    dtype: torch.dtype


def prepare_batch(preds: Tensor, target: Tensor, sample_weight: Tensor | None) -> Batch:
    """Check the tensors of a loss that compares samples, and flatten them.

    The few numbers of a batch cost nothing in float64, and differences of moments cancel.
    """
    exact = working_dtype(preds.device) if isinstance(preds, Tensor) else torch.float64
    preds, target, sample_weight = prepare_regression(preds, target, sample_weight, "mean")
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
    varies = (moments.variance_preds > 0) & (moments.variance_target > 0)
    # roots of each factor: their product can underflow
    norms = [
        torch.where(varies, variance, 1.0).sqrt()
        for variance in (moments.variance_preds, moments.variance_target)
    ]
    return torch.where(varies, moments.covariance / norms[0] / norms[1], 0.0)
