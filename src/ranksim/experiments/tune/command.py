"""The ``tune`` command: search the recipe of one method and write it to a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranksim.exceptions import RankSimError, StoppedError, UsageError, require_optional
from ranksim.experiments.executor import check_engine
from ranksim.experiments.run import check_data
from ranksim.experiments.sweep_request import SweepRequest, SweepSettings, make_runs, parse_seeds
from ranksim.experiments.tune.search import Search
from ranksim.experiments.tune.space import Space
from ranksim.experiments.tune.study import (
    RECIPE,
    count_trials,
    lock_study_folder,
    open_study,
    trial_values,
    write_recipes,
)
from ranksim.training.method import parse_method
from ranksim.training.trainer_config import silence_lightning


@dataclass(frozen=True)
class TuneRequest:
    """The arguments of ``ranksim tune``.

    Args:
        bench: data, recipe changes, seeds, jobs and folder; ``methods`` is one name.
        n_trials: number of trials, including those of earlier commands in this folder.
        fields: recipe fields to search; empty: all that the method uses.
    """

    bench: SweepRequest
    n_trials: int
    fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class TuneResult:
    """The outcome of a search.

    Args:
        values: the best value of each field.
        score: its validation score.
        monitor: the name of the score.
        trials: the number of trials in words, such as ``"5 trials, 2 pruned"``.
        recipe: the file that holds the values.
    """

    values: dict[str, Any]
    score: float
    monitor: str
    trials: str
    recipe: Path


def tune(request: TuneRequest, on_trial: Callable[[str], None] = print) -> TuneResult:
    """Search the recipe of a method and write it as a file for ``--recipe``.

    A trial trains the method once per seed; its score is the mean over seeds of the best validation
    score. A trial below the median of the others at the same step is pruned. If the process is
    killed, the same command continues: finished trials are in the folder's storage file, and an
    interrupted trial resumes from its last validation.

    Args:
        request: what to search.
        on_trial: called with a line of text after each trial.

    Raises:
        UsageError: the method has nothing to tune, or the folder contains another search.
        RankSimError: no trial ended with a finite score.
    """
    optuna = require_optional("optuna", "tune")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    silence_lightning()
    bench = request.bench
    seeds, settings = parse_seeds(bench.seeds), SweepSettings.from_request(bench)
    method = parse_method(bench.methods.strip().lower(), settings.weighting)
    run = make_runs(bench, settings)(method, seeds[0])
    recipe, monitor = dataclasses.asdict(run.recipe), run.recipe.monitor.upper()
    space = Space.from_method(method, recipe, fields=request.fields, fixed=settings.changes)
    check_engine(bench.engine, run.trainer_config, bench.jobs)
    if run.trainer_config.num_nodes > 1:
        raise UsageError("tune runs on one machine: leave out --num-nodes.")
    identity = {**run.identity(), "seeds": seeds, "fields": [*space.ranges, *space.choices]}
    del identity["seed"]
    with lock_study_folder(bench.out):
        study = open_study(bench.out, method, identity)
        for values in space.initial_values(recipe):
            study.enqueue_trial(values, skip_if_exists=True)
        check_data(run)  # downloads and caches are filled by one process
        n_trials = request.n_trials
        try:
            Search(bench, settings, method, seeds, n_trials, space, study, on_trial).run()
        except KeyboardInterrupt as error:
            raise StoppedError("Stopped; the same command resumes where it stopped.") from error
        finally:
            write_recipes(bench.out)
        if not study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)):
            raise RankSimError(
                f"No trial of {method.name} ended with a finite validation {monitor}: lower lr, or "
                "change other settings and choose another folder with --out."
            )
        best = study.best_trial
        values, trials = trial_values(best), count_trials(study)
    return TuneResult(values, float(best.value), monitor, trials, bench.out / RECIPE)
