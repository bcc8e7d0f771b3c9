"""RRT: a trained encoder stays as it is, and the head is trained again with weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from ranksim.data.batch import Samples
from ranksim.data.features import VectorDataset
from ranksim.models import FrozenEncoder, PrecomputedFeatures, Regressor
from ranksim.training.checkpoints import read_checkpoint
from ranksim.training.data_loader import make_loader
from ranksim.training.fit import TrainingResult, TrainingTask, fit
from ranksim.training.method import Technique
from ranksim.training.recipe import Recipe
from ranksim.training.trainer_config import (
    TrainerConfig,
    make_eval_trainer,
    silence_lightning,
    translate_keyboard_interrupt,
)

_ENCODER, _FDS = "model.encoder.", "fds."
_FEATURES = 256  # samples in a batch of which features alone are made


def retrain_head(
    task: TrainingTask,
    recipe: Recipe,
    technique: Technique,
    folder: Path,
    first: Path,
    *,
    hardware: TrainerConfig | None = None,
    **settings: Any,
) -> TrainingResult:
    """The second stage of RRT: a new head over the frozen encoder of the first.

    The encoder is in evaluation mode, so without augmentation the features of a sample never
    change: they are made once, and the head is trained on them. FDS keeps the statistics of the
    first stage. With ``rrt_paper_compat``, BatchNorm, dropout and the statistics of FDS go on moving.

    Args:
        task: data and network, as stage one had them.
        recipe: the settings of this stage.
        technique: of the whole method.
        folder: takes the checkpoints of this stage, of the head alone where features are made once.
        first: the best checkpoint of stage one.
        hardware: for Lightning's Trainer.
        settings: the rest of what ``fit`` takes.
    """
    hardware = hardware or TrainerConfig()
    state = read_checkpoint(first)["state_dict"]
    fds_state = _part(state, _FDS)
    if recipe.rrt_paper_compat or task.augment is not None:

        def frozen() -> Regressor:
            return Regressor(
                FrozenEncoder(_encoder(task, state), published=recipe.rrt_paper_compat)
            )

        kept = dataclasses.replace(task, build=frozen)
        settings |= {"fds_state": fds_state or None, "fds_moves": recipe.rrt_paper_compat}
        return fit(kept, recipe, technique.stage_two, folder, hardware=hardware, **settings)
    silence_lightning()
    model = Regressor(_encoder(task, state))
    judge = make_eval_trainer(hardware)
    task = dataclasses.replace(
        task,
        train=_features(judge, model, task.train),
        val=_features(judge, model, task.val),
        test=_features(judge, model, task.test),
        build=lambda: Regressor(PrecomputedFeatures(model.width)),
    )
    return fit(
        task,
        recipe,
        technique.stage_two,
        folder,
        hardware=hardware,
        fds_state=fds_state or None,
        fds_moves=False,
        **settings,
    )


def _encoder(task: TrainingTask, state: Mapping[str, Tensor]) -> torch.nn.Module:
    encoder = task.build().encoder
    encoder.load_state_dict(_part(state, _ENCODER))
    return encoder


def _part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }


class _Features(L.LightningModule):
    """The encoder alone, as Lightning's ``predict`` wants it."""

    def __init__(self, model: Regressor) -> None:
        super().__init__()
        self.model = model

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        features: Tensor = self.model.encoder(*batch["inputs"])
        return features.float().cpu()


def _features(judge: L.Trainer, model: Regressor, samples: Samples) -> VectorDataset:
    order = samples.length_order()
    loader = make_loader(samples, _FEATURES, order.tolist())
    with translate_keyboard_interrupt():
        made = judge.predict(_Features(model), loader)
    assert made is not None
    features = torch.cat(made)  # type: ignore[arg-type]
    ordered = torch.empty_like(features)
    ordered[order] = features
    return VectorDataset(ordered, samples.labels)
