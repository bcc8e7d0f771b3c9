"""The format of ``record.json`` and ``results.json``, and readers that upgrade older formats.

A run's ``record.json`` has four parts: ``identity`` (all that decides the result), ``status``,
``result`` (scores, curves and errors) and ``provenance`` (data, versions and machine). A sweep's
``results.json`` holds the records of its runs and their summary. Formats 1 to 3 were flat; they are
converted when they are read, so that the rest of the package knows one format.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from ranksim._utils.storage import read_verified_json
from ranksim.data.spec import SPEC_TYPES
from ranksim.exceptions import DataError
from ranksim.training.parts import unused_fields
from ranksim.training.recipe import (
    EstimatorRecipe,
    NetworkRecipe,
    Recipe,
    recipe_type,
    update_old_fields,
)

FORMAT = 4
RECORD, RESULTS = "record.json", "results.json"

Table = dict[str, Any]


class RunIdentity(TypedDict):
    """The settings that determine a run's result; runs with equal identities give equal results."""

    method: str
    technique: NotRequired[Table]
    seed: int
    data: Table
    preset: str
    trainer: Table
    limits: Table
    recipe: Table
    stage_one: NotRequired[RunIdentity]
    members: NotRequired[list[RunIdentity]]
    choices: NotRequired[list[dict[str, float]]]
    predictions_sha256: NotRequired[str]
    estimator: NotRequired[Table]
    network: NotRequired[Table]


class RunRecord(TypedDict):
    """The content of a run's ``record.json``.

    ``result`` of a finished run holds ``metrics``, ``epochs``, ``best_epoch``, ``steps``,
    ``seconds``, ``peak_memory_mb``, ``curves``, ``error_by_bin``, ``gaps``, ``ranks`` and
    ``projection``; of a failed one ``error`` and ``diverged``; of both, until the sweep collects
    them, ``labels``.
    """

    identity: RunIdentity
    status: Literal["done", "failed"]
    result: Table
    provenance: Table


# names in formats 1 to 3, and the current ones where they differ
_IDENTITY = (
    "method", "technique", "seed", "preset", "limits", "recipe", "stage_one", "predictions_sha256",
    "seeds", "fields",  # of a tuning study
)  # fmt: skip
_TRAINER = (
    "devices", "precision", "num_nodes", "compile", "channels_last", "gather",
    "gather_across_devices",
)  # fmt: skip
_RESULT = (
    "metrics", "epochs", "best_epoch", "steps", "seconds", "peak_memory_mb", "curves", "gaps",
    "ranks", "labels", "error", "diverged", "by_bin", "embedding", "cut_short",
)  # fmt: skip
_PROVENANCE = ("data", "comparable", "threads", "versions", "commit", "machine")
_TOP = (
    "format", "benchmark", "preset", "shots", "published_note", "command", "versions", "commit",
    "machine", "labels", "rows", "runs", "summary", "headline", "pairs", "baseline", "answer",
)  # fmt: skip
_NEW_NAMES = {
    "gather": "gather_across_devices",
    "by_bin": "error_by_bin",
    "embedding": "projection",
    "cap": "max_per_bin",
    "per_bin": "test_per_bin",
    "same_as": "alias_of",
    "against": "vs_baseline",
    "versus": "vs_without_ranksim",
}
_PAIRS = {"different": "distinct", "improved_different": "improved_distinct"}
_PAIRS |= {"shown": "significantly_better", "worse": "significantly_worse"}
_INTERVALS = {"": "ci_seeds", "samples_": "ci_samples", "both_": "ci_total", "sure_": "ci_adjusted"}


def read_record(folder: Path) -> RunRecord | None:
    """Read the record of a finished run; return None if it is missing or damaged."""
    try:
        record = upgrade_record(read_verified_json(folder / RECORD))
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return None
    return record if is_complete(record) else None


def read_results(run: Path) -> Table:
    """Read a ``results.json``, given its path or folder, and upgrade it to the current format.

    Raises:
        DataError: the file is missing, damaged, or was written by a later version.
    """
    path, reason = results_path(run), "is damaged or is not the results.json of a sweep"
    try:
        content = read_verified_json(path)
        if content["format"] > FORMAT:
            reason = "was written by a later version of ranksim"
        elif isinstance(content["benchmark"], str):
            return upgrade_results(content)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: give the folder of a sweep.") from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        pass
    raise DataError(f"{path} {reason}: run its sweep again, or give another folder.")


def results_path(run: Path) -> Path:
    """Return the path of the ``results.json`` in a folder; return a path to a JSON file as is."""
    return run / RESULTS if run.is_dir() or run.suffix != ".json" else run


def run_name(record: Mapping[str, Any]) -> str:
    """Return the name of a run for messages, such as ``"vanilla seed 0"``."""
    return f"{record['identity']['method']} seed {record['identity']['seed']}"


def is_complete(record: Mapping[str, Any]) -> bool:
    """Return True if the record has an identity, a status and, if the run is done, metrics."""
    parts = ("identity", "result", "provenance")
    if not all(isinstance(record.get(part), dict) for part in parts) or "status" not in record:
        return False
    has_metrics = record["status"] != "done" or "metrics" in record["result"]
    return has_metrics and record["identity"].keys() >= {"method", "seed"}


