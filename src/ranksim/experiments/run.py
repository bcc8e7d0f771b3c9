"""A run of a sweep: training of one method with one seed, recorded in ``record.json``."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import filelock
import numpy as np
import torch
from numpy.typing import NDArray

from ranksim._utils.arrays import copy_to_numpy
from ranksim._utils.formatting import format_count
from ranksim._utils.provenance import collect_provenance
from ranksim._utils.storage import (
    atomic_write,
    read_arrays,
    read_verified_json,
    sha256,
    with_digest,
    write_arrays,
    write_json,
)
from ranksim.data.data_report import PART_TITLES
from ranksim.data.splitting import PARTS
from ranksim.data.target_transform import TargetTransform
from ranksim.datasets.base import Benchmark
from ranksim.evaluation.diagnostics import (
    diagnose_run,
    label_axis,
    round_for_json,
    score_imbalance,
)
from ranksim.evaluation.predictions import (
    CALIBRATION,
    PREDICTIONS,
    are_damaged,
    read_predictions,
    write_calibration,
    write_predictions,
)
from ranksim.evaluation.record import (
    RECORD,
    RunIdentity,
    RunRecord,
    first_difference,
    read_record,
    run_name,
    upgrade_identity,
)
from ranksim.exceptions import DataError, RankSimError, UsageError
from ranksim.experiments.external import read_external_predictions
from ranksim.models.estimators.data import LEAST_LABEL, find_unsuitable_labels
from ranksim.training.custom_network import CustomNetwork
from ranksim.training.data_source import DataSource
from ranksim.training.divergence import DivergedError
from ranksim.training.factory import check_weights, make_fds, resolve_defaults
from ranksim.training.fit import fit, retrain_head
from ranksim.training.fit_estimator import (
    check_estimator,
    fit_estimator,
    fitted_loss,
    score_external,
    score_predictions,
)
from ranksim.training.hardware import peak_memory_mb, reset_peak_memory
from ranksim.training.limits import TrainingLimits
from ranksim.training.method import Method, Technique
from ranksim.training.method_rules import depends_on_seed, record_recipe
from ranksim.training.part_modules import PartContext, check_part_modules
from ranksim.training.prepare import check_resampling, prepare_task
from ranksim.training.recipe import EstimatorRecipe, NetworkRecipe, Recipe
from ranksim.training.resume import BEST, LAST
from ranksim.training.selection import SelectionScore
from ranksim.training.task import FollowedError, TrainingOptions, TrainingResult
from ranksim.training.task_loading import (
    check_network,
    check_network_of_user,
    find_sample_ids,
    load_benchmark,
    load_task,
)
from ranksim.training.trainer_config import TrainerConfig, ValidationCallback

Floats = NDArray[np.float64]
STARTED = "started.json"
VALIDATION = "validation.npz"  # predictions of the validation samples, if they are kept
_TURN = ".turn.json"  # exists while the first of several nodes trains the run
_POLL_SECONDS = 0.2  # between two checks of the first node's progress


class BusyError(RankSimError):
    """An error raised if another process is training the same run."""


class FirstStageError(RankSimError):
    """An error raised if the first stage of a two-stage run, or a member of a mean, diverged."""

    def __init__(self, name: str, record: RunRecord, role: str = "Stage one") -> None:
        super().__init__(f"{role}, {name}: {record['result']['error']}")
        key = role.lower().replace(" ", "_")
        self.details = {**record["result"].get("diverged", {}), key: name}


@dataclass(frozen=True)
class Run:
    """A method, a seed and all other settings that determine the result of one training.

    The recipe is based on ``preset``; ``out`` is the folder of the sweep. ``stage_one``, the run
    that trains the encoder of a two-stage method, is trained once for all runs that share it, and
    so are the ``members`` of a method that averages two networks and trains nothing itself.
    """

    method: Method
    seed: int
    recipe: Recipe
    source: DataSource
    preset: str
    trainer_config: TrainerConfig
    limits: TrainingLimits
    out: Path
    stage_one: Run | None = None
    predictions: Path | None = None  # made elsewhere; nothing is trained
    choices: tuple[Mapping[str, float], ...] = ()  # of an earlier fit of each estimator
    network: CustomNetwork | None = None  # builds the network of a method that trains one
    has_projection: bool = True  # of the features; results keep that of the lowest seed alone
    members: tuple[Run, ...] = ()  # whose mean is the prediction

    @property
    def folder(self) -> Path:
        """The run's folder, which contains checkpoints, logs, predictions and the record."""
        return self.out / "runs" / self.method.key / f"seed-{self.seed}"

    @property
    def name(self) -> str:
        """The name of the run in messages, such as ``"vanilla seed 0"``."""
        return f"{self.method.key} seed {self.seed}"

    @property
    def required(self) -> tuple[Run, ...]:
        """The runs that end before this one: its first stage, or the members of a mean."""
        return self.members if self.stage_one is None else (self.stage_one,)

    @property
    def networks(self) -> tuple[Run, ...]:
        """The runs whose mean is the prediction; this one, unless it has members."""
        return self.members or (self,)

    def with_required(self, change: Callable[[Run], Run]) -> Run:
        """Return a copy of this run, whose required runs are changed."""
        first = None if self.stage_one is None else change(self.stage_one)
        members = tuple(change(member) for member in self.members)
        return dataclasses.replace(self, stage_one=first, members=members)

    def identity(self) -> RunIdentity:
        """Return the settings that determine the result; a run is reused only if they are equal."""
        trainer, limits = dataclasses.asdict(self.trainer_config), dataclasses.asdict(self.limits)
        identity: RunIdentity = {
            "method": self.method.key,
            "technique": self.method.technique.to_dict(),
            "seed": self.seed,
            "data": self.source.spec.to_dict(),
            "preset": self.preset,
            "trainer": {k: v for k, v in trainer.items() if k != "accelerator"},
            "limits": {k: v for k, v in limits.items() if v is not None},
            "recipe": record_recipe(self.recipe, self.method.technique),
        }
        if self.stage_one is not None:
            identity["stage_one"] = self.stage_one.identity()
        if self.members:
            identity["members"] = [member.identity() for member in self.members]
        if self.choices:
            identity["choices"] = [dict(each) for each in self.choices]
        if self.network is not None:
            identity["network"] = self.network.describe()
        if self.method.technique.custom is not None:
            identity["estimator"] = self.method.technique.custom.describe()
        if self.predictions is not None:
            identity["predictions_sha256"] = sha256(self.predictions)[:16]
        return identity


