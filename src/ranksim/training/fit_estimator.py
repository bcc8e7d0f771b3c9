"""Training of estimators, as rows beside networks, and their files."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from ranksim._utils.arrays import copy_to_numpy
from ranksim._utils.storage import read_verified_json, with_digest, write_json
from ranksim.data.batch import BatchDataset
from ranksim.data.target_transform import TargetTransform
from ranksim.exceptions import DataError, UsageError
from ranksim.metrics.scores import Scores
from ranksim.models.estimators import (
    Estimator,
    EstimatorData,
    EstimatorFit,
    EstimatorSettings,
    estimator_type,
    load_estimator,
)
from ranksim.models.estimators.base import LabelUnit
from ranksim.models.estimators.data import LEAST_LABEL
from ranksim.training.data_loader import select_display_samples
from ranksim.training.factory import fit_weights
from ranksim.training.feature_readers import FeatureReader
from ranksim.training.fit_custom import FittedCustom, fit_custom
from ranksim.training.method import Technique
from ranksim.training.method_rules import EXTERNAL, LAST_VALUE
from ranksim.training.recipe import EstimatorRecipe, Recipe
from ranksim.training.task import TrainingOptions, TrainingResult, TrainingTask

ESTIMATOR = "estimator"  # folder of a run and of a model
_MODEL = "model.json"
_LOSSES = {"mse": "squared", "l1": "absolute"}

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FittedEstimator:
    """Fitted estimators whose mean is the prediction, and what surrounds them.

    Args:
        name: as in a method, such as ``trees``.
        models: one, or the plain and the weighted one; none for ``last-value``.
        center, spread: standardization of vectors ``(F,)``; None for columns.
        transform: of the labels.
        choices: what the validation score chose for each estimator.
    """

    name: str
    models: tuple[Estimator, ...] = ()
    center: Floats | None = None
    spread: Floats | None = None
    transform: TargetTransform | None = None
    choices: tuple[Mapping[str, float], ...] = ()

    def predict(self, reader: FeatureReader, samples: BatchDataset) -> Floats:
        """Predict the labels of samples ``(N,)``, in the unit of the label."""
        if self.name == LAST_VALUE:
            return reader.read_last(samples)
        values = _read_values(reader, samples, self.models[0].reads)
        width = len(self.models[0].categories)
        if values.shape[1] != width:
            raise DataError(
                f"This model was fitted to {width} features, but this version of ranksim reads "
                f"{values.shape[1]}: fit it again."
            )
        values = self._standardize(values)
        preds = np.stack([self._invert(model.predict(values)) for model in self.models])
        return np.asarray(preds.mean(axis=0))

    def save(self, folder: Path) -> None:
        """Write all files to a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "format": 1,
            "name": self.name,
            "models": len(self.models),
            "center": None if self.center is None else self.center.tolist(),
            "spread": None if self.spread is None else self.spread.tolist(),
            "transform": None if self.transform is None else self.transform.to_dict(),
            "choices": [dict(each) for each in self.choices],
        }
        for number, model in enumerate(self.models):
            model.save(folder / str(number))
        write_json(folder / _MODEL, with_digest(content))

    @classmethod
    def load(cls, folder: Path) -> FittedEstimator:
        """Load the files of :meth:`save`.

        Raises:
            DataError: a file is missing or damaged.
        """
        path = folder / _MODEL
        try:
            content: Mapping[str, Any] = read_verified_json(path)
            transform = content["transform"]
            arrays = {
                name: None if content[name] is None else np.array(content[name], dtype=np.float64)
                for name in ("center", "spread")
            }
            return cls(
                str(content["name"]),
                tuple(load_estimator(folder / str(k)) for k in range(content["models"])),
                **arrays,
                transform=None if transform is None else TargetTransform.from_dict(transform),
                choices=tuple(dict(each) for each in content.get("choices", ())),
            )
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise DataError(f"{path} is damaged: copy the model again, or fit it again.") from error

    def _standardize(self, values: Floats) -> Floats:
        if self.center is None or self.spread is None:
            return values
        return (values - self.center) / self.spread

    def _invert(self, preds: Floats) -> Floats:
        return preds if self.transform is None else self.transform.inverse(preds)


