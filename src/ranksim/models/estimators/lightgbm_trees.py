"""Gradient-boosted trees of LightGBM, saved in its text format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ranksim._utils.storage import atomic_write
from ranksim.models.estimators.base import ITERATIONS, Course, Estimator, TrainingContext
from ranksim.models.estimators.data import LOSSES, EstimatorData, EstimatorSettings, Floats

FILE = "lightgbm.txt"
_SAMPLED = 200_000  # training samples above which LightGBM draws those that define the bins
_OBJECTIVES = {"squared": "regression", "absolute": "regression_l1"}


class LightGBMTrees(Estimator):
    """Trees of LightGBM."""

    name = "lightgbm"
    library = "lightgbm"
    extra = "trees"
    losses = LOSSES
    options = ("learning_rate", "max_leaves", "min_samples_leaf", "l2")

    def __init__(self) -> None:
        super().__init__()
        self.booster: Any = None

    @classmethod
    def depends_on_seed(cls, samples: int) -> bool:
        return samples > _SAMPLED

    def _fit(
        self,
        train: EstimatorData,
        val: EstimatorData,
        settings: EstimatorSettings,
        context: TrainingContext,
    ) -> Course:
        lightgbm = self.import_library()
        parameters = _make_parameters(settings, context)
        columns = [k for k, count in enumerate(self.categories) if count]
        dataset = lightgbm.Dataset(
            train.values,
            train.labels,
            weight=train.weights,
            categorical_feature=columns,
            params=parameters,
        )
        validation = dataset.create_valid(val.values, val.labels, weight=val.weights)
        scores: list[float] = []

        def score(preds: Floats, data: Any) -> tuple[str, float, bool]:
            scores.append(context.score(preds, val.labels, val.weights))
            return context.monitor, scores[-1], False

        callbacks = [lightgbm.early_stopping(settings.patience, verbose=False)]
        if ITERATIONS in context.choices:
            callbacks = []  # it would also drop the trees after the best score
        booster = lightgbm.train(
            parameters,
            dataset,
            num_boost_round=settings.max_iterations,
            valid_sets=[validation],
            feval=score,
            callbacks=callbacks,
        )
        best = context.choose(scores)
        self.booster = lightgbm.Booster(model_str=booster.model_to_string(num_iteration=best))
        return Course(tuple(scores), best)

    def _predict(self, values: Floats, threads: int) -> Floats:
        preds: Floats = self.booster.predict(values, num_threads=threads)
        return preds

    def _write(self, folder: Path) -> Path:
        with atomic_write(folder / FILE) as temporary:
            temporary.write_text(self.booster.model_to_string(), encoding="utf-8")
        return folder / FILE

    def _read(self, path: Path, content: Mapping[str, Any]) -> None:
        text = path.read_text(encoding="utf-8")
        self.booster = self.import_library().Booster(model_str=text)
        if self.booster.num_feature() != len(self.categories):
            raise ValueError(f"it has {self.booster.num_feature()} columns")


def _make_parameters(settings: EstimatorSettings, context: TrainingContext) -> dict[str, Any]:
    """Return the parameters of LightGBM, without those left to its defaults."""
    alpha = {"huber": settings.huber_delta, "quantile": settings.quantile}
    parameters = {
        "objective": _OBJECTIVES.get(settings.loss, settings.loss),
        "metric": "None",
        "alpha": alpha.get(settings.loss),
        "tweedie_variance_power": settings.tweedie_power if settings.loss == "tweedie" else None,
        "learning_rate": settings.learning_rate,
        "num_leaves": settings.max_leaves,
        "min_data_in_leaf": settings.min_samples_leaf,
        "lambda_l2": settings.l2,
        "seed": context.seed,
        "num_threads": context.threads,
        "deterministic": True,
        "force_col_wise": True,
        "verbosity": -1,
    }
    return {name: value for name, value in parameters.items() if value is not None}
