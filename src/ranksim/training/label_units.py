"""Outputs of a network in the unit of the labels: predictions, scales and quantiles."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranksim._utils.arrays import copy_to_numpy
from ranksim.data.target_transform import TargetTransform
from ranksim.functional.similarity import working_dtype
from ranksim.metrics.distributions import Distribution
from ranksim.models import Head


def to_label_unit(
    values: Tensor, label_scale: float, transform: TargetTransform | None = None
) -> Tensor:
    """Return values of any shape in the unit of the labels, in float64 where it exists.

    Args:
        values: labels, transformed if there is a transform, divided by ``label_scale``.
        label_scale: of the recipe.
        transform: of the labels on which the network was trained.
    """
    values = values.to(torch.promote_types(values.dtype, torch.float32)) * label_scale
    if transform is not None:
        labels = transform.inverse(copy_to_numpy(values.detach().double()))
        values = torch.from_numpy(labels).to(values.device)
    return values.to(working_dtype(values.device))


def predict_columns(
    head: Head, outputs: Tensor, label_scale: float, transform: TargetTransform | None = None
) -> Tensor:
    """Return predictions, and scales or quantiles, in the unit of the labels.

    Quantiles are mapped by the inverse of the transform, which keeps them quantiles. A scale has no
    exact counterpart: it becomes half the distance between the inverses of the prediction plus and
    minus the scale. Where one of them is outside the range of the training labels, it becomes the
    distance of the prediction to the other one.

    Args:
        head: of the network.
        outputs: of the head ``(N, K)``, or ``(N,)`` of one.
        label_scale: as for :func:`to_label_unit`.
        transform: as for :func:`to_label_unit`.

    Returns:
        The prediction in the first column, then the scale or the quantiles, if the head predicts a
        distribution: ``(N, 1 + S)``.
    """
    preds, spread = head.locate(outputs)[:, None], head.spread(outputs)
    columns = to_label_unit(preds, label_scale, transform)
    if transform is None or head.family == "quantiles":
        rest = to_label_unit(spread, label_scale, transform)
    else:
        rest = _invert_scale(preds * label_scale, spread * label_scale, transform).to(columns)
    return torch.cat([columns, rest], dim=1)


def _invert_scale(preds: Tensor, scale: Tensor, transform: TargetTransform) -> Tensor:
    """Return scales ``(N, 1)`` in the unit of the labels, of transformed predictions ``(N, 1)``.

    The inverse clips to the range of the training labels: half the distance alone would be too
    small for predictions near an end of it, and zero for those beyond.
    """
    center, spread = (copy_to_numpy(each.detach().double()) for each in (preds, scale))
    low, high = transform(np.array([transform.minimum, transform.maximum]))
    center = np.clip(center, low, high)
    labels = transform.inverse(center)
    above = transform.inverse(center + spread) - labels
    below = labels - transform.inverse(center - spread)
    is_above_cut, is_below_cut = center + spread > high, center - spread < low
    one_sided = np.where(is_above_cut, below, above)
    scales = np.where(is_above_cut != is_below_cut, one_sided, (above + below) / 2)
    return torch.from_numpy(scales).to(preds.device)


def make_distribution(head: Head, columns: NDArray[np.float64]) -> Distribution | None:
    """Return the distributions in the columns ``(N, 1 + S)`` of :func:`predict_columns`."""
    if not head.family:
        return None
    if head.family == "quantiles":
        return Distribution("quantiles", quantiles=columns[:, 1:], levels=head.levels)
    return Distribution(head.family, columns[:, 1])
