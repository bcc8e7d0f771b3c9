"""Train all methods with all seeds, in parallel and resumably, and write ``results.json``."""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ranksim._utils.progress import SweepProgress
from ranksim._utils.storage import read_verified_json
from ranksim.data.data_report import print_data_report
from ranksim.datasets.base import Benchmark
from ranksim.evaluation.record import RESULTS, RunRecord, read_record, run_name
from ranksim.evaluation.views import qualify_mean
from ranksim.exceptions import RankSimError, StoppedError
from ranksim.experiments.executor import (
    Task,
    TaskExecutor,
    check_engine,
    open_executor,
    report_progress,
    run_tasks,
)
from ranksim.experiments.run import (
    BusyError,
    Run,
    check_methods,
    execute_run,
    load_finished_record,
    reject_other_data,
    reject_other_settings,
)
from ranksim.experiments.store import ResultStore, SweepPlan
from ranksim.training.task_loading import load_plan
from ranksim.user_data.split_column import SPLIT_FILE

_POLL_SECONDS = 1.0  # before a run that another sweep trains is tried again


def run_sweep(
    plan: SweepPlan, progress: SweepProgress, data: Benchmark[Any] | None = None
) -> dict[str, Any]:
    """Train all unfinished runs of a plan, and return the content of ``results.json``.

    If the process is killed, the same command resumes each run from its last validation. On all
    nodes but the first, this joins the first node's trainings and writes nothing. A run that fails
    for a reason other than divergence ends the sweep with its error. ``data`` is that of the runs,
    if they have been checked by :func:`check_methods`.
    """
    check_engine(plan.engine, plan.trainer_config, plan.jobs)
    try:
        if plan.trainer_config.is_follower_node:
            for run, record in _execute_unfinished(plan, progress, plan.out):
                progress.finished(run.name, record)
            return _wait_for_results(plan)
        # create no folder if data or settings are invalid
        if data is None and not plan.out.exists():
            data = check_methods(plan.runs, strict=plan.strict)
        store = ResultStore(plan)
        with store.join() as note:
            try:
                for run, record in _execute_unfinished(plan, progress, note, data):
                    progress.finished(run.name, record)
                    store.write_if_due()
            except (KeyboardInterrupt, RankSimError):
                store.write_pending()
                raise
            return store.write(last=True)
    except KeyboardInterrupt as error:
        raise StoppedError("Stopped; the same command resumes where it stopped.") from error


def _execute_unfinished(
    plan: SweepPlan, progress: SweepProgress, shared: Path, data: Benchmark[Any] | None = None
) -> Iterator[tuple[Run, RunRecord]]:
    """Train the unfinished runs of a plan; yield each run with its record.

    ``shared`` is a file that all workers must see, as proof that they share the output folder.
    ``data`` is that of the runs, if they have been checked.
    """
    done = {run.name: record for run in plan.runs if (record := load_finished_record(run))}
    todo = [run for run in plan.runs if run.name not in done]
    if todo:
        data = data or check_methods(todo, strict=plan.strict)
        for record in done.values():
            reject_other_data(todo[0], data.facts, record)
        print_data_report(data.report, progress.console)
        scores = qualify_mean("Scores of runs are means over all test samples", data.test_set)
        progress.print_line(f"{scores}.", markup=False)
        if todo[0].source.is_user_data and not plan.trainer_config.is_follower_node:
            load_plan(todo[0].source).write_split(plan.out / SPLIT_FILE)
    # a second stage costs about a tenth of a training, and a mean of trained networks nothing
    progress.begin(len(done), {run.name: 0.1 if run.required else 1.0 for run in todo})
    if not todo:
        return
    jobs = min(plan.jobs, len(todo))
    sources = [(run.source, run.recipe) for run in todo]
    with open_executor(
        plan.engine, jobs, plan.trainer_config, shared, progress.validated, sources
    ) as executor:
        yield from _execute_in_parallel(executor, plan, todo, progress)


def _execute_in_parallel(
    executor: TaskExecutor, plan: SweepPlan, runs: Sequence[Run], progress: SweepProgress
) -> Iterator[tuple[Run, RunRecord]]:
    """Train runs in parallel, required ones before runs that need them; yield run and record."""
    pending = list(runs)
    unfinished = {run.name for run in runs}
    seconds: dict[str, float] = {}  # of the last finished run of each method
    retry_at: dict[str, float] = {}  # of runs that another sweep trains
    # several nodes execute the runs in the same order
    in_order = plan.trainer_config.num_nodes > 1

    def next_task() -> Task[Run] | None:
        ordered = pending[:1] if in_order else pending
        if len(pending) < 2 * plan.jobs and not in_order:  # so that no long run ends alone
            ordered = sorted(pending, key=lambda run: -seconds.get(run.method.key, math.inf))
        for run in ordered:
            waits = any(each.name in unfinished for each in run.required)
            if not waits and retry_at.get(run.name, 0.0) <= time.monotonic():
                pending.remove(run)
                return run, _execute_and_report, (run, plan.progress_bar)
        return None

    while pending:
        for run, future in run_tasks(executor, plan.jobs, next_task):
            try:
                record = future.result()
            except BusyError:
                retry_at[run.name] = time.monotonic() + _POLL_SECONDS
                pending.insert(0 if in_order else len(pending), run)
            else:
                unfinished.remove(run.name)
                seconds[run.method.key] = record["result"].get("seconds", 0.0)
                yield run, record
        if pending:
            progress.waiting(pending[0].name)
            time.sleep(_POLL_SECONDS)


def _execute_and_report(run: Run, progress_bar: bool) -> RunRecord:
    """Execute a run in a worker, and report each validation score to the main process."""
    report = functools.partial(report_progress, run.name)
    return execute_run(run, progress_bar=progress_bar, on_validation=report, keep_validation=True)


def _wait_for_results(plan: SweepPlan) -> dict[str, Any]:
    """Wait until the first node has written the results of all runs, and return them."""
    expected = {run.name for run in plan.runs}
    for run in plan.runs:
        if (record := read_record(run.folder)) is not None:
            reject_other_settings(run, record)
    while True:
        with contextlib.suppress(OSError, ValueError, KeyError):
            results = read_verified_json(plan.out / RESULTS)
            finished = {run_name(record) for record in results["runs"]}
            if finished >= expected and results["conclusion"]:
                return results
        time.sleep(_POLL_SECONDS)