def check_estimator(technique: Technique, recipe: EstimatorRecipe) -> None:
    """Raise an error if the estimator is not installed or does not support the recipe."""
    if technique.estimator == LAST_VALUE:
        return
    if technique.custom is not None:
        if technique.weighting != "none":
            technique.custom.check_weights()
        return
    kind = estimator_type(technique.estimator)
    kind.require_library()
    settings = _make_settings(recipe)
    if settings.loss not in kind.losses:
        names = {loss: name for name, loss in _LOSSES.items()}  # of the recipe
        choices = ", ".join(names.get(loss, loss) for loss in kind.losses)
        reason = f" ({kind.missing_losses})" if kind.missing_losses else ""
        raise UsageError(
            f"{kind.name} has no loss {recipe.loss}{reason}: set loss to one of {choices}."
        )
    kind.check_settings(settings)
    if technique.transform and settings.loss in LEAST_LABEL:
        raise UsageError(
            f"the loss {settings.loss} needs labels {LEAST_LABEL[settings.loss]}, and those "
            f"transformed by {technique.transform} lie on both sides of 0: leave out the "
            "transform, or set loss to mse."
        )


def fitted_loss(technique: Technique, recipe: Recipe) -> str:
    """Return the loss that an estimator fits to labels, empty if it fits none."""
    constant = technique.estimator in ("", LAST_VALUE, EXTERNAL) or technique.custom is not None
    if constant or estimator_type(technique.estimator).reads == "labels":
        return ""
    return recipe.loss if isinstance(recipe, EstimatorRecipe) else ""


def fit_estimator(
    task: TrainingTask,
    recipe: EstimatorRecipe,
    technique: Technique,
    folder: Path,
    options: TrainingOptions,
) -> TrainingResult:
    """Fit an estimator, write it to ``folder``, and score it on validation and test samples.

    Training stops by the validation score of the recipe, weighted if the training samples are, in
    the unit of the label also with a transform. With ``options.choices`` of an earlier fit,
    nothing is chosen anew.
    """
    start = time.perf_counter()
    check_estimator(technique, recipe)
    reader = task.reader
    if reader is None:
        raise UsageError(f"{technique.estimator} cannot read this kind of data: use a network.")
    fits: list[EstimatorFit] = []
    fitted: FittedEstimator | FittedCustom
    if technique.custom is not None:  # it would be saved by pickle, so it is not saved
        fitted = fit_custom(task, recipe, technique, options.seed)
    elif technique.estimator == LAST_VALUE:
        reader.read_last(task.train)
        fitted = FittedEstimator(LAST_VALUE)
    else:
        fitted, fits = _fit_models(task, reader, recipe, technique, options)
    if isinstance(fitted, FittedEstimator):
        fitted.save(folder / ESTIMATOR)
    preds = fitted.predict(reader, task.test)
    val_preds = fitted.predict(reader, task.val)
    val = score_predictions(task, task.val, val_preds)
    rows = select_display_samples(task.bins, copy_to_numpy(task.test.labels)).rows
    last = fits[-1] if fits else None
    score = val["all"][cast(Any, recipe.monitor)]
    if options.on_validation is not None and score is not None:
        options.on_validation(1, score)
    return TrainingResult(
        val=val,
        test=score_predictions(task, task.test, preds),
        sample_index=np.arange(len(preds)),
        preds=preds,
        features=np.empty((len(rows), 0)),
        curves={},
        epochs=max(len(last.scores), 1) if last else 1,
        best_epoch=max(last.best_iteration, 1) if last else 1,
        steps=sum(len(each.scores) for each in fits),
        seconds=time.perf_counter() - start,
        val_preds=val_preds,
        calibration_preds=(
            None if task.calibration is None else fitted.predict(reader, task.calibration)
        ),
    )


