"""Recipes of each benchmark and preset, read from ``recipes.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from ranksim.bench.methods import SUFFIX, Method
from ranksim.errors import UsageError
from ranksim.training.recipe import Recipe

Changes = Mapping[str, Any]
Methods = Mapping[str, Changes]  # what differs for single methods, by their keys


@cache
def _tables() -> dict[str, Any]:
    file = resources.files("ranksim.bench") / "recipes.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))


def common_table(benchmark: str, preset: str) -> dict[str, Any]:
    """A preset before anything that differs by method.

    Raises:
        UsageError: a preset the benchmark does not have.
    """
    presets = _tables()[benchmark]
    if preset not in presets:
        raise UsageError(f"{benchmark} has no preset {preset!r}: choose from {', '.join(presets)}.")
    own = {k: v for k, v in presets[preset].items() if not isinstance(v, dict)}
    common: dict[str, Any] = _tables()["techniques"]
    return common | own


def recipe_for(
    benchmark: str,
    preset: str,
    method: Method,
    changes: Changes | None = None,
    tuned: Methods | None = None,
) -> Recipe:
    """The recipe of a method: later ones of these count more.

    1. the preset's, 2. what differs with FDS or RankSim, 3. what differs for this method, first
    without RankSim and then with it, so that the two share all but RankSim, 4. the same from
    ``tuned``, 5. the user's ``changes``.

    Raises:
        UsageError: a preset the benchmark does not have, or a change that makes no sense.

    Example:
        >>> from ranksim.bench.methods import parse_method
        >>> recipe_for("sts-b-dir", "paper", parse_method("vanilla+ranksim", "inverse")).batch_size
        16
    """
    table = common_table(benchmark, preset)
    own = _tables()[benchmark][preset]
    for part in ("fds", "ranksim"):
        if getattr(method.technique, part):
            table |= own.get(part, {})
    for methods in (own.get("methods", {}), tuned or {}):
        for key in dict.fromkeys((method.key.removesuffix(SUFFIX), method.key)):
            table |= methods.get(key, {})
    recipe = Recipe.from_table(table | dict(changes or {}))
    _refuse_nonsense(method, recipe)
    return recipe


def read_tuned(path: Path) -> dict[str, dict[str, Any]]:
    """What ``ranksim tune`` wrote: fields by method, ``[methods."inv+ranksim"]``.

    Raises:
        UsageError: a file that cannot be read or has another form.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"--recipe {path} cannot be read: {error}.") from error
    methods = content.get("methods")
    if not isinstance(methods, dict) or not all(isinstance(v, dict) for v in methods.values()):
        raise UsageError(
            f'--recipe {path} must hold tables such as [methods."vanilla+ranksim"], as ranksim '
            "tune writes them."
        )
    return methods


def _refuse_nonsense(method: Method, recipe: Recipe) -> None:
    """Refuse what would silently do nothing."""
    technique = method.technique
    if technique.fds and recipe.fds_bins < 2:
        raise UsageError(
            f"{method.name} smooths features over label bins, which one bin does not allow: set "
            "fds_bins to 2 or more."
        )
    if technique.weighting != "none" and recipe.bins < 2:
        raise UsageError(
            f"{method.name} weighs samples by the count of their label bin, which is the same for "
            "all in one bin: set bins to 2 or more."
        )
    if technique.lds and recipe.lds_size == 1:
        raise UsageError(
            f"{method.name} smooths counts with a kernel of size 1, which changes nothing: set "
            "lds_size to 3 or more."
        )
    if technique.fds and recipe.fds_size == 1:
        raise UsageError(
            f"{method.name} smooths features with a kernel of size 1, which changes nothing: set "
            "fds_size to 3 or more."
        )
