"""Monotone transforms of the target, fitted on training labels and inverted with a clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ranksim._utils.checks import check_choice
from ranksim.exceptions import DataError
from ranksim.imbalance.bins import label_vector

TransformName = Literal["log", "yeo-johnson", "quantile"]
TRANSFORMS: tuple[TransformName, ...] = get_args(TransformName)
_MAX_QUANTILES = 1_000
_MAX_POWER = 5.0
_TAIL = 1e-3  # of the normal distribution, beyond the outermost quantiles

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TargetTransform:
    r"""An increasing function of the label, standardized over the training labels.

    A model is trained on :math:`z = (T(y) - \mu) / \sigma`, with the mean :math:`\mu` and the
    standard deviation :math:`\sigma` of :math:`T` over the training labels::

        log          T(y) = log y; labels must be above 0
        yeo-johnson  T(y) = ((1 + u)^λ − 1) / λ with u = (y − min y) / s, the λ in [−5, 5] of
                     largest likelihood and s the standard deviation of the labels
        quantile     T(y) = Φ⁻¹(F(y)), F the distribution of the training labels, interpolated

    The inverse clips predictions to the range of the training labels: the inverse of a logarithm
    turns one outlying input into a prediction of any size.

    Args:
        name: ``"log"``, ``"yeo-johnson"`` or ``"quantile"``.
        minimum: smallest training label.
        maximum: largest training label.
        mean: μ.
        deviation: σ.
        scale: s; 1 for the other transforms.
        power: λ; 1 for the other transforms.
        knots: labels at which the distribution is tabulated, ascending; for ``quantile`` alone.
        levels: :math:`\Phi^{-1}(F)` at the knots.

    Example:
        >>> transform = TargetTransform.fit([1.0, 10.0, 100.0], "log")
        >>> transform([1.0, 10.0]).round(3).tolist()
        [-1.225, 0.0]
        >>> transform.inverse([0.0, 50.0]).round(6).tolist()
        [10.0, 100.0]

    References:
        Yeo, Johnson, "A new family of power transformations to improve normality or symmetry",
        Biometrika 87 (2000).
    """

    name: TransformName
    minimum: float
    maximum: float
    mean: float = 0.0
    deviation: float = 1.0
    scale: float = 1.0
    power: float = 1.0
    knots: tuple[float, ...] = ()
    levels: tuple[float, ...] = ()

    @staticmethod
    def check_labels(labels: ArrayLike, name: str) -> Floats:
        """Return training labels ``(N,)`` as float64 if a transform is defined for them.

        Raises:
            ValueError: the name is unknown.
            DataError: the transform is not defined for these labels.
        """
        check_choice("name", name, TRANSFORMS)
        values: Floats = label_vector(labels)
        low, high = float(values.min()), float(values.max())
        if low == high:
            raise DataError(f"A transform needs different labels, and all are {low:g}.")
        if name == "log" and low <= 0:
            count = int((values <= 0).sum())
            raise DataError(
                f"The transform log needs labels above 0, and {count:,} are not, such as "
                f"{low:g}: use yeo-johnson or quantile."
            )
        return values

    @classmethod
    def fit(cls, labels: ArrayLike, name: str) -> TargetTransform:
        """Fit a transform to training labels ``(N,)`` of which at least two differ.

        Raises:
            ValueError: the name is unknown.
            DataError: the transform is not defined for these labels.
        """
        values = cls.check_labels(labels, name)
        low, high = float(values.min()), float(values.max())
        if name == "log":
            transform = cls("log", low, high)
        elif name == "yeo-johnson":
            from scipy import stats

            scale = float(values.std())
            # labels far from zero would need a huge power, which leaves no digits of them
            power = float(stats.yeojohnson_normmax((values - low) / scale))
            power = min(max(power, -_MAX_POWER), _MAX_POWER)
            transform = cls("yeo-johnson", low, high, scale=scale, power=power)
        else:
            knots, levels = _tabulate_quantiles(values)
            transform = cls("quantile", low, high, knots=knots, levels=levels)
        transformed = transform._apply(values)
        mean, deviation = float(transformed.mean()), float(transformed.std())
        return cls(**{**vars(transform), "mean": mean, "deviation": deviation or 1.0})

    def __call__(self, labels: ArrayLike) -> Floats:
        """Transform labels ``(N,)``; labels outside the training range are clipped to it."""
        values = label_vector(labels, allow_empty=True)
        return (self._apply(np.clip(values, self.minimum, self.maximum)) - self.mean) / (
            self.deviation
        )

    def map_edges(self, edges: Floats) -> Floats:
        """Return label bins' edges ``(K + 1,)`` as edges of transformed labels, all different.

        Edges outside the training range keep their order beyond its ends.
        """
        inside = np.clip(edges, self.minimum, self.maximum)
        beyond = (edges - inside) / (self.maximum - self.minimum)
        mapped = self(inside) + beyond
        # quantiles are equal between two labels that follow each other
        steps = np.arange(len(edges)) * (np.ptp(mapped) * 1e-6)  # distinct in float32
        return np.maximum.accumulate(mapped) + steps

    def inverse(self, preds: ArrayLike) -> Floats:
        """Return the labels of predictions ``(N,)``, in the range of the training labels."""
        values = np.asarray(preds, dtype=np.float64) * self.deviation + self.mean
        if self.name == "quantile":
            labels = np.interp(values, self.levels, self.knots)
        else:
            # the ends first: the inverse is not defined far outside, and would overflow
            ends = self._apply(np.array([self.minimum, self.maximum]))
            labels = self._invert(np.clip(values, *ends))
        return np.clip(labels, self.minimum, self.maximum)

    def to_dict(self) -> dict[str, Any]:
        """Return the fitted transform as JSON values."""
        return {**vars(self), "knots": list(self.knots), "levels": list(self.levels)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> TargetTransform:
        """Recreate a fitted transform from the result of :meth:`to_dict`."""
        check_choice("name", content["name"], TRANSFORMS)
        knots, levels = tuple(content["knots"]), tuple(content["levels"])
        return cls(**{**content, "knots": knots, "levels": levels})

    def _apply(self, values: Floats) -> Floats:
        if self.name == "log":
            return np.log(values)
        if self.name == "quantile":
            return np.interp(values, self.knots, self.levels)
        from scipy import stats

        result: Floats = stats.yeojohnson((values - self.minimum) / self.scale, self.power)
        return result

    def _invert(self, values: Floats) -> Floats:
        if self.name == "log":
            return np.exp(values)
        exponents = values if self.power == 0 else np.log1p(self.power * values) / self.power
        return np.expm1(exponents) * self.scale + self.minimum


def _tabulate_quantiles(values: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return distinct labels and the normal quantile of each one's mean rank."""
    from scipy.special import ndtri

    distinct, counts = np.unique(values, return_counts=True)
    share = (np.cumsum(counts) - counts / 2) / len(values)
    if len(distinct) > _MAX_QUANTILES:
        chosen = np.unique(np.linspace(0, len(distinct) - 1, _MAX_QUANTILES).round().astype(int))
        distinct, share = distinct[chosen], share[chosen]
    levels = ndtri(np.clip(share, _TAIL, 1 - _TAIL))
    # ties at the clipped ends would make the inverse ambiguous
    levels = np.maximum.accumulate(levels + np.arange(len(levels)) * 1e-9)
    return tuple(distinct.tolist()), tuple(levels.tolist())
