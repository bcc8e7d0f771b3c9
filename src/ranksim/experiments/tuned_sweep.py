"""A comparison in which each row is tuned before, with the same number of trials."""

from __future__ import annotations

import dataclasses
from typing import Any

from rich.console import Console

from ranksim.experiments.search_space import TuneRequest, has_fields
from ranksim.experiments.sweep_request import choose_default_methods, run_benchmark
from ranksim.experiments.sweep_settings import (
    SweepRequest,
    SweepSettings,
    check_request,
    parse_seeds,
)
from ranksim.experiments.tune import tune
from ranksim.training.method import ENCODER, Method, average_members, first_stage
from ranksim.training.recipe import parse_change

FOLDER = "tune"  # within that of the comparison


def run_tuned_benchmark(request: SweepRequest, console: Console | None = None) -> dict[str, Any]:
    """Search a recipe for each row by validation score, and compare the rows with these recipes.

    Each row, and each first stage of a two-stage method, gets the same number of trials with the
    first seed; the first trial is the recipe itself. Rows without anything to tune stay as they
    are, and so do first stages that train an encoder without a loss on predictions. The searches
    are in the folder ``tune`` and resume like the comparison.

    Args:
        request: the comparison, without recipes and without a budget; ``tune`` is the number of
            trials of each row.
        console: receives a line for each trial; nothing is printed without it.

    Returns:
        The content of ``results.json``.

    Raises:
        UsageError: the request has recipes or a budget, or is not valid.
    """
    check_request(request)
    n_trials = request.tune or 0
    console = console or Console(quiet=True)
    request = choose_default_methods(request)
    settings = SweepSettings.from_request(request)
    methods = settings.parse_methods(request)
    out, seed = request.out / FOLDER, parse_seeds(request.seeds)[0]
    recipes = None
    for method in _order_stages(methods):
        if not has_fields(method, settings.recipe(method), settings.changes):
            continue
        console.print(f"Tuning {method.key}", highlight=False)
        names = settings.list_fields(method)
        search = dataclasses.replace(
            request,
            methods=method.key,
            changes=tuple(each for each in request.changes if parse_change(each)[0] in names),
            seeds=f"{seed},",
            out=out,
            recipe_file=recipes,
            predictions=(),
            name=(),
        )
        tuned = tune(TuneRequest(search, n_trials), lambda line: console.print(f"  {line}"))
        console.print(f"  {tuned.describe_score()}", highlight=False, soft_wrap=True)
        recipes = tuned.recipe
    return run_benchmark(dataclasses.replace(request, recipe_file=recipes, tune=None), console)


def _order_stages(methods: list[Method]) -> list[Method]:
    """Return the methods once each, a first stage before the method that needs it.

    A mean of two networks is replaced by these.
    """
    trained = [each for method in methods for each in (average_members(method) or (method,))]
    ordered: dict[str, Method] = {}
    for method in trained:
        for stage in (first_stage(method), method):
            if stage is not None and not stage.key.startswith(f"{ENCODER}+"):
                ordered.setdefault(stage.key, stage)
    return list(ordered.values())