def score_external(task: TrainingTask, preds: Floats) -> TrainingResult:
    """Score predictions of the test samples ``(N,)`` that were made elsewhere."""
    empty = task.val.labels[:0]
    rows = select_display_samples(task.bins, copy_to_numpy(task.test.labels)).rows
    return TrainingResult(
        val=task.regions.scores(empty, empty),
        test=score_predictions(task, task.test, preds),
        sample_index=np.arange(len(preds)),
        preds=preds,
        features=np.empty((len(rows), 0)),
        curves={},
        epochs=1,
        best_epoch=1,
        steps=0,
        seconds=0.0,
    )


def score_predictions(
    task: TrainingTask, samples: BatchDataset, preds: Floats
) -> dict[str, Scores]:
    """Return the scores of predictions ``(N,)`` by region."""
    epsilon = task.gmean_epsilon
    return task.regions.scores(torch.from_numpy(preds), samples.labels, gmean_epsilon=epsilon)


def _fit_models(
    task: TrainingTask,
    reader: FeatureReader,
    recipe: EstimatorRecipe,
    technique: Technique,
    options: TrainingOptions,
) -> tuple[FittedEstimator, list[EstimatorFit]]:
    """Fit one estimator, or a plain and a weighted one."""
    kind = estimator_type(technique.estimator)
    values = [_read_values(reader, part, kind.reads) for part in (task.train, task.val)]
    fitted = FittedEstimator(technique.estimator, transform=task.transform)
    if kind.reads == "vectors":
        spread = values[0].std(axis=0)
        spread[spread == 0] = 1.0
        fitted = replace(fitted, center=values[0].mean(axis=0), spread=spread)
        values = [fitted._standardize(part) for part in values]
    categories = reader.categories if kind.reads == "columns" else None
    labels = [copy_to_numpy(part.labels) for part in (task.train, task.val)]
    targets = labels if task.transform is None else [task.transform(each) for each in labels]
    settings, monitor = _make_settings(recipe), recipe.monitor
    unit = None if task.transform is None else LabelUnit(task.transform.inverse, labels[1])
    models: list[Estimator] = []
    fits: list[EstimatorFit] = []
    for is_weighted in (False, True) if technique.average else (technique.weighting != "none",):
        weights: list[Floats | None] = [task.sample_weight, None]
        if is_weighted:
            density = fit_weights(recipe, technique, task.bins, labels[0])
            user = 1.0 if task.sample_weight is None else task.sample_weight
            weights = [density(labels[0]) * user, density(labels[1])]
        train, val = (
            EstimatorData(part, categories or (0,) * part.shape[1], target, weight)
            for part, target, weight in zip(values, targets, weights, strict=True)
        )
        model = kind()
        chosen = options.choices[len(fits)] if options.choices else None
        fit = model.fit(
            *(train, val, settings),
            seed=options.seed,
            monitor=monitor,
            unit=unit,
            choices=chosen,
        )
        fits.append(fit)
        models.append(model)
    choices = tuple(fit.all_choices for fit in fits)
    return replace(fitted, models=tuple(models), choices=choices), fits


def _read_values(reader: FeatureReader, samples: BatchDataset, reads: str) -> Floats:
    """Read what an estimator reads of samples, unknown categories as missing."""
    if reads == "labels":
        return np.zeros((len(samples), 0))
    if reads == "vectors":
        return reader.read_vectors(samples)
    values = reader.read_columns(samples)
    for column, count in enumerate(reader.categories or ()):
        if count:
            values[values[:, column] < 0, column] = np.nan
    return values


def _make_settings(recipe: EstimatorRecipe) -> EstimatorSettings:
    """Return the settings of a recipe under the names of the estimators."""
    return EstimatorSettings(
        loss=_LOSSES.get(recipe.loss, recipe.loss),
        learning_rate=recipe.learning_rate,
        max_leaves=recipe.max_leaves,
        min_samples_leaf=recipe.min_samples_leaf,
        l2=recipe.l2,
        max_iterations=recipe.max_iterations,
        patience=recipe.patience,
        quantile=recipe.quantile,
        huber_delta=recipe.huber_delta,
        tweedie_power=recipe.tweedie_power,
    )
