"""Predicted distributions, by a scale or by quantiles, and their scores: pinball loss and CRPS."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ranksim._utils.checks import describe_value
from ranksim.imbalance.bins import label_vector, to_real_array

Floats = NDArray[np.float64]
Family = Literal["gaussian", "laplace", "quantiles"]
FAMILIES: tuple[Family, ...] = get_args(Family)
LEVELS = (0.05, 0.5, 0.95)  # at which distributions of all families are scored
SCALE = "scale"  # column of a table
_QUANTILE = re.compile(r"q(\d{2}(?:\.\d+)?)")  # column of a table, in percent
_DIGITS = 10  # of a level


@dataclass(frozen=True, eq=False)
class Distribution:
    """What a method predicts of the distribution of each label, beside the prediction itself.

    Args:
        family: ``"gaussian"`` or ``"laplace"`` around the prediction, which have a scale, or
            ``"quantiles"``.
        scale: standard deviation of a Gaussian, mean absolute deviation of a Laplace
            distribution, in the unit of the label, float64 ``(N,)``; None for quantiles.
        quantiles: in the unit of the label, ascending along the levels, float64 ``(N, Q)``; None
            for a scale.
        levels: of the quantiles, ascending, each above 0 and below 1.

    Example:
        >>> preds, labels = np.array([10.0, 20.0]), np.array([12.0, 19.0])
        >>> distribution = Distribution("gaussian", scale=np.array([2.0, 1.0]))
        >>> distribution.at_levels(preds, (0.5, 0.975)).round(2).tolist()
        [[10.0, 13.92], [20.0, 21.96]]
        >>> {name: round(value, 3) for name, value in distribution.score(preds, labels).items()}
        {'crps': 0.904, 'pinball': 0.332}
    """

    family: Family
    scale: Floats | None = None
    quantiles: Floats | None = None
    levels: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise ValueError(f"family must be one of {', '.join(FAMILIES)}, got {self.family!r}")
        needed, other = "scale", "quantiles"
        if self.family == "quantiles":
            needed, other = other, needed
        if getattr(self, needed) is None or getattr(self, other) is not None:
            raise ValueError(
                f"family {self.family} takes {needed} alone: give {needed}, not {other}"
            )
        if self.quantiles is not None and self.quantiles.shape[1:] != (len(self.levels),):
            raise ValueError(
                f"quantiles must have one column for each of {len(self.levels)} levels, got shape "
                f"{self.quantiles.shape}"
            )

    def __len__(self) -> int:
        return len(self._values)

    @property
    def _values(self) -> Floats:
        values = self.quantiles if self.scale is None else self.scale
        assert values is not None
        return values

    def take(self, rows: NDArray[Any] | slice) -> Distribution:
        """Return the distributions of some samples, by positions or a mask."""
        if self.scale is not None:
            return Distribution(self.family, self.scale[rows])
        return Distribution(self.family, quantiles=self._values[rows], levels=self.levels)

    def at_levels(self, preds: ArrayLike, levels: Sequence[float]) -> Floats:
        """Return quantiles ``(N, Q)`` of the distributions around predictions ``(N,)``.

        Between predicted quantiles they are interpolated over the levels, and beyond the outermost
        ones they are equal to these.
        """
        for level in levels:
            _check_level(level)
        points = np.asarray(preds, dtype=np.float64)
        if self.scale is not None:
            inverse = _invert_gaussian if self.family == "gaussian" else _invert_laplace
            return points[:, None] + np.outer(self.scale, [inverse(level) for level in levels])
        shares = [np.interp(levels, self.levels, row) for row in np.eye(len(self.levels))]
        return self._values @ np.stack(shares)

    def score(self, preds: ArrayLike, target: ArrayLike) -> dict[str, float | None]:
        """Return the scores of the distributions around predictions ``(N,)``.

        Args:
            preds: predictions ``(N,)``.
            target: labels ``(N,)``.

        Returns:
            ``crps``, which quantiles do not have, and ``pinball``, the mean over the levels 0.05,
            0.5 and 0.95; None without samples.
        """
        quantiles = self.at_levels(preds, LEVELS)
        losses = [pinball_loss(quantiles[:, k], target, tau) for k, tau in enumerate(LEVELS)]
        known = [loss for loss in losses if loss is not None]
        crps = None
        if self.scale is not None:
            score = crps_gaussian if self.family == "gaussian" else crps_laplace
            crps = score(preds, target, self.scale)
        return {"crps": crps, "pinball": sum(known) / len(known) if known else None}

    def columns(self) -> dict[str, Floats]:
        """Return the columns of a table: ``scale``, or ``q05``, ``q50`` and so on."""
        if self.scale is not None:
            return {SCALE: self.scale}
        return {name_level(level): self._values[:, k] for k, level in enumerate(self.levels)}

    @classmethod
    def from_columns(cls, family: str, columns: Mapping[str, Any]) -> Distribution:
        """Return the distributions in the columns of a table, see :meth:`columns`."""
        if family != "quantiles":
            return cls(family, np.asarray(columns[SCALE], dtype=np.float64))  # type: ignore[arg-type]
        names = [name for name in columns if _QUANTILE.fullmatch(name)]
        levels = tuple(round(float(name[1:]) / 100, _DIGITS) for name in names)
        values = [np.asarray(columns[name], dtype=np.float64) for name in names]
        return cls("quantiles", quantiles=np.stack(values, axis=1), levels=levels)

    @classmethod
    def mean(cls, members: Iterable[Distribution | None]) -> Distribution | None:
        """Return the distribution of a mean prediction; None if one of the members has none.

        Quantiles are averaged over the members, and so are scales: the quantiles of Gaussian or
        Laplace distributions have the mean of the scales around the mean of the predictions.

        References:
            Lichtendahl, Grushka-Cockayne, Winkler, "Is It Better to Average Probabilities or
            Quantiles?" (Management Science 2013).
        """
        known = [each for each in members if each is not None]
        if not known or any(each is None for each in members):
            return None
        first = known[0]
        if any((each.family, each.levels) != (first.family, first.levels) for each in known):
            return None
        values = np.mean([each._values for each in known], axis=0)
        if first.scale is not None:
            return cls(first.family, values)
        return cls(first.family, quantiles=values, levels=first.levels)


def name_level(level: float) -> str:
    """Return the column of a quantile.

    Example:
        >>> name_level(0.05), name_level(0.5), name_level(0.975)
        ('q05', 'q50', 'q97.5')
    """
    whole, dot, rest = f"{round(100 * level, _DIGITS - 2):.{_DIGITS}g}".partition(".")
    return f"q{whole:0>2}{dot}{rest}"


def _check_level(level: object) -> None:
    """Raise a ValueError unless a level is a number above 0 and below 1."""
    if not isinstance(level, numbers.Real) or not 0 < float(level) < 1:
        raise ValueError(f"level must be a number above 0 and below 1, got {describe_value(level)}")


def _invert_gaussian(level: float) -> float:
    """Return the quantile of the standard normal distribution."""
    return NormalDist().inv_cdf(level)


def _invert_laplace(level: float) -> float:
    """Return the quantile of the Laplace distribution of scale 1."""
    return math.copysign(math.log(2 * min(level, 1 - level)), level - 0.5)


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
    _check_level(level)
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
