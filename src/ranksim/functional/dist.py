"""The distribution of predictions compared with that of the training labels."""

import torch
from torch import Tensor

from ranksim._utils.checks import check_positive
from ranksim.functional._batch import interpolate
from ranksim.functional._validation import check_tensors
from ranksim.functional.similarity import working_dtype


def dist_loss(preds: Tensor, quantiles: Tensor, *, label_std: float = 1.0) -> Tensor:
    r"""Compute the distance of the sorted predictions of a batch from quantiles of labels.

    .. math::
        \frac 1N \sum_k \frac{|p_{(k)} - q_k|}{s}, \qquad
        q_k = Q \bigl( \tfrac{k - 1/2}{N} \bigr)

    with the sorted predictions :math:`p_{(k)}` and the quantile function Q of the training labels.
    Sorting is piecewise linear, so its gradient is exact. Add it to a regression loss; a batch
    should be large (256), as the quantiles of a few predictions are noise.

    Args:
        preds: predictions ``(N, ...)``, floating point; all entries are one batch.
        quantiles: ascending quantiles of the training labels ``(M,)`` at the levels (m − ½) / M,
            floating point; sorted training labels are such quantiles. Between levels they are
            interpolated linearly, beyond them constant.
        label_std: s > 0, standard deviation of the training labels.

    Returns:
        A scalar, float64 for float64 predictions, else float32. Equal predictions share the mean
        gradient in the order of the sort. An empty batch gives a zero with a gradient.

    Raises:
        ValueError: if devices differ, there are no quantiles, or the deviation is not above 0.
        TypeError: if an argument is not a tensor, or not floating point.

    Example:
        >>> labels = torch.tensor([1.0, 1.0, 2.0, 6.0])
        >>> dist_loss(torch.tensor([2.5, 1.5, 1.0, 3.0]), labels)
        tensor(1.)

    References:
        Nie et al., "Dist Loss: Enhancing Regression in Few-Shot Region through Distribution
        Distance Constraint" (ICLR 2025).
    """
    check_tensors(preds=preds, quantiles=quantiles)
    label_std = check_positive("label_std", label_std)
    for name, value in (("preds", preds), ("quantiles", quantiles)):
        if not value.is_floating_point():
            raise TypeError(f"{name} must be floating point, got {value.dtype}")
    if quantiles.ndim != 1 or not len(quantiles):
        raise ValueError(f"quantiles must have shape (M,), got {tuple(quantiles.shape)}")
    exact = working_dtype(preds.device)
    dtype = torch.promote_types(preds.dtype, torch.float32)
    values, table = preds.flatten().to(exact), quantiles.detach().to(exact)
    count, size = len(values), len(table)
    if count == 0:
        return values.sum().to(dtype)
    levels = (torch.arange(count, device=values.device, dtype=exact) + 0.5) / count
    knots = (torch.arange(size, device=values.device, dtype=exact) + 0.5) / size
    targets = interpolate(levels, knots, table)
    distance = (values.sort(stable=True).values - targets).abs().mean() / label_std
    return distance.to(dtype)
