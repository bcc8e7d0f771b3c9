"""Plan of a comparison that ends within a time budget: equal steps for all networks."""

from __future__ import annotations

import heapq
import tempfile
import time
import uuid
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ranksim._utils.formatting import format_count, join_names
from ranksim._utils.storage import read_verified_json, with_digest, write_json
from ranksim.exceptions import UsageError
from ranksim.experiments.executor import open_executor, run_tasks
from ranksim.experiments.run import Run, execute_run
from ranksim.training.limits import TrainingLimits
from ranksim.training.recipe import NetworkRecipe
from ranksim.training.schedule import Schedule
from ranksim.training.task_loading import load_task

BUDGET = "budget.json"
MIN_SEEDS = 3
MIN_VALIDATIONS = 5  # of a training; early ones would compare networks that are hardly trained
MIN_NETWORKS = 2
_TRIAL_SHARE = 0.04  # of the budget, for timing
_FEW, _SOME, _MOST = 2, 6, 120  # steps of the trainings that are timed
_PAGE_SECONDS, _ROW_SECONDS = 4.0, 0.4  # for the page and the intervals
_PROJECTION_SECONDS = 1.5  # of the features of one seed
_START_SECONDS = 2.5  # of the command, before this
_MINUTE = 60
_OF_WEIGHTS = (  # beginnings of fields of a recipe
    "bins", "weighting", "min_count", "max_count", "lds_", "focal_",
)  # fmt: skip


@dataclass(frozen=True)
class RunCost:
    """Seconds of a run: ``start`` + steps · ``step`` + validations · ``validation``."""

    start: float
    step: float = 0.0
    validation: float = 0.0

    def estimate(self, steps: int, validations: int) -> float:
        """Return the seconds of a run with these numbers."""
        return self.start + steps * self.step + validations * self.validation


@dataclass(frozen=True)
class BudgetPlan:
    """The length, seeds and networks of a comparison within a budget.

    Args:
        budget: seconds.
        steps: optimizer steps of each training of a network.
        seeds: of each network.
        dropped: names of networks that do not fit.
        estimate: seconds that everything is expected to take.
    """

    budget: float
    steps: int
    seeds: list[int]
    dropped: list[str]
    estimate: float

    def describe(self) -> str:
        """Describe the plan in a sentence or two."""
        text = (
            f"Budget of {format_minutes(self.budget)}: {self.steps:,} steps for each network and "
            f"{format_count(len(self.seeds), 'seed')}, about {format_minutes(self.estimate)}."
        )
        if self.dropped:
            text += f" Left out, last named first: {join_names(self.dropped)}."
        return text


@dataclass(frozen=True)
class _Costs:
    """What a comparison takes; ``networks`` by method, with a first stage before its second."""

    networks: Mapping[str, RunCost]
    required: Mapping[str, Sequence[str]]  # first stages and members, by method
    fixed: Sequence[float]  # seconds of the runs of estimators
    spent: float  # seconds before the first run, and after the last one
    steps_per_validation: int
    jobs: int

    def estimate(self, rows: Sequence[str], seeds: int, validations: int) -> float:
        """Return the seconds of some rows with a number of seeds and validations."""
        keys = dict.fromkeys(key for row in rows for key in self._list_networks(row))
        steps = validations * self.steps_per_validation
        runs = [self.networks[key].estimate(steps, validations) for key in keys]
        return self.spent + _makespan([*runs * seeds, *self.fixed], self.jobs)

    def _list_networks(self, key: str) -> Iterator[str]:
        """Yield the networks that are trained for a method, those that it needs first."""
        for other in self.required.get(key, ()):
            yield from self._list_networks(other)
        if key in self.networks:  # a mean of networks trains nothing
            yield key


def plan_budget(
    budget: float,
    runs: Sequence[Run],
    rows: Sequence[str],
    *,
    seeds: Sequence[int],
    jobs: int,
    engine: str,
    num_samples: int,
    start: float,
) -> BudgetPlan:
    """Time a few steps of each row, and plan a comparison that ends within a budget.

    Each network is trained for the same number of steps, as many as fit with three seeds; if the
    recipe's whole length fits, more seeds are added. If not even five validations fit, networks are
    left out, the last named first and never the first.

    Args:
        budget: seconds from the start of the command.
        runs: one of each method, with first stages, checked by
            :func:`ranksim.experiments.run.check_methods`.
        rows: keys of the methods whose networks are reported, in order.
        seeds: wanted; at least three are planned.
        jobs: runs in parallel.
        engine: of the executor.
        num_samples: for training.
        start: time of the start of the sweep, as ``time.monotonic`` returns it.

    Raises:
        UsageError: the budget is too small for two networks.
    """
    out = runs[0].out
    costs = _measure_costs(runs, budget, jobs, engine, num_samples, start - _START_SECONDS)
    longest = max(_most_validations(run) for run in runs if run.method.key in costs.networks)
    wanted, chosen = _extend_seeds(seeds), list(rows)
    while costs.estimate(chosen, MIN_SEEDS, min(MIN_VALIDATIONS, longest)) > budget:
        if len(chosen) <= min(MIN_NETWORKS, len(rows)):
            raise UsageError(_describe_shortage(budget, costs, rows, longest))
        chosen.pop()
    lengths = range(min(MIN_VALIDATIONS, longest), longest + 1)
    validations = _last(lengths, lambda n: costs.estimate(chosen, MIN_SEEDS, n) <= budget)
    count = MIN_SEEDS
    if validations == longest:
        counts = range(MIN_SEEDS, len(wanted) + 1)
        count = _last(counts, lambda n: costs.estimate(chosen, n, longest) <= budget)
    plan = BudgetPlan(
        budget,
        validations * costs.steps_per_validation,
        list(wanted[:count]),
        [key for key in reversed(rows) if key not in chosen],
        costs.estimate(chosen, count, validations),
    )
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / BUDGET, with_digest(asdict(plan)))
    return plan


