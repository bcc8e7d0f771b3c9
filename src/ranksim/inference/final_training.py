"""Runs that train on all rows, for as long as runs on a split have chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median_low
from typing import Any

from ranksim.exceptions import RankSimError
from ranksim.experiments.run import Run, load_finished_record
from ranksim.training.fit_estimator import ESTIMATOR, FittedEstimator
from ranksim.training.limits import TrainingLimits
from ranksim.training.recipe import EstimatorRecipe, NetworkRecipe
from ranksim.training.resume import BEST, read_training_checkpoint
from ranksim.training.task_loading import load_benchmark


def make_final_run(runs: Sequence[Run], out: Path) -> Run:
    """Return the run that trains anew on all rows, without early stopping.

    Its length is that of the best validation in the finished ``runs``, which have the same method
    and seed, and its lower median if they are several folds:

    - the same number of epochs, each over all rows, if networks are validated once per epoch;
    - the same number of steps per training row, if they are validated after a number of steps or
      the steps are limited;
    - the same number of trees, penalty or number of neighbors of an estimator, one for each of the
      plain and the weighted one whose mean is the prediction.

    A first stage and the members of a mean are trained on all rows as well, each for its own number
    of epochs. Label bins, weights,
    resampled rows, the transform of the labels and the scales of inputs and labels are computed
    from all rows.

    Args:
        runs: finished runs on a split, or on each fold.
        out: folder of the run.
    """
    first = runs[0]
    source = replace(first.source, all_rows=True, fold=None)
    stages = [run.stage_one for run in runs if run.stage_one is not None]
    stage_one = make_final_run(stages, out) if stages else None
    members = zip(*(run.members for run in runs), strict=True)
    final = replace(
        first,
        source=source,
        out=out,
        stage_one=stage_one,
        members=tuple(make_final_run(each, out) for each in members),
    )
    if final.members:
        return final
    if isinstance(first.recipe, EstimatorRecipe):
        return replace(final, choices=_read_choices(runs))
    assert isinstance(first.recipe, NetworkRecipe)
    results = [_read_record(run) for run in runs]
    if first.recipe.validate_every or first.limits.steps:
        per_row = median_low(
            _read_best_step(run) / result["provenance"]["data"]["counts"][0]
            for run, result in zip(runs, results, strict=True)
        )
        rows = len(load_benchmark(source, first.recipe).train)
        steps = max(1, round(per_row * rows))
        recipe = replace(first.recipe, validate_every=steps, max_validations=1, patience=0)
        return replace(final, recipe=recipe, limits=TrainingLimits(steps=steps))
    epochs = median_low(result["result"]["best_epoch"] for result in results)
    recipe = replace(first.recipe, max_validations=epochs, patience=0)
    return replace(final, recipe=recipe, limits=TrainingLimits(epochs=epochs))


def describe_length(run: Run) -> dict[str, Any]:
    """Return the length of a run of :func:`make_final_run` as JSON values."""
    if run.members:
        return {"members": [describe_length(member) for member in run.members]}
    if run.choices:
        return {"choices": [dict(each) for each in run.choices]}
    return {
        "limits": {name: value for name, value in asdict(run.limits).items() if value is not None}
    }


def _read_record(run: Run) -> Any:
    record = load_finished_record(run)
    if record is None:
        raise RankSimError(f"{run.name} in {run.out} has no record: run the command again.")
    return record


def _read_best_step(run: Run) -> int:
    """Return the optimizer step of the best validation of a run."""
    return int(read_training_checkpoint(run.folder / BEST)["global_step"])


def _read_choices(runs: Sequence[Run]) -> tuple[dict[str, float], ...]:
    """Return the median choices of each of the estimators of runs."""
    choices = [FittedEstimator.load(run.folder / ESTIMATOR).choices for run in runs]
    return tuple(
        {name: median_low(each[name] for each in models) for name in models[0]}
        for models in zip(*choices, strict=True)
    )
