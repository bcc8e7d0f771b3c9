"""The trials of one study: chosen in this process, executed here or in workers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ranksim.exceptions import require_optional
from ranksim.experiments.executor import Task, open_executor, report_progress, run_tasks
from ranksim.experiments.run import BusyError, Run, execute_run
from ranksim.experiments.sweep_request import SweepRequest, SweepSettings, make_runs
from ranksim.experiments.tune.space import Space
from ranksim.experiments.tune.study import STORAGE, seal_trial, trial_values
from ranksim.training.method import Method

Report = Callable[[int, float], bool]  # takes step and score; returns True to prune the trial
_DIVERGED = "diverged"


@dataclass
class Search:
    """A search for the best recipe of one method.

    Args:
        bench, settings: the data and the recipe that trials start from.
        method: the method.
        seeds: each trial trains one run per seed.
        n_trials: number of trials, including earlier ones of the study.
        space: the fields to search.
        study: Optuna's study.
        on_trial: called with a line of text after each trial.
    """

    bench: SweepRequest
    settings: SweepSettings
    method: Method
    seeds: Sequence[int]
    n_trials: int
    space: Space
    study: Any
    on_trial: Callable[[str], None]
    _running: dict[int, Any] = field(default_factory=dict)
    _pruned: set[int] = field(default_factory=set)

    def run(self) -> None:
        """Execute trials until the study has ``n_trials``."""
        bench = self.bench
        with open_executor(
            bench.engine, bench.jobs, bench.trainer, bench.out / STORAGE, self._receive_score
        ) as executor:
            for trial, future in run_tasks(executor, bench.jobs, self._next_trial):
                self._finish(trial, future.result())

    def _next_trial(self) -> Task[Any] | None:
        """Ask the study for the next trial; ``None`` if there are enough."""
        states = require_optional("optuna", "tune").trial.TrialState
        counted = (states.COMPLETE, states.PRUNED, states.RUNNING)
        trials = self.study.get_trials(deepcopy=False)
        n_started = sum(t.state in counted or _DIVERGED in t.user_attrs for t in trials)
        if n_started >= self.n_trials:
            return None
        trial = self.study.ask()
        trial.set_user_attr("values", self.space.suggest(trial))
        self._running[trial.number] = trial
        flag = self._prune_flag(trial.number)
        return trial, _run_and_report, (trial.number, self._make_runs(trial), flag)

    def _receive_score(self, number: int, step: int, score: float) -> None:
        """Pass a score on to Optuna; create the prune flag if the trial shall stop."""
        trial = self._running.get(number)
        if trial is None or number in self._pruned:
            return
        trial.report(score, step)
        if trial.should_prune():
            self._pruned.add(number)
            self._prune_flag(number).touch()

    def _finish(self, trial: Any, score: float | None) -> None:
        """Record the outcome of a trial and report it."""
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
        values = ", ".join(f"{name} {value}" for name, value in trial_values(trial).items())
        done = self.study.get_trials(deepcopy=False, states=(states.COMPLETE,))
        best = f", best {min(t.value for t in done):.4f}" if done else ""
        self.on_trial(f"{trial.number + 1}/{self.n_trials} {values}: {outcome}{best}")

    def _make_runs(self, trial: Any) -> list[Run]:
        """Return one run per seed. The folder is named by the values, so that a repeat resumes."""
        values = trial_values(trial)
        name = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
        bench = dataclasses.replace(self.bench, out=self.bench.out / "trials" / name)
        settings = dataclasses.replace(self.settings, changes={**self.settings.changes, **values})
        make_trial_run, make_base_run = (
            make_runs(bench, settings),
            make_runs(self.bench, self.settings),
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
        """Return the file that tells a worker to stop its trial."""
        return self.bench.out / f"prune-{number}"


class _PrunedError(Exception):
    """Raised inside a training to stop it."""


def run_trial(runs: Sequence[Run], report: Report) -> float | None:
    """Train one run per seed and return the mean of their best validation scores.

    Returns:
        The score; ``None`` if the trial was pruned, NaN if a run diverged.
    """
    scores: list[float] = []
    for run in runs:
        best = math.inf
        first_step = len(scores) * run.recipe.max_validations

        def on_validation(epoch: int, score: float, first_step: int = first_step) -> None:
            nonlocal best
            best = min(best, score)
            if report(first_step + epoch, (sum(scores) + best) / (len(scores) + 1)):
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


def _run_and_report(number: int, runs: Sequence[Run], flag: Path) -> float | None:
    """Run a trial in a worker; it is pruned once the flag exists."""

    def report(step: int, score: float) -> bool:
        report_progress(number, step, score)
        return flag.exists()

    return run_trial(runs, report)


def _execute_when_free(run: Run) -> None:
    """Execute a first stage, or wait for the trial that trains it."""
    while True:
        try:
            execute_run(run)
        except BusyError:
            time.sleep(1.0)
        else:
            return
