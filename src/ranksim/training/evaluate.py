"""A trained network's scores, without training."""

from __future__ import annotations

import numpy as np

from ranksim.losses import L1Loss
from ranksim.metrics.scores import Scores
from ranksim.models import Regressor
from ranksim.training.data_loader import make_loader
from ranksim.training.fit import JUDGED, TrainingTask
from ranksim.training.module import RegressionModule
from ranksim.training.recipe import Recipe
from ranksim.training.trainer_config import (
    TrainerConfig,
    make_eval_trainer,
    translate_keyboard_interrupt,
)


def evaluate(
    model: Regressor, recipe: Recipe, task: TrainingTask, hardware: TrainerConfig
) -> tuple[dict[str, Scores], np.ndarray, np.ndarray]:
    """Scores by region on the test set; positions and predictions of its samples.

    Args:
        model: predicts label / ``recipe.label_scale``.
        recipe: its ``label_scale`` counts.
        task: data and regions.
        hardware: for Lightning's Trainer.
    """
    if hardware.compile:
        model.encoder.compile()
    module = RegressionModule(model, recipe, task.regions, loss=L1Loss(), gm_guard=task.gm_guard)
    loader = make_loader(task.test, JUDGED, on_gpu=hardware.on_gpu)
    with translate_keyboard_interrupt():
        make_eval_trainer(hardware).test(module, loader, verbose=False)
    assert module.predictions is not None
    rows, prediction, _ = module.predictions
    return module.scores, rows, prediction.numpy()
