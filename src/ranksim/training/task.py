"""What a training gets and returns: data and network, options, limits, and the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.arrays import copy_to_numpy
from ranksim.data.batch import BatchDataset
from ranksim.data.target_transform import TargetTransform
from ranksim.exceptions import RankSimError
from ranksim.imbalance import LabelBins
from ranksim.metrics.distributions import Distribution
from ranksim.metrics.scores import Scores
from ranksim.metrics.shot_regions import ShotRegions
from ranksim.models import Regressor
from ranksim.training.divergence import SampleIds
from ranksim.training.feature_readers import FeatureReader
from ranksim.training.limits import TrainingLimits
from ranksim.training.module import Augment
from ranksim.training.trainer_config import TrainerConfig, ValidationCallback


@dataclass(frozen=True)
class TrainingTask:
    """Data and network of a training, the same for every method and seed."""

    train: BatchDataset
    val: BatchDataset
    test: BatchDataset
    build_model: Callable[[], Regressor]  # initialized from torch's global generator
    bins: LabelBins  # of sample weights, LDS and FDS
    regions: ShotRegions  # of the scores
    gmean_epsilon: float = 0.0  # see ranksim.metrics.regression_scores
    augment: Augment | None = None  # transforms training batches
    initial_bias: float = 0.0  # initial prediction of the head, in the unit of the labels
    sample_weight: np.ndarray | None = None  # factors on the training weights (N,), float64
    sample_ids: SampleIds | None = None  # the user's numbers of the training samples
    reader: FeatureReader | None = None  # reads samples for estimators
    transform: TargetTransform | None = None  # of the labels, in which a model is trained
    calibration: BatchDataset | None = None  # calibrate intervals; chosen and trained on by nothing

    @property
    def targets(self) -> NDArray[np.float64]:
        """The training labels ``(N,)``, transformed if there is a transform."""
        labels = copy_to_numpy(self.train.labels)
        return labels if self.transform is None else self.transform(labels)


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Options of a training run."""

    seed: int  # determines initial weights, sample order, dropout and RankSim's sampling
    trainer_config: TrainerConfig = field(default_factory=TrainerConfig)
    limits: TrainingLimits = field(default_factory=TrainingLimits)
    progress_bar: bool = False
    on_validation: ValidationCallback | None = None  # called with epoch and validation score
    on_step: Callable[[], None] | None = None  # called after each optimizer step, in one process
    callbacks: Sequence[Any] = ()  # of Lightning, whose Trainer then trains
    write_logs: bool = True  # CSV and TensorBoard
    keep_last: bool = False  # the last weights are the result, whatever their validation score
    choices: Sequence[Mapping[str, float]] = ()  # of each estimator, see Estimator.fit


@dataclass(frozen=True)
class TrainingResult:
    """Scores, predictions and cost of a training."""

    val: dict[str, Scores]  # by region
    test: dict[str, Scores]
    sample_index: np.ndarray  # of each prediction in the test split, int64 (N,)
    preds: np.ndarray  # on the test split, in the unit of the labels, (N,)
    features: np.ndarray  # of the samples of select_display_samples, (P, D)
    curves: dict[str, list[float]]  # see Progress
    epochs: int
    best_epoch: int
    steps: int
    seconds: float
    val_preds: np.ndarray | None = None  # on the validation split, (N,); None of a file
    calibration_preds: np.ndarray | None = None  # on the calibration samples, (N,), if any
    calibration_distribution: Distribution | None = None  # of these predictions
    distribution: Distribution | None = None  # of the predictions on the test split
    val_distribution: Distribution | None = None


class FollowedError(RankSimError):
    """Raised when a follower node has finished its part; the first node has the results."""
