"""``ranksim tune``: a recipe for one method, searched by validation score alone."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
from rich.console import Console

from ranksim.bench.command import BenchRequest, Settings, parse_seeds, runs_of
from ranksim.bench.methods import Method, parse_method
from ranksim.bench.run import Run, load_data, perform
from ranksim.bench.workers import one_thread, tell, workers
from ranksim.data.cache import written_whole
from ranksim.errors import StoppedError, UsageError, needs
from ranksim.training.fit import check_hardware, quiet

STORAGE, RECIPE = "study.db", "recipe.toml"

# what is searched where a method uses it; log: equal factors are equally likely
_RANKSIM: dict[str, tuple[float, float]] = {
    "strength": (0.01, 3.0),
    "gamma": (0.1, 100.0),
    "lambda_": (0.5, 8.0),
}
_KERNELS: dict[str, tuple[Any, ...]] = {
    "kernel": ("gaussian", "gaussian-textbook", "triangular", "laplace"),
    "size": (3, 5, 9, 15),
    "sigma": (1.0, 2.0, 4.0),
}
_BINS = (5, 10, 20, 50)
_FIRST = (1.0, 1 / 3, 3.0)  # the recipe as it is, and its strength by a factor each way
_SETTLED = 6  # validations that no trial is pruned before


@dataclass(frozen=True)
class Space:
    """What is searched: real fields on a log scale, and fields with a few choices."""

    ranges: Mapping[str, tuple[float, float]]
    choices: Mapping[str, tuple[Any, ...]]

    @classmethod
    def of(cls, method: Method, fields: Sequence[str]) -> Space:
        """The fields that a method uses, or those of them that are named.

        Raises:
            UsageError: the method uses none, or not the named ones.
        """
        technique = method.technique
        ranges = _RANKSIM if technique.ranksim and not technique.two_stage else {}
        choices: dict[str, tuple[Any, ...]] = {}
        for part in ("lds", "fds"):
            if getattr(technique, part):
                choices |= {f"{part}_{name}": values for name, values in _KERNELS.items()}
        if technique.fds:
            choices["fds_bins"] = _BINS
        if technique.two_stage:  # its features are those of stage one, which FDS shapes
            choices = {name: v for name, v in choices.items() if name.startswith("lds")}
        known = [*ranges, *choices]
        if not known:
            raise UsageError(
                f"{method.name} has nothing to tune of its own: RankSim, LDS and FDS have, and a "
                "two-stage method takes RankSim and FDS from its first stage."
            )
        for name in fields:
            if name not in known:
                raise UsageError(f"{method.name} has no {name!r} to tune: it has {known}.")
        wanted = fields or known
        return cls(
            {name: limits for name, limits in ranges.items() if name in wanted},
            {name: values for name, values in choices.items() if name in wanted},
        )

    def draw(self, trial: Any) -> dict[str, Any]:
        """Values that Optuna suggests."""
        drawn: dict[str, Any] = {
            # four digits: a recipe that is read and typed, not a number that pretends
            name: float(f"{trial.suggest_float(name, low, high, log=True):.4g}")
            for name, (low, high) in self.ranges.items()
        }
        return drawn | {
            name: trial.suggest_categorical(name, values) for name, values in self.choices.items()
        }

    def first(self, recipe: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Where a search begins: the recipe as it is, then other strengths."""
        now = {name: min(max(recipe[name], low), high) for name, (low, high) in self.ranges.items()}
        now |= {name: recipe[name] for name in self.choices if recipe[name] in self.choices[name]}
        for factor in _FIRST if "strength" in self.ranges else _FIRST[:1]:
            low, high = self.ranges.get("strength", (0.0, 0.0))
            changed = min(max(now.get("strength", 0.0) * factor, low), high)
            yield now | ({"strength": changed} if high else {})


@dataclass(frozen=True)
class TuneRequest:
    """A tune command as it was given: a bench request, and how long to search.

    Args:
        bench: benchmark, data, recipe changes, seeds, jobs and folder; ``methods`` is one name.
        trials: settings to try, those of earlier commands in this folder included.
        fields: what to search; empty: all that the method uses.
    """

    bench: BenchRequest
    trials: int
    fields: tuple[str, ...] = ()


