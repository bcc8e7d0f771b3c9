"""From what a ``results.json`` holds of a run to the run itself, to be trained again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ranksim.evaluation.record import RunIdentity, RunRecord, run_name
from ranksim.exceptions import DataError, UsageError
from ranksim.experiments.run import Run
from ranksim.training.fit import TrainingLimits
from ranksim.training.method import Method, Technique, first_stage, parse_method
from ranksim.training.modality import IMAGE, IMAGES, SENTENCES, SERIES, TABLE, TEXT, recipe_type
from ranksim.training.presets import load_recipe
from ranksim.training.pretrained import refuse_missing, relocate_encoder
from ranksim.training.recipe import Recipe
from ranksim.training.task_loading import DataSource, fingerprint
from ranksim.training.trainer_config import TrainerConfig

_OWN = (TABLE, TEXT, SENTENCES, SERIES, IMAGE)


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
    if source.encoder is None:
        refuse_missing(recipe)
    else:
        relocate_encoder(recipe, Path(source.encoder))  # refuses another one
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
    """The data, which must be the same."""
    data = record["identity"]["data"]
    benchmark, named = data["benchmark"], dict(data["options"])
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
    return DataSource(benchmark, order, data["regions_from"], tuple(files.items()), skip)


class _OtherDataError(DataError):
    """The data is another one."""


def _files(request: RerunRequest, benchmark: str, record: RunRecord) -> dict[str, Any]:
    """Where the data lies, by the names that loaders know."""
    given = {name: path for name, path in request.files.items() if path is not None}
    name = record["provenance"].get("data", {}).get("name", "the table")
    own = "data" in given
    if benchmark in _OWN and not own:
        raise _AskError(f"{request.results} was made of {name}: say with --data where it lies.")
    if benchmark == IMAGE and "image" not in record:
        raise _AskError(
            f"{request.results} was made by `ranksim bench images`, which is gone: run "
            "`ranksim compare` on the table with --image and --image-root."
        )
    files: dict[str, Any] = {"data_dir": None, "glove": None}
    if benchmark in IMAGES and not own:
        files["split_file"] = None
    if own:
        files["image_root"] = None
    known = {*files, *(("data",) if own else ()), "encoder"}
    if idle := [each for each in given if each not in known]:
        raise _AskError(f"--{idle[0].replace('_', '-')} says nothing of {benchmark}: leave it out.")
    return {**files, **given}
