"""What ``ranksim evaluate`` does: a trained network's errors by region."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ranksim._utils.provenance import collect_provenance
from ranksim._utils.storage import atomic_write, sha256
from ranksim.evaluation.predictions import PREDICTIONS, write_predictions
from ranksim.evaluation.report.terminal import print_scores
from ranksim.exceptions import UsageError
from ranksim.experiments.sweep_request import BenchRequest, SweepSettings, make_runs
from ranksim.models import read_checkpoint, read_checkpoint_recipe
from ranksim.training.evaluate import evaluate
from ranksim.training.method import parse_method
from ranksim.training.modality import headline
from ranksim.training.recipe import ImageRecipe
from ranksim.training.task_loading import load_task
from ranksim.training.trainer_config import check_trainer_config, silence_lightning

RESULT = "evaluation.json"


@dataclass(frozen=True)
class EvaluateRequest:
    """An evaluate command as it was given.

    Args:
        checkpoint: a published one, or ``best.ckpt`` of a run.
        bench: the data, as for ``ranksim bench``; its ``out`` takes the result.
    """

    checkpoint: Path
    bench: BenchRequest


def score_checkpoint(request: EvaluateRequest, *, as_json: bool = False) -> dict[str, Any]:
    """Score a checkpoint on the test set of a benchmark; print and write what comes out.

    Raises:
        UsageError: hardware that is not there.
        DataError: no ResNet can be read from the checkpoint, or the data cannot be used.
    """
    silence_lightning()
    bench, console = request.bench, Console(stderr=as_json)
    name, state = read_checkpoint(request.checkpoint)
    trained = read_checkpoint_recipe(request.checkpoint)
    if "image_size" in trained and not any(c.startswith("image_size=") for c in bench.changes):
        size = f"image_size={trained['image_size']}"
        bench = dataclasses.replace(bench, changes=(*bench.changes, size))
    settings = SweepSettings.of(bench)
    run = make_runs(bench, settings)(parse_method("vanilla", settings.weighting), 0)
    check_trainer_config(run.hardware)
    if not isinstance(run.recipe, ImageRecipe):
        raise UsageError(
            "evaluate reads checkpoints of image networks: name the image column with --image."
        )
    scale = trained.get("label_scale", 1.0)
    recipe = dataclasses.replace(run.recipe, encoder=name, label_scale=scale)
    benchmark, task = load_task(run.source, recipe, hardware=run.hardware)
    model = task.build_model()
    model.load_state_dict(state)
    scores, rows, prediction = evaluate(model, recipe, task, run.hardware)
    result = {
        "format": 1,
        "checkpoint_sha256": sha256(request.checkpoint),
        "encoder": name,
        "benchmark": bench.benchmark,
        **run.source.named_options(),
        "image_size": recipe.image_size,
        "precision": run.hardware.precision,
        "data": benchmark.facts,
        "test": scores,
        **collect_provenance(),
    }
    bench.out.mkdir(parents=True, exist_ok=True)
    write_predictions(bench.out / PREDICTIONS, benchmark, bench.shots, rows, prediction)
    with atomic_write(bench.out / RESULT) as aside:
        aside.write_text(json.dumps(result, indent=1), encoding="utf-8")
    print_scores(scores, headline(bench.benchmark), f"{name} on {bench.benchmark}, test", console)
    console.print(f"Result: {bench.out / RESULT}", highlight=False)
    return result