def tune(request: TuneRequest) -> dict[str, Any]:
    """Search, and write what was found as a recipe file that ``ranksim bench --recipe`` takes.

    A trial trains the method once a seed; its score is the mean over seeds of the best validation
    MSE. A trial that does worse than the median of the others at the same point is pruned. Killed
    at any moment, the same command goes on: finished trials are in the folder's storage file, a
    trial under way is repeated from its last validation.

    Returns:
        The best values by field.

    Raises:
        UsageError: a method with nothing to tune, or a folder that holds another search.
        RankSimError: no trial ended well.
    """
    optuna = needs("optuna", "tune")
    needs("sqlalchemy", "tune")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    quiet()
    bench = request.bench
    seeds, settings = parse_seeds(bench.seeds), Settings.of(bench)
    method = parse_method(bench.methods.strip().lower(), settings.weighting)
    space = Space.of(method, request.fields)
    runs = runs_of(bench, settings)
    plain = runs(method, seeds[0])
    check_hardware(plain.hardware)
    out = bench.out
    out.mkdir(parents=True, exist_ok=True)
    with _alone(out):
        study = _study(out, method, _identity(request, plain, seeds))
        for values in space.first(dataclasses.asdict(plain.recipe)):
            study.enqueue_trial(values, skip_if_exists=True)
        search = _Search(request, settings, method, seeds, space, study)
        load_data(plain.source, plain.recipe)  # one process downloads and fills the caches
        try:
            search.go()
        except KeyboardInterrupt as error:
            raise StoppedError("Stopped; the same command goes on where it stopped.") from error
        finally:
            _write_recipes(out)
    best = study.best_trial
    found = _values(best)
    words = ", ".join(f"{name} = {_toml(value)}" for name, value in found.items())
    search.console.print(
        f"Best of {_count(study)}: validation MSE {best.value:.4f} with {words}.\n"
        f"Recipe: {out / RECIPE} (ranksim bench {bench.benchmark} --recipe {out / RECIPE})",
        highlight=False,
        soft_wrap=True,
    )
    return found


@dataclass
class _Search:
    """Trials of one study, asked for here and performed here or in workers."""

    request: TuneRequest
    settings: Settings
    method: Method
    seeds: Sequence[int]
    space: Space
    study: Any

    def __post_init__(self) -> None:
        self.console = Console()

    def go(self) -> None:
        """Perform trials until there are as many as asked for."""
        jobs = self.request.bench.jobs
        if jobs == 1:
            with one_thread():
                while (trial := self._ask()) is not None:
                    report = self._reporter(trial)
                    self._end(trial, _try_alone(self._runs(trial), report))
            return
        with workers(jobs) as (pool, news):
            waiting: dict[Future[float | None], Any] = {}
            stopped: set[int] = set()
            while True:
                while len(waiting) < jobs and (trial := self._ask()) is not None:
                    flag = self._flag(trial)
                    waiting[pool.submit(_try, trial.number, self._runs(trial), flag)] = trial
                if not waiting:
                    return
                ended, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                trials = {trial.number: trial for trial in waiting.values()}
                for number, step, value in _read(news):
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
        optuna = needs("optuna", "tune")
        states = optuna.trial.TrialState
        live = (states.COMPLETE, states.PRUNED, states.RUNNING)
        if len(self.study.get_trials(deepcopy=False, states=live)) >= self.request.trials:
            return None
        trial = self.study.ask()
        trial.set_user_attr("values", self.space.draw(trial))
        return trial

    def _end(self, trial: Any, score: float | None) -> None:
        optuna = needs("optuna", "tune")
        states = optuna.trial.TrialState
        if score is None:
            self.study.tell(trial, state=states.PRUNED)
        elif math.isfinite(score):
            self.study.tell(trial, score)
        else:
            self.study.tell(trial, state=states.FAIL)
        values = ", ".join(f"{k} {v}" for k, v in trial.user_attrs["values"].items())
        told = "pruned" if score is None else f"validation MSE {score:.4f}"
        done = self.study.get_trials(deepcopy=False, states=(states.COMPLETE,))
        best = f", best {min(t.value for t in done):.4f}" if done else ""
        self.console.print(
            f"{trial.number + 1}/{self.request.trials} {values}: {told}{best}",
            highlight=False,
            soft_wrap=True,
        )

    def _runs(self, trial: Any) -> list[Run]:
        """A run a seed, in a folder that the values name: the same values find their work again."""
        values = trial.user_attrs["values"]
        name = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
        bench = dataclasses.replace(
            self.request.bench, out=self.request.bench.out / "trials" / name
        )
        settings = dataclasses.replace(self.settings, changes={**self.settings.changes, **values})
        make = runs_of(bench, settings)
        return [make(self.method, seed) for seed in self.seeds]

    def _reporter(self, trial: Any) -> Callable[[int, float], bool]:
        def report(step: int, value: float) -> bool:
            trial.report(value, step)
            return bool(trial.should_prune())

        return report

    def _flag(self, trial: Any) -> Path:
        """A file whose being there tells a worker to give its trial up."""
        return self.request.bench.out / f"prune-{trial.number}"


