"""The plan of a sweep, and its output folder, which several sweeps can share."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

import filelock

from ranksim._utils.provenance import collect_provenance
from ranksim._utils.storage import read_verified_json, with_digest, write_json
from ranksim.datasets.published import NOTES
from ranksim.evaluation.comparison import add_comparison
from ranksim.evaluation.coverage import add_coverage
from ranksim.evaluation.judgment import judge_sweep
from ranksim.evaluation.predictions import CALIBRATION, PREDICTIONS, read_predictions
from ranksim.evaluation.record import (
    FORMAT,
    RECORD,
    RESULTS,
    RunRecord,
    first_difference,
    read_record,
    upgrade_results,
)
from ranksim.evaluation.summary import (
    choose_baseline,
    count_pairs,
    summarize,
)
from ranksim.evaluation.views import read_view_counts
from ranksim.exceptions import DataError, UsageError
from ranksim.experiments.run import Run, reject_other_settings
from ranksim.training.method import Method, Technique
from ranksim.training.method_rules import EXTERNAL
from ranksim.training.recipe import headline
from ranksim.training.task_loading import load_benchmark
from ranksim.training.trainer_config import TrainerConfig

_WRITING_PAUSE = 20  # after the results of a finished run, times the time of writing them
_SWEEPS, _LOCK = ".sweeps", ".lock"
_EXTERNAL_FILE = "predictions_sha256"  # in the identity of predictions made elsewhere
_ESTIMATOR = "estimator"  # in the identity of an estimator of the user
_SHARED = ("data", "preset", "trainer", "limits")  # parts of all identities of a folder


@dataclass(frozen=True)
class SweepPlan:
    """The runs that a command trains, and how it executes them.

    Args:
        runs: one for each method and seed, and the first stages, each before the runs that need
            it; all share data, preset and folder.
        rows: the key of the method that each row of the summary reports.
        run_of: makes the run of a method key and a seed under the same settings.
        jobs: number of runs in parallel, each with one thread.
        command: the command line, recorded with the results.
        engine: ``processes`` of this machine, or ``ray`` for tasks of a Ray cluster.
        progress_bar: show Lightning's progress bar; for one job.
        strict: raise an error if the data has warnings.
        interval: coverage of prediction intervals; None: without.
    """

    runs: Sequence[Run]
    rows: Mapping[str, str]
    run_of: Callable[[str, int], Run]
    jobs: int
    command: str
    engine: str = "processes"
    progress_bar: bool = False
    strict: bool = False
    interval: float | None = None

    @property
    def out(self) -> Path:
        """The output folder of the sweep."""
        return self.runs[0].out

    @property
    def trainer_config(self) -> TrainerConfig:
        """The hardware settings, which are the same for all runs."""
        return self.runs[0].trainer_config


class ResultStore:
    """The output folder of a sweep, with its runs, ``results.json`` and active sweeps.

    Each sweep writes a note of its settings below ``.sweeps`` and locks a file beside it while it
    runs.
    """

    def __init__(self, plan: SweepPlan) -> None:
        self.plan, self.out = plan, plan.out
        self.lock = filelock.FileLock(self.out / _LOCK)  # of notes and results
        self._due = 0.0  # time from which on results are written again
        self._is_pending = False

    @contextmanager
    def join(self) -> Iterator[Path]:
        """Register this sweep as active in the folder, and yield the file that registers it.

        Finished runs and the runs of other active sweeps must have the settings that this plan has
        for the same method and seed, else a ``UsageError`` names the first that differs.
        """
        notes = self.out / _SWEEPS
        notes.mkdir(parents=True, exist_ok=True)
        note = notes / f"{uuid.uuid4().hex}.json"
        with self.lock:
            for record in self._read_records():
                self._reject_record(record)
            for name in sorted({path.stem for path in notes.iterdir()}):
                self._reject_or_remove(notes / f"{name}.json")
            active = filelock.FileLock(note.with_suffix(".lock"))
            active.acquire()
            write_json(note, with_digest(_method_settings(self.plan.runs)))
        try:
            yield note
        finally:
            note.unlink(missing_ok=True)
            active.release()
            note.with_suffix(".lock").unlink(missing_ok=True)

    def write_if_due(self) -> None:
        """Write the results after a run, in at most a twentieth of the time."""
        self._is_pending = True
        start = time.monotonic()
        if start >= self._due:
            self.write_pending()
            now = time.monotonic()
            self._due = now + _WRITING_PAUSE * (now - start)

    def write_pending(self) -> None:
        """Write the results of finished runs that are not yet written."""
        if self._is_pending:
            self.write()
            self._is_pending = False

    def write(self, *, last: bool = False) -> dict[str, Any]:
        """Summarize all finished runs of the folder; write and return ``results.json``.

        Nothing is written, and the result is empty, before a method has a finished run. Rows of
        other sweeps stay. Only the lowest seed of each method keeps its projection. If ``last``,
        all runs are finished: intervals over test samples and the conclusion are added.
        """
        plan, first = self.plan, self.plan.runs[0]
        benchmark = first.source.spec.benchmark
        with self.lock:
            records = self._read_records()
            planned = list(dict.fromkeys(run.method.key for run in plan.runs))
            others = {record["identity"]["method"] for record in records} - set(planned)
            order = [*planned, *sorted(others)]
            records.sort(
                key=lambda r: (order.index(r["identity"]["method"]), r["identity"]["seed"])
            )
            rows = {**plan.rows}
            for name, key in self._read_rows(others).items():
                rows.setdefault(name, key)
            metrics, labels = headline(benchmark), _collect_labels(records)
            comparable = all(record["provenance"].get("comparable", True) for record in records)
            summary = summarize(records, benchmark, rows)
            if not summary:  # only encoders have been trained, which are no rows
                return {}
            baseline = choose_baseline(summary)
            if last:
                read = cache(self._read_predictions)
                judgment = judge_sweep(summary, records, baseline, metrics[0], labels, read)
                if plan.interval is not None:
                    self._add_coverage(summary, read, plan.interval, labels)
            else:
                add_comparison(summary, records, baseline, None)
                judgment = {"conclusion": None}
            results = {
                "format": FORMAT,
                **first.source.spec.to_dict(),
                "preset": first.preset,
                "date": datetime.now(UTC).date().isoformat(),
                "published_note": NOTES.get(benchmark) if comparable else None,
                "command": plan.command,
                "provenance": collect_provenance(),
                "data_report": _collect_report(records),
                "labels": labels,
                "reported_methods": rows,
                "runs": records,
                "summary": summary,
                "headline": list(metrics),
                "pairs": count_pairs(summary, metrics[0]),
                "baseline": baseline,
                **judgment,
            }
            write_json(self.out / RESULTS, with_digest(results))
        return results

    def _read_records(self) -> list[RunRecord]:
        """Read all run records; raise an error if one is damaged and not trained by this plan."""
        folders, records = {run.folder for run in self.plan.runs}, []
        for folder in sorted((self.out / "runs").glob("*/seed-*")):
            path = folder / RECORD
            exists = path.is_file()
            if (record := read_record(folder)) is not None:
                records.append(record)
            elif exists and folder not in folders and path.is_file():
                raise DataError(
                    f"The record {path} is damaged: run the command that wrote it again, or "
                    "delete the file to exclude its run from the results."
                )
        return records

    def _add_coverage(
        self,
        summary: Sequence[dict[str, Any]],
        read: Any,
        level: float,
        labels: dict[str, Any] | None,
    ) -> None:
        """Add coverage and width of prediction intervals to the rows, in place."""
        first = self.plan.runs[0]
        regions = load_benchmark(first.source, first.recipe).regions(first.source.spec.regions_from)
        read_calibration = partial(self._read_predictions, file=CALIBRATION)
        add_coverage(summary, read, read_calibration, regions, level, read_view_counts(labels))

    def _read_predictions(self, method: str, seed: int, file: str = PREDICTIONS) -> Any:
        """Read the test predictions of a run; return None if the file is missing."""
        return read_predictions(self.out / "runs" / method / f"seed-{seed}" / file)

    def _read_rows(self, others: Collection[str]) -> dict[str, str]:
        """Return the rows that earlier sweeps in this folder reported, and their method keys.

        A damaged file is an error if methods outside the plan were trained, because their rows
        would be lost.
        """
        path = self.out / RESULTS
        try:
            rows: dict[str, str] = upgrade_results(read_verified_json(path))["reported_methods"]
        except FileNotFoundError:
            return {}
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            if not others:
                return {}
            raise DataError(
                f"{path}, which also reports {', '.join(sorted(others))}, is damaged: delete it "
                "and run all commands of this folder again."
            ) from error
        return rows

    def _reject_record(self, record: RunRecord) -> None:
        """Raise an error if a finished run has other settings than this plan."""
        identity = record["identity"]
        key, seed = identity["method"], identity["seed"]
        if not self._is_external(key, identity):
            reject_other_settings(self.plan.run_of(key, seed), record)
            return
        if _ESTIMATOR in identity:
            reject_other_settings(self.plan.run_of("median", seed), record, names=_SHARED)
            return
        method = Method(key, key, Technique(estimator=EXTERNAL))
        run = replace(self.plan.run_of("vanilla", seed), method=method)
        settings: Any = {name: value for name, value in identity.items() if name != _EXTERNAL_FILE}
        reject_other_settings(run, {**record, "identity": settings})

    def _is_external(self, key: str, identity: Mapping[str, Any]) -> bool:
        """Return whether a row is a file or an estimator of the user that this plan lacks."""
        is_external = _EXTERNAL_FILE in identity or _ESTIMATOR in identity
        return is_external and key not in self.plan.rows.values()

    def _reject_or_remove(self, note: Path) -> None:
        """Raise an error if an active sweep has other settings; unregister a killed sweep."""
        active = filelock.FileLock(note.with_suffix(".lock"))
        with contextlib.suppress(filelock.Timeout):
            with active.acquire(timeout=0):
                note.unlink(missing_ok=True)
            note.with_suffix(".lock").unlink(missing_ok=True)
            return
        try:
            settings: Mapping[str, Any] = read_verified_json(note)
        except FileNotFoundError:
            return  # it has just ended
        except ValueError as error:
            raise UsageError(
                f"Another sweep runs in {self.out}, and its settings {note} are damaged: wait "
                "until it has ended."
            ) from error
        for key, identity in settings.items():
            if self._is_external(key, identity):
                continue
            here = _method_settings([self.plan.run_of(key, 0)])[key]
            if difference := first_difference(here, identity):
                name, new, other = difference
                raise UsageError(
                    f"Another sweep in {self.out} trains {key} with {name} {other!r}, but this "
                    f"command has {new!r}: choose another folder with --out."
                )


def _collect_report(records: Sequence[RunRecord]) -> dict[str, Any] | None:
    """Move the report of what was read out of the records; return that of the last one."""
    reports = [record["provenance"].pop("data_report", None) for record in records]
    return next((report for report in reversed(reports) if report is not None), None)


def _collect_labels(records: Sequence[RunRecord]) -> dict[str, Any] | None:
    """Move the label axis shared by all records out of them, and drop repeated projections.

    Returns ``None`` if all runs were trained before records had a label axis.
    """
    axes = [record["result"].pop("labels", None) or {} for record in records]
    projected: set[str] = set()
    for record in records:  # in the order of seeds
        if record["status"] == "done":
            if record["identity"]["method"] in projected:
                record["result"].pop("projection", None)
            projected.add(record["identity"]["method"])
    # an axis of an earlier version has no counts for test views
    return max(axes, key=len, default=None) or None


def _method_settings(runs: Sequence[Run]) -> dict[str, Any]:
    """Return the settings shared by all runs of a method (identity without seed), by method key."""
    settings: dict[str, Any] = {}
    for run in runs:
        settings[run.method.key] = _without_seed(run.identity())
    return settings


def _without_seed(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return an identity whose seed, and the seeds of required runs, are None."""
    result: dict[str, Any] = {**identity, "seed": None}
    if "stage_one" in result:
        result["stage_one"] = _without_seed(result["stage_one"])
    if "members" in result:
        result["members"] = [_without_seed(member) for member in result["members"]]
    return result
