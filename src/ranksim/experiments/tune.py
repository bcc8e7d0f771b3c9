"""Search hyperparameters of one method by its validation score (``ranksim tune``)."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ranksim.evaluation.views import qualify_mean
from ranksim.exceptions import RankSimError, StoppedError, require_optional
from ranksim.experiments.executor import (
    Task,
    check_engine,
    open_executor,
    report_progress,
    run_tasks,
)
from ranksim.experiments.run import BusyError, Run, check_data, execute_run
from ranksim.experiments.search_space import Space, TuneRequest, recipe_values
from ranksim.experiments.study import (
    RECIPE,
    STORAGE,
    count_trials,
    lock_study_folder,
    open_study,
    seal_trial,
    trial_values,
    write_recipes,
)
from ranksim.experiments.sweep_request import make_runs
from ranksim.experiments.sweep_settings import SweepSettings, parse_seeds
from ranksim.training.method import Method
from ranksim.training.method_rules import depends_on_seed

_DIVERGED = "diverged"


@dataclass(frozen=True)
class TuneResult:
    """The result of a search: the best values, their validation score, and the recipe file.

    ``trials`` is the number of trials in words, such as ``"5 trials, 2 pruned"``; ``val_set`` how
    the validation samples were drawn, as ``test_set`` of :class:`Benchmark`, if they were.
    """

    values: dict[str, Any]
    score: float
    monitor: str
    trials: str
    recipe: Path
    val_set: str | None = None

    def describe_score(self) -> str:
        """Return the best validation score in words, and what its mean is."""
        score = qualify_mean(f"validation {self.monitor} {self.score:.4f}", self.val_set)
        return f"Best of {self.trials}: {score}"


def tune(request: TuneRequest, on_trial: Callable[[str], None] = print) -> TuneResult:
    """Search hyperparameters of a method, and write the best as a file for ``--recipe``.

    A trial trains the method once per seed, or once if no seed matters; its score is the mean over
    seeds of the best validation score. A trial below the median of the others at the same step is
    pruned. If the process is killed, the same command continues: finished trials are in the
    folder's storage file, and an interrupted trial resumes from its last validation.

    Args:
        request: what to search.
        on_trial: called with a line of text after each trial.

    Raises:
        UsageError: the method has nothing to tune, or the folder contains another search.
        RankSimError: no trial ended with a finite score.
    """
    optuna = require_optional("optuna", "tune")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    bench = request.bench
    seeds, settings = parse_seeds(bench.seeds), SweepSettings.from_request(bench)
    request.check()  # before data is read
    method = request.parse_method(settings)
    if not depends_on_seed(method.technique):
        seeds = seeds[:1]
    run = make_runs(bench, settings)(method, seeds[0])
    recipe, monitor = recipe_values(run.recipe), run.recipe.monitor.upper()
    space = request.make_space(settings, method)
    check_engine(bench.engine, run.trainer_config, bench.jobs)
    identity = {**run.identity(), "seeds": seeds, "fields": [*space.ranges, *space.choices]}
    del identity["seed"]
    with lock_study_folder(bench.out):
        study = open_study(bench.out, method, identity)
        for values in space.initial_values(recipe):
            study.enqueue_trial(values, skip_if_exists=True)
        # downloads and caches are filled by one process
        test_set = check_data(run, strict=bench.strict).test_set
        val_set = test_set if test_set in ("balanced", "random") else None  # drawn like the test
        try:
            _Search(request, settings, method, seeds, space, study, on_trial).run()
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
    recipe_file = bench.out / RECIPE
    return TuneResult(values, float(best.value), monitor, trials, recipe_file, val_set)


@dataclass
class _Search:
    """A running search: it chooses trials in this process, and executes them here or in workers."""

    request: TuneRequest
    settings: SweepSettings
    method: Method
    seeds: Sequence[int]
    space: Space
    study: Any
    on_trial: Callable[[str], None]
    _running: dict[int, Any] = field(default_factory=dict)
    _pruned: set[int] = field(default_factory=set)

    def run(self) -> None:
        """Execute trials until the study contains ``n_trials``."""
        bench = self.request.bench
        base = make_runs(bench, self.settings)(self.method, self.seeds[0])
        settings = bench.engine, bench.jobs, bench.trainer, bench.out / STORAGE
        sources = [(base.source, base.recipe)]
        with open_executor(*settings, self._receive_score, sources) as executor:
            for trial, future in run_tasks(executor, bench.jobs, self._next_trial):
                self._finish(trial, future.result())

    def _next_trial(self) -> Task[Any] | None:
        """Return the next trial as a task for a worker; None if the study has enough trials."""
        n_started = sum(
            trial.state.name in ("COMPLETE", "PRUNED", "RUNNING") or _DIVERGED in trial.user_attrs
            for trial in self.study.get_trials(deepcopy=False)
        )
        if n_started >= self.request.n_trials:
            return None
        trial = self.study.ask()
        values = self.space.suggest(trial)
        if trial.number == 0:  # the recipe itself: a library's default may be no number
            recipe = dataclasses.asdict(self.settings.recipe(self.method))
            values = {name: value for name, value in values.items() if recipe[name] is not None}
        trial.set_user_attr("values", values)
        self._running[trial.number] = trial
        flag = self._prune_flag(trial.number)
        return trial, _execute_trial, (trial.number, self._make_runs(trial), flag)

    def _receive_score(self, number: int, step: int, score: float) -> None:
        """Report a validation score to Optuna; create the prune flag if it prunes the trial."""
        trial = self._running.get(number)
        if trial is None or number in self._pruned:
            return
        trial.report(score, step)
        if trial.should_prune():
            self._pruned.add(number)
            self._prune_flag(number).touch()

    def _finish(self, trial: Any, score: float | None) -> None:
        """Store a trial's outcome in the study, and pass a line of text on it to ``on_trial``."""
        states = require_optional("optuna", "tune").trial.TrialState
        del self._running[trial.number]
        self._prune_flag(trial.number).unlink(missing_ok=True)
        if score is None:
            outcome = "pruned"
            self.study.tell(trial, state=states.PRUNED)
        elif math.isfinite(score):
            monitor = self.settings.recipe(self.method).monitor.upper()
            outcome = f"validation {monitor} {score:.4f}"
            self.study.tell(trial, score)
        else:
            outcome = "diverged"
            trial.set_user_attr(_DIVERGED, True)
            self.study.tell(trial, state=states.FAIL)
        seal_trial(self.study, trial.number)
        write_recipes(self.request.bench.out)  # a killed search leaves the best so far
        values = ", ".join(f"{name} {value}" for name, value in trial_values(trial).items())
        values = values or "defaults"
        done = self.study.get_trials(deepcopy=False, states=(states.COMPLETE,))
        best = f", best {min(t.value for t in done):.4f}" if done else ""
        self.on_trial(f"{trial.number + 1}/{self.request.n_trials} {values}: {outcome}{best}")

    def _make_runs(self, trial: Any) -> list[Run]:
        """Return the runs of a trial, one per seed; equal values share a folder and so resume."""
        values, bench = trial_values(trial), self.request.bench
        name = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
        make_base_run = make_runs(bench, self.settings)
        make_trial_run = make_runs(
            dataclasses.replace(bench, out=bench.out / "trials" / name),
            dataclasses.replace(self.settings, changes={**self.settings.changes, **values}),
        )
        # the searched fields do not affect the first stage, so all trials share one
        return [
            dataclasses.replace(
                make_trial_run(self.method, seed),
                stage_one=make_base_run(self.method, seed).stage_one,
            )
            for seed in self.seeds
        ]

    def _prune_flag(self, number: int) -> Path:
        """Return the path of the file whose existence tells a worker to stop a trial."""
        return self.request.bench.out / f"prune-{number}"