class _PrunedError(Exception):
    """Raised in a training to leave it."""


def _try(number: int, runs: Sequence[Run], flag: Path) -> float | None:
    """In a worker: a trial's score; ``None`` where it was pruned."""

    def report(step: int, value: float) -> bool:
        tell(number, step, value)
        return flag.exists()

    return _try_alone(runs, report)


def _try_alone(runs: Sequence[Run], report: Callable[[int, float], bool]) -> float | None:
    scores: list[float] = []
    for run in runs:
        best = math.inf
        before = len(scores) * run.recipe.max_validations

        def validated(epoch: int, score: float, before: int = before) -> None:
            nonlocal best
            best = min(best, score)
            if report(before + epoch, (sum(scores) + best) / (len(scores) + 1)):
                raise _PrunedError

        try:
            record = perform(run, on_validation=validated)
        except _PrunedError:
            return None
        if record["status"] == "failed":
            return math.nan
        scores.append(record["metrics"]["val"]["all"]["mse"])
    return sum(scores) / len(scores)


def _read(news: Any) -> Iterator[tuple[int, int, float]]:
    while True:
        try:
            yield news.get_nowait()
        except queue.Empty:
            return


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """One search in a folder at a time."""
    try:
        with filelock.FileLock(out / ".lock", timeout=0):
            yield
    except filelock.Timeout as error:
        raise UsageError(
            f"Another ranksim tune works in {out}: wait for it, or give another folder with --out."
        ) from error


def _study(out: Path, method: Method, identity: dict[str, Any]) -> Any:
    """The study of a method; trials that a kill left under way are to be tried again."""
    optuna = needs("optuna", "tune")
    study = optuna.create_study(
        storage=f"sqlite:///{out / STORAGE}",
        study_name=method.key,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=_SETTLED),
        load_if_exists=True,
    )
    # a seed that moves on: a search that is continued must not draw its first values again
    drawn = len(study.get_trials(deepcopy=False))
    study.sampler = optuna.samplers.TPESampler(seed=drawn, n_startup_trials=8)
    there = study.user_attrs.get("identity")
    if there is None:
        study.set_user_attr("identity", identity)
    elif there != identity:
        differ = next(name for name in identity if there.get(name) != identity[name])
        raise UsageError(
            f"{out} holds a search for {method.key} with {differ} {there.get(differ)!r}, now "
            f"{identity[differ]!r}: give another folder with --out."
        )
    states = optuna.trial.TrialState
    for trial in study.get_trials(states=(states.RUNNING,)):
        study.tell(trial.number, state=states.FAIL)
        if trial.params:
            study.enqueue_trial(trial.params, skip_if_exists=False)
    return study


def _identity(request: TuneRequest, run: Run, seeds: Sequence[int]) -> dict[str, Any]:
    """What must be the same for trials to be compared."""
    identity = {**run.identity(), "seeds": list(seeds), "fields": list(request.fields)}
    del identity["seed"], identity["method"]
    plain: dict[str, Any] = json.loads(json.dumps(identity))
    return plain


def _write_recipes(out: Path) -> None:
    """The best of each search of the folder, as tables of one recipe file."""
    optuna = needs("optuna", "tune")
    storage = f"sqlite:///{out / STORAGE}"
    lines = ["# Written by ranksim tune: by validation MSE alone, seeds and data as in the folder."]
    for name in sorted(optuna.get_all_study_names(storage)):
        study = optuna.load_study(study_name=name, storage=storage)
        complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        if not complete:
            continue
        best = study.best_trial
        lines += [
            "",
            f"# validation MSE {best.value:.4f}, best of {_count(study)}"
            + (f"; {complete[0].value:.4f} before" if complete[0].number == 0 else ""),
            f'[methods."{name}"]',
            *(f"{field} = {_toml(value)}" for field, value in _values(best).items()),
        ]
    with written_whole(out / RECIPE) as aside:
        aside.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _values(trial: Any) -> dict[str, Any]:
    values: dict[str, Any] = trial.user_attrs["values"]
    return values


def _count(study: Any) -> str:
    states = [trial.state.name for trial in study.get_trials(deepcopy=False)]
    pruned = states.count("PRUNED")
    return f"{states.count('COMPLETE') + pruned} trials, {pruned} of them pruned"


def _toml(value: Any) -> str:
    return json.dumps(value)