def load_finished_record(run: Run) -> RunRecord | None:
    """Return a finished run's record; return None if it is unfinished."""
    record = read_record(run.folder)
    return None if record is None or are_damaged(run.folder / PREDICTIONS) else record


def reject_other_settings(run: Run, record: RunRecord, names: Sequence[str] = ()) -> None:
    """Raise a UsageError if a run was trained with other settings than this command has.

    ``names`` are the parts of the identity that are compared; by default all.
    """
    here, there = (
        {k: v for k, v in identity.items() if not names or k in names}
        for identity in (run.identity(), record["identity"])
    )
    if difference := first_difference(here, there):
        name, new, old = difference
        raise UsageError(
            f"{run.out} contains {run_name(record)} trained with {name} {old!r}, but this command "
            f"has {new!r}: choose another folder with --out."
        )


def check_data(run: Run, *, strict: bool = False) -> Benchmark[Any]:
    """Check before training that data can be loaded and the method trained; return the data.

    The result is the same for all seeds. If ``strict``, warnings about the data are errors.
    """
    check_network(run.source, run.recipe)
    benchmark = load_benchmark(run.source, run.recipe)
    if strict:
        benchmark.report.raise_warnings()
    if run.predictions is not None:
        read_external_predictions(run.predictions, benchmark)
        return benchmark
    check_method(run, benchmark)
    if run.network is not None:
        check_network_of_user(run.source, run.recipe, run.network)
    return benchmark


def check_methods(runs: Iterable[Run], *, strict: bool = False) -> Benchmark[Any]:
    """Check the data and methods of at least one run, once for all seeds; return the data.

    Downloads and caches are filled in this one process.
    """
    by_method = {run.method.key: run for run in runs}
    return [check_data(run, strict=strict) for run in by_method.values()][-1]


def check_method(run: Run, benchmark: Benchmark[Any]) -> None:
    """Raise an error that names the method if one of its techniques does not suit the data."""
    try:
        _check_technique(run, benchmark)
    except (DataError, UsageError) as error:
        raise type(error)(f"Method {run.method.name} cannot be trained: {error}") from error


