"""Gradient-boosted trees of XGBoost, saved in its UBJSON format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.storage import atomic_write
from ranksim.models.estimators.base import Course, Estimator, TrainingContext
from ranksim.models.estimators.data import LOSSES, EstimatorData, EstimatorSettings, Floats

FILE = "xgboost.ubj"
_LARGEST = float(np.finfo(np.float32).max)
_OBJECTIVES = {
    "squared": "reg:squarederror",
    "absolute": "reg:absoluteerror",
    "huber": "reg:pseudohubererror",
    "gamma": "reg:gamma",
    "poisson": "count:poisson",
    "tweedie": "reg:tweedie",
    "quantile": "reg:quantileerror",
}


class XGBoostTrees(Estimator):
    """Trees of XGBoost; ``min_samples_leaf`` is the least sum of second derivatives in a leaf."""

    name = "xgboost"
    library = "xgboost"
    extra = "trees"
    losses = LOSSES
    options = ("learning_rate", "max_leaves", "min_samples_leaf", "l2")

    def __init__(self) -> None:
        super().__init__()
        self.booster: Any = None

    def _fit(
        self,
        train: EstimatorData,
        val: EstimatorData,
        settings: EstimatorSettings,
        context: TrainingContext,
    ) -> Course:
        xgboost = self.import_library()
        matrices: list[Any] = []
        for part in (train, val):
            matrix = xgboost.QuantileDMatrix(
                _to_float32(part.values),
                part.labels,
                weight=part.weights,
                feature_types=self._feature_types,
                enable_categorical=True,
                nthread=context.threads,
                ref=matrices[0] if matrices else None,
            )
            matrices.append(matrix)
        scores: list[float] = []

        def score(preds: NDArray[np.float32], data: Any) -> tuple[str, float]:
            scores.append(context.score(preds.astype(np.float64), val.labels, val.weights))
            return context.monitor, scores[-1]

        booster = xgboost.train(
            _make_parameters(settings, context),
            matrices[0],
            num_boost_round=settings.max_iterations,
            evals=[(matrices[1], "val")],
            custom_metric=score,
            callbacks=[xgboost.callback.EarlyStopping(rounds=settings.patience)],
            verbose_eval=False,
        )
        best = context.choose(scores)
        self.booster = booster[:best]
        return Course(tuple(scores), best)

    def _predict(self, values: Floats, threads: int) -> Floats:
        matrix = self.import_library().DMatrix(
            _to_float32(values),
            feature_types=self._feature_types,
            enable_categorical=True,
            nthread=threads,
        )
        self.booster.set_param({"nthread": threads})
        preds: NDArray[np.float32] = self.booster.predict(matrix)
        return preds.astype(np.float64)

    @property
    def _feature_types(self) -> list[str]:
        return ["c" if count else "q" for count in self.categories]

    def _write(self, folder: Path) -> Path:
        with atomic_write(folder / FILE) as temporary:
            temporary.write_bytes(self.booster.save_raw("ubj"))
        return folder / FILE

    def _read(self, path: Path, content: Mapping[str, Any]) -> None:
        self.booster = self.import_library().Booster(model_file=bytearray(path.read_bytes()))
        if self.booster.num_features() != len(self.categories):
            raise ValueError(f"it has {self.booster.num_features()} columns")


def _to_float32(values: Floats) -> NDArray[np.float32]:
    """Return values as float32, in which XGBoost computes; an infinity would be an error."""
    return values.clip(-_LARGEST, _LARGEST).astype(np.float32)


def _make_parameters(settings: EstimatorSettings, context: TrainingContext) -> dict[str, Any]:
    """Return the parameters of XGBoost, without those left to its defaults."""
    parameters = {
        "objective": _OBJECTIVES[settings.loss],
        "disable_default_eval_metric": True,
        "quantile_alpha": settings.quantile if settings.loss == "quantile" else None,
        "huber_slope": settings.huber_delta if settings.loss == "huber" else None,
        # without a limit, steps of this loss overshoot where errors are large
        "max_delta_step": settings.huber_delta if settings.loss == "huber" else None,
        "tweedie_variance_power": settings.tweedie_power if settings.loss == "tweedie" else None,
        "learning_rate": settings.learning_rate,
        "min_child_weight": settings.min_samples_leaf,
        "reg_lambda": settings.l2,
        "tree_method": "hist",
        "seed": context.seed,
        "nthread": context.threads,
        "verbosity": 0,
    }
    if settings.max_leaves is not None:
        parameters |= {
            "max_leaves": settings.max_leaves,
            "max_depth": 0,
            "grow_policy": "lossguide",
        }
    return {name: value for name, value in parameters.items() if value is not None}
