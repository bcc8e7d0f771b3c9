"""Deep imbalanced regression on tables, as a scikit-learn regressor."""

# ruff: noqa: N803 -- scikit-learn's name for the inputs is X
from __future__ import annotations

import numbers
from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ranksim._utils.arrays import copy_to_numpy
from ranksim._utils.checks import check_positive, describe_value, reject_masked
from ranksim.exceptions import UsageError, require_optional
from ranksim.integrations.sklearn.weights import WeightedSamples
from ranksim.metrics.distributions import Distribution

base = require_optional("sklearn.base", "train")
preprocessing = require_optional("sklearn.preprocessing", "train")
utils = require_optional("sklearn.utils", "train")
validation = require_optional("sklearn.utils.validation", "train")

_MAX_INPUT, _MAX_LABEL = 1e100, 1e38  # limits of squares in float64, and of float32
_CHUNK = 8192  # rows per forward pass
_RECIPE_FIELDS = {  # argument: field of the recipe
    **{name: name for name in ("hidden", "layers", "dropout", "batch_size", "patience")},
    **{name: name for name in ("gamma", "lambda_", "ranksim_weight")},
    "learning_rate": "lr",
    "max_epochs": "max_validations",
}
_WHOLE = ("hidden", "layers", "batch_size", "max_epochs", "patience")
_REAL = (
    "dropout", "learning_rate", "validation_fraction", "gamma", "lambda_", "ranksim_weight",
)  # fmt: skip


