"""Settings, data and label scales of the estimators, and their validation scores."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.formatting import format_count, format_value
from ranksim.exceptions import DataError, UsageError

Floats = NDArray[np.float64]

LOSSES = ("squared", "absolute", "huber", "gamma", "poisson", "tweedie", "quantile")
MONITORS = ("mse", "mae")
LEAST_LABEL = {"gamma": "above 0", "poisson": "of at least 0", "tweedie": "of at least 0"}
"""What the losses with a logarithm need of labels."""


@dataclass(frozen=True)
class EstimatorSettings:
    """Settings that the estimators share; None is the default of the library.

    Args:
        loss: one of ``LOSSES``; the losses gamma, poisson and tweedie predict through a logarithm.
        learning_rate: factor of each tree.
        max_leaves: upper limit of leaves of a tree.
        min_samples_leaf: least number of training samples in a leaf.
        l2: L2 regularization of the values of leaves, or of the coefficients.
        max_iterations: upper limit of trees if early stopping does not end the training before.
        patience: trees without a better validation score before training stops.
        quantile: quantile of the loss ``quantile``, in (0, 1).
        huber_delta: error at which the Huber loss becomes linear, in standard deviations of the
            training labels.
        tweedie_power: variance power of the loss ``tweedie``, in (1, 2).

    Raises:
        UsageError: a value is outside its range.
    """

    loss: str = "squared"
    learning_rate: float | None = None
    max_leaves: int | None = None
    min_samples_leaf: int | None = None
    l2: float | None = None
    max_iterations: int = 1_000
    patience: int = 50
    quantile: float = 0.5
    huber_delta: float = 1.0
    tweedie_power: float = 1.5

    def __post_init__(self) -> None:
        _require(self.loss in LOSSES, "loss", f"one of {', '.join(LOSSES)}", self.loss)
        for name, least in (("max_leaves", 2), ("min_samples_leaf", 1)):
            value = getattr(self, name)
            valid = value is None or (isinstance(value, int) and value >= least)
            _require(valid, name, f"a whole number of at least {least}", value)
        for name in ("max_iterations", "patience"):
            value = getattr(self, name)
            _require(isinstance(value, int) and value >= 1, name, "at least 1", value)
        rate, l2 = self.learning_rate, self.l2
        _require(rate is None or 0 < rate <= 1, "learning_rate", "above 0 and at most 1", rate)
        _require(l2 is None or 0 <= l2 < math.inf, "l2", "at least 0", l2)
        _require(0 < self.quantile < 1, "quantile", "between 0 and 1", self.quantile)
        _require(0 < self.huber_delta < math.inf, "huber_delta", "above 0", self.huber_delta)
        _require(1 < self.tweedie_power < 2, "tweedie_power", "between 1 and 2", self.tweedie_power)


def _require(valid: bool, name: str, rule: str, value: Any) -> None:
    """Raise a UsageError unless a setting is valid."""
    if not valid:
        raise UsageError(f"{name} must be {rule}, got {format_value(value)}.")


@dataclass(frozen=True, eq=False)
class EstimatorData:
    """Samples for an estimator.

    Args:
        values: raw columns ``(N, D)``, NaN where a value is missing; categories are codes from 0,
            NaN if missing or unknown.
        categories: number of categories of each column, 0 for a column of numbers ``(D,)``.
        labels: ``(N,)``.
        sample_weight: ``(N,)``; None: all weights are one.

    Raises:
        ValueError: shapes do not match, or a category is not a whole number in its range.
    """

    values: Floats
    categories: tuple[int, ...]
    labels: Floats
    sample_weight: Floats | None = None

    def __post_init__(self) -> None:
        shape = (len(self.labels), len(self.categories))
        if self.values.shape != shape:
            raise ValueError(f"values must have shape {shape}, got {self.values.shape}")
        if self.sample_weight is not None and self.sample_weight.shape != self.labels.shape:
            raise ValueError(
                f"sample_weight must have shape {self.labels.shape}, got {self.sample_weight.shape}"
            )
        for column, count in enumerate(self.categories):
            codes = self.values[:, column] if count else np.zeros(0)
            codes = codes[~np.isnan(codes)]
            if not np.isin(codes, np.arange(count)).all():
                raise ValueError(f"column {column} must contain codes from 0 to {count - 1} or NaN")

    @property
    def weights(self) -> Floats:
        """Weights of the samples ``(N,)``, one if none were given."""
        return np.ones(len(self.labels)) if self.sample_weight is None else self.sample_weight

    def prepare(self, part: str, loss: str) -> EstimatorData:
        """Return the samples of positive weight, with weights of mean one.

        A sample of weight zero still shapes the bins and leaves of most libraries, and weights
        that sum to one make XGBoost predict a constant.

        Raises:
            DataError: a value, label or weight is not usable, or no sample is left.
        """
        _reject_rows(part, "label", self.labels, ~np.isfinite(self.labels), "a finite number")
        if loss in LEAST_LABEL:
            invalid = find_unsuitable_labels(self.labels, loss)
            rule = f"{LEAST_LABEL[loss]} for the loss {loss}"
            _reject_rows(part, "label", self.labels, invalid, rule)
        weights = self.weights
        invalid = ~(np.isfinite(weights) & (weights >= 0))
        _reject_rows(part, "weight", weights, invalid, "a finite number of at least 0")
        infinite = np.isinf(self.values)
        if infinite.any():
            row, column = np.argwhere(infinite)[0].tolist()
            raise DataError(
                f"Column {column} of the {part} samples is infinite in row {row}: correct this "
                "value or leave it empty."
            )
        used = weights > 0
        if not used.any():
            problem = "have the weight 0" if len(used) else "are missing"
            raise DataError(f"All {part} samples {problem}: pass at least one of positive weight.")
        weights = weights[used] / weights.max()  # first, as a sum of huge weights would overflow
        return EstimatorData(
            self.values[used], self.categories, self.labels[used], weights / weights.mean()
        )


def find_unsuitable_labels(labels: Floats, loss: str) -> NDArray[np.bool_]:
    """Return which labels ``(N,)`` a loss with a logarithm cannot fit; none for other losses."""
    if loss not in LEAST_LABEL:
        return np.zeros(len(labels), dtype=bool)
    return labels <= 0 if loss == "gamma" else labels < 0


def _reject_rows(part: str, name: str, values: Floats, invalid: NDArray[Any], rule: str) -> None:
    """Raise a DataError that names the first of the invalid labels or weights."""
    rows = np.flatnonzero(invalid)
    if len(rows):
        count = format_count(len(rows), f"{part} {name}")
        raise DataError(
            f"{count} must be {rule} (the first is {values[rows[0]]:g} in row {rows[0]}): correct "
            "or remove these rows."
        )


@dataclass(frozen=True)
class LabelScale:
    """The map between labels and what an estimator fits, so that no result depends on the unit.

    Losses with a logarithm need positive labels, which are divided by their mean; other labels are
    standardized.
    """

    shift: float
    scale: float

    @classmethod
    def fit(cls, labels: Floats, loss: str) -> LabelScale:
        """Fit the map to training labels; raise a DataError if the loss needs one above 0."""
        if loss not in LEAST_LABEL:
            unit = float(np.abs(labels).max()) or 1.0  # squares of huge labels would overflow
            deviation = unit * float((labels / unit).std())
            is_constant = labels.min() == labels.max()
            return cls(unit * float((labels / unit).mean()), 1.0 if is_constant else deviation)
        if not labels.any():
            raise DataError(f"All training labels are 0: the loss {loss} needs one above 0.")
        unit = float(labels.max())
        return cls(0.0, unit * float((labels / unit).mean()))

    def apply(self, data: EstimatorData, *, in_float32: bool) -> EstimatorData:
        """Return data with scaled labels; with ``in_float32``, labels and weights are rounded.

        Boosted trees are computed from float32; rounding here keeps errors of the scaling from
        deciding between equal splits.
        """
        labels, weights = (data.labels - self.shift) / self.scale, data.weights
        if in_float32:
            labels, weights = (
                each.astype(np.float32).astype(np.float64) for each in (labels, weights)
            )
        return dataclasses.replace(data, labels=labels, sample_weight=weights)

    def invert(self, preds: Floats) -> Floats:
        """Return predictions in the unit of the labels."""
        return preds * self.scale + self.shift


def compute_score(
    preds: Floats, labels: Floats, weights: Floats, *, monitor: str, quantile: float = 0.5
) -> float:
    """Return the weighted mean of squared errors, absolute errors or pinball losses."""
    errors = labels - preds
    if monitor == "mse":
        losses = errors * errors
    elif monitor == "mae":
        losses = np.abs(errors)
    else:
        losses = np.maximum(quantile * errors, (quantile - 1) * errors)
    return float(weights @ losses / weights.sum())
