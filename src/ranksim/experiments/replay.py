"""From what a ``results.json`` holds of a run to the run itself, to be trained again."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ranksim.data.spec import (
    DataLocation,
    DataSpec,
    ImageSpec,
    UserDataSpec,
    reject_unused,
)
from ranksim.evaluation.record import RunIdentity, RunRecord, run_name
from ranksim.exceptions import DataError, UsageError
from ranksim.experiments.run import Run
from ranksim.training.fit import TrainingLimits
from ranksim.training.method import Method, Technique, first_stage, parse_method
from ranksim.training.modality import recipe_type
from ranksim.training.presets import load_recipe
from ranksim.training.pretrained import refuse_missing, relocate_encoder
from ranksim.training.recipe import Recipe
from ranksim.training.task_loading import DataSource, identify_data
from ranksim.training.trainer_config import TrainerConfig


@dataclass(frozen=True)
class RerunRequest:
    """A rerun command as it was given.

    Args:
        results: a sweep's ``results.json``, or its folder.
        row: of its table, counted from 1, or a method's name; ``None`` for the only one.
        seed: one of the row's; ``None`` for all.
        location: where the data lies on this machine.
        out: where it trains; ``None``: a temporary folder.
        accelerator: for Lightning's Trainer.
    """

    results: Path
    row: str | None = None
    seed: int | None = None
    location: DataLocation = DataLocation()
    out: Path | None = None
    accelerator: str = "auto"


def rebuild_run(
    request: RerunRequest, results: dict[str, Any], record: RunRecord, out: Path
) -> tuple[Run, list[str]]:
    """The run that a record is of; and fields of its recipe that it lacks, as today's preset has.

    Raises:
        DataError: the record does not say enough.
        UsageError: the data is not named.
    """
    name = f"{request.results}, {run_name(record)}"
    try:
        source = _source(request, record)
        return _run(request, results, record["identity"], source, out)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{name} does not say how it was trained: {error!r} is missing.") from error
    except UsageError as error:
        if isinstance(error, _AskError):
            raise
        raise DataError(f"{name} cannot be trained again: {error}") from error


class _AskError(UsageError):
    """The command must say more."""


def _run(
    request: RerunRequest,
    results: dict[str, Any],
    identity: RunIdentity,
    source: DataSource,
    out: Path,
) -> tuple[Run, list[str]]:
    method = _method(identity)
    recipe, assumed = _recipe(identity, method)
    if source.location.encoder is None:
        refuse_missing(recipe)
    else:
        relocate_encoder(recipe, Path(source.location.encoder))  # refuses another one
    known = {item.name for item in fields(TrainerConfig)}
    trainer = {name: v for name, v in identity["trainer"].items() if name in known}
    first, one = first_stage(method), None
    if first is not None:
        saved = identity.get("stage_one") or next(
            (
                each["identity"]
                for each in results["runs"]
                if run_name(each) == f"{first.key} seed {identity['seed']}"
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
            int(identity["seed"]),
            recipe,
            source,
            identity["preset"],
            TrainerConfig(**{**trainer, "accelerator": request.accelerator}),
            TrainingLimits(**identity["limits"]),
            out,
            one,
        ),
        assumed,
    )


def _method(identity: RunIdentity) -> Method:
    key = identity["method"]
    if "technique" in identity:
        return Method(key, key, Technique(**identity["technique"]))
    return parse_method(key, identity["recipe"].get("weighting", "none"))


def _recipe(identity: RunIdentity, method: Method) -> tuple[Recipe, list[str]]:
    """A recipe; results older than some fields were made with what the preset has for them."""
    own, benchmark = identity["recipe"], identity["data"]["benchmark"]
    kind = recipe_type(benchmark)
    usual = dataclasses.asdict(load_recipe(benchmark, identity["preset"], method))
    missing = [name for name in usual if name not in own and name not in kind.optional_fields()]
    return kind.from_table({**{name: usual[name] for name in missing}, **own}), missing


def _source(request: RerunRequest, record: RunRecord) -> DataSource:
    """Rebuild the source of a record and check that the data is the same.

    Raises:
        DataError: the table differs.
        UsageError: the location of the data is missing, or an option does nothing.
    """
    data, location = record["identity"]["data"], request.location
    if data["benchmark"] == ImageSpec.benchmark and "image" not in data["options"]:
        raise _AskError(
            f"{request.results} was made by `ranksim bench images`, which no longer exists: run "
            "`ranksim compare` on the table with --image and --image-root."
        )
    spec = DataSpec.from_dict(data)
    if isinstance(spec, UserDataSpec) and location.data is None:
        name = record["provenance"].get("data", {}).get("name", "a table")
        raise _AskError(f"{request.results} was made from {name}: give its path with --data.")
    set_options = [item.name for item in fields(location) if getattr(location, item.name)]
    try:
        reject_unused(set_options, (*spec.location_options, "encoder"), spec.benchmark)
    except UsageError as error:
        raise _AskError(str(error)) from None
    source = DataSource(spec, location)
    if spec.table_sha256 is None:
        return source
    digest = identify_data(source).spec.table_sha256
    if digest != spec.table_sha256:
        raise DataError(
            f"{request.results} was made on a table with SHA-256 {spec.table_sha256}…, and this "
            f"one has {digest}…: give the original table."
        )
    return source
