"""Recipes of each benchmark and preset, read from ``recipes.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from ranksim._utils.formatting import single_line
from ranksim.exceptions import UsageError
from ranksim.imbalance import Scheme
from ranksim.training.method import RANKSIM_SUFFIX, Method, first_stage, parse_method
from ranksim.training.modality import recipe_type
from ranksim.training.recipe import Recipe, update_old_fields

Changes = Mapping[str, Any]
Methods = Mapping[str, Changes]  # what differs for single methods, by their keys


@cache
def _tables() -> dict[str, Any]:
    file = resources.files("ranksim.training") / "recipes.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))


def preset_table(benchmark: str, preset: str) -> dict[str, Any]:
    """A preset before anything that differs by method.

    Raises:
        UsageError: a preset the benchmark does not have.
    """
    presets = _tables()[benchmark]
    if preset not in presets:
        raise UsageError(f"{benchmark} has no preset {preset!r}: choose from {', '.join(presets)}.")
    return _with_parents(presets[preset])


def _with_parents(table: Mapping[str, Any]) -> dict[str, Any]:
    """A table over the one that it is like, over what is published for the techniques."""
    own = {k: v for k, v in table.items() if not isinstance(v, dict)}
    parent: Any = _tables()
    for name in own.pop("extends", "techniques").split("."):
        parent = parent[name]
    return own if parent is table else _with_parents(parent) | own


def load_recipe(
    benchmark: str,
    preset: str,
    method: Method,
    changes: Changes | None = None,
    tuned: Methods | None = None,
) -> Recipe:
    """The recipe of a method: later ones of these count more.

    1. the preset's, 2. what differs with FDS or RankSim, 3. what differs for this method, first
    without RankSim and then with it, so that the two share all but RankSim, 4. the same from
    ``tuned``, 5. the user's ``changes``. The second stage of RRT begins with what its first has.

    Raises:
        UsageError: a preset the benchmark does not have, or a change that makes no sense.

    Example:
        >>> from ranksim.training.method import parse_method
        >>> load_recipe("sts-b-dir", "paper", parse_method("vanilla+ranksim", "inverse")).batch_size
        16
    """
    first = first_stage(method)
    table = preset_table(benchmark, preset)
    own = _tables()[benchmark][preset]
    for part in ("fds", "ranksim"):
        if getattr(method.technique, part):
            table |= own.get(part, {})
    stages = [method] if first is None else [first, method]
    keys = [key for stage in stages for key in (stage.key.removesuffix(RANKSIM_SUFFIX), stage.key)]
    for methods in (own.get("methods", {}), tuned or {}):
        for key in dict.fromkeys(keys):
            table |= methods.get(key, {})
    recipe = recipe_type(benchmark).from_table(table | dict(changes or {}))
    _refuse_nonsense(method, recipe)
    if first is not None:
        earlier = load_recipe(benchmark, preset, first, changes, tuned)
        _refuse_another_network(method, recipe, first, earlier)
    return recipe


def read_tuned(
    path: Path, common: Changes, weighting: Scheme, kind: type[Recipe]
) -> dict[str, dict[str, Any]]:
    """What ``ranksim tune`` wrote: fields by method, ``[methods."inv+ranksim"]``.

    Args:
        path: the file.
        common: the recipe that the fields change.
        weighting: what names mean (see :func:`ranksim.training.method.parse_method`).
        kind: of the recipes.

    Raises:
        UsageError: a file that cannot be read, has another form, or names a method or field that
            does not exist.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"--recipe {path} cannot be read: {single_line(str(error))}.") from error
    methods = content.pop("methods", None)
    tables = isinstance(methods, dict) and all(isinstance(v, dict) for v in methods.values())
    if not tables or content:
        raise UsageError(
            f'--recipe {path} must hold tables such as [methods."vanilla+ranksim"] and nothing '
            "else, as ranksim tune writes them."
        )
    found: dict[str, dict[str, Any]] = {}
    for name, changes in methods.items():
        try:
            changes, key = update_old_fields(changes), parse_method(name, weighting).key
            kind.from_table({**common, **changes})
        except UsageError as error:
            raise UsageError(f"--recipe {path}, {single_line(name)}: {error}") from error
        if "weighting" in changes:
            raise UsageError(
                f"--recipe {path}, {single_line(name)}: weighting decides what names mean and is the "
                "same for all methods; give it with --set."
            )
        if key in found:
            raise UsageError(f"--recipe {path} has two tables for {key}: keep one.")
        found[key] = changes
    return found


def _refuse_another_network(method: Method, recipe: Recipe, first: Method, earlier: Recipe) -> None:
    """A second stage goes on with the network and the FDS of the first."""
    network = {item.name for item in fields(recipe)} - {item.name for item in fields(Recipe)}
    shared = [n for n in vars(recipe) if n.startswith("fds_") or n in {*network, "label_scale"}]
    for name in shared:
        there, here = getattr(earlier, name), getattr(recipe, name)
        if there != here:
            raise UsageError(
                f"{method.name} goes on from {first.name}, which has {name} {there!r}, not "
                f"{here!r}: set it for {first.name} alone."
            )


def _refuse_nonsense(method: Method, recipe: Recipe) -> None:
    """Refuse what would silently do nothing."""
    technique = method.technique
    if technique.focal_r and recipe.loss == "huber":
        raise UsageError(f"{method.name} is defined over mse and l1: set loss to one of them.")
    if technique.ranksim and not technique.two_stage and not recipe.ranksim_weight * recipe.gamma:
        raise UsageError(
            f"{method.name} adds RankSim with ranksim_weight or gamma 0, which changes nothing: leave "
            "+ranksim out, or set them above 0."
        )
    if technique.fds and recipe.fds_bins == 1:
        raise UsageError(
            f"{method.name} smooths features over label bins, which one bin does not allow: set "
            "fds_bins to 2 or more."
        )
    if technique.weighting != "none" and recipe.bins == 1:
        raise UsageError(
            f"{method.name} weighs samples by the count of their label bin, which is the same for "
            "all in one bin: set bins to 2 or more."
        )
    if technique.lds and recipe.lds_kernel_size == 1:
        raise UsageError(
            f"{method.name} smooths counts with a kernel of size 1, which changes nothing: set "
            "lds_kernel_size to 3 or more."
        )
    if technique.fds and recipe.fds_kernel_size == 1:
        raise UsageError(
            f"{method.name} smooths features with a kernel of size 1, which changes nothing: set "
            "fds_kernel_size to 3 or more."
        )
