"""A sweep's folder, which several sweeps may fill at the same time."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from ranksim._utils.provenance import collect_provenance
from ranksim._utils.storage import read_verified_json, with_digest, write_json
from ranksim.datasets.published import NOTES
from ranksim.evaluation.comparison import add_comparison, choose_baseline
from ranksim.evaluation.conclusion import draw_conclusion
from ranksim.evaluation.predictions import PREDICTIONS, Predictions, read_predictions
from ranksim.evaluation.record import (
    FORMAT,
    RECORD,
    RESULTS,
    RunRecord,
    flatten_dict,
    read_record,
    upgrade_results,
)
from ranksim.evaluation.summary import count_pairs, summarize
from ranksim.exceptions import DataError, UsageError
from ranksim.experiments.run import Run, reject_other_settings
from ranksim.training.modality import headline

if TYPE_CHECKING:
    from ranksim.experiments.sweep import SweepPlan

_SWEEPS, _LOCK = ".sweeps", ".lock"


class ResultStore:
    """The folder of a plan's runs: who is at work in it, and its ``results.json``.

    Args:
        plan: runs, the rows that report them, and what makes the run of any method and seed.
    """

    def __init__(self, plan: SweepPlan) -> None:
        self.plan, self.out = plan, plan.out

    @contextmanager
    def joined(self) -> Iterator[Path]:
        """Work in the folder, once it is sure that nothing in it has other settings.

        Yields this sweep's note, a file that is there meanwhile and that no other folder has.

        Finished runs, and those that another sweep is at work on or will be, must be what this
        plan would make of the same method and seed.

        Raises:
            UsageError: naming the first setting that differs.
        """
        notes = self.out / _SWEEPS
        notes.mkdir(parents=True, exist_ok=True)
        own = notes / f"{uuid.uuid4().hex}.json"
        with self._alone():
            for record in self._records():
                run = self.plan.run_of(record["identity"]["method"], record["identity"]["seed"])
                reject_other_settings(run, record)
            for name in sorted({left.stem for left in notes.iterdir()}):
                self._refuse_or_remove(notes / f"{name}.json")
            alive = filelock.FileLock(own.with_suffix(".lock"))
            alive.acquire()
            write_json(own, with_digest(_settings(self.plan.runs)))
        try:
            yield own
        finally:
            own.unlink(missing_ok=True)
            alive.release()
            own.with_suffix(".lock").unlink(missing_ok=True)

    def write(self, *, last: bool = False) -> dict[str, Any]:
        """All finished runs of the folder and their summary, as ``results.json``.

        Rows that other sweeps reported stay. Of each method the lowest seed alone keeps its
        embedding. What takes test predictions, intervals over samples and the answer, is made
        when the ``last`` run is finished.
        """
        plan = self.plan
        first = plan.runs[0]
        with self._alone():
            records = self._records()
            order = list(dict.fromkeys(run.method.key for run in plan.runs))
            order += sorted({record["identity"]["method"] for record in records} - set(order))
            records.sort(
                key=lambda record: (
                    order.index(record["identity"]["method"]),
                    record["identity"]["seed"],
                )
            )
            others = self._rows(set(order) - {run.method.key for run in plan.runs})
            rows = {**plan.rows, **{k: v for k, v in others.items() if k not in plan.rows}}
            shown = headline(first.source.spec.benchmark)
            comparable = all(record["provenance"].get("comparable", True) for record in records)
            summary = summarize(records, first.source.spec.benchmark, rows)
            baseline = choose_baseline(summary)
            add_comparison(summary, records, baseline, self._predictions if last else None)
            labels = _hoisted(records)
            results = {
                "format": FORMAT,
                **first.source.spec.to_dict(),
                "preset": first.preset,
                "published_note": NOTES.get(first.source.spec.benchmark) if comparable else None,
                "command": plan.command,
                "provenance": collect_provenance(),
                "labels": labels,
                "reported_methods": rows,
                "runs": records,
                "summary": summary,
                "headline": list(shown),
                "pairs": count_pairs(summary, shown[0]),
                "baseline": baseline,
                "conclusion": draw_conclusion(summary, baseline, shown[0]) if last else None,
            }
            write_json(self.out / RESULTS, with_digest(results))
        return results

    def _alone(self) -> filelock.BaseFileLock:
        """No other sweep reads or writes notes and results meanwhile."""
        return filelock.FileLock(self.out / _LOCK)

    def _records(self) -> list[RunRecord]:
        """Of all finished runs.

        Raises:
            DataError: one that this plan would not train again is damaged.
        """
        own, found = {run.folder for run in self.plan.runs}, []
        for folder in sorted((self.out / "runs").glob("*/seed-*")):
            there = (folder / RECORD).is_file()
            record = read_record(folder)
            if record is not None:
                found.append(record)
            elif there and folder not in own and (folder / RECORD).is_file():
                raise DataError(
                    f"{folder / RECORD} is damaged: start the command that trained it again, or "
                    "delete the file to leave it out."
                )
        return found

    def _predictions(self, method: str, seed: int) -> Predictions | None:
        return read_predictions(self.out / "runs" / method / f"seed-{seed}" / PREDICTIONS)

    def _rows(self, others: Collection[str]) -> dict[str, str]:
        """What other sweeps asked for here.

        Raises:
            DataError: what they did is damaged, and they trained methods that this plan does not.
        """
        try:
            rows: dict[str, str] = upgrade_results(read_verified_json(self.out / RESULTS))[
                "reported_methods"
            ]
        except FileNotFoundError:
            return {}
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            if not others:
                return {}
            raise DataError(
                f"{self.out / RESULTS} is damaged, which also held {', '.join(sorted(others))}: "
                "delete it, and start all commands of this folder again."
            ) from error
        return rows

    def _refuse_or_remove(self, note: Path) -> None:
        """Refuse a sweep at work with other settings; one that was killed left only its note."""
        alive = filelock.FileLock(note.with_suffix(".lock"))
        try:
            with alive.acquire(timeout=0):
                note.unlink(missing_ok=True)
            note.with_suffix(".lock").unlink(missing_ok=True)
            return
        except filelock.Timeout:
            try:
                there: Mapping[str, Any] = read_verified_json(note)
            except FileNotFoundError:
                return  # it has just ended
            except ValueError as error:
                raise UsageError(
                    f"Another sweep is at work in {self.out}, and what it noted in {note} is "
                    "damaged: wait for it to end."
                ) from error
        for key, settings in there.items():
            wanted = flatten_dict(_settings([self.plan.run_of(key, 0)])[key])
            for name, value in flatten_dict(settings).items():
                if wanted.get(name) != value:
                    raise UsageError(
                        f"Another sweep is at work in {self.out} on {key} with {name} {value!r}, "
                        f"now {wanted.get(name)!r}: give another folder with --out."
                    )


def _hoisted(records: Sequence[RunRecord]) -> dict[str, Any] | None:
    """The label axis that all runs share; what it and others hold again is taken from them.

    ``None`` where all were made before runs had one.
    """
    axes = [
        axis for record in records if (axis := record["result"].pop("labels", None)) is not None
    ]
    shown: set[str] = set()
    for record in records:  # seeds ascend
        if record["status"] == "done" and record["identity"]["method"] in shown:
            record["result"].pop("projection", None)
        elif record["status"] == "done":
            shown.add(record["identity"]["method"])
    return axes[0] if axes else None


def _settings(runs: Sequence[Run]) -> dict[str, Any]:
    """What a method is trained with, whatever the seed, by its key."""
    settings = {}
    for run in runs:
        identity: dict[str, Any] = {**run.identity()}
        del identity["seed"]
        if "stage_one" in identity:
            identity["stage_one"] = {k: v for k, v in identity["stage_one"].items() if k != "seed"}
        settings[run.method.key] = identity
    plain: dict[str, Any] = json.loads(json.dumps(settings))
    return plain
