"""Deep imbalanced regression on tables, as a scikit-learn regressor."""

# ruff: noqa: N803 -- X is what scikit-learn calls it
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ranksim.exceptions import require_optional
from ranksim.integrations.sklearn.samples import WeightedSamples
from ranksim.integrations.sklearn.settings import Settings

base = require_optional("sklearn.base", "train")
preprocessing = require_optional("sklearn.preprocessing", "train")
utils = require_optional("sklearn.utils", "train")
validation = require_optional("sklearn.utils.validation", "train")

_LARGEST, _LARGEST_LABEL = 1e100, 1e38  # beyond, squares or float32 end
_ROWS = 8192  # that go through the network at a time
_FIELDS = {"learning_rate": "lr", "max_epochs": "max_validations"}  # other names of the recipe's
_RECIPE = (
    *("hidden", "layers", "dropout", "learning_rate", "batch_size", "max_epochs", "patience"),
    *("gamma", "lambda_", "ranksim_weight"),
)


class RankSimRegressor(base.RegressorMixin, base.BaseEstimator):  # type: ignore[misc, name-defined]
    """A multilayer perceptron for targets that are rare where they matter, by any method.

    Inputs are standardised, and the target is brought to mean about 0 and deviation 1, inside. The
    weights of the epoch with the least validation error are kept. The same data and
    ``random_state`` give the same network to the bit, in whatever order the rows come and however
    many jobs run.

    Args:
        method: a base, ``vanilla``, ``sqinv``, ``inv``, ``focal-r`` or ``rrt``, and what is added
            to it by ``+``: ``lds``, ``fds``, ``ranksim``.
        hidden, layers, dropout: of the perceptron.
        learning_rate, batch_size: of Adam.
        max_epochs: the end, if early stopping has not come before.
        early_stopping: hold out a share of the training samples, equal inputs together, and stop
            after ``patience`` epochs without a better error on it; else train ``max_epochs``, and
            the error that counts is the one on the training samples.
        validation_fraction: that share, of the distinct inputs.
        patience: epochs.
        gamma, lambda_, ranksim_weight: ``gamma``, ``lambda_``, ``weight`` of RankSim (see :class:`ranksim.RankSimLoss`).
        bins, bin_width: label bins for weights, LDS and FDS, by their number or their width in the
            unit of the target; None: what ``ranksim inspect`` suggests.
        settings: any other field of :class:`ranksim.training.recipe.TableRecipe`, for example
            ``{"weight_decay": 1e-4, "fds_sigma": 1.0}``.
        random_state: fixes all that is drawn.
        device: ``"cpu"``, or ``"auto"`` for an accelerator where there is one; the fitted network
            is on the CPU.
        verbose: whether to show a progress bar.

    Attributes:
        network_: encoder and head, float64.
        n_iter_: epochs trained; ``best_iter_`` is the one whose weights are kept.
        loss_curve_, validation_curve_: training loss and validation error of each epoch.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.

    Raises (when fitted):
        ValueError: data that scikit-learn would refuse, or arguments that contradict each other.
        UsageError: an unknown method, or a setting outside its range.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(200, 3))
        >>> y = np.exp(x[:, 0])
        >>> model = RankSimRegressor("inv+ranksim", max_epochs=5, random_state=0).fit(x, y)
        >>> model.predict(x).shape, model.features(x).shape, model.n_iter_
        ((200,), (200, 128), 5)
    """

    def __init__(
        self,
        method: str = "vanilla+ranksim",
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
        bins: int | None = None,
        bin_width: float | None = None,
        settings: Mapping[str, Any] | None = None,
        random_state: Any = None,
        device: str = "cpu",
        verbose: bool = False,
    ) -> None:
        self.method = method
        self.hidden = hidden
        self.layers = layers
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.gamma = gamma
        self.lambda_ = lambda_
        self.ranksim_weight = ranksim_weight
        self.bins = bins
        self.bin_width = bin_width
        self.settings = settings
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> RankSimRegressor:
        """Train.

        Args:
            X: ``(N, F)``, finite numbers.
            y: ``(N,)``, finite numbers in any unit.
            sample_weight: ``(N,)``, at least 0, multiplied with the weights of the method. Weight 0
                is no sample, and a whole weight w is, to the bit, w equal rows.
        """
        from ranksim.integrations.sklearn.engine import (
            train,  # which imports Lightning, for seconds
        )

        settings = self._settings()
        x, target = validation.validate_data(
            self, X, y, dtype=np.float64, y_numeric=True, ensure_min_samples=2
        )
        _check_range("X", x, _LARGEST)
        _check_range("y", target, _LARGEST_LABEL)
        samples = WeightedSamples.of(x, target.astype(np.float64), _weights(sample_weight, x))
        self._scaler = preprocessing.StandardScaler().fit(samples.x)
        trained = train(self._scaler.transform(samples.x).astype(np.float32), samples, settings)
        self.network_ = trained.network
        self._scale, self._offset = trained.scale, trained.offset
        curves = trained.outcome.curves
        self.loss_curve_, self.validation_curve_ = curves["train_loss"], curves["val"]
        self.n_iter_, self.best_iter_ = trained.outcome.epochs, trained.outcome.best_epoch
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """The target of each row of ``X`` ``(N, F)``, in its unit, ``(N,)``."""
        prediction = self._forward(X)[0]
        return prediction * self._scale + self._offset

    def features(self, X: ArrayLike) -> NDArray[np.float64]:
        """What the head sees of each row of ``X``, ``(N, hidden)``: the layer RankSim works on."""
        return self._forward(X)[1]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")  # lambda_ looks like an attribute that fit has set

    def _forward(self, X: ArrayLike) -> tuple[NDArray[np.float64], ...]:
        validation.check_is_fitted(self)
        x = validation.validate_data(self, X, dtype=np.float64, reset=False)
        _check_range("X", x, _LARGEST)
        rows = torch.split(torch.from_numpy(self._scaler.transform(x)), _ROWS)
        with torch.no_grad():
            parts = zip(*map(self.network_, rows), strict=True)
            return tuple(torch.cat(part).numpy() for part in parts)

    def _settings(self) -> Settings:
        if self.bins is not None and self.bin_width is not None:
            raise ValueError(
                f"bins and bin_width contradict each other, got {self.bins!r} and "
                f"{self.bin_width!r}: give one of them"
            )
        if not 0 < self.validation_fraction < 1:
            raise ValueError(
                f"validation_fraction must be in (0, 1), got {self.validation_fraction!r}"
            )
        own = {_FIELDS.get(name, name): getattr(self, name) for name in _RECIPE}
        if not self.early_stopping:
            own["patience"] = 0
        more = dict(self.settings or {})
        if twice := sorted(own.keys() & more.keys()):
            raise ValueError(f"settings must not hold {', '.join(twice)}: give the argument")
        seed = utils.check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        return Settings(
            method=self.method,
            changes=own | more,
            bins=self.bins,
            bin_width=self.bin_width,
            held_out=self.validation_fraction if self.early_stopping else None,
            seed=int(seed),
            device=self.device,
            progress_bar=bool(self.verbose),
        )


def _check_range(name: str, values: NDArray[np.float64], largest: float) -> None:
    """Refuse numbers whose squares, or which in float32, would be infinite."""
    if (found := np.abs(values).max()) > largest:
        raise ValueError(
            f"{name} must lie within ±{largest:g}, got {found:g}: give it in another unit"
        )


def _weights(given: ArrayLike | None, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of at least 0, one of them above."""
    weight: NDArray[np.float64] = validation._check_sample_weight(given, x, dtype=np.float64)
    if weight.min() < 0:
        raise ValueError(f"sample_weight must be at least 0, got {weight.min():g}")
    _check_range("sample_weight", weight, _LARGEST)
    if np.count_nonzero(weight) < 2:
        raise ValueError(
            "sample_weight must not be zero for all samples, or for all but one sample"
        )
    return weight
