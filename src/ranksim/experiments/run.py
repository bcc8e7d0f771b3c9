"""One run of a sweep: a method and a seed, from data to a record on disk."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import filelock
import torch

from ranksim._utils.provenance import collect_provenance
from ranksim._utils.storage import atomic_write, read_verified_json, with_digest, write_json
from ranksim.datasets.base import Benchmark
from ranksim.evaluation.diagnostics import diagnose_run, label_axis, round_for_json
from ranksim.evaluation.predictions import PREDICTIONS, are_damaged, write_predictions
from ranksim.evaluation.record import (
    RECORD,
    RunIdentity,
    RunRecord,
    flatten_dict,
    read_record,
    upgrade_identity,
)
from ranksim.exceptions import RankSimError, UsageError
from ranksim.training.divergence import DivergedError
from ranksim.training.factory import make_fds, make_weights
from ranksim.training.fit import FollowedError, TrainingLimits, TrainingOptions, TrainingResult, fit
from ranksim.training.method import Method
from ranksim.training.peak_memory import peak_memory_mb, reset_peak_memory
from ranksim.training.recipe import Recipe
from ranksim.training.resume import BEST, LAST, ValidationCallback
from ranksim.training.task_loading import DataSource, check_network, load_benchmark, load_task
from ranksim.training.trainer_config import TrainerConfig
from ranksim.training.two_stage import retrain_head

STARTED = "started.json"
_TURN = ".turn.json"  # there while the first of several nodes has a run trained
_PAUSE = 0.2  # seconds between two looks at what the first node does


class BusyError(RankSimError):
    """A run that another process is at work on."""


class FirstStageError(RankSimError):
    """The first stage of a two-stage run diverged; ``diverged`` says where, as its record does."""

    def __init__(self, name: str, record: RunRecord) -> None:
        super().__init__(f"Stage one, {name}: {record['result']['error']}")
        self.diverged = {**record["result"].get("diverged", {}), "stage_one": name}


@dataclass(frozen=True)
class Run:
    """A method and a seed, and all that decides the result.

    ``stage_one`` is the run whose encoder a two-stage method goes on from: a run of its own, so
    that it is trained once for all rows that share it.
    """

    method: Method
    seed: int
    recipe: Recipe
    source: DataSource
    preset: str
    hardware: TrainerConfig
    limits: TrainingLimits
    out: Path
    stage_one: Run | None = None

    @property
    def folder(self) -> Path:
        return self.out / "runs" / self.method.key / f"seed-{self.seed}"

    @property
    def name(self) -> str:
        return f"{self.method.key} seed {self.seed}"

    def identity(self) -> RunIdentity:
        """Return what must be equal for a finished run to be reused as this one."""
        trainer, limits = dataclasses.asdict(self.hardware), dataclasses.asdict(self.limits)
        identity: RunIdentity = {
            "method": self.method.key,
            "technique": dataclasses.asdict(self.method.technique),
            "seed": self.seed,
            "data": self.source.spec.to_dict(),
            "preset": self.preset,
            "trainer": {k: v for k, v in trainer.items() if k != "accelerator"},
            "limits": {k: v for k, v in limits.items() if v is not None and k != "seconds"},
            "recipe": dataclasses.asdict(self.recipe),
        }
        if self.stage_one is not None:
            identity["stage_one"] = self.stage_one.identity()
        return identity


def load_finished_record(run: Run) -> RunRecord | None:
    """The record of a run, or ``None`` where it is to be trained, or trained on.

    A run that a time budget cut short is finished for who gives no more time than that.
    """
    record, seconds = read_record(run.folder), run.limits.seconds
    if record is None or are_damaged(run.folder / PREDICTIONS):
        return None
    cut = record["result"].get("truncated")
    return record if cut is None or (seconds is not None and seconds <= cut) else None


def reject_other_settings(run: Run, record: RunRecord) -> None:
    """Refuse to let a finished run stand for one with other settings.

    Raises:
        UsageError: naming the first setting that differs, and both values.
    """
    wanted = flatten_dict(json.loads(json.dumps(run.identity())))
    there = flatten_dict(record["identity"])  # an option that is no longer given differs too
    for name in dict.fromkeys((*wanted, *there)):
        if there.get(name) != wanted.get(name):
            raise UsageError(
                f"{run.out} holds {run.name} made with {name} {there.get(name)!r}, now "
                f"{wanted.get(name)!r}: give another folder with --out."
            )


def execute_run(
    run: Run,
    *,
    progress_bar: bool = False,
    on_validation: ValidationCallback | None = None,
) -> RunRecord:
    """Train a run and write its predictions, then its record; what is finished is read.

    A training that diverges is recorded as failed, with the reason.

    Raises:
        BusyError: another process is at work on the run, or on its first stage.
        UsageError: the folder holds the run made with other settings.
    """
    settings = {"progress_bar": progress_bar, "on_validation": on_validation}
    if run.hardware.is_follower_node:
        return _follow(run, settings)
    run.folder.mkdir(parents=True, exist_ok=True)
    with _lock(run):
        record = load_finished_record(run)
        if record is not None:
            reject_other_settings(run, record)
            return record
        if read_record(run.folder) is None:  # a damaged one; else what is there goes on
            (run.folder / RECORD).unlink(missing_ok=True)
        _start_or_go_on(run)
        status: Literal["done", "failed"] = "failed"
        result: dict[str, Any]
        reset_peak_memory(run.hardware)
        try:
            with _announced(run):
                benchmark, outcome = _train(run, settings)
        except DivergedError as error:
            result = {"error": str(error), "diverged": error.divergence.to_dict()}
            benchmark = load_benchmark(run.source, run.recipe)
        except FirstStageError as error:
            result = {"error": str(error), "diverged": error.diverged}
            benchmark = load_benchmark(run.source, run.recipe)
        except (MemoryError, RuntimeError) as error:
            if "alloc" not in str(error) and "memory" not in str(error):
                raise
            raise RankSimError(
                f"There is not enough memory for {run.name}: lower batch_size or the size of the "
                "network with --set, or --jobs."
            ) from error
        else:
            made = (outcome.sample_index, outcome.preds)
            write_predictions(run.folder / PREDICTIONS, benchmark, run.source.spec.regions_from, *made)
            status = "done"
            result = {
                "metrics": {"val": outcome.val, "test": outcome.test},
                "epochs": outcome.epochs,
                "best_epoch": outcome.best_epoch,
                "steps": outcome.steps,
                "seconds": round(outcome.seconds, 2),
                "peak_memory_mb": round_for_json(peak_memory_mb(run.hardware)),
                "curves": {**round_for_json(outcome.curves), "monitor": run.recipe.monitor},
                **diagnose_run(benchmark, outcome.preds, outcome.features),
            }
            result |= _cut_short(run, outcome)
        result["labels"] = label_axis(benchmark, run.source.spec.regions_from)
        origin = {"data": benchmark.facts, "comparable": benchmark.comparable}
        origin |= {"threads": torch.get_num_threads(), **collect_provenance()}
        record = {
            "identity": run.identity(),
            "status": status,
            "result": result,
            "provenance": origin,
        }
        write_json(run.folder / RECORD, with_digest(record))
        # one that was cut short goes on once it has more time; of a failed one the last good stays
        kept = "truncated" in result and run.stage_one is None
        if not kept and record["status"] == "done":
            (run.folder / LAST).unlink(missing_ok=True)
        return record


def _cut_short(run: Run, outcome: TrainingResult) -> dict[str, Any]:
    """The seconds that ended a run, or its first stage, before its recipe did."""
    limits: list[Any] = [run.limits.seconds] if outcome.truncated else []
    if run.stage_one is not None:
        first = read_record(run.stage_one.folder)
        limits += [first["result"]["truncated"]] if first and "truncated" in first["result"] else []
    return {"truncated": min(limits)} if limits else {}


@contextmanager
def _announced(run: Run) -> Iterator[None]:
    """Tell the other nodes that it is this run's turn, and that its folder is in order."""
    if run.hardware.num_nodes == 1:
        yield
        return
    note = run.folder / _TURN
    with atomic_write(note) as aside:
        turn = {"id": uuid.uuid4().hex, "settings": run.identity()}
        aside.write_text(json.dumps(with_digest(turn)), encoding="utf-8")
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def _follow(run: Run, settings: dict[str, Any]) -> RunRecord:
    """Take part in the training of a run whenever the first node says so, until it is finished.

    The first node alone writes into the folder, which all share. Where it was killed and started
    again, this one takes part again.
    """
    done = None
    while (record := load_finished_record(run)) is None:
        turn = _turn(run)
        if turn in (None, done):
            time.sleep(_PAUSE)
            continue
        with contextlib.suppress(FollowedError, DivergedError, FirstStageError):
            _train(run, settings)
        done = _turn(run) or turn  # a note that a killed one left was replaced meanwhile
    reject_other_settings(run, record)
    return record


