"""Gradient-boosted symmetric trees of CatBoost, saved in its binary format."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ranksim._utils.storage import atomic_write
from ranksim.exceptions import DataError
from ranksim.models.estimators.base import (
    ITERATIONS,
    Course,
    Estimator,
    Score,
    TrainingContext,
)
from ranksim.models.estimators.data import EstimatorData, EstimatorSettings, Floats

FILE = "catboost.cbm"
_LARGEST = float(np.finfo(np.float32).max)
_LOGARITHMIC = ("poisson", "tweedie")
_METRICS = {"mse": "RMSE", "mae": "MAE"}


class CatBoostTrees(Estimator):
    """Trees of CatBoost; ``max_leaves`` limits their depth, as a symmetric tree has 2^depth leaves.

    Its random permutations and scores make the model depend on the seed.
    """

    name = "catboost"
    library = "catboost"
    extra = "trees"
    losses = ("squared", "absolute", "huber", "poisson", "tweedie", "quantile")
    missing_losses = "CatBoost does not have it"
    options = ("learning_rate", "max_leaves", "l2")

    def __init__(self) -> None:
        super().__init__()
        self.model: Any = None

    @classmethod
    def depends_on_seed(cls, samples: int) -> bool:
        return True

    def _fit(
        self,
        train: EstimatorData,
        val: EstimatorData,
        settings: EstimatorSettings,
        context: TrainingContext,
    ) -> Course:
        catboost = self.import_library()
        model = catboost.CatBoost(_make_parameters(settings, context))
        with warnings.catch_warnings():  # it says that numba could compile the metric
            warnings.filterwarnings("ignore", ".*numba.*")
            warnings.filterwarnings("ignore", "Can't optimi[zs]e method")
            try:
                model.fit(
                    self._make_pool(train.values, train.labels, train.weights),
                    eval_set=self._make_pool(val.values, val.labels, val.weights),
                )
            except catboost.CatBoostError as error:
                if "constant or ignored" not in str(error):
                    raise
                raise DataError(
                    "catboost needs an input column with at least two values: add one."
                ) from error
        metrics = model.get_evals_result()["validation"]
        scores = np.array(metrics[_metric_name(settings, context)])
        if context.monitor == "mse" and not _is_custom(settings, context):
            scores **= 2  # of RMSE
        self.model = model
        return Course(tuple(scores.tolist()), int(model.tree_count_))

    def _make_pool(
        self, values: Floats, labels: Floats | None = None, weights: Floats | None = None
    ) -> Any:
        """Return the samples as CatBoost reads them: numbers as float32, categories as texts."""
        catboost = self.import_library()
        is_category = np.array(self.categories) > 0
        numbers = values[:, ~is_category].clip(-_LARGEST, _LARGEST).astype(np.float32)
        names = np.array([*map(str, range(max(self.categories))), "missing"], dtype=bytes)
        codes = np.nan_to_num(values[:, is_category], nan=-1.0).astype(np.int64)
        features = catboost.FeaturesData(
            num_feature_data=numbers if numbers.shape[1] else None,
            cat_feature_data=names.astype(object)[codes] if codes.shape[1] else None,
        )
        return catboost.Pool(features, label=labels, weight=weights)

    def _predict(self, values: Floats, threads: int) -> Floats:
        kind = "Exponent" if self.loss in _LOGARITHMIC else "RawFormulaVal"
        pool = self._make_pool(values)
        preds: Floats = self.model.predict(pool, prediction_type=kind, thread_count=threads)
        return preds

    def _write(self, folder: Path) -> Path:
        with atomic_write(folder / FILE) as temporary:
            self.model.save_model(str(temporary), format="cbm")
        return folder / FILE

    def _read(self, path: Path, content: Mapping[str, Any]) -> None:
        self.model = self.import_library().CatBoost()
        self.model.load_model(blob=path.read_bytes())
        count = sum(count > 0 for count in self.categories)
        columns = len(self.model.feature_names_), len(self.model.get_cat_feature_indices())
        if columns != (len(self.categories), count):
            raise ValueError(f"it has {columns[0]} columns, {columns[1]} of categories")


class CustomScore:
    """The validation score of a loss with a logarithm, or in another unit than the labels'.

    CatBoost would compute its RMSE and MAE on the logarithm of predictions.
    """

    def __init__(self, score: Score, *, is_logarithmic: bool) -> None:
        self.score, self.is_logarithmic = score, is_logarithmic

    def get_final_error(self, error: float, weight: float) -> float:
        return error

    def is_max_optimal(self) -> bool:
        return False

    def evaluate(self, approxes: Any, target: Any, weight: Any) -> tuple[float, float]:
        raw, labels, weights = (np.asarray(each) for each in (approxes[0], target, weight))
        preds = np.exp(raw) if self.is_logarithmic else raw
        return self.score(preds, labels, weights), 1.0


def _is_custom(settings: EstimatorSettings, context: TrainingContext) -> bool:
    return context.is_custom or settings.loss in _LOGARITHMIC


def _metric_name(settings: EstimatorSettings, context: TrainingContext) -> str:
    if _is_custom(settings, context):
        return CustomScore.__name__
    return _METRICS.get(context.monitor, f"Quantile:alpha={settings.quantile}")


def _make_parameters(settings: EstimatorSettings, context: TrainingContext) -> dict[str, Any]:
    """Return the parameters of CatBoost, without those left to its defaults."""
    losses = {
        "squared": "RMSE",
        "absolute": "MAE",
        "huber": f"Huber:delta={settings.huber_delta}",
        "poisson": "Poisson",
        "tweedie": f"Tweedie:variance_power={settings.tweedie_power}",
        "quantile": f"Quantile:alpha={settings.quantile}",
    }
    metric: Any = _metric_name(settings, context)
    if _is_custom(settings, context):
        metric = CustomScore(context.score, is_logarithmic=settings.loss in _LOGARITHMIC)
    leaves = settings.max_leaves
    parameters = {
        "loss_function": losses[settings.loss],
        "eval_metric": metric,
        "iterations": settings.max_iterations,
        "learning_rate": settings.learning_rate,
        "depth": None if leaves is None else max(leaves.bit_length() - 1, 1),
        "l2_leaf_reg": settings.l2,
        "od_type": "Iter",
        "od_wait": settings.patience,
        "use_best_model": ITERATIONS not in context.choices,
        "allow_const_label": True,
        "allow_writing_files": False,
        "logging_level": "Silent",
        "random_seed": context.seed,
        "thread_count": context.threads,
    }
    return {name: value for name, value in parameters.items() if value is not None}
