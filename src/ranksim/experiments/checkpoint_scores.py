"""Score a checkpoint of an image network on the test set of a benchmark or of user data."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ranksim._utils.provenance import collect_provenance
from ranksim._utils.storage import sha256, write_json
from ranksim.data.target_transform import TargetTransform
from ranksim.evaluation.predictions import PREDICTIONS, write_predictions
from ranksim.exceptions import UsageError
from ranksim.experiments.sweep_request import make_runs
from ranksim.experiments.sweep_settings import SweepRequest, SweepSettings
from ranksim.models import read_checkpoint, read_checkpoint_section
from ranksim.training.fit import evaluate
from ranksim.training.hardware import check_trainer_config
from ranksim.training.method import parse_method
from ranksim.training.recipe import ImageRecipe
from ranksim.training.task_loading import load_task

RESULT = "evaluation.json"


def score_checkpoint(checkpoint: Path, request: SweepRequest) -> dict[str, Any]:
    """Score a checkpoint on the test set by region; write scores and predictions to files.

    The checkpoint is a published one, or ``best.ckpt`` of a run. The scores, the content of
    ``evaluation.json``, are returned.
    """
    encoder, state = read_checkpoint(checkpoint)
    trained = read_checkpoint_section(checkpoint, "recipe")
    resized = any(change.startswith("image_size=") for change in request.changes)
    if "image_size" in trained and not resized:
        size = f"image_size={trained['image_size']}"
        request = dataclasses.replace(request, changes=(*request.changes, size))
    settings = SweepSettings.from_request(request)
    run = make_runs(request, settings)(parse_method("vanilla", settings.weighting), 0)
    check_trainer_config(run.trainer_config)
    if not isinstance(run.recipe, ImageRecipe):
        raise UsageError(
            "ranksim evaluate scores checkpoints of image networks only: name the column of image "
            "files with --image."
        )
    scale = trained.get("label_scale", 1.0)
    recipe = dataclasses.replace(run.recipe, encoder=encoder, label_scale=scale)
    benchmark, task = load_task(run.source, recipe, hardware=run.trainer_config)
    if transform := read_checkpoint_section(checkpoint, "transform"):
        task = dataclasses.replace(task, transform=TargetTransform.from_dict(transform))
    model = task.build_model()
    model.load_state_dict(state)
    scores, preds = evaluate(model, recipe, task, run.trainer_config)
    data = run.source.spec.to_dict()
    result = {
        "format": 1,
        "checkpoint_sha256": sha256(checkpoint),
        "encoder": encoder,
        "benchmark": data["benchmark"],
        **data["options"],
        "image_size": recipe.image_size,
        "precision": run.trainer_config.precision,
        "data": benchmark.facts,
        "test_set": benchmark.test_set,
        "test": scores,
        **collect_provenance(),
    }
    request.out.mkdir(parents=True, exist_ok=True)
    write_predictions(
        request.out / PREDICTIONS, benchmark, data["regions_from"], np.arange(len(preds)), preds
    )
    write_json(request.out / RESULT, result)
    return result