def _check_technique(run: Run, benchmark: Benchmark[Any]) -> None:
    """Raise an error if a technique of the method does not suit the data."""
    technique, labels = run.method.technique, benchmark.train.labels
    if isinstance(run.recipe, EstimatorRecipe):
        check_estimator(technique, run.recipe)
        if technique.custom is not None and getattr(run.source.spec, "weights", None) is not None:
            technique.custom.check_weights()
        _check_labels(run, benchmark, fitted_loss(technique, run.recipe))
    else:
        assert isinstance(run.recipe, NetworkRecipe)
        make_fds(run.recipe, technique, benchmark.bins, 1)
        _check_parts(run.recipe, technique, benchmark)
    check_weights(run.recipe, technique, benchmark.bins, labels)
    if technique.resampling:
        check_resampling(technique.resampling, run.recipe, labels)
    if technique.transform:
        TargetTransform.check_labels(labels, technique.transform)


def _check_parts(recipe: NetworkRecipe, technique: Technique, benchmark: Benchmark[Any]) -> None:
    """Raise an error if a loss or term cannot be built for the training labels."""
    if technique.parts:
        recipe = resolve_defaults(recipe, benchmark.train.labels)
        targets = benchmark.train.labels / recipe.label_scale
        check_part_modules(PartContext(recipe, technique, targets, benchmark.bins, width=1))


def _check_labels(run: Run, benchmark: Benchmark[Any], loss: str) -> None:
    """Raise a DataError that names the first line whose label a loss cannot fit."""
    if loss not in LEAST_LABEL:
        return
    for part, samples in zip(PARTS[:2], benchmark.parts, strict=False):
        rows = np.flatnonzero(find_unsuitable_labels(samples.labels, loss))
        if len(rows):
            ids = find_sample_ids(run.source, run.recipe, part)
            place = "" if ids is None else f" in {ids.unit} {ids.numbers[rows[0]]} of {ids.table}"
            raise DataError(
                f"the loss {loss} needs labels {LEAST_LABEL[loss]}, and "
                f"{format_count(len(rows), PART_TITLES[part] + ' label')} "
                f"{'is' if len(rows) == 1 else 'are'} not, such as {samples.labels[rows[0]]:g}"
                f"{place}: correct or remove these rows, or set another loss."
            )
    if not np.any(benchmark.train.labels):
        raise DataError(f"the loss {loss} needs a training label above 0, and all are 0.")


def reject_other_data(run: Run, facts: dict[str, Any], record: RunRecord) -> None:
    """Raise a UsageError if a finished run was trained on data that differs from this data."""
    if difference := first_difference(facts, record["provenance"].get("data", {})):
        name, new, old = difference
        raise UsageError(
            f"{run.out} contains runs on data with {name} {old!r}, but this data has {new!r}: "
            "choose another folder with --out."
        )


def execute_run(
    run: Run,
    *,
    progress_bar: bool = False,
    on_validation: ValidationCallback | None = None,
    on_step: Callable[[], None] | None = None,
    keep_validation: bool = False,
) -> RunRecord:
    """Train a run, and write its predictions and record; return the record if already finished.

    A training that diverges is recorded as failed, with the reason. ``progress_bar`` shows that of
    Lightning; ``on_validation`` is called with epoch and validation score, ``on_step`` after each
    optimizer step but those of a first stage; ``keep_validation`` also writes the predictions of
    the validation samples.

    Raises:
        BusyError: another process is training the run or its first stage.
        UsageError: the folder contains the run with other settings.
    """
    options = TrainingOptions(
        seed=run.seed,
        trainer_config=run.trainer_config,
        limits=run.limits,
        progress_bar=progress_bar,
        on_validation=on_validation,
        on_step=on_step,
        keep_last=run.source.all_rows,
        choices=run.choices,
    )
    if run.trainer_config.is_follower_node:
        return _follow_first_node(run, options)
    run.folder.mkdir(parents=True, exist_ok=True)
    with _acquire_lock(run):
        if (record := load_finished_record(run)) is not None:
            reject_other_settings(run, record)
            return record
        if read_record(run.folder) is None:
            (run.folder / RECORD).unlink(missing_ok=True)  # damaged
        _prepare_resume(run)
        record = _train_and_record(run, options, keep_validation=keep_validation)
        write_json(run.folder / RECORD, with_digest(record))
        if record["status"] == "done":  # a failed run keeps its last good checkpoint
            (run.folder / LAST).unlink(missing_ok=True)
        return record


