"""Train recorded runs of a ``results.json`` again, and compare new with recorded results."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ranksim.data.spec import DataLocation, DataSpec, ImageSpec, UserDataSpec, reject_unused
from ranksim.evaluation.record import (
    RESULTS,
    RunIdentity,
    RunRecord,
    flatten_dict,
    is_complete,
    read_results,
    run_name,
)
from ranksim.evaluation.summary import describe_failure
from ranksim.exceptions import DataError, StoppedError, UsageError
from ranksim.experiments.executor import one_thread
from ranksim.experiments.run import Run, check_data, execute_run
from ranksim.metrics import METRICS
from ranksim.training.data_source import DataSource
from ranksim.training.hardware import check_trainer_config
from ranksim.training.limits import TrainingLimits
from ranksim.training.method import Method, Technique, first_stage, parse_method
from ranksim.training.presets import load_recipe
from ranksim.training.recipe import (
    EstimatorRecipe,
    Recipe,
    recipe_type,
    relocate_encoder,
    require_encoder_folder,
)
from ranksim.training.task_loading import identify_data
from ranksim.training.trainer_config import TrainerConfig

_MEASUREMENTS = ("seconds", "peak_memory_mb", "seconds_median")
# fields that differ between equal runs
_MEASURED = (*_MEASUREMENTS, *(f"result.{name}" for name in _MEASUREMENTS))


@dataclass(frozen=True)
class ReproduceRequest:
    """The arguments of ``ranksim reproduce``.

    ``results`` is a ``results.json`` or its folder. ``row`` is a row of its summary, counted from
    1, or a method's name (``None``: the only row). Without ``seed``, all seeds are
    trained; without ``out``, in a temporary folder.
    """

    results: Path
    row: str | None = None
    seed: int | None = None
    location: DataLocation = DataLocation()
    out: Path | None = None
    accelerator: str = "auto"


class _MissingOptionError(UsageError):
    """An error that the user can correct by giving another command-line option."""


def reproduce(request: ReproduceRequest) -> Iterator[dict[str, Any]]:
    """Train the recorded runs of one method again, and yield a comparison for each run.

    Yields:
        ``method`` and ``seed``; ``matches``, whether the results are equal to the last bit, or
        ``None`` with a ``note`` if they cannot be compared; ``differ``, names of the fields that
        differ; ``largest``, the largest relative difference of each test score over regions;
        ``made_by`` and ``data``, what differs in provenance; ``assumed``, recipe fields that the
        record lacks, taken from the preset; ``note``.

    Raises:
        DataError: the results are damaged or incomplete, or the data differs.
        UsageError: the row or seed does not exist, or the path of the data is missing.
    """
    results = read_results(request.results)
    if request.out is not None and (request.out / RESULTS).exists():
        raise UsageError(f"{request.out} contains a sweep: choose another folder with --out.")
    records = _select_records(request, results)
    with contextlib.ExitStack() as stack:
        out = request.out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for record in records:
            yield _reproduce_run(request, results, record, out)


def _select_records(request: ReproduceRequest, results: dict[str, Any]) -> list[RunRecord]:
    """Return the run records of the requested summary row, of one seed or of all seeds."""
    try:
        rows = [(row["method"], row.get("alias_of", row["method"])) for row in results["summary"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{request.results} is damaged: run its sweep again.") from error
    keys = {str(k): key for k, (_, key) in enumerate(rows, start=1)} | dict(rows)
    row = "1" if request.row is None and len(rows) == 1 else request.row
    if row is None or row not in keys:
        numbered = ", ".join(f"{k} {name}" for k, (name, _) in enumerate(rows, start=1))
        raise UsageError(
            f"{request.results} has the rows {numbered or 'none'}: choose one with --row."
        )
    if not all(is_complete(run) for run in results["runs"]):
        raise DataError(f"{request.results} lacks the results of some runs: run its sweep again.")
    runs = [run for run in results["runs"] if run["identity"]["method"] == keys[row]]
    seeds = [run["identity"]["seed"] for run in runs]
    if request.seed is not None:
        runs = [run for run in runs if run["identity"]["seed"] == request.seed]
    if not runs:
        raise UsageError(
            f"{keys[row]} has the seeds {', '.join(map(str, seeds))}, not {request.seed}: choose "
            "one of them with --seed."
        )
    return runs


def _reproduce_run(
    request: ReproduceRequest, results: dict[str, Any], record: RunRecord, out: Path
) -> dict[str, Any]:
    """Train one run again and compare it with its record."""
    identity = record["identity"]
    report: dict[str, Any] = {"method": identity["method"], "seed": identity["seed"]}
    run, assumed = rebuild_run(request, results, record, out)
    check_trainer_config(run.trainer_config)
    check_data(run)
    try:
        with one_thread():
            new: RunRecord = json.loads(json.dumps(execute_run(run)))
    except KeyboardInterrupt as error:
        raise StoppedError(
            "Stopped; with --out, the same command resumes where it stopped."
        ) from error
    return report | compare_runs(record, new) | {"assumed": assumed}


def compare_runs(old: RunRecord, new: RunRecord) -> dict[str, Any]:
    """Compare an old and a new record of the same run, ignoring fields that only ``new`` has."""
    parts = ({"status": record["status"], **record["result"]} for record in (old, new))
    differ = diff_records(*parts, new=False)
    made_by = [name for name in old["provenance"] if name not in ("data", "comparable")]
    return {
        "matches": not differ,
        "differ": differ,
        "largest": _largest_differences(old, new),
        "made_by": _provenance_changes(old, new, made_by),
        "data": _provenance_changes(old, new, ["data"]),
        "note": describe_failure(new) if new["status"] == "failed" else "",
    }


def _largest_differences(old: RunRecord, new: RunRecord) -> dict[str, float]:
    """Return, for each test score that differs, the largest relative difference over regions."""
    before, after = (each["result"].get("metrics", {}).get("test", {}) for each in (old, new))
    largest: dict[str, float] = {}
    for region, scores in before.items():
        for metric in METRICS:
            a, b = scores.get(metric), after.get(region, {}).get(metric)
            if a is not None and b is not None and a != b:
                largest[metric] = max(largest.get(metric, 0.0), abs(a - b) / max(abs(a), abs(b)))
    return largest


def _provenance_changes(
    old: RunRecord, new: RunRecord, names: Iterable[str]
) -> dict[str, list[Any]]:
    """Return ``[old, new]`` for each provenance field that differs, by its dotted name."""
    names = [name for name in names if name in old["provenance"]]
    before, after = (
        flatten_dict({name: each["provenance"].get(name) for name in names}) for each in (old, new)
    )
    return {k: [v, after.get(k)] for k, v in before.items() if after.get(k) != v}


def diff_records(
    a: Mapping[str, Any], b: Mapping[str, Any], ignore: Collection[str] = (), *, new: bool = True
) -> list[str]:
    """Return the dotted names of the fields in which two records are not exactly equal.

    Timing, memory and the fields ``ignore``, with all that they contain, are left out, and without
    ``new`` also those that only ``b`` has. Numbers are compared as JSON writes them: NaN equals
    NaN, and 0.0 differs from -0.0. Names are joined by dots.

    Example:
        >>> one = {"status": "done", "result": {"mse": 0.5, "n": 60, "seconds": 3.1}}
        >>> diff_records(one, {"status": "done", "result": {"mse": 0.25, "n": 60}})
        ['result.mse']
    """
    ignored = tuple(f"{name}." for name in (*_MEASURED, *ignore))
    left, right = (
        {k: text for k, text in _json_values(record) if not f"{k}.".startswith(ignored)}
        for record in (a, b)
    )
    names = dict.fromkeys((*left, *right) if new else left)
    return [name for name in names if left.get(name) != right.get(name)]


def _json_values(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted name and JSON text of each value; a list of numbers counts as one value."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _json_values(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(item, dict) for item in value):
        for k, item in enumerate(value):
            yield from _json_values(item, f"{name}.{k}")
    else:
        yield name, json.dumps(value)


def rebuild_run(
    request: ReproduceRequest, results: dict[str, Any], record: RunRecord, out: Path
) -> tuple[Run, list[str]]:
    """Rebuild a run from its record; also return names of recipe fields that the record lacked."""
    name = f"{request.results}, {run_name(record)}"
    if "predictions_sha256" in record["identity"]:
        raise UsageError(f"{name} has predictions made elsewhere: choose another row with --row.")
    if (estimator := record["identity"].get("estimator")) is not None:
        raise UsageError(
            f"{name} is an estimator of the user ({estimator['class']}), which only the call that "
            "passed it can fit again: choose another row with --row."
        )
    if (network := record["identity"].get("network")) is not None:
        raise UsageError(
            f"{name} has a network of the user ({network['module']}:{network['name']}), which only "
            "the call that passed it can train again: choose another row with --row."
        )
    try:
        source = _make_source(request, record)
        return _make_run(request, results, record["identity"], source, out)
    except _MissingOptionError:
        raise
    except UsageError as error:
        raise DataError(f"{name} cannot be trained again: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{name} is incomplete, so it cannot be trained again: {error!r}."
        ) from error


def _make_run(
    request: ReproduceRequest,
    results: dict[str, Any],
    identity: RunIdentity,
    source: DataSource,
    out: Path,
) -> tuple[Run, list[str]]:
    """Rebuild a run and those that it requires; also return the missing recipe fields."""
    key = identity["method"]
    if "technique" in identity:
        method = Method(key, key, Technique(**identity["technique"]))
    else:
        method = parse_method(key, identity["recipe"].get("weighting", "none"))
    recipe, assumed = _make_recipe(identity, method)
    if source.location.encoder is None:
        require_encoder_folder(recipe)
    else:  # check that it is the same encoder
        relocate_encoder(recipe, Path(source.location.encoder))
    known = {item.name for item in fields(TrainerConfig)}
    trainer = {name: value for name, value in identity["trainer"].items() if name in known}
    stage_one = None
    if (first := first_stage(method)) is not None:
        runs = {run_name(run): run["identity"] for run in results["runs"]}
        saved = identity.get("stage_one") or runs[f"{first.key} seed {identity['seed']}"]
        stage_one, more = _make_run(request, results, saved, source, out)
        assumed = list(dict.fromkeys([*assumed, *more]))
    members = []
    for saved in identity.get("members", ()):
        member, more = _make_run(request, results, saved, source, out)
        members.append(member)
        assumed = list(dict.fromkeys([*assumed, *more]))
    run = Run(
        method,
        int(identity["seed"]),
        recipe,
        source,
        identity["preset"],
        TrainerConfig(**{**trainer, "accelerator": request.accelerator}),
        TrainingLimits(**identity["limits"]),
        out,
        stage_one,
        members=tuple(members),
    )
    return run, assumed


def _make_recipe(identity: RunIdentity, method: Method) -> tuple[Recipe, list[str]]:
    """Rebuild a recipe; fields missing in the record come from the preset and are also returned."""
    recorded, benchmark = identity["recipe"], identity["data"]["benchmark"]
    kind: type[Recipe] = recipe_type(benchmark, identity["preset"])
    if method.technique.estimator:
        kind = EstimatorRecipe
    preset = dataclasses.asdict(load_recipe(benchmark, identity["preset"], method))
    missing = [k for k in preset if k not in recorded and k not in kind.optional_fields()]
    return kind.from_table({**{name: preset[name] for name in missing}, **recorded}), missing


def _make_source(request: ReproduceRequest, record: RunRecord) -> DataSource:
    """Return the data source of a recorded run; raise an error if the data has changed."""
    data, location = record["identity"]["data"], request.location
    if data["benchmark"] == ImageSpec.benchmark and "image" not in data["options"]:
        raise _MissingOptionError(
            f"{request.results} was made by `ranksim bench images`, which was removed: run "
            "`ranksim compare` on the table with --image and --image-root."
        )
    spec = DataSpec.from_dict(data)
    if isinstance(spec, UserDataSpec) and location.data is None:
        name = record["provenance"].get("data", {}).get("name", "a table")
        raise _MissingOptionError(
            f"{request.results} was made from {name}: give its path with --data."
        )
    if isinstance(spec, UserDataSpec) and spec.split_sha256 and location.split_file is None:
        raise _MissingOptionError(
            f"{request.results} was made with the split file {spec.split}: give its path with "
            "--split-file."
        )
    set_options = [item.name for item in fields(location) if getattr(location, item.name)]
    try:
        reject_unused(set_options, (*spec.location_options, "encoder"), spec.benchmark)
    except UsageError as error:
        raise _MissingOptionError(str(error)) from None
    source = DataSource(spec, location)
    if spec.table_sha256 is None:
        return source
    identified = identify_data(source).spec
    digest = identified.table_sha256
    if digest != spec.table_sha256:
        raise DataError(
            f"{request.results} was made from a table whose SHA-256 begins with "
            f"{spec.table_sha256}, and the SHA-256 of this table begins with {digest}: give the "
            "original table."
        )
    if isinstance(identified, UserDataSpec) and identified != spec:
        raise DataError(
            f"{request.results} was made with another split file: give the original one with "
            "--split-file."
        )
    return source
