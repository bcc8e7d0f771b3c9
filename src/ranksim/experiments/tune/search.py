"""Trials of one study, asked for in one process and performed there or in workers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ranksim.exceptions import require_optional
from ranksim.experiments.executor import one_thread, open_executor, report_progress
from ranksim.experiments.run import BusyError, Run, execute_run
from ranksim.experiments.sweep_request import SweepRequest, SweepSettings, make_runs
from ranksim.experiments.tune.space import Space
from ranksim.experiments.tune.study import STORAGE, seal_trial, values_of
from ranksim.training.method import Method

Report = Callable[[int, float], bool]  # a step and its score; whether to give the trial up
_DIVERGED = "diverged"


@dataclass
class Search:
    """A search under way.

    Args:
        bench, settings: what is trained, and by what recipe where a trial does not say otherwise.
        method: the method.
        seeds: a trial trains one run each.
        trials: so many, earlier ones of the study included.
        space: what is searched.
        study: Optuna's.
        console: each trial is told there.
    """

    bench: SweepRequest
    settings: SweepSettings
    method: Method
    seeds: Sequence[int]
    trials: int
    space: Space
    study: Any
    console: Console

    @property
    def monitor(self) -> str:
        """What validation scores are called."""
        return self.settings.recipe(self.method).monitor.upper()

    def go(self) -> None:
        """Perform trials until there are as many as asked for."""
        if self.bench.jobs > 1 or self.bench.engine != "processes":
            self._side_by_side()
            return
        with one_thread():
            while (trial := self._ask()) is not None:
                self._end(trial, run_trial(self._runs(trial), self._reporter(trial)))

    def _side_by_side(self) -> None:
        hardware, shared = self.bench.trainer, self.bench.out / STORAGE
        with open_executor(self.bench.engine, self.bench.jobs, hardware, shared) as pool:
            waiting: dict[Future[float | None], Any] = {}
            stopped: set[int] = set()
            while True:
                while len(waiting) < self.bench.jobs and (trial := self._ask()) is not None:
                    told = (trial.number, self._runs(trial), self._flag(trial))
                    waiting[pool.submit(_attempt_and_tell, *told)] = trial
                if not waiting:
                    return
                ended, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                trials = {trial.number: trial for trial in waiting.values()}
                for number, step, value in pool.news():
                    if number in trials and number not in stopped:
                        trials[number].report(value, step)
                        if trials[number].should_prune():
                            stopped.add(number)
                            self._flag(trials[number]).touch()
                for future in ended:
                    trial = waiting.pop(future)
                    self._end(trial, future.result())
                    self._flag(trial).unlink(missing_ok=True)

    def _ask(self) -> Any:
        """The next trial, or ``None`` when there are enough."""
        states = require_optional("optuna", "tune").trial.TrialState
        live = (states.COMPLETE, states.PRUNED, states.RUNNING)
        there = self.study.get_trials(deepcopy=False)
        if sum(t.state in live or _DIVERGED in t.user_attrs for t in there) >= self.trials:
            return None
        trial = self.study.ask()
        trial.set_user_attr("values", self.space.draw(trial))
        return trial

    def _end(self, trial: Any, score: float | None) -> None:
        states = require_optional("optuna", "tune").trial.TrialState
        if score is None:
            told = "pruned"
            self.study.tell(trial, state=states.PRUNED)
        elif math.isfinite(score):
            told = f"validation {self.monitor} {score:.4f}"
            self.study.tell(trial, score)
        else:
            told = "diverged"
            trial.set_user_attr(_DIVERGED, True)
            self.study.tell(trial, state=states.FAIL)
        seal_trial(self.study, trial.number)
        values = ", ".join(f"{field} {value}" for field, value in values_of(trial).items())
        done = self.study.get_trials(deepcopy=False, states=(states.COMPLETE,))
        best = f", best {min(t.value for t in done):.4f}" if done else ""
        self.console.print(
            f"{trial.number + 1}/{self.trials} {values}: {told}{best}",
            highlight=False,
            soft_wrap=True,
        )

    def _runs(self, trial: Any) -> list[Run]:
        """A run a seed, in a folder that the values name: the same values find their work again."""
        values = values_of(trial)
        name = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
        bench = dataclasses.replace(self.bench, out=self.bench.out / "trials" / name)
        settings = dataclasses.replace(self.settings, changes={**self.settings.changes, **values})
        tried, base = make_runs(bench, settings), make_runs(self.bench, self.settings)
        # what a trial searches changes nothing in a first stage: one serves all trials
        return [
            dataclasses.replace(
                tried(self.method, seed), stage_one=base(self.method, seed).stage_one
            )
            for seed in self.seeds
        ]

    def _reporter(self, trial: Any) -> Report:
        def report(step: int, value: float) -> bool:
            trial.report(value, step)
            return bool(trial.should_prune())

        return report

    def _flag(self, trial: Any) -> Path:
        """A file whose being there tells a worker to give its trial up."""
        return self.bench.out / f"prune-{trial.number}"


class _PrunedError(Exception):
    """Raised in a training to leave it."""


def run_trial(runs: Sequence[Run], report: Report) -> float | None:
    """Train a run a seed: the mean of their best validation scores.

    Returns:
        The score, ``None`` where the trial was given up, NaN where a run diverged.
    """
    scores: list[float] = []
    for run in runs:
        best = math.inf
        before = len(scores) * run.recipe.max_validations

        def validated(epoch: int, score: float, before: int = before) -> None:
            nonlocal best
            best = min(best, score)
            if report(before + epoch, (sum(scores) + best) / (len(scores) + 1)):
                raise _PrunedError

        if run.stage_one is not None:
            _perform_when_free(run.stage_one)
        try:
            record = execute_run(run, on_validation=validated)
        except _PrunedError:
            return None
        if record["status"] == "failed":
            return math.nan
        scores.append(record["result"]["metrics"]["val"]["all"][run.recipe.monitor])
    return sum(scores) / len(scores)


def _attempt_and_tell(number: int, runs: Sequence[Run], flag: Path) -> float | None:
    """In a worker."""

    def report(step: int, value: float) -> bool:
        report_progress(number, step, value)
        return flag.exists()

    return run_trial(runs, report)


def _perform_when_free(run: Run) -> None:
    """A first stage, which another trial may be at work on."""
    while True:
        try:
            execute_run(run)
        except BusyError:
            time.sleep(1.0)
        else:
            return