def _train_and_record(
    run: Run, options: TrainingOptions, *, keep_validation: bool = False
) -> RunRecord:
    """Train a run, write its predictions and return its record."""
    reset_peak_memory(run.trainer_config)
    status: Literal["done", "failed"] = "failed"
    try:
        with _announce_turn(run):
            benchmark, outcome = _train(run, options)
    except (DivergedError, FirstStageError) as error:
        benchmark = load_benchmark(run.source, run.recipe)
        diverged = error.divergence.to_dict() if isinstance(error, DivergedError) else error.details
        result: dict[str, Any] = {"error": str(error), "diverged": diverged}
    except (MemoryError, RuntimeError) as error:
        if "alloc" not in str(error) and "memory" not in str(error):
            raise
        raise RankSimError(
            f"There is not enough memory for {run.name}: lower batch_size or the size of the "
            "network with --set, or --jobs."
        ) from error
    else:
        status = "done"
        arrays = (outcome.sample_index, outcome.preds, outcome.distribution)
        write_predictions(
            run.folder / PREDICTIONS, benchmark, run.source.spec.regions_from, *arrays
        )
        if outcome.calibration_preds is not None:
            path = run.folder / CALIBRATION
            write_calibration(
                *(path, benchmark, run.source.spec.regions_from, outcome.calibration_preds),
                outcome.calibration_distribution,
            )
        if keep_validation and outcome.val_preds is not None:
            write_arrays(run.folder / VALIDATION, {"preds": outcome.val_preds})
        labels = benchmark.test.labels[outcome.sample_index]
        overall = outcome.test["all"] | score_imbalance(benchmark, labels, outcome.preds)
        result = {
            "metrics": {"val": outcome.val, "test": outcome.test | {"all": overall}},
            "epochs": outcome.epochs,
            "best_epoch": outcome.best_epoch,
            "steps": outcome.steps,
            "seconds": round(outcome.seconds, 2),
            "peak_memory_mb": round_for_json(peak_memory_mb(run.trainer_config)),
            "curves": (
                {**round_for_json(outcome.curves), "monitor": run.recipe.monitor}
                if outcome.curves
                else None
            ),
            **diagnose_run(benchmark, outcome.preds, outcome.features, project=run.has_projection),
        }
        if not depends_on_seed(run.method.technique):
            result["seed_matters"] = False
    result["labels"] = label_axis(benchmark, run.source.spec.regions_from)
    return {
        "identity": run.identity(),
        "status": status,
        "result": result,
        "provenance": {
            "data": benchmark.facts,
            "data_report": benchmark.report.to_dict(),
            "comparable": benchmark.comparable,
            "threads": torch.get_num_threads(),
            **collect_provenance(),
        },
    }


def _train(run: Run, options: TrainingOptions) -> tuple[Benchmark[Any], TrainingResult]:
    """Train a run; for a two-stage method, train the first stage before unless it is finished.

    A run of a mean trains its members, unless they are finished.
    """
    if run.members:
        return _average(run, [_predict_member(run, member, options) for member in run.members])
    encoder = None if run.stage_one is None else _train_first_stage(run, run.stage_one, options)
    benchmark, task = load_task(
        run.source, run.recipe, seed=run.seed, hardware=run.trainer_config, network=run.network
    )
    technique = run.method.technique
    if run.predictions is not None:
        preds = read_external_predictions(run.predictions, benchmark)
        return benchmark, score_external(task, preds)
    task = prepare_task(task, run.recipe, technique, run.seed)
    if isinstance(run.recipe, EstimatorRecipe):
        return benchmark, fit_estimator(task, run.recipe, technique, run.folder, options)
    assert isinstance(run.recipe, NetworkRecipe)
    if encoder is None:
        return benchmark, fit(task, run.recipe, technique, run.folder, options)
    return benchmark, retrain_head(task, run.recipe, technique, run.folder, encoder, options)


def _train_first_stage(run: Run, first: Run, options: TrainingOptions) -> Path:
    """Train the first stage unless it is finished, and return its best checkpoint."""
    record = execute_run(
        first, progress_bar=options.progress_bar, on_validation=options.on_validation
    )
    if record["status"] == "failed":
        raise FirstStageError(first.name, record)
    if not (first.folder / BEST).is_file():
        raise RankSimError(
            f"{run.name} needs the checkpoint {BEST} of {first.name}, which is missing: delete "
            f"{first.folder / RECORD} to train it again."
        )
    return first.folder / BEST


