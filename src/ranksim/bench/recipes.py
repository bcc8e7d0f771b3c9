"""Recipes of each benchmark and preset, read from ``recipes.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from ranksim.bench.methods import Method
from ranksim.errors import UsageError
from ranksim.training.recipe import Recipe


@cache
def _tables() -> dict[str, Any]:
    file = resources.files("ranksim.bench") / "recipes.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))


def recipe_for(
    benchmark: str, preset: str, method: Method, changes: Mapping[str, Any] | None = None
) -> Recipe:
    """The recipe of a method: the preset's, what differs with RankSim, then the user's changes.

    Raises:
        UsageError: a preset the benchmark does not have, or a change that makes no sense.

    Example:
        >>> recipe_for("sts-b-dir", "paper", Method("vanilla+ranksim", True)).batch_size
        16
    """
    presets = _tables()[benchmark]
    if preset not in presets:
        raise UsageError(f"{benchmark} has no preset {preset!r}: choose from {', '.join(presets)}.")
    common = dict(presets[preset])
    with_ranksim = common.pop("ranksim", {})
    return Recipe.from_table(
        common | (with_ranksim if method.ranksim else {}) | dict(changes or {})
    )
