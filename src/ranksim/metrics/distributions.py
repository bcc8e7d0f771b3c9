"""Scores of predicted quantiles and distributions: pinball loss and CRPS."""

from __future__ import annotations

import math
import numbers

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ranksim._utils.checks import describe_value
from ranksim.imbalance.bins import label_vector, to_real_array

Floats = NDArray[np.float64]


def pinball_loss(preds: ArrayLike, target: ArrayLike, level: float) -> float | None:
    r"""Return the mean pinball loss of predicted quantiles ``(N,)``.

    .. math::
        \frac 1N \sum_i \max \bigl( \tau (y_i - q_i), \; (\tau - 1) (y_i - q_i) \bigr)

    Args:
        preds: predicted quantiles ``(N,)``.
        target: labels ``(N,)``.
        level: τ, above 0 and below 1; 0.5 gives half of the mean absolute error.

    Returns:
        The mean; None without samples.

    Raises:
        TypeError: the values are not real numbers.
        ValueError: shapes differ, a value is not finite, or the level is out of range.

    Example:
        >>> pinball_loss([10.0, 20.0], [12, 15], level=0.9)
        1.15

    References:
        Koenker, Bassett, "Regression Quantiles" (Econometrica 1978).
    """
    if not isinstance(level, numbers.Real) or not 0 < level < 1:
        raise ValueError(f"level must be a number above 0 and below 1, got {describe_value(level)}")
    quantiles, labels = _check_columns(preds, target, "preds")
    if quantiles.ndim != 1:
        raise ValueError(f"preds must have shape (N,), got {quantiles.shape}")
    rest = labels - quantiles
    return float(np.maximum(level * rest, (level - 1) * rest).mean()) if len(rest) else None


def crps_gaussian(mean: ArrayLike, target: ArrayLike, scale: ArrayLike) -> float | None:
    r"""Return the mean CRPS of Gaussian predictions ``(N,)``, in the unit of the labels.

    .. math::
        \sigma \bigl( z (2 \Phi(z) - 1) + 2 \varphi(z) - \pi^{-1/2} \bigr), \qquad
        z = (y - \mu) / \sigma

    A ``scale`` of 0 gives the absolute error. Errors are those of :func:`crps_samples`.

    Example:
        >>> round(crps_gaussian([10.0], [12.0], [2.0]), 4)
        1.2049

    References:
        Gneiting, Raftery, "Strictly Proper Scoring Rules, Prediction, and Estimation" (JASA 2007).
    """
    error, sigma = _check_scaled(mean, target, scale)
    if not len(error):
        return None
    z = _divide(error, sigma, 40.0)
    erf = np.array([math.erf(value / math.sqrt(2)) for value in z])
    density = np.exp(-(z**2) / 2) * math.sqrt(2 / math.pi)
    values = error * erf + sigma * (density - 1 / math.sqrt(math.pi))
    return float(np.where(sigma > 0, values, error).mean())


def crps_laplace(mean: ArrayLike, target: ArrayLike, scale: ArrayLike) -> float | None:
    r"""Return the mean CRPS of Laplace predictions ``(N,)``, in the unit of the labels.

    .. math::
        |y - \mu| + b e^{-|y - \mu| / b} - \tfrac34 b

    A ``scale`` b of 0 gives the absolute error. Errors are those of :func:`crps_samples`.

    Example:
        >>> round(crps_laplace([10.0], [12.0], [2.0]), 4)
        1.2358

    References:
        Jordan, Krüger, Lerch, "Evaluating Probabilistic Forecasts with scoringRules" (Journal of
        Statistical Software 2019).
    """
    error, scale = _check_scaled(mean, target, scale)
    if not len(error):
        return None
    values = error + scale * np.exp(-_divide(error, scale, 800.0)) - 0.75 * scale
    return float(np.where(scale > 0, values, error).mean())


def crps_samples(samples: ArrayLike, target: ArrayLike) -> float | None:
    r"""Return the mean CRPS of predictions given as samples, such as the members of an ensemble.

    .. math::
        \frac 1M \sum_m |x_m - y| - \frac{1}{2 M^2} \sum_{m, k} |x_m - x_k|

    Args:
        samples: M values for each label, ``(N, M)``.
        target: labels ``(N,)``.

    Returns:
        The mean over labels; None without labels. With one sample it is the absolute error.

    Raises:
        TypeError: the values are not real numbers.
        ValueError: shapes differ, a value is not finite, or a scale is below 0.

    Example:
        >>> crps_samples([[1.0, 3.0]], [2.0])
        0.5

    References:
        Gneiting, Raftery, "Strictly Proper Scoring Rules, Prediction, and Estimation" (JASA 2007).
    """
    values, labels = _check_columns(samples, target, "samples")
    if values.ndim != 2 or not values.shape[1]:
        raise ValueError(f"samples must have shape (N, M), got {values.shape}")
    if not len(labels):
        return None
    count = values.shape[1]
    ordered = np.sort(values, axis=1)
    # Σ |x_m − x_k| / 2 = Σ (2m − M − 1) x_(m)
    factors = 2 * np.arange(count) + 1 - count
    spread = (ordered * factors).sum(axis=1) / count**2
    return float((np.abs(values - labels[:, None]).mean(axis=1) - spread).mean())


def _divide(error: Floats, scale: Floats, limit: float) -> Floats:
    """Return errors in scales ``(N,)`` up to a limit, beyond which a density is 0 in float64."""
    divisor = np.maximum(scale, error / limit)
    return error / np.where(divisor > 0, divisor, 1.0)


def _check_scaled(mean: ArrayLike, target: ArrayLike, scale: ArrayLike) -> tuple[Floats, Floats]:
    """Return the absolute errors and scales ``(N,)``."""
    means, labels = _check_columns(mean, target, "mean")
    scales, _ = _check_columns(scale, target, "scale")
    if means.ndim != 1 or scales.ndim != 1:
        raise ValueError(
            f"mean and scale must have shape (N,), got {means.shape} and {scales.shape}"
        )
    if (scales < 0).any():
        raise ValueError(f"scale must be at least 0, got {scales.min():g}")
    return np.abs(labels - means), scales


def _check_columns(values: ArrayLike, target: ArrayLike, name: str) -> tuple[Floats, Floats]:
    """Return values ``(N, ...)`` and labels ``(N,)`` as float64; raise an error if invalid."""
    array = to_real_array(values, name).astype(np.float64)
    labels = label_vector(target, allow_empty=True, name="target")
    if array.shape[:1] != labels.shape:
        raise ValueError(
            f"{name} and target must have the same length N, got {array.shape} and {labels.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return array, labels
