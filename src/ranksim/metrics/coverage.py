"""Scores of prediction intervals: coverage, width and interval score."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

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

    Example:
        >>> interval_score([0.0, 0.0], [2.0, 2.0], [1.0, 3.0], 0.75).tolist()
        [2.0, 10.0]

    References:
        Winkler, "A Decision-Theoretic Approach to Interval Estimation" (JASA 1972); Gneiting and
        Raftery, "Strictly Proper Scoring Rules, Prediction, and Estimation" (JASA 2007), eq. 43.
    """
    low, high, values = (np.asarray(each, dtype=np.float64) for each in (lower, upper, labels))
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, such as 0.9, got {level!r}")
    outside = np.maximum(np.maximum(low - values, values - high), 0.0)
    return np.asarray(high - low + 2 * outside / (1 - level))


def covers(lower: ArrayLike, upper: ArrayLike, labels: ArrayLike) -> NDArray[np.bool_]:
    """Return which intervals contain their label, ends included, ``(N,)``.

    Example:
        >>> covers([0.0, 0.0], [2.0, 2.0], [2.0, 3.0]).tolist()
        [True, False]
    """
    values = np.asarray(labels, dtype=np.float64)
    return np.asarray((np.asarray(lower) <= values) & (values <= np.asarray(upper)))
