"""Recipes of each benchmark and preset, read from ``recipes.toml``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from ranksim._utils.formatting import single_line
from ranksim.exceptions import DataError, UsageError
from ranksim.imbalance import Scheme
from ranksim.training.method import (
    RANKSIM_SUFFIX,
    Method,
    average_members,
    first_stage,
    parse_method,
    without_ranksim,
)
from ranksim.training.parts import check_settings
from ranksim.training.recipe import (
    RANKSIM_FIELDS,
    EstimatorRecipe,
    NetworkRecipe,
    Recipe,
    recipe_type,
    update_old_fields,
)

RecipeChanges = Mapping[str, Any]
MethodChanges = Mapping[str, RecipeChanges]  # by the keys of methods
_SEARCH = re.compile(  # comments that ranksim tune writes
    r"^# validation score .*best of (\d+) trials?, (\d+) pruned(?:, seeds ([\d,]+))?.*\n"
    r'\[methods\."(.+)"\]$',
    re.MULTILINE,
)


_NAME_ENCODER = ", or name a pretrained encoder with --encoder"
_PRESET_ADVICE = {  # by kind of data and preset
    ("text", "frozen"): _NAME_ENCODER,
    ("text", "finetuned"): _NAME_ENCODER,
    ("sentences", "frozen"): ", of which small freezes the encoder",
}


@cache
def _presets() -> dict[str, Any]:
    file = resources.files("ranksim.training") / "recipes.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))


def preset_table(benchmark: str, preset: str) -> dict[str, Any]:
    """Return the fields of a preset without method-specific changes."""
    presets = _presets()[benchmark]
    if preset not in presets:
        advice = _PRESET_ADVICE.get((benchmark, preset), "")
        raise UsageError(
            f"{benchmark} has no preset {preset!r}: choose from {', '.join(presets)}{advice}."
        )
    return _inherit(presets[preset])


def _inherit(table: Mapping[str, Any]) -> dict[str, Any]:
    """Merge a table with the table that it extends (default: techniques)."""
    changes = {k: v for k, v in table.items() if not isinstance(v, dict)}
    parent: Any = _presets()
    for name in changes.pop("extends", "techniques").split("."):
        parent = parent[name]
    return changes if parent is table else _inherit(parent) | changes


def load_recipe(
    benchmark: str,
    preset: str,
    method: Method,
    changes: RecipeChanges | None = None,
    tuned: MethodChanges | None = None,
) -> Recipe:
    """Build the recipe of a method.

    Later sources override earlier ones: the preset, its changes for FDS and RankSim, those for this
    method, those of :func:`read_tuned`, the user's ``changes``. Changes of a method without
    RankSim also apply with RankSim, and those of the first stage of RRT to the second; see also
    :func:`share_ranksim`.
    """
    if members := average_members(method):  # the recipe of the last one is recorded
        return [load_recipe(benchmark, preset, each, changes, tuned) for each in members][-1]
    table = preset_table(benchmark, preset)
    if method.technique.estimator:
        chosen = {**(tuned or {}).get(method.key, {}), **(changes or {})}
        estimator = EstimatorRecipe.from_network(table, chosen)
        _check_weights(method, estimator)
        return estimator
    first = first_stage(method)
    sections = _presets()[benchmark][preset]
    for part in ("fds", "ranksim"):
        if getattr(method.technique, part):
            table |= sections.get(part, {})
    stages = [method] if first is None else [first, method]
    keys = [key for stage in stages for key in _list_keys(stage.key)]
    for methods in (sections.get("methods", {}), tuned or {}):
        for key in dict.fromkeys(keys):
            table |= methods.get(key, {})
    kind = recipe_type(benchmark, preset)
    recipe = kind.from_table(table | without_estimator_fields(changes or {}, kind))
    _check_weights(method, recipe)
    _check_method_fields(method, recipe)
    if first is not None:
        earlier = load_recipe(benchmark, preset, first, changes, tuned)
        assert isinstance(earlier, NetworkRecipe)
        _check_stages_match(method, recipe, first, earlier)
    return recipe


def _list_keys(key: str) -> tuple[str, ...]:
    """Return the names whose changes apply to a method, later ones take precedence."""
    base = without_ranksim(key)
    return (key,) if base is None else (base, RANKSIM_SUFFIX, key)


def load_network_recipe(
    benchmark: str, preset: str, method: Method, changes: RecipeChanges | None = None
) -> NetworkRecipe:
    """Build the recipe of a method that trains a network, see :func:`load_recipe`."""
    recipe = load_recipe(benchmark, preset, method, changes)
    if not isinstance(recipe, NetworkRecipe):
        raise UsageError(f"{method.name} trains no network: choose another method.")
    return recipe


def without_estimator_fields(changes: RecipeChanges, kind: type[NetworkRecipe]) -> dict[str, Any]:
    """Return the changes of a recipe without fields that only estimators have."""
    networks = {item.name for item in fields(kind)}
    estimators = {item.name for item in fields(EstimatorRecipe)} - networks
    return {name: value for name, value in changes.items() if name not in estimators}


def read_tuned(
    path: Path, common: RecipeChanges, weighting: Scheme, kind: type[NetworkRecipe]
) -> dict[str, dict[str, Any]]:
    """Read a TOML file of ``ranksim tune``; return changed recipe fields by the key of the method.

    The fields change the recipe ``common`` of class ``kind``; ``weighting`` is the default scheme
    of method names.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(
            f"--recipe {path} could not be read ({single_line(str(error))}): give a file of "
            "ranksim tune."
        ) from error
    methods = content.pop("methods", None)
    tables = isinstance(methods, dict) and all(isinstance(v, dict) for v in methods.values())
    if not tables or content:
        raise UsageError(
            f'--recipe {path} must contain only tables such as [methods."vanilla+ranksim"], as '
            "written by ranksim tune."
        )
    tuned: dict[str, dict[str, Any]] = {}
    shared = vars(EstimatorRecipe.from_network(common, {}))
    for name, table in methods.items():
        label = f"--recipe {path}, {single_line(name)}"
        changes = update_old_fields(table)
        try:
            method = parse_method(name, weighting)
            key = method.key
            if method.technique.estimator:
                EstimatorRecipe.from_table({**shared, **changes})
            else:
                kind.from_table({**common, **changes})
        except UsageError as error:
            raise UsageError(f"{label}: {error}") from error
        if members := average_members(method):
            raise UsageError(
                f"{label} trains nothing itself: give a table for {members[-1].key} instead."
            )
        if "weighting" in changes:
            raise UsageError(
                f"{label}: weighting determines the meaning of all method names; set it with --set."
            )
        if key in tuned:
            raise UsageError(f"--recipe {path} has two tables for {key}: remove one.")
        tuned[key] = changes
    return tuned