class RankSimRegressor(
    base.RegressorMixin,  # type: ignore[misc, name-defined]
    base.TransformerMixin,  # type: ignore[misc, name-defined]
    base.BaseEstimator,  # type: ignore[misc, name-defined]
):
    """Multilayer perceptron for imbalanced targets, trained by any method of the library.

    Inputs and target are standardized internally, and the weights of the epoch with the smallest
    validation error are kept. The same data and ``random_state`` give a bit-identical network,
    whatever the order of the rows and the number of jobs.

    Args:
        method: a base ``vanilla``, ``sqinv``, ``inv``, ``focal-r`` or ``rrt``, and additions
            joined by ``+``: ``lds``, ``fds``, ``ranksim``. The weights of ``sqinv`` favor rare
            labels. On five real tables they lowered the error of the rarest tenth on two, by 8 to
            11 %, raised it on two others, and raised the error over all rows on each, by 5 to
            10 %; adding ``ranksim`` changed nothing surely (see ``docs/which-model.md``).
            ``vanilla`` has no weights: compare both on your data.
        hidden: width of each layer.
        layers: number of layers.
        dropout: dropout probability.
        learning_rate: learning rate of Adam.
        batch_size: samples per batch.
        max_epochs: largest number of epochs.
        early_stopping: whether to validate on a share of the training samples, equal inputs
            together, and stop after ``patience`` epochs without a smaller error; otherwise
            ``max_epochs`` are trained and the error on the training samples is used.
        validation_fraction: share of the distinct inputs to validate on.
        patience: epochs without improvement before training stops.
        gamma: weight of the RankSim term for each sample, see :class:`ranksim.RankSimLoss`.
        lambda_: interpolation strength λ of RankSim's gradient.
        ranksim_weight: weight of the RankSim loss relative to the regression loss.
        n_bins: number of label bins for weights, LDS and FDS.
        bin_width: width of label bins in the unit of the target. Without it and ``n_bins``, bins
            are those that ``ranksim inspect`` suggests.
        config: any other fields of :class:`ranksim.training.recipe.TableRecipe`, for example
            ``{"weight_decay": 1e-4, "fds_sigma": 1.0}``.
        random_state: seed of all random draws, or a NumPy ``RandomState`` or ``Generator``, from
            which each ``fit`` draws one.
        device: ``"cpu"``, or ``"auto"`` for an accelerator if there is one; the fitted network is
            moved to the CPU.
        verbose: whether to show a progress bar.

    Attributes:
        network_: encoder and head, float64.
        n_iter_: number of epochs trained.
        best_iter_: epoch whose weights were kept.
        loss_curve_: training loss of each epoch.
        validation_curve_: validation error of each epoch.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(200, 3))
        >>> y = np.exp(x[:, 0])
        >>> model = RankSimRegressor("inv+ranksim", max_epochs=5, random_state=0).fit(x, y)
        >>> model.predict(x).shape, model.transform(x).shape, model.n_iter_
        ((200,), (200, 128), 5)

    References:
        Gong, Mori, Tung, "RankSim" (ICML 2022); Yang et al., "Delving into Deep Imbalanced
        Regression" (ICML 2021).
    """

    def __init__(
        self,
        method: str = "sqinv",
        *,
        hidden: int = 128,
        layers: int = 2,
        dropout: float = 0.0,
        learning_rate: float = 3e-3,
        batch_size: int = 64,
        max_epochs: int = 100,
        early_stopping: bool = True,
        validation_fraction: float = 0.15,
        patience: int = 10,
        gamma: float = 1.0,
        lambda_: float = 2.0,
        ranksim_weight: float = 0.001,
        n_bins: int | None = None,
        bin_width: float | None = None,
        config: Mapping[str, Any] | None = None,
        random_state: Any = None,
        device: str = "cpu",
        verbose: bool = False,
    ) -> None:
        self.method, self.config, self.random_state = method, config, random_state
        self.hidden, self.layers, self.dropout = hidden, layers, dropout
        self.learning_rate, self.batch_size, self.max_epochs = learning_rate, batch_size, max_epochs
        self.early_stopping, self.patience = early_stopping, patience
        self.validation_fraction = validation_fraction
        self.gamma, self.lambda_, self.ranksim_weight = gamma, lambda_, ranksim_weight
        self.n_bins, self.bin_width = n_bins, bin_width
        self.device, self.verbose = device, verbose

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> RankSimRegressor:
        """Train the network.

        Args:
            X: finite numbers ``(N, F)``.
            y: finite numbers ``(N,)`` in any unit.
            sample_weight: ``(N,)``, at least 0, multiplied with the weights of the method. Weights
                are relative: multiplying all by a constant changes nothing. A sample of weight 0 is
                ignored. If the smallest weight above 0 is 1 and their mean at most 10, an integer
                weight w equals w equal rows exactly.

        Raises:
            TypeError: an argument has a wrong type, or the data are not numbers.
            ValueError: the data are invalid for scikit-learn, or arguments contradict each other.
            UsageError: the method is unknown, or an argument is outside its range.
            DivergedError: the loss became NaN, or exploded.
        """
        from ranksim.integrations.sklearn.engine import train
        from ranksim.training.task import TrainingOptions
        from ranksim.training.trainer_config import TrainerConfig

        changes = self._recipe_changes()
        seed = _draw_seed(self.random_state)
        for name, values in (("X", X), ("y", y), ("sample_weight", sample_weight)):
            _check_numbers(name, values)
        x, target = validation.validate_data(
            self, X, y, dtype=np.float64, y_numeric=True, ensure_min_samples=2
        )
        _check_range("X", x, _MAX_INPUT)
        _check_range("y", target, _MAX_LABEL)
        weight = _check_sample_weight(sample_weight, x)
        samples = WeightedSamples.from_arrays(x, target.astype(np.float64), weight)
        self._scaler = preprocessing.StandardScaler().fit(samples.x)
        inputs = self._scaler.transform(samples.x).astype(np.float32)
        config = TrainerConfig(accelerator=str(self.device))
        options = TrainingOptions(
            seed=seed, trainer_config=config, progress_bar=bool(self.verbose), write_logs=False
        )
        bins = self.n_bins, self.bin_width
        share = self.validation_fraction if self.early_stopping else None
        try:
            self.network_, self._scale, self._offset, result = train(
                inputs, samples, self.method, changes, bins, share, options
            )
        except UsageError as error:
            raise UsageError(_name_arguments(str(error))) from error
        self.loss_curve_, self.validation_curve_ = result.curves["train_loss"], result.curves["val"]
        self.n_iter_, self.best_iter_ = result.epochs, result.best_epoch
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Predict the target of each row of ``X`` ``(N, F)``, in its unit, shape ``(N,)``."""
        return self._forward(X)[0] * self._scale + self._offset

    def predict_distribution(self, X: ArrayLike) -> Distribution:
        """Return the scale or the quantiles of each prediction, in the unit of the target.

        Raises:
            UsageError: the method predicts no distribution, as ``gaussian``, ``laplace``,
                ``quantile`` and ``uvote`` do.

        Example:
            >>> x = np.random.default_rng(0).normal(size=(200, 3))
            >>> model = RankSimRegressor("gaussian", max_epochs=2, random_state=0).fit(x, x[:, 0])
            >>> model.predict_distribution(x).scale.shape
            (200,)
        """
        validation.check_is_fitted(self)
        head = getattr(self.network_, "head", None)
        if head is None or not head.family:
            raise UsageError(
                f"Method {self.method} predicts no distribution: use gaussian, laplace, quantile "
                "or uvote."
            )
        features = torch.from_numpy(self.transform(X))
        with torch.no_grad():
            spread = copy_to_numpy(head.spread(head(features))) * self._scale
        if head.family == "quantiles":
            return Distribution("quantiles", quantiles=spread + self._offset, levels=head.levels)
        return Distribution(head.family, spread[:, 0])

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the features of each row, shape ``(N, hidden)``: the layer RankSim works on."""
        return self._forward(X)[1]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")  # lambda_ looks like an attribute set by fit

    def _forward(self, X: ArrayLike) -> tuple[NDArray[np.float64], ...]:
        """Return standardized predictions and features."""
        validation.check_is_fitted(self)
        _check_numbers("X", X)
        x = validation.validate_data(self, X, dtype=np.float64, reset=False)
        _check_range("X", x, _MAX_INPUT)
        rows = torch.split(torch.from_numpy(self._scaler.transform(x)), _CHUNK)
        with torch.no_grad():
            parts = zip(*map(self.network_, rows), strict=True)
            return tuple(copy_to_numpy(torch.cat(part)) for part in parts)

    def _recipe_changes(self) -> dict[str, Any]:
        """Check the arguments and return the recipe fields that differ from the preset."""
        self._check_types()
        if self.n_bins is not None and self.bin_width is not None:
            raise ValueError(
                f"n_bins and bin_width contradict each other, got {self.n_bins!r} and "
                f"{self.bin_width!r}: pass one of them"
            )
        if not 0 < self.validation_fraction < 1:
            raise ValueError(
                f"validation_fraction must be in (0, 1), got {self.validation_fraction!r}"
            )
        fields = {field: getattr(self, name) for name, field in _RECIPE_FIELDS.items()}
        if not self.early_stopping:
            fields["patience"] = 0
        config = dict(self.config or {})
        if duplicates := sorted(fields.keys() & config.keys()):
            raise ValueError(f"config must not set {', '.join(duplicates)}: pass the argument")
        return fields | config

    def _check_types(self) -> None:
        """Raise a TypeError that names the first argument of a wrong type."""
        expected = {
            **dict.fromkeys(("method", "device"), (str, "text")),
            **dict.fromkeys(("early_stopping", "verbose"), (bool | np.bool_, "True or False")),
            **dict.fromkeys(_WHOLE, (numbers.Integral, "a whole number")),
            **dict.fromkeys(_REAL, (numbers.Real, "a number")),
            "n_bins": (numbers.Integral | None, "a whole number or None"),
            "bin_width": (numbers.Real | None, "a number or None"),
            "config": (Mapping | None, "a dictionary of recipe fields or None"),
        }
        for name, (kind, description) in expected.items():
            value = getattr(self, name)
            is_flag = isinstance(value, bool) and name not in ("early_stopping", "verbose")
            if is_flag or not isinstance(value, kind):
                raise TypeError(f"{name} must be {description}, got {describe_value(value)}")
        if self.n_bins is not None and self.n_bins < 1:
            raise ValueError(f"n_bins must be at least 1, got {self.n_bins!r}")
        if self.bin_width is not None:
            check_positive("bin_width", self.bin_width)


