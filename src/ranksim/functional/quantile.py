"""Pinball losses of several quantiles."""

import itertools
import numbers
from collections.abc import Sequence

import torch
from torch import Tensor

from ranksim._utils.checks import describe_value
from ranksim.functional._validation import prepare_regression
from ranksim.functional.nll import check_outputs

LEVELS = (0.05, 0.5, 0.95)


def quantile_loss(
    outputs: Tensor,
    target: Tensor,
    sample_weight: Tensor | None = None,
    *,
    levels: Sequence[float] = LEVELS,
) -> Tensor:
    r"""Compute the mean pinball loss of predicted quantiles.

    .. math::
        \frac{1}{NQ} \sum_i w_i \sum_k \max \bigl( \tau_k (y_i - q_{ik}), \;
        (\tau_k - 1) (y_i - q_{ik}) \bigr)

    Quantiles may cross while they are trained; sort them for a prediction.

    Args:
        outputs: quantiles q, floating point ``(N, ..., Q)``.
        target: labels ``(N, ...)``, real or integer.
        sample_weight: weights w of the same shape, floating point. They get no gradient.
        levels: Q levels τ, ascending, above 0 and below 1.

    Returns:
        A scalar, float64 for float64 outputs, else float32. The gradient is zero where a quantile
        equals the label. An empty batch gives a zero with a gradient. NaN and infinity propagate.

    Raises:
        ValueError: if shapes or devices differ, weights require gradients, or levels are wrong.
        TypeError: if an argument is not a tensor, or has a wrong dtype.

    Example:
        >>> quantiles, ages = torch.tensor([[20.0, 30.0, 50.0]]), torch.tensor([32])
        >>> round(quantile_loss(quantiles, ages).item(), 4)
        0.8333

    References:
        Koenker, Bassett, "Regression Quantiles" (Econometrica 1978).
    """
    levels = check_levels(levels)
    check_outputs(outputs, len(levels))
    prepare_regression(outputs[..., 0], target, sample_weight, "mean")
    dtype = torch.promote_types(outputs.dtype, torch.float32)
    rest = target.to(dtype)[..., None] - outputs.to(dtype)
    shares = torch.tensor(levels, dtype=dtype, device=rest.device)
    values = shares * rest.relu() + (1 - shares) * (-rest).relu()
    if sample_weight is not None:
        values = values * sample_weight.to(dtype)[..., None]
    return values.sum() / max(values.numel(), 1)


def check_levels(levels: Sequence[float]) -> tuple[float, ...]:
    """Return levels as floats; raise an error unless they ascend between 0 and 1."""
    if isinstance(levels, str | bytes) or not isinstance(levels, Sequence):
        raise TypeError(f"levels must be numbers such as (0.05, 0.5), got {describe_value(levels)}")
    if not all(isinstance(level, numbers.Real) for level in levels):
        raise TypeError(f"levels must be numbers such as (0.05, 0.5), got {describe_value(levels)}")
    values = tuple(float(level) for level in levels)
    ascends = all(a < b for a, b in itertools.pairwise(values))
    if not (values and ascends and values[0] > 0 and values[-1] < 1):
        raise ValueError(f"levels must ascend, above 0 and below 1, got {values}")
    return values