@dataclass(frozen=True)
class Search:
    """How the values of a method in a recipe file were chosen.

    ``seeds`` are the seeds of each trial, and None in a file of an earlier version.
    """

    trials: int
    pruned: int
    seeds: tuple[int, ...] | None


def read_searches(path: Path) -> dict[str, Search]:
    """Read from the comments of a recipe file how the values of each method were chosen.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} could not be read ({single_line(str(error))}): give a file of ranksim tune."
        ) from error
    return {
        key: Search(int(trials), int(pruned), tuple(map(int, seeds.split(","))) if seeds else None)
        for trials, pruned, seeds, key in _SEARCH.findall(text)
    }


def share_ranksim(tuned: MethodChanges, path: Path) -> dict[str, RecipeChanges]:
    """Add the fields of RankSim that were tuned for ``vanilla+ranksim``, for all methods with it.

    A method with RankSim that was tuned itself keeps its values.

    Args:
        tuned: recipe fields by method, see :func:`read_tuned`.
        path: the file that they are from.

    Raises:
        UsageError: no fields of RankSim were tuned.
    """
    source = tuned.get(f"vanilla{RANKSIM_SUFFIX}", {})
    shared = {name: value for name, value in source.items() if name in RANKSIM_FIELDS}
    if not shared:
        raise UsageError(
            f'--share-ranksim needs a table [methods."vanilla{RANKSIM_SUFFIX}"] with fields of '
            f"RankSim in --recipe {path}: tune that method first, or leave the option out."
        )
    return {**tuned, RANKSIM_SUFFIX: shared}


def _check_stages_match(
    method: Method, recipe: NetworkRecipe, first: Method, earlier: NetworkRecipe
) -> None:
    """Check that the second stage has the network and the FDS of the first."""
    network = {item.name for item in fields(recipe)} - {item.name for item in fields(NetworkRecipe)}
    for name in vars(recipe):
        if not (name.startswith("fds_") or name in {*network, "label_scale"}):
            continue
        value, earlier_value = getattr(recipe, name), getattr(earlier, name)
        if value != earlier_value:
            raise UsageError(
                f"{method.name} continues {first.name}, which has {name} {earlier_value!r}, not "
                f"{value!r}: set it for {first.name} instead."
            )


def _check_weights(method: Method, recipe: Recipe) -> None:
    """Check that weights and LDS have an effect."""
    technique, message = method.technique, ""
    binned = technique.weighting not in ("none", "denseweight")
    if binned and recipe.bins == 1:
        message = "needs several label bins for its weights: set bins to 2 or more"
    elif technique.lds and recipe.lds_kernel_size == 1:
        message = "has no effect with an LDS kernel of size 1: set lds_kernel_size to 3 or more"
    if message:
        raise UsageError(f"{method.name} {message}.")


def _check_method_fields(method: Method, recipe: NetworkRecipe) -> None:
    """Check that every technique of the method has an effect on a network."""
    technique, fds = method.technique, method.technique.fds
    ranksim = technique.ranksim and not technique.two_stage
    ineffective = ranksim and not recipe.ranksim_weight * recipe.gamma
    message = check_settings(technique.parts, recipe, lds=technique.lds)
    if technique.focal_r and recipe.loss == "huber":
        message = "is not defined for the Huber loss: set loss to mse or l1"
    elif ineffective:
        message = "has no effect if ranksim_weight or gamma is 0: raise it or leave out +ranksim"
    elif fds and recipe.fds_bins == 1:
        message = "needs several label bins for FDS: set fds_bins to 2 or more"
    elif fds and recipe.fds_kernel_size == 1:
        message = "has no effect with an FDS kernel of size 1: set fds_kernel_size to 3 or more"
    if message:
        raise UsageError(f"{method.name} {message}.")
