"""Training of the user's estimators, whose fitted objects stay in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.arrays import copy_to_numpy
from ranksim.data.batch import BatchDataset
from ranksim.data.target_transform import TargetTransform
from ranksim.exceptions import UsageError
from ranksim.training.custom_estimator import CustomEstimator
from ranksim.training.factory import fit_weights
from ranksim.training.feature_readers import FeatureReader, TableReader
from ranksim.training.method import Technique
from ranksim.training.recipe import EstimatorRecipe
from ranksim.training.task import TrainingTask

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FittedCustom:
    """Fitted estimators of the user whose mean is the prediction.

    Args:
        custom: the estimator before it was fitted.
        models: one, or the plain and the weighted one.
        transform: of the labels.
    """

    custom: CustomEstimator
    models: tuple[Any, ...]
    transform: TargetTransform | None = None

    def predict(self, reader: FeatureReader, samples: BatchDataset) -> Floats:
        """Predict the labels of samples ``(N,)``, in the unit of the label."""
        inputs = _read_inputs(self.custom, reader, samples)
        preds = [self.custom.predict(model, inputs) for model in self.models]
        if self.transform is not None:
            preds = [self.transform.inverse(each) for each in preds]
        return np.asarray(np.stack(preds).mean(axis=0))


def fit_custom(
    task: TrainingTask, recipe: EstimatorRecipe, technique: Technique, seed: int
) -> FittedCustom:
    """Fit an estimator of the user to the training samples, or a plain and a weighted one.

    Weights have mean one, and samples of weight zero are left out.
    """
    custom = technique.custom
    assert custom is not None
    if task.reader is None:
        raise UsageError(f"{custom.name} cannot read this kind of data: use a network.")
    inputs = _read_inputs(custom, task.reader, task.train)
    labels = copy_to_numpy(task.train.labels)
    targets = labels if task.transform is None else task.transform(labels)
    models = []
    for is_weighted in (False, True) if technique.average else (technique.weighting != "none",):
        weights = task.sample_weight
        if is_weighted:
            density = fit_weights(recipe, technique, task.bins, labels)(labels)
            weights = density if weights is None else density * weights
        models.append(_fit(custom, inputs, targets, weights, seed))
    return FittedCustom(custom, tuple(models), task.transform)


def _fit(
    custom: CustomEstimator, inputs: Any, targets: Floats, weights: Floats | None, seed: int
) -> Any:
    if weights is None:
        return custom.fit(inputs, targets, None, seed)
    custom.check_weights()
    used = np.flatnonzero(weights)
    weights = weights[used] / weights[used].mean()
    selected = inputs.iloc[used] if hasattr(inputs, "iloc") else inputs[used]
    return custom.fit(selected, targets[used], weights, seed)


def _read_inputs(custom: CustomEstimator, reader: FeatureReader, samples: BatchDataset) -> Any:
    """Return the numbers that networks read, or columns by name if the estimator selects them."""
    if isinstance(reader, TableReader) and custom.reads_names:
        return reader.read_frame(samples)
    return reader.read_vectors(samples)
