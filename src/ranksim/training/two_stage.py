"""Second stage of RRT: retrain the head on the frozen encoder with sample weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from ranksim.data.batch import BatchDataset
from ranksim.data.features import VectorDataset
from ranksim.models import FrozenEncoder, PrecomputedFeatures, Regressor
from ranksim.training.data_loader import make_loader
from ranksim.training.fit import TrainingOptions, TrainingResult, TrainingTask, fit
from ranksim.training.method import Technique
from ranksim.training.recipe import Recipe
from ranksim.training.resume import read_training_checkpoint
from ranksim.training.trainer_config import (
    make_eval_trainer,
    silence_lightning,
    translate_keyboard_interrupt,
)

_FEATURE_BATCH_SIZE = 256


def retrain_head(
    task: TrainingTask,
    recipe: Recipe,
    technique: Technique,
    folder: Path,
    checkpoint: Path,
    options: TrainingOptions,
) -> TrainingResult:
    """Train a new head over the frozen encoder in the best ``checkpoint`` of the first stage.

    ``technique`` is that of both stages. The encoder is in evaluation mode. Without augmentation,
    the features of a sample are constant and computed only once, and ``folder`` receives
    checkpoints of the head alone. FDS keeps the statistics of the first stage. With
    ``rrt_paper_compat``, BatchNorm and dropout are in training mode and FDS is updated.
    """
    state = read_training_checkpoint(checkpoint)["state_dict"]
    paper_compat = recipe.rrt_paper_compat
    if paper_compat or task.augment is not None:

        def build_model() -> Regressor:
            return Regressor(FrozenEncoder(_load_encoder(task, state), paper_compat=paper_compat))

        stage_two = dataclasses.replace(task, build_model=build_model)
    else:
        silence_lightning()
        model = Regressor(_load_encoder(task, state))
        trainer = make_eval_trainer(options.trainer_config)
        stage_two = dataclasses.replace(
            task,
            train=_compute_features(trainer, model, task.train),
            val=_compute_features(trainer, model, task.val),
            test=_compute_features(trainer, model, task.test),
            build_model=lambda: Regressor(PrecomputedFeatures(model.width)),
        )
    statistics = _select_prefix(state, "fds.") or None
    arguments = stage_two, recipe, technique.stage_two, folder, options
    return fit(*arguments, fds_state=statistics, update_fds=paper_compat)


def _load_encoder(task: TrainingTask, state: Mapping[str, Tensor]) -> torch.nn.Module:
    encoder = task.build_model().encoder
    encoder.load_state_dict(_select_prefix(state, "model.encoder."))
    return encoder


def _select_prefix(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


class FeatureExtractor(L.LightningModule):
    """The encoder of a model, for Lightning's ``Trainer.predict``."""

    def __init__(self, model: Regressor) -> None:
        super().__init__()
        self.model = model

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        features: Tensor = self.model.encoder(*batch["inputs"])
        return features.float().cpu()


def _compute_features(trainer: L.Trainer, model: Regressor, samples: BatchDataset) -> VectorDataset:
    """Replace the inputs of samples by the features of the encoder."""
    order = samples.length_order()
    loader = make_loader(samples, _FEATURE_BATCH_SIZE, order.tolist())
    with translate_keyboard_interrupt():
        batches = trainer.predict(FeatureExtractor(model), loader)
    assert batches is not None
    sorted_features = torch.cat(batches)  # type: ignore[arg-type]
    return VectorDataset(sorted_features[order.argsort()], samples.labels)