def _predict_member(run: Run, member: Run, options: TrainingOptions) -> dict[str, Floats]:
    """Return the predictions of a member, trained unless it is finished, by part of the data."""
    record = execute_run(
        member,
        progress_bar=options.progress_bar,
        on_validation=options.on_validation,
        keep_validation=True,
    )
    if record["status"] == "failed":
        raise FirstStageError(member.name, record, role="Member")
    val = read_arrays(member.folder / VALIDATION)
    test = read_predictions(member.folder / PREDICTIONS)
    if val is None or test is None:
        raise RankSimError(
            f"{run.name} needs the predictions of {member.name}, and {VALIDATION} or {PREDICTIONS} "
            f"in {member.folder} is missing: delete {RECORD} there to train it again."
        )
    calibration = read_predictions(member.folder / CALIBRATION)
    preds = {} if calibration is None else {"calibration": calibration.preds}
    return {"val": val["preds"], "test": test.preds, **preds}


def _average(
    run: Run, members: Sequence[Mapping[str, Floats]]
) -> tuple[Benchmark[Any], TrainingResult]:
    """Return the result of the mean of the predictions of members."""
    start = time.perf_counter()
    benchmark, task = load_task(
        run.source, run.recipe, seed=run.seed, hardware=run.trainer_config, network=run.network
    )
    preds = {part: np.mean([each[part] for each in members], axis=0) for part in members[0]}
    val = score_predictions(task, task.val, preds["val"])
    labels, monitor = copy_to_numpy(task.train.labels), run.recipe.monitor
    if (selection := SelectionScore.make(monitor, task.bins, labels)) is not None:
        val["all"][monitor] = selection(torch.from_numpy(preds["val"]), task.val.labels)
    return benchmark, dataclasses.replace(
        score_external(task, preds["test"]),
        val=val,
        val_preds=preds["val"],
        calibration_preds=preds.get("calibration"),
        seconds=time.perf_counter() - start,
    )


def _prepare_resume(run: Run) -> None:
    """Delete checkpoints that were written with other settings, and save the current settings."""
    path, identity, saved = run.folder / STARTED, run.identity(), None
    with contextlib.suppress(FileNotFoundError, ValueError, TypeError, AttributeError):
        saved = upgrade_identity(read_verified_json(path))
    if saved is None or first_difference(saved, identity):
        for name in (BEST, LAST):
            (run.folder / name).unlink(missing_ok=True)
        write_json(path, identity)


def _acquire_lock(run: Run) -> AbstractContextManager[object]:
    """Lock a run, so that two sweeps in one folder do not train it twice."""
    try:
        return filelock.FileLock(run.folder / ".lock").acquire(timeout=0)
    except filelock.Timeout as error:
        raise BusyError(
            f"Another process is training {run.name} in {run.out}: wait until it has ended."
        ) from error


@contextmanager
def _announce_turn(run: Run) -> Iterator[None]:
    """Announce to the other nodes, by a file in the run's folder, that this run is training."""
    if run.trainer_config.num_nodes == 1:
        yield
        return
    path = run.folder / _TURN
    with atomic_write(path) as temporary:
        turn = {"id": uuid.uuid4().hex, "identity": run.identity()}
        temporary.write_text(json.dumps(with_digest(turn)), encoding="utf-8")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _follow_first_node(run: Run, options: TrainingOptions) -> RunRecord:
    """Take part in the training that the first node starts, and return the finished record.

    Only the first node writes into the shared folder. If it was killed and started again, this
    node joins again.
    """
    joined = None
    while (record := load_finished_record(run)) is None:
        turn = _read_turn(run)
        if turn in (None, joined):
            time.sleep(_POLL_SECONDS)
            continue
        with contextlib.suppress(FollowedError, DivergedError, FirstStageError):
            _train(run, options)
        joined = _read_turn(run) or turn  # the file of a killed process may have been replaced
    reject_other_settings(run, record)
    return record


def _read_turn(run: Run) -> str | None:
    """Return the id of the training that the first node has announced; None if there is none."""
    try:
        turn = read_verified_json(run.folder / _TURN)
    except (OSError, ValueError):
        return None
    if difference := first_difference(run.identity(), turn["identity"]):
        name, here, first = difference
        raise UsageError(
            f"The first node trains {run.name} with {name} {first!r}, this node with {here!r}: "
            "start the same command on each node."
        )
    return str(turn["id"])