def upgrade_results(content: Mapping[str, Any]) -> Table:
    """Convert the content of a ``results.json`` of any format to the current format."""
    runs = [upgrade_record(record) for record in content["runs"]]
    if content["format"] == FORMAT:
        return {**content, "runs": runs}
    summary = [_upgrade_row(row) for row in content["summary"]]
    methods = {row["method"]: row.get("alias_of", row["method"]) for row in summary}
    return {
        "format": FORMAT,
        "benchmark": content["benchmark"],
        "options": {name: value for name, value in content.items() if name not in _TOP},
        "regions_from": content.get("shots"),
        "command": content.get("command", ""),
        "provenance": _select(content, _PROVENANCE),
        "reported_methods": content.get("rows", methods),
        "runs": runs,
        "summary": summary,
        "headline": content.get("headline", ["mse", "pearson"]),
        "pairs": {_PAIRS.get(key, key): n for key, n in content.get("pairs", {}).items()},
        "conclusion": content.get("answer"),
        **{name: content.get(name) for name in ("preset", "published_note", "labels", "baseline")},
    }


def upgrade_record(content: Mapping[str, Any]) -> RunRecord:
    """Convert a run record of any format to the current format."""
    record: Any = dict(content)
    if "identity" not in content:
        parts = {"status", *_RESULT, *_PROVENANCE}
        record = {
            "identity": {name: value for name, value in content.items() if name not in parts},
            **_select(content, ("status",)),
            "result": _select(content, _RESULT),
            "provenance": _select(content, _PROVENANCE),
        }
    record["identity"] = upgrade_identity(record["identity"])
    order = ("identity", "status", "result", "provenance")
    upgraded: RunRecord = {name: record[name] for name in order if name in record}  # type: ignore[assignment]
    return upgraded


def upgrade_identity(content: Mapping[str, Any]) -> RunIdentity:
    """Convert a run's identity to the current format; missing recipe fields get defaults."""
    identity: Any = dict(content)
    if "data" not in content:
        others = {*_IDENTITY, *_TRAINER, "benchmark", "shots"}
        identity = {"preset": None, **_select(content, _IDENTITY)}
        identity["data"] = {
            "benchmark": content.get("benchmark"),
            "options": _select(content, [name for name in content if name not in others]),
            "regions_from": content.get("shots"),
        }
        identity["trainer"] = _select(content, _TRAINER)
    if "trainer" in identity:
        identity["trainer"] = _select(identity["trainer"], identity["trainer"])
    if "recipe" in identity:
        technique = identity.get("technique") or {}
        is_external = "predictions_sha256" in identity  # recorded with the recipe of a network
        is_estimator = bool(technique.get("estimator")) and not is_external
        benchmark = identity["data"].get("benchmark")
        kind: type[Recipe] = EstimatorRecipe if is_estimator else NetworkRecipe
        if kind is NetworkRecipe and benchmark in SPEC_TYPES:
            kind = recipe_type(benchmark, identity.get("preset"))
        unused = unused_fields(technique.get("parts", ()), technique.get("weighting", "none"))
        added = {k: v for k, v in kind.optional_fields().items() if k not in unused}
        identity["recipe"] = added | update_old_fields(identity["recipe"])
    if "stage_one" in identity:
        identity["stage_one"] = upgrade_identity(identity["stage_one"])
    upgraded: RunIdentity = identity
    return upgraded


def first_difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """Return (name, value in a, value in b) of the first differing field; None if all are equal."""
    left, right = (flatten_dict(json.loads(json.dumps(table))) for table in (a, b))
    for name in dict.fromkeys((*left, *right)):
        if left.get(name) != right.get(name):
            return name, left.get(name), right.get(name)
    return None


def flatten_dict(table: Mapping[str, Any], prefix: str = "") -> Table:
    """Flatten a nested dictionary and join its keys by dots, as in ``recipe.lr``."""
    flat: Table = {}
    for key, value in table.items():
        if isinstance(value, dict):
            flat |= flatten_dict(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _select(content: Mapping[str, Any], names: Iterable[str]) -> Table:
    """Return the given fields of an old record, if present, under their current names."""
    return {_NEW_NAMES.get(name, name): content[name] for name in names if name in content}


def _upgrade_row(row: Mapping[str, Any]) -> Table:
    """Convert a summary row of an older format to the current field names."""
    upgraded = _select(row, row)
    for name in ("vs_baseline", "vs_without_ranksim"):
        if upgraded.get(name):
            test = {
                region: {metric: _upgrade_effect(effect) for metric, effect in scores.items()}
                for region, scores in upgraded[name]["test"].items()
            }
            upgraded[name] = {**upgraded[name], "test": test}
    return upgraded


def _upgrade_effect(effect: Mapping[str, Any]) -> Table:
    """Convert an old difference: replace each pair of fields ``low``, ``high`` by one interval."""
    upgraded = {k: v for k, v in effect.items() if not k.endswith(("low", "high"))}
    for prefix, name in _INTERVALS.items():
        if f"{prefix}low" in effect:
            low, high = effect[f"{prefix}low"], effect[f"{prefix}high"]
            upgraded[name] = None if low is None else [low, high]
    return upgraded
