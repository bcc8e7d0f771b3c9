"""Scores of prediction intervals: coverage, width and interval score."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ranksim._utils.checks import check_level
from ranksim.imbalance.bins import label_vector, require_vector, to_real_array

Floats = NDArray[np.float64]


def interval_score(lower: ArrayLike, upper: ArrayLike, labels: ArrayLike, level: float) -> Floats:
    r"""Return the interval score (Winkler score) of each interval ``(N,)``, smaller is better.

    .. math::  u - l + \frac{2}{\alpha} \max(l - y, \; y - u, \; 0), \qquad \alpha = 1 - \ell

    It charges the width and, for a label outside, the distance to the interval; its expectation is
    smallest for the quantiles α/2 and 1 − α/2 of the label. An infinite interval scores infinity.

    Args:
        lower: lower end of each interval ``(N,)``.
        upper: upper end ``(N,)``.
        labels: ``(N,)``.
        level: coverage ℓ that the intervals are meant to have, between 0 and 1.

    Raises:
        ValueError: if lengths differ, a label is not finite, an end is NaN, or the level is
            outside its range.
        TypeError: if an argument is not of real numbers.

    Example:
        >>> interval_score([0.0, 0.0], [2.0, 2.0], [1.0, 3.0], 0.75).tolist()
        [2.0, 10.0]

    References:
        Winkler, "A Decision-Theoretic Approach to Interval Estimation" (JASA 1972); Gneiting and
        Raftery, "Strictly Proper Scoring Rules, Prediction, and Estimation" (JASA 2007), eq. 43.
    """
    low, high, values = _check_intervals(lower, upper, labels)
    level = check_level(level)
    outside = np.maximum(np.maximum(low - values, values - high), 0.0)
    return np.asarray(high - low + 2 * outside / (1 - level))


def covers(lower: ArrayLike, upper: ArrayLike, labels: ArrayLike) -> NDArray[np.bool_]:
    """Return which intervals contain their label, ends included, ``(N,)``.

    Args:
        lower: lower end of each interval ``(N,)``, infinite ones included.
        upper: upper end ``(N,)``.
        labels: ``(N,)``.

    Raises:
        ValueError: if lengths differ, a label is not finite or an end is NaN.
        TypeError: if an argument is not of real numbers.

    Example:
        >>> covers([0.0, 0.0], [2.0, 2.0], [2.0, 3.0]).tolist()
        [True, False]
    """
    low, high, values = _check_intervals(lower, upper, labels)
    return np.asarray((low <= values) & (values <= high))


def _check_intervals(
    lower: ArrayLike, upper: ArrayLike, labels: ArrayLike
) -> tuple[Floats, Floats, Floats]:
    """Return ends and labels ``(N,)`` as float64; raise an error if they are invalid."""
    values = label_vector(labels, allow_empty=True)
    ends = []
    for name, end in (("lower", lower), ("upper", upper)):
        array = to_real_array(end, name).astype(np.float64)
        require_vector(name, array.shape)
        if array.shape != values.shape:
            raise ValueError(
                f"{name} and labels must have the same length N, got {array.shape} and "
                f"{values.shape}"
            )
        if np.isnan(array).any():
            raise ValueError(f"{name} must not be NaN, got {np.isnan(array).sum()} NaN")
        ends.append(array)
    return ends[0], ends[1], values