class _PrunedError(Exception):
    """An error raised during a training to end a pruned trial."""


def _execute_trial(number: int, runs: Sequence[Run], flag: Path) -> float | None:
    """Train one run per seed and return the mean of their best validation scores.

    The score is ``None`` if the trial was pruned, which happens once the file ``flag`` exists, and
    NaN if a run diverged.
    """
    scores: list[float] = []
    for run in runs:
        best = math.inf
        first_step = len(scores) * getattr(run.recipe, "max_validations", 1)

        def on_validation(epoch: int, score: float, first_step: int = first_step) -> None:
            nonlocal best
            best = min(best, score)
            report_progress(number, first_step + epoch, (sum(scores) + best) / (len(scores) + 1))
            if flag.exists():
                raise _PrunedError

        if run.stage_one is not None:
            _execute_when_free(run.stage_one)
        try:
            record = execute_run(run, on_validation=on_validation)
        except _PrunedError:
            return None
        if record["status"] == "failed":
            return math.nan
        scores.append(record["result"]["metrics"]["val"]["all"][run.recipe.monitor])
    return sum(scores) / len(scores)


def _execute_when_free(run: Run) -> None:
    """Train a first stage, after waiting until no other trial is training it."""
    while True:
        with contextlib.suppress(BusyError):
            execute_run(run)
            return
        time.sleep(1.0)