def _turn(run: Run) -> str | None:
    """What tells one turn of the run from another, or ``None`` where it is not its turn.

    Raises:
        UsageError: the first node was given another command.
    """
    try:
        turn = read_verified_json(run.folder / _TURN)
    except (OSError, ValueError):
        return None
    there = flatten_dict(turn["settings"])
    for name, value in flatten_dict(json.loads(json.dumps(run.identity()))).items():
        if there.get(name) != value:
            raise UsageError(
                f"The first node trains {run.name} with {name} {there.get(name)!r}, this one with "
                f"{value!r}: give each node the same command."
            )
    return str(turn["id"])


@contextmanager
def _lock(run: Run) -> Iterator[None]:
    """Keep two sweeps that write into one folder from training the same run twice."""
    lock = filelock.FileLock(run.folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise BusyError(f"Another process is at work on {run.name} in {run.out}.") from error
    try:
        yield
    finally:
        lock.release()


def _train(run: Run, settings: dict[str, Any]) -> tuple[Benchmark[Any], TrainingResult]:
    """The training of a run; of a two-stage one, the second, the first being read or done."""
    best = _stage_one(run, settings)
    benchmark, task = load_task(run.source, run.recipe, seed=run.seed, hardware=run.hardware)
    options = TrainingOptions(
        seed=run.seed, trainer_config=run.hardware, limits=run.limits, **settings
    )
    technique = run.method.technique
    if best is None:
        return benchmark, fit(task, run.recipe, technique, run.folder, options)
    return benchmark, retrain_head(task, run.recipe, technique, run.folder, best, options)


def _stage_one(run: Run, settings: dict[str, Any]) -> Path | None:
    """The best checkpoint of a two-stage run's first stage, or ``None`` for other runs."""
    first = run.stage_one
    if first is None:
        return None
    record = execute_run(first, **settings)
    if record["status"] == "failed":
        raise FirstStageError(first.name, record)
    if not (first.folder / BEST).is_file():
        raise RankSimError(
            f"{run.name} goes on from {first.name}, whose {BEST} is gone: delete "
            f"{first.folder / RECORD} to have it trained again."
        )
    return first.folder / BEST


def _start_or_go_on(run: Run) -> None:
    """Keep the checkpoint of an interrupted run only if it was this very run."""
    note = run.folder / STARTED
    identity = json.dumps(run.identity(), indent=1)
    there = None
    with contextlib.suppress(FileNotFoundError, ValueError, TypeError, AttributeError):
        there = flatten_dict(upgrade_identity(read_verified_json(note)))
    if there != flatten_dict(json.loads(identity)):
        for name in (BEST, LAST):
            (run.folder / name).unlink(missing_ok=True)
        with atomic_write(note) as aside:
            aside.write_text(identity, encoding="utf-8")


def check_data(run: Run) -> dict[str, Any]:
    """Load a run's data and make its weights, which says what is wrong before any training.

    Returns:
        What identifies the data, as records hold it.
    """
    check_network(run.source, run.recipe)
    benchmark = load_benchmark(run.source, run.recipe)
    make_fds(run.recipe, run.method.technique, benchmark.bins, 1)
    make_weights(run.recipe, run.method.technique, benchmark.bins, benchmark.train.labels)
    facts: dict[str, Any] = json.loads(json.dumps(benchmark.facts))
    return facts


def reject_other_data(run: Run, facts: dict[str, Any], record: RunRecord) -> None:
    """Refuse to set a run on other data beside a finished one.

    Raises:
        UsageError: naming the first thing that differs, and both values.
    """
    there, here = flatten_dict(record["provenance"].get("data", {})), flatten_dict(facts)
    for name in dict.fromkeys((*here, *there)):
        if there.get(name) != here.get(name):
            raise UsageError(
                f"{run.out} holds runs on data with {name} {there.get(name)!r}, now "
                f"{here.get(name)!r}: give another folder with --out."
            )