def _draw_seed(random_state: Any) -> int:
    """Draw a seed from None, an integer, or a NumPy RandomState or Generator."""
    limit = np.iinfo(np.int32).max
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(limit))
    if random_state is not None and not isinstance(
        random_state, numbers.Integral | np.random.RandomState
    ):
        raise TypeError(
            "random_state must be None, a whole number, or a NumPy RandomState or Generator, got "
            f"{describe_value(random_state)}"
        )
    return int(utils.check_random_state(random_state).randint(limit))


def _name_arguments(message: str) -> str:
    """Replace the names of recipe fields in an error message by those of the arguments."""
    for argument, field in _RECIPE_FIELDS.items():
        message = message.replace(f"Recipe field {field} must", f"{argument} must")
    return message


def _check_numbers(name: str, values: Any) -> None:
    """Raise a TypeError for texts and dates, which NumPy would convert or report unclearly."""
    if hasattr(values, "dtypes") and hasattr(values, "columns"):  # a data frame
        for column in values.columns:
            _check_numbers(f"column {column!r} of {name}", values[column])
        return
    reject_masked(name, values)
    if not hasattr(values, "dtype") and not isinstance(values, list | tuple):
        return
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError):
        return  # scikit-learn reports it
    kind = {"U": "text", "S": "text", "M": "dates", "m": "time spans"}.get(array.dtype.kind)
    if array.dtype.kind == "O" and any(isinstance(value, str | bytes) for value in array.flat):
        kind = "text"
    if array.dtype.kind == "O" and any(isinstance(value, date) for value in array.flat):
        kind = "dates"
    if kind is not None:
        raise TypeError(
            f"{name} must be real numbers, got {kind} such as {describe_value(array.flat[0])}: "
            "convert or encode them first"
        )


def _check_range(name: str, values: NDArray[np.float64], limit: float) -> None:
    """Raise an error for values whose squares, or float32 versions, would overflow."""
    if (largest := np.abs(values).max()) > limit:
        raise ValueError(
            f"{name} must lie within ±{limit:g}, got {largest:g}: use another unit for it"
        )


def _check_sample_weight(
    sample_weight: ArrayLike | None, x: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Validate sample weights (at least two above 0, none below); return ones by default."""
    weight: NDArray[np.float64] = validation._check_sample_weight(
        sample_weight, x, dtype=np.float64
    )
    if weight.min() < 0:
        raise ValueError(f"sample_weight must be at least 0, got {weight.min():g}")
    _check_range("sample_weight", weight, _MAX_INPUT)
    if np.count_nonzero(weight) < 2:
        raise ValueError(
            "sample_weight must not be zero for all samples, or for all but one sample"
        )
    return weight