def with_equal_steps(run: Run, plan: BudgetPlan) -> Run:
    """Return a copy of a run that trains for the steps of a plan, without early stopping."""
    run = run.with_required(lambda each: with_equal_steps(each, plan))
    if not isinstance(run.recipe, NetworkRecipe) or run.predictions is not None:
        return run
    limits = replace(run.limits, steps=plan.steps)
    return replace(run, limits=limits, recipe=replace(run.recipe, patience=0))


def _measure_costs(
    runs: Sequence[Run], budget: float, jobs: int, engine: str, num_samples: int, start: float
) -> _Costs:
    """Time trainings of each network, and the runs of estimators, in parallel as in the sweep.

    Networks that differ in weights alone are timed once.
    """
    first, fixed, loading = runs[0], [], [0.0]
    networks: dict[str, RunCost] = {}
    groups: dict[Any, list[Run]] = {}
    for run in (each for each in runs if not each.members):
        groups.setdefault(_cost_key(run), []).append(run)
    share = _TRIAL_SHARE * budget * min(jobs, len(groups)) / len(groups)
    # the workers of a cluster see the folder of the results
    parent = _existing_parent(first.out) if engine == "ray" else None
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        (note := Path(folder) / "note").touch()
        pending = list(groups.values())

        def next_task() -> Any:
            group = pending.pop(0) if pending else None
            return group and (group, _time_run, (group[0], Path(folder), share))

        with open_executor(engine, jobs, first.trainer_config, note, _ignore) as executor:
            for group, future in run_tasks(executor, jobs, next_task):
                seconds, cost = future.result()
                loading.append(seconds)
                if isinstance(group[0].recipe, NetworkRecipe):
                    networks |= {run.method.key: cost for run in group}
                    fixed += [_PROJECTION_SECONDS] * len(group)
                else:
                    fixed.append(cost.start)
    network = next(run for run in runs if isinstance(run.recipe, NetworkRecipe))
    assert isinstance(network.recipe, NetworkRecipe)
    schedule = Schedule.plan(network.recipe, TrainingLimits(), num_samples)
    return _Costs(
        networks,
        {run.method.key: [each.method.key for each in run.required] for run in runs},
        fixed,
        time.monotonic() - start + max(loading) + _PAGE_SECONDS + _ROW_SECONDS * len(runs),
        schedule.validate_every or schedule.steps_per_epoch,
        jobs,
    )


def _cost_key(run: Run) -> Any:
    """Return a value that is equal for runs of networks that differ in weights alone."""
    if not isinstance(run.recipe, NetworkRecipe):
        return run.method.key
    technique = replace(run.method.technique, weighting="none", lds=False, focal_r=False)
    settings = asdict(run.recipe)
    return technique, repr([(k, v) for k, v in settings.items() if not k.startswith(_OF_WEIGHTS)])


def _time_run(run: Run, folder: Path, share: float) -> tuple[float, RunCost]:
    """Return the seconds of loading the data, and the cost of a run, from short trainings.

    They take about ``share`` seconds; an estimator is fitted whole.
    """
    start = time.perf_counter()
    load_task(run.source, run.recipe, seed=run.seed, hardware=run.trainer_config)
    loading = time.perf_counter() - start

    def measure(steps: int, validations: int) -> _Trial:
        return _time_trial(run, folder / f"{uuid.uuid4().hex}", steps, validations)

    if not isinstance(run.recipe, NetworkRecipe):
        return loading, RunCost(measure(0, 0).seconds)
    trial = measure(2 * _FEW, 2)  # the first one imports libraries
    if (cost := trial.cost()) is not None and _costs_more(cost, share):
        return loading, cost
    few, some = measure(_FEW, 1).seconds, measure(_SOME, 1).seconds
    step = max((some - few) / (_SOME - _FEW), 1e-6)
    most = min(int(share / step), _MOST)
    if most > 2 * _SOME:
        step = max((measure(most, 1).seconds - few) / (most - _FEW), 1e-6)
    more = measure(2 * _FEW, 2 * _FEW).seconds
    validation = max((more - few - _FEW * step) / (2 * _FEW - 1), 0.0)
    return loading, RunCost(max(few - _FEW * step - validation, 0.0), step, validation)


