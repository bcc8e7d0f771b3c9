"""Evaluation of a trained network on the test split."""

from __future__ import annotations

import numpy as np

from ranksim.losses import L1Loss
from ranksim.metrics.scores import Scores
from ranksim.models import Regressor
from ranksim.training.data_loader import EVAL_BATCH_SIZE, make_loader
from ranksim.training.fit import TrainingTask
from ranksim.training.module import Objective, RegressionModule
from ranksim.training.recipe import Recipe
from ranksim.training.trainer_config import (
    TrainerConfig,
    make_eval_trainer,
    translate_keyboard_interrupt,
)


def evaluate(
    model: Regressor, recipe: Recipe, task: TrainingTask, trainer_config: TrainerConfig
) -> tuple[dict[str, Scores], np.ndarray, np.ndarray]:
    """Score a network on the test split.

    Args:
        model: predicts label / ``recipe.label_scale``.
        recipe: only its ``label_scale`` is used.
        task: test split and regions.
        trainer_config: hardware settings.

    Returns:
        Scores by region, sample indices ``(N,)`` and predictions ``(N,)``.
    """
    if trainer_config.compile:
        model.encoder.compile()
    module = RegressionModule(
        model, recipe, task.regions, Objective(L1Loss()), gmean_epsilon=task.gmean_epsilon
    )
    loader = make_loader(task.test, EVAL_BATCH_SIZE, on_gpu=trainer_config.on_gpu)
    with translate_keyboard_interrupt():
        make_eval_trainer(trainer_config).test(module, loader, verbose=False)
    assert module.predictions is not None
    index, preds, _ = module.predictions
    return module.scores, index, preds.numpy()
