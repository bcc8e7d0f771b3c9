"""A sweep: methods × seeds, side by side, resumable, to one ``results.json``."""

from __future__ import annotations

import contextlib
import functools
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ranksim._utils.storage import read_verified_json
from ranksim.evaluation.record import RESULTS, RunRecord, read_record
from ranksim.exceptions import StoppedError
from ranksim.experiments.executor import (
    TaskExecutor,
    check_engine,
    one_thread,
    open_executor,
    report_progress,
)
from ranksim.experiments.run import (
    BusyError,
    Run,
    check_data,
    execute_run,
    load_finished_record,
    reject_other_data,
    reject_other_settings,
)
from ranksim.experiments.store import ResultStore
from ranksim.training.trainer_config import TrainerConfig

_PAUSE = 1.0  # seconds before a run is looked at again that another sweep is at work on


class SweepListener(Protocol):
    """What a sweep tells while it runs."""

    def begin(self, n_finished: int, costs: Mapping[str, float]) -> None: ...
    def validated(self, run: str, epoch: int, score: float) -> None: ...
    def finished(self, run: str, record: RunRecord) -> None: ...
    def waiting(self, run: str) -> None: ...
    def ended_early(self, seed: int) -> None: ...


@dataclass(frozen=True)
class SweepPlan:
    """The runs of a command, and how to perform them.

    Args:
        runs: one for each method and seed, first stages included, each before what goes on from
            it; they share data, preset and folder.
        rows: the method that each row of the table reports.
        run_of: the run that this command would make of any method and seed.
        jobs: runs side by side, one thread each.
        engine: ``processes`` of this machine, or ``ray``: tasks of a Ray cluster.
        command: the command that asks for this, recorded with the results.
        progress_bar: Lightning's, for one job.
        budget: seconds for all runs; seeds that would not end in time are not begun.
    """

    runs: Sequence[Run]
    rows: Mapping[str, str]
    run_of: Callable[[str, int], Run]
    jobs: int
    command: str
    engine: str = "processes"
    progress_bar: bool = False
    budget: float | None = None

    @property
    def out(self) -> Path:
        return self.runs[0].out

    @property
    def hardware(self) -> TrainerConfig:
        return self.runs[0].hardware


Performer = Callable[[SweepPlan, Sequence[Run], SweepListener], Iterator[tuple[Run, RunRecord]]]


def run_sweep(plan: SweepPlan, watcher: SweepListener) -> dict[str, Any]:
    """Perform all runs that are not finished yet, and write ``results.json``.

    Killed at any moment, the same command goes on from the last validation of each run. On another
    node than the first it takes part in what that one trains, and writes nothing.

    Raises:
        UsageError: the folder holds runs that were made with other settings.
        RankSimError: a run failed for a reason other than divergence.
    """
    check_engine(plan.engine, plan.hardware, plan.jobs)
    try:
        if plan.hardware.is_follower_node:
            for run, record in _to_do(plan, watcher, plan.out):
                watcher.finished(run.name, record)
            return _written(plan)
        if not plan.out.exists():  # nor will it where the data or a setting makes no sense
            for run in plan.runs:
                check_data(run)
        folder = ResultStore(plan)
        with folder.joined() as note:
            for run, record in _to_do(plan, watcher, note):
                watcher.finished(run.name, record)
                folder.write()
            return folder.write(last=True)
    except KeyboardInterrupt as error:
        raise StoppedError("Stopped; the same command goes on where it stopped.") from error


def _to_do(
    plan: SweepPlan, watcher: SweepListener, shared: Path
) -> Iterator[tuple[Run, RunRecord]]:
    """Perform all runs that are not finished yet; each process must see the ``shared`` file."""
    done = {run.name: record for run in plan.runs if (record := load_finished_record(run))}
    todo = [run for run in plan.runs if run.name not in done]
    for run in todo:
        facts = check_data(run)  # one process downloads and fills the caches
        for record in done.values():
            reject_other_data(run, facts, record)
    watcher.begin(len(done), {run.name: _cost(run) for run in todo})
    if not todo:
        return
    begun, longest = time.monotonic(), 0.0
    with _performing(plan, len(todo), shared) as performed:
        for number, runs in enumerate(_rounds(plan, todo)):
            now = time.monotonic()
            if plan.budget is not None and number and now - begun + longest > plan.budget:
                watcher.ended_early(runs[0].seed)
                return
            yield from performed(plan, runs, watcher)
            longest = max(longest, time.monotonic() - now)