@dataclass
class _Trial:
    """Times of a training with two steps before each validation, as ``perf_counter`` returns."""

    start: float
    end: float
    steps: list[float]  # after each step
    validations: list[float]  # after each validation

    @property
    def seconds(self) -> float:
        return self.end - self.start

    def cost(self) -> RunCost | None:
        """Return the cost by the second of two validations; None in several processes."""
        if len(self.steps) < 2 * _FEW or len(self.validations) < 2:
            return None
        first, second, third, fourth = self.steps[: 2 * _FEW]
        step = (second - first + fourth - third) / 2
        # with what is done once per epoch, such as an update of FDS
        validation = max(self.validations[1] - self.validations[0] - _FEW * step, 0.0)
        rest = self.seconds - 2 * _FEW * step - 2 * validation
        return RunCost(max(rest, 0.0), step, validation)


def _costs_more(cost: RunCost, share: float) -> bool:
    """Return whether further trials would take longer than ``share`` seconds."""
    return (3 * _FEW + _SOME) * cost.step + (2 + 2 * _FEW) * cost.validation > share


def _time_trial(run: Run, folder: Path, steps: int, validations: int) -> _Trial:
    """Train for a number of steps, and return the times; the first stage is not counted."""
    trial = _make_trial(run, folder, steps, validations)
    if trial.stage_one is not None:
        execute_run(trial.stage_one)
    times = _Trial(time.perf_counter(), 0.0, [], [])
    execute_run(
        trial,
        on_step=lambda: times.steps.append(time.perf_counter()),
        on_validation=lambda *_: times.validations.append(time.perf_counter()),
    )
    times.end = time.perf_counter()
    return times


def _make_trial(run: Run, out: Path, steps: int, validations: int) -> Run:
    """Return a copy of a run with this length, in another folder; an estimator stays whole."""
    run = run.with_required(lambda each: _make_trial(each, out, 1, 1))
    run = replace(run, out=out, has_projection=False)
    if not isinstance(run.recipe, NetworkRecipe):
        return run
    recipe = replace(run.recipe, patience=0, validate_every=0)
    return replace(run, recipe=recipe, limits=TrainingLimits(steps=steps, epochs=validations))


def _existing_parent(path: Path) -> Path:
    return next(parent for parent in path.absolute().parents if parent.is_dir())


def _most_validations(run: Run) -> int:
    assert isinstance(run.recipe, NetworkRecipe)
    return min(run.limits.epochs or run.recipe.max_validations, run.recipe.max_validations)


def _extend_seeds(seeds: Sequence[int]) -> list[int]:
    """Return the seeds and, if there are fewer than three, the numbers after the largest."""
    missing = range(max(seeds) + 1, max(seeds) + 1 + MIN_SEEDS - len(seeds))
    return [*seeds, *missing]


def _last(numbers: range, fits: Callable[[int], bool]) -> int:
    """Return the last number that fits, if those that fit come first; at least the first."""
    return numbers[max(bisect_left(numbers, True, key=lambda n: not fits(n)) - 1, 0)]


def _makespan(durations: Sequence[float], jobs: int) -> float:
    """Return when the last of some tasks ends, if each free worker takes the next one."""
    workers = [0.0] * max(jobs, 1)
    for duration in durations:
        heapq.heappush(workers, heapq.heappop(workers) + duration)
    return max(workers)


def _describe_shortage(budget: float, costs: _Costs, rows: Sequence[str], longest: int) -> str:
    """Return the message of a budget that is too small for two networks."""
    least = min(MIN_VALIDATIONS, longest)
    needed = [costs.estimate(some, MIN_SEEDS, least) for some in (rows, rows[:MIN_NETWORKS])]
    message = (
        f"A budget of {format_minutes(budget)} is too small: {MIN_SEEDS} seeds of "
        f"{join_names(rows)} and {format_count(least, 'validation')} of each training need about "
        f"{format_minutes(needed[0])}; give a larger --budget"
    )
    if len(rows) > MIN_NETWORKS:
        names = ",".join(rows[:MIN_NETWORKS])
        message += f", or --methods {names} and about {format_minutes(needed[1])}"
    return f"{message}."


def format_minutes(seconds: float) -> str:
    """Format a duration in minutes, or in seconds below two minutes."""
    return f"{seconds:.0f} s" if seconds < 2 * _MINUTE else f"{seconds / _MINUTE:.3g} min"


def read_plan(out: Path, budget: float) -> BudgetPlan | None:
    """Return the plan of an interrupted comparison in a folder, or None if there is none.

    Raises:
        UsageError: the comparison in the folder was planned for another budget.
    """
    path = out / BUDGET
    try:
        plan = BudgetPlan(**read_verified_json(path))
    except (OSError, ValueError, TypeError):
        return None
    if plan.budget != budget:
        raise UsageError(
            f"{out} contains a comparison planned for a budget of "
            f"{format_minutes(plan.budget)}: give the same --budget, or another folder with --out."
        )
    return plan


def _ignore(*_: Any) -> None:
    """Ignore a validation score."""
