"""``ranksim rerun``: a row of a ``results.json`` trained again, and whether it comes out alike."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rich.console import Console

from ranksim.bench.benchmarks import Source, fingerprint
from ranksim.bench.kinds import IMAGES, SENTENCES, SERIES, TABLE, TEXT, recipe_type
from ranksim.bench.methods import Method, parse_method, stage_one
from ranksim.bench.recipes import recipe_for
from ranksim.bench.report import RESULTS, read_results
from ranksim.bench.run import Record, Run, check_data, flat, perform
from ranksim.bench.same import MADE_BY, differences
from ranksim.bench.workers import one_thread
from ranksim.errors import DataError, StoppedError, UsageError
from ranksim.metrics import METRICS
from ranksim.report.words import why_failed
from ranksim.training.fit import Limits
from ranksim.training.hardware import Hardware, check_hardware, quiet
from ranksim.training.recipe import Recipe
from ranksim.training.technique import Technique

_FACTS = ("data", "comparable")  # of the data, told apart from what a training came to
_OWN = (TABLE, TEXT, SENTENCES, SERIES)


@dataclass(frozen=True)
class RerunRequest:
    """A rerun command as it was given.

    Args:
        results: a sweep's ``results.json``, or its folder.
        row: of its table, counted from 1, or a method's name; ``None`` for the only one.
        seed: one of the row's; ``None`` for all.
        files: where the data lies on this machine, by the names of the options.
        out: where it trains; ``None``: a temporary folder.
        accelerator: for Lightning's Trainer.
    """

    results: Path
    row: str | None = None
    seed: int | None = None
    files: Mapping[str, Path | str | None] = dataclasses.field(default_factory=dict)
    out: Path | None = None
    accelerator: str = "auto"


def rerun(request: RerunRequest, *, as_json: bool = False) -> dict[str, Any]:
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
    quiet()
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
        "method": chosen[0]["method"],
        "matches": all(found["matches"] for found in told),
        "runs": told,
    }


def _chosen(request: RerunRequest, results: Record) -> list[Record]:
    """Records of the row that is asked for."""
    try:
        rows = [(row["method"], row.get("same_as", row["method"])) for row in results["summary"]]
        runs = {(run["method"], run["seed"]): run for run in results["runs"]}
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
    seeds = [run["seed"] for run in own]
    if request.seed is not None:
        own = [run for run in own if run["seed"] == request.seed]
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


def _repeated(request: RerunRequest, results: Record, record: Record, out: Path) -> dict[str, Any]:
    """One run again, and how it compares."""
    told: dict[str, Any] = {"method": record["method"], "seed": record["seed"], "matches": None}
    if "cut_short" in record:
        note = f"was cut short after {record['cut_short']:g} s, where no two machines end alike"
        return told | {"note": f"{note}: it cannot be compared"}
    run, assumed = run_of(request, results, record, out)
    check_hardware(run.hardware)
    check_data(run)
    try:
        with one_thread():
            now: Record = json.loads(json.dumps(perform(run)))
    except KeyboardInterrupt as error:
        raise StoppedError("Stopped.") from error
    return told | compare(record, now) | {"assumed": assumed}


def compare(then: Record, now: Record) -> dict[str, Any]:
    """How two records of one run compare (see :func:`rerun`); what the first lacks is left out."""
    came_to = dict(itertools.dropwhile(lambda item: item[0] != "status", then.items()))
    differ = differences(came_to, now, (*MADE_BY, *_FACTS), new=False)
    return {
        "matches": not differ,
        "differ": differ,
        "largest": _largest(then, now),
        "made_by": _changes(then, now, MADE_BY),
        "data": _changes(then, now, _FACTS[:1]),
        "note": why_failed(now) if now["status"] == "failed" else "",
    }


def _largest(then: Record, now: Record) -> dict[str, float]:
    """Of each test score the largest relative difference of a region, where there is any."""
    parts = [each.get("metrics", {}).get("test", {}) for each in (then, now)]
    found: dict[str, float] = {}
    for region, metric in itertools.product(parts[0], METRICS):
        a, b = (part.get(region, {}).get(metric) for part in parts)
        if a is not None and b is not None and a != b:
            found[metric] = max(found.get(metric, 0.0), abs(a - b) / max(abs(a), abs(b)))
    return found


def _changes(then: Record, now: Record, parts: Sequence[str]) -> dict[str, list[Any]]:
    """What was otherwise then: ``[then, now]`` by name, of what was recorded then."""
    before, after = (flat({k: each.get(k) for k in parts if k in then}) for each in (then, now))
    return {k: [v, after.get(k)] for k, v in before.items() if after.get(k) != v}


def run_of(
    request: RerunRequest, results: Record, record: Record, out: Path
) -> tuple[Run, list[str]]:
    """The run that a record is of; and fields of its recipe that it lacks, as today's preset has.

    Raises:
        DataError: the record does not say enough.
        UsageError: the data is not named.
    """
    name = f"{request.results}, {record['method']} seed {record['seed']}"
    try:
        source = _source(request, results, record)
        return _run(request, results, record, source, out)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{name} does not say how it was trained: {error!r} is missing.") from error
    except UsageError as error:
        if isinstance(error, _AskError):
            raise
        raise DataError(f"{name} cannot be trained again: {error}") from error


class _AskError(UsageError):
    """The command must say more."""


def _run(
    request: RerunRequest, results: Record, record: Record, source: Source, out: Path
) -> tuple[Run, list[str]]:
    method = _method(record)
    recipe, assumed = _recipe(record, method)
    hardware = {f.name: record[f.name] for f in fields(Hardware) if f.name in record}
    first, one = stage_one(method), None
    if first is not None:
        saved = record.get("stage_one") or next(
            (
                each
                for each in results["runs"]
                if (each["method"], each["seed"]) == (first.key, record["seed"])
            ),
            None,
        )
        if saved is None:
            raise ValueError(f"stage one, {first.key}")
        one, more = _run(request, results, saved, source, out)
        assumed = list(dict.fromkeys([*assumed, *more]))
    return (
        Run(
            method,
            int(record["seed"]),
            recipe,
            source,
            record["preset"],
            Hardware(**{**hardware, "accelerator": request.accelerator}),
            Limits(**record["limits"]),
            out,
            one,
        ),
        assumed,
    )


def _method(record: Record) -> Method:
    key = record["method"]
    if "technique" in record:
        return Method(key, key, Technique(**record["technique"]))
    return parse_method(key, record["recipe"].get("weighting", "none"))


def _recipe(record: Record, method: Method) -> tuple[Recipe, list[str]]:
    """A recipe; results older than some fields were made with what the preset has for them."""
    own, kind = record["recipe"], recipe_type(record["benchmark"])
    usual = dataclasses.asdict(recipe_for(record["benchmark"], record["preset"], method))
    missing = [name for name in usual if name not in own and name not in kind.later()]
    return kind.from_table({**{name: usual[name] for name in missing}, **own}), missing


def _source(request: RerunRequest, results: Record, record: Record) -> Source:
    """The data, which must be the same."""
    benchmark = record["benchmark"]
    between = itertools.dropwhile(lambda item: item[0] != "benchmark", record.items())
    named = dict(itertools.takewhile(lambda item: item[0] != "shots", between))
    del named["benchmark"]
    skip = named.pop("skip_broken", False)
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in named.items()}
    files = _files(request, benchmark, record)
    print_then = options.pop("table_sha256", None)
    now = fingerprint(benchmark, options, files) if print_then is not None else {}
    if print_then is not None and now.get("table_sha256") != print_then:
        raise _OtherDataError(
            f"{request.results} was made on data whose table has SHA-256 {print_then}…, and that "
            f"of this one begins with {now.get('table_sha256')}: give the table of then."
        )
    order = tuple({**options, **now}.items())
    return Source(benchmark, order, record["shots"], tuple(files.items()), skip)


class _OtherDataError(DataError):
    """The data is another one."""


def _files(request: RerunRequest, benchmark: str, record: Record) -> dict[str, Any]:
    """Where the data lies, by the names that loaders know."""
    given = {name: path for name, path in request.files.items() if path is not None}
    name = record.get("data", {}).get("name", "the table")
    own = "data" in given
    if benchmark in _OWN and not own:
        raise _AskError(f"{request.results} was made of {name}: say with --data where it lies.")
    if benchmark == IMAGES[-1] and not own and not {"table", "image_root"} <= given.keys():
        raise _AskError(
            f"{request.results} was made of images: say with --data where {name} lies, or with "
            "--table and --image-root, as its command has it."
        )
    files: dict[str, Any] = {"data_dir": None, "glove": None}
    if benchmark in IMAGES[:-1]:
        files["split_file"] = None
    if own or benchmark == IMAGES[-1]:
        files["image_root"] = None
    known = {*files, *(("data",) if own else ()), *(("table",) if benchmark in IMAGES else ())}
    known |= {"encoder"}
    if idle := [each for each in given if each not in known]:
        raise _AskError(f"--{idle[0].replace('_', '-')} says nothing of {benchmark}: leave it out.")
    return {**files, **given}


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