@contextmanager
def _performing(plan: SweepPlan, runs: int, shared: Path) -> Iterator[Performer]:
    """What performs so many runs: this process, or others."""
    jobs = min(plan.jobs, runs)
    if plan.engine == "processes" and jobs == 1:
        with one_thread():
            yield _one_by_one
    else:
        with open_executor(plan.engine, jobs, plan.hardware, shared) as pool:
            yield functools.partial(_side_by_side, pool)


def _rounds(plan: SweepPlan, runs: Sequence[Run]) -> list[list[Run]]:
    """All runs at once; with a budget seed by seed, so that it ends with whole seeds."""
    if plan.budget is None:
        return [list(runs)]
    seeds = dict.fromkeys(run.seed for run in runs)
    return [[run for run in runs if run.seed == seed] for seed in seeds]


def _written(plan: SweepPlan) -> dict[str, Any]:
    """What the first node writes once it has all runs."""
    wanted = {(run.method.key, run.seed) for run in plan.runs}
    for run in plan.runs:
        record = read_record(run.folder)
        if record is not None:
            reject_other_settings(run, record)
    while True:
        with contextlib.suppress(OSError, ValueError):
            results = read_verified_json(plan.out / RESULTS)
            made = {
                (record["identity"]["method"], record["identity"]["seed"])
                for record in results["runs"]
            }
            if made >= wanted and results.get("conclusion"):
                return results
        time.sleep(_PAUSE)


def _one_by_one(
    plan: SweepPlan, runs: Sequence[Run], watcher: SweepListener
) -> Iterator[tuple[Run, RunRecord]]:
    later = deque(runs)
    busy = 0  # runs in a row that another sweep is at work on
    while later:
        run = later.popleft()
        told = functools.partial(watcher.validated, run.name)
        try:
            record = execute_run(run, progress_bar=plan.progress_bar, on_validation=told)
        except BusyError:
            # other nodes know no other order than that of the plan
            (later.appendleft if run.hardware.num_nodes > 1 else later.append)(run)
            busy += 1
            if busy >= len(later) or run.hardware.num_nodes > 1:
                watcher.waiting(run.name)
                time.sleep(_PAUSE)
        else:
            busy = 0
            yield run, record


def _side_by_side(
    pool: TaskExecutor, plan: SweepPlan, runs: Sequence[Run], watcher: SweepListener
) -> Iterator[tuple[Run, RunRecord]]:
    waiting: dict[Future[RunRecord], Run] = {}
    later = list(runs)
    busy: dict[str, float] = {}  # when to look again at what another sweep is at work on
    while waiting or later:
        now = time.monotonic()
        under_way = {run.name for run in (*waiting.values(), *later)}
        for run in [run for run in later if not _waits_for(run, under_way)]:
            if len(waiting) < plan.jobs and busy.get(run.name, 0.0) <= now:
                later.remove(run)
                waiting[pool.submit(_perform_and_tell, run)] = run
        if not waiting:
            watcher.waiting(later[0].name)
            time.sleep(_PAUSE)
        ended, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
        for told in pool.news():
            watcher.validated(*told)
        for future in ended:
            run = waiting.pop(future)
            try:
                record = future.result()
            except BusyError:
                busy[run.name] = time.monotonic() + _PAUSE
                later.append(run)
            else:
                yield run, record


def _waits_for(run: Run, others: set[str]) -> bool:
    """Whether a two-stage run's first stage is not finished."""
    return run.stage_one is not None and run.stage_one.name in others


def _cost(run: Run) -> float:
    """Expected time of a run, of a whole training 1; for the forecast alone."""
    return 0.1 if run.stage_one is not None else 1.0


def _perform_and_tell(run: Run) -> RunRecord:
    return execute_run(run, on_validation=functools.partial(report_progress, run.name))
