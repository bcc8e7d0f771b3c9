"""``ranksim rerun``: a row of a ``results.json`` trained again, and whether it comes out alike."""

from __future__ import annotations

import contextlib
import itertools
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from ranksim.evaluation.record import RESULTS, RunRecord, flatten_dict, is_complete, read_results
from ranksim.evaluation.summary import describe_failure
from ranksim.exceptions import DataError, StoppedError, UsageError
from ranksim.experiments.executor import one_thread
from ranksim.experiments.record_diff import diff_records
from ranksim.experiments.replay import RerunRequest, rebuild_run
from ranksim.experiments.run import check_data, execute_run
from ranksim.metrics import METRICS
from ranksim.training.trainer_config import check_trainer_config, silence_lightning


def reproduce(request: RerunRequest, *, as_json: bool = False) -> dict[str, Any]:
    """Train a row again from what its ``results.json`` holds, and compare what it comes to.

    Args:
        request: the command.
        as_json: print to stderr, so that stdout is left for JSON.

    Returns:
        ``method``; ``matches``, whether all seeds are the same to the last bit; and in ``runs`` for
        each ``seed``, ``matches`` (``None``: it cannot be compared), ``differ`` (names of what
        differs), ``largest`` (of each test score the largest relative difference of a region),
        ``made_by`` and ``data`` (what differs between then and now), ``assumed`` (fields of the
        recipe that older results lack, taken from today's preset) and ``note``.

    Raises:
        DataError: the results are damaged or do not say enough, or the data is another one.
        UsageError: there is no such row or seed, or the data is not named.
    """
    silence_lightning()
    results, console = read_results(request.results), Console(stderr=as_json)
    if request.out is not None and (request.out / RESULTS).exists():
        raise UsageError(f"{request.out} holds a sweep: give another folder with --out.")
    chosen = _chosen(request, results)
    told = []
    with _folder(request.out) as out:
        for record in chosen:
            found = _repeated(request, results, record, out)
            told.append(found)
            _tell(found, console)
    return {
        "method": chosen[0]["identity"]["method"],
        "matches": all(found["matches"] for found in told),
        "runs": told,
    }


def _chosen(request: RerunRequest, results: dict[str, Any]) -> list[RunRecord]:
    """Records of the row that is asked for."""
    try:
        rows = [(row["method"], row.get("alias_of", row["method"])) for row in results["summary"]]
        runs = {
            (run["identity"]["method"], run["identity"]["seed"]): run for run in results["runs"]
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{request.results} is damaged: make it again.") from error
    named = {str(k): key for k, (_, key) in enumerate(rows, start=1)} | dict(rows)
    row = request.row if request.row is not None or len(rows) != 1 else "1"
    if row not in named:
        listed = ", ".join(f"{k} {name}" for k, (name, _) in enumerate(rows, start=1))
        raise UsageError(
            f"{request.results} has the rows {listed or 'none'}: choose one with --row."
        )
    own = [run for (method, _), run in runs.items() if method == named[row]]
    if not all(is_complete(run) for run in own):
        raise DataError(f"{request.results} lacks what runs came to: make it again.")
    seeds = [run["identity"]["seed"] for run in own]
    if request.seed is not None:
        own = [run for run in own if run["identity"]["seed"] == request.seed]
    if not own:
        raise UsageError(
            f"{named[row]} has the seeds {', '.join(map(str, seeds))}, not {request.seed}: choose "
            "one of them with --seed."
        )
    return own


@contextlib.contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    if out is not None:
        yield out
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def _repeated(
    request: RerunRequest, results: dict[str, Any], record: RunRecord, out: Path
) -> dict[str, Any]:
    """One run again, and how it compares."""
    identity, result = record["identity"], record["result"]
    told: dict[str, Any] = {"method": identity["method"], "seed": identity["seed"], "matches": None}
    if "truncated" in result:
        note = f"was cut short after {result['truncated']:g} s, where no two machines end alike"
        return told | {"note": f"{note}: it cannot be compared"}
    run, assumed = rebuild_run(request, results, record, out)
    check_trainer_config(run.hardware)
    check_data(run)
    try:
        with one_thread():
            now: RunRecord = json.loads(json.dumps(execute_run(run)))
    except KeyboardInterrupt as error:
        raise StoppedError("Stopped.") from error
    return told | compare(record, now) | {"assumed": assumed}


def compare(then: RunRecord, now: RunRecord) -> dict[str, Any]:
    """How two records of one run compare (see :func:`reproduce`); what the first lacks is left out."""
    parts = ({"status": each["status"], **each["result"]} for each in (then, now))
    differ = diff_records(*parts, new=False)
    return {
        "matches": not differ,
        "differ": differ,
        "largest": _largest(then, now),
        "made_by": _changes(
            then, now, [k for k in then["provenance"] if k not in ("data", "comparable")]
        ),
        "data": _changes(then, now, ("data",)),
        "note": describe_failure(now) if now["status"] == "failed" else "",
    }


def _largest(then: RunRecord, now: RunRecord) -> dict[str, float]:
    """Of each test score the largest relative difference of a region, where there is any."""
    parts = [each["result"].get("metrics", {}).get("test", {}) for each in (then, now)]
    found: dict[str, float] = {}
    for region, metric in itertools.product(parts[0], METRICS):
        a, b = (part.get(region, {}).get(metric) for part in parts)
        if a is not None and b is not None and a != b:
            found[metric] = max(found.get(metric, 0.0), abs(a - b) / max(abs(a), abs(b)))
    return found


def _changes(then: RunRecord, now: RunRecord, parts: Sequence[str]) -> dict[str, list[Any]]:
    """What was otherwise then: ``[then, now]`` by name, of what was recorded then."""
    before, after = (
        flatten_dict({k: each["provenance"].get(k) for k in parts if k in then["provenance"]})
        for each in (then, now)
    )
    return {k: [v, after.get(k)] for k, v in before.items() if after.get(k) != v}


def _tell(found: dict[str, Any], console: Console) -> None:
    """What a run came to, in a line or some."""
    name = f"{found['method']} seed {found['seed']}"
    if found["matches"] is None:
        console.print(f"{name} {found['note']}.", highlight=False, soft_wrap=True, markup=False)
        return
    lines = [f"{name}: the same, to the last bit."]
    if not found["matches"]:
        score = ", ".join(f"{k} {v:.2g}" for k, v in found["largest"].items()) or "none"
        first = ", ".join(found["differ"][:5])
        more = f" and {len(found['differ']) - 5} more" if len(found["differ"]) > 5 else ""
        lines = [
            f"{name}: not the same ({first}{more}); largest relative difference of a test score: "
            f"{score}."
        ]
    for part in ("made_by", "data"):
        changed = "; ".join(f"{k} {a} then, {b} now" for k, (a, b) in found[part].items())
        lines += [f"  Otherwise: {changed}."] if changed else []
    if found["assumed"]:
        lines.append(f"  Not recorded, as today's preset has it: {', '.join(found['assumed'])}.")
    if found["note"]:
        lines.append(f"  It failed: {found['note']}.")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
