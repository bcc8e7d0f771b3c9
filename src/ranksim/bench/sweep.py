"""A sweep: methods × seeds, side by side, resumable, to one ``results.json``."""

from __future__ import annotations

import functools
import json
import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ranksim.bench.published import NOTES
from ranksim.bench.run import (
    Record,
    Run,
    load_data,
    perform,
    provenance,
    read_record,
    refuse_other_settings,
)
from ranksim.bench.summary import count_pairs, summarise
from ranksim.bench.workers import one_thread, tell, workers
from ranksim.data.cache import written_whole
from ranksim.errors import StoppedError
from ranksim.training.fit import check_hardware

RESULTS = "results.json"
FORMAT = 1


class Watcher(Protocol):
    """What a sweep tells while it runs."""

    def begin(self, finished: int, costs: Mapping[str, float]) -> None: ...
    def validated(self, run: str, epoch: int, score: float) -> None: ...
    def finished(self, run: str, record: Record) -> None: ...


@dataclass(frozen=True)
class Plan:
    """The runs of a command, and how to perform them.

    Args:
        runs: one for each method and seed, first stages included, each before what goes on from
            it; they share data, preset and folder.
        rows: the method that each row of the table reports.
        run_of: the run that this command would make of any method and seed.
        jobs: processes side by side, one thread each.
        command: the command that asks for this, recorded with the results.
        progress_bar: Lightning's, for one job.
    """

    runs: Sequence[Run]
    rows: Mapping[str, str]
    run_of: Callable[[str, int], Run]
    jobs: int
    command: str
    progress_bar: bool = False

    @property
    def out(self) -> Path:
        return self.runs[0].out


def sweep(plan: Plan, watcher: Watcher) -> dict[str, Any]:
    """Perform all runs that are not finished yet, and write ``results.json``.

    Killed at any moment, the same command goes on from the last validation of each run.

    Raises:
        UsageError: the folder holds runs that were made with other settings.
        RankSimError: a run failed for a reason other than divergence.
    """
    check_hardware(plan.runs[0].hardware)
    _refuse_what_does_not_belong(plan)
    finished = {run.name: record for run in plan.runs if (record := read_record(run.folder))}
    todo = [run for run in plan.runs if run.name not in finished]
    for run in {run.recipe.vectors: run for run in todo}.values():
        load_data(run.source, run.recipe)  # one process downloads and fills the caches
    watcher.begin(len(finished), {run.name: _cost(run) for run in todo})
    performed = _side_by_side if plan.jobs > 1 and len(todo) > 1 else _one_by_one
    try:
        for run, record in performed(plan, todo, watcher):
            watcher.finished(run.name, record)
            write_results(plan)
    except KeyboardInterrupt as error:
        raise StoppedError("Stopped; the same command goes on where it stopped.") from error
    return write_results(plan)


def write_results(plan: Plan) -> dict[str, Any]:
    """All finished runs of the folder and their summary, as ``results.json``."""
    records = [
        record
        for folder in sorted((plan.out / "runs").glob("*/seed-*"))
        if (record := read_record(folder))
    ]
    order = list(dict.fromkeys(run.method.key for run in plan.runs))
    order += sorted({record["method"] for record in records} - set(order))
    records.sort(key=lambda record: (order.index(record["method"]), record["seed"]))
    first = plan.runs[0]
    summary = summarise(records, first.source.benchmark, plan.rows)
    results = {
        "format": FORMAT,
        "benchmark": first.source.benchmark,
        **first.source.named_options(),
        "preset": first.preset,
        "shots": first.source.shots,
        "published_note": NOTES.get(first.source.benchmark),
        "command": plan.command,
        **provenance(),
        "runs": records,
        "summary": summary,
        "pairs": count_pairs(summary),
    }
    with written_whole(plan.out / RESULTS) as aside:
        aside.write_text(json.dumps(results, indent=1), encoding="utf-8")
    return results


def _refuse_what_does_not_belong(plan: Plan) -> None:
    """Every run of the folder, of this command or not, must be made with these settings."""
    for folder in (plan.out / "runs").glob("*/seed-*"):
        record = read_record(folder)
        if record is not None:
            refuse_other_settings(plan.run_of(record["method"], record["seed"]), record)


def _one_by_one(plan: Plan, runs: Sequence[Run], watcher: Watcher) -> Iterator[tuple[Run, Record]]:
    with one_thread():
        for run in runs:
            yield (
                run,
                perform(
                    run,
                    progress_bar=plan.progress_bar,
                    on_validation=functools.partial(watcher.validated, run.name),
                ),
            )


def _side_by_side(
    plan: Plan, runs: Sequence[Run], watcher: Watcher
) -> Iterator[tuple[Run, Record]]:
    with workers(min(plan.jobs, len(runs))) as (pool, news):
        waiting: dict[Future[Record], Run] = {}
        later = list(runs)
        while waiting or later:
            under_way = {run.name for run in (*waiting.values(), *later)}
            for run in [run for run in later if not _waits_for(run, under_way)]:
                later.remove(run)
                waiting[pool.submit(_perform_and_tell, run)] = run
            ended, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
            _pass_on(news, watcher)
            for future in ended:
                yield waiting.pop(future), future.result()


def _waits_for(run: Run, others: set[str]) -> bool:
    """Whether a two-stage run's first stage is not finished."""
    return run.stage_one is not None and run.stage_one.name in others


def _cost(run: Run) -> float:
    """Expected time of a run, of a whole training 1; for the forecast alone."""
    return 0.1 if run.stage_one is not None else 1.0


def _perform_and_tell(run: Run) -> Record:
    return perform(run, on_validation=functools.partial(tell, run.name))


def _pass_on(news: Any, watcher: Watcher) -> None:
    while True:
        try:
            watcher.validated(*news.get_nowait())
        except queue.Empty:
            return
