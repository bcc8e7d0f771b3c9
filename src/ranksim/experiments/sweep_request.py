"""Functions that complete requests for sweeps, build their runs and train these."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from rich.console import Console

from ranksim._utils.progress import SweepProgress, shows_widgets
from ranksim.data.images.table import IMAGE_COLUMNS
from ranksim.data.reading import require_text_file
from ranksim.data.spec import (
    DataLocation,
    ReadOptions,
    TableSpec,
    UserDataSpec,
    make_user_spec,
)
from ranksim.data.table import read_targets
from ranksim.datasets.base import Benchmark
from ranksim.evaluation.report.results_page import PAGE, write_page
from ranksim.exceptions import DataError, UsageError
from ranksim.experiments.budget import BudgetPlan, plan_budget, read_plan, with_equal_steps
from ranksim.experiments.external import name_predictions
from ranksim.experiments.run import Run, check_method, check_methods
from ranksim.experiments.store import SweepPlan
from ranksim.experiments.sweep import run_sweep
from ranksim.experiments.sweep_settings import (
    DEFAULT_METHODS,
    SweepRequest,
    SweepSettings,
    check_request,
    list_default_methods,
    parse_seeds,
)
from ranksim.training.data_source import DataSource
from ranksim.training.method import (
    Method,
    average_members,
    first_stage,
    parse_key,
    parse_method,
)
from ranksim.training.method_rules import depends_on_seed
from ranksim.training.recipe import (
    headline,
    to_portable_recipe,
)
from ranksim.training.task_loading import (
    identify_data,
    load_benchmark,
    read_user_data,
)
from ranksim.user_data.split_column import read_split_column, resolve_split_file


def resolve_user_data(location: DataLocation, options: Mapping[str, Any]) -> DataSource:
    """Build the data source of user data, with defaults that are read from the data.

    These are the image column of a folder of images, if no inputs are named, and the column
    ``split``, if no other option is given for the split. The option ``split`` may also name a
    split file.
    """
    reading = ReadOptions.from_options(options)
    columns = read_user_data(location, reading)
    require_text_file(columns, reading)
    split_file = resolve_split_file(columns, options.get("split"))
    if split_file is not None:
        location = replace(location, split_file=split_file)
        options = {**options, "split": split_file.name}
        columns = read_user_data(location, reading)
    inputs = ("text", "image", "window", "features")
    if columns.root is not None and not any(options.get(name) for name in inputs):
        image = next((name for name in IMAGE_COLUMNS if name in columns.names), None)
        options = {**options, "image": image}
    spec = make_user_spec({**options, "image_root": location.image_root})
    split = read_split_column(columns, spec)
    return DataSource(replace(spec, split=split), location)


def run_benchmark(request: SweepRequest, console: Console | None = None) -> dict[str, Any]:
    """Train the runs of a request, write ``results.json`` and the HTML page; return the results.

    The HTML page is written too. Nothing is printed without a console.
    """
    console = console or Console(quiet=True)
    check_request(request)  # before data is read
    seeds = parse_seeds(request.seeds)
    is_default = request.methods == DEFAULT_METHODS
    request = choose_default_methods(request)
    settings = SweepSettings.from_request(request)
    methods = settings.parse_methods(request)
    external = name_predictions(request.predictions, request.name)
    make_run = make_runs(request, settings)
    if is_default:
        methods = _select_suitable(methods, make_run, seeds[0], console)
    vanilla = parse_method("vanilla", settings.weighting)
    files = {method.key: (path, method) for path, method in external}

    def make_named_run(key: str, seed: int) -> Run:
        if key not in files:
            return make_run(parse_key(key, settings.weighting, request.estimators), seed)
        path, method = files[key]
        return replace(make_run(vanilla, seed), method=method, predictions=path)

    every_method = [*methods, *(method for _, method in external)]
    budget = data = None
    if request.budget is not None:
        runs = _collect_stages(make_named_run(method.key, seeds[0]) for method in every_method)
        budget, data = _plan_budget(request, runs, methods, seeds)
    if budget is not None:
        console.print(budget.describe(), highlight=False, soft_wrap=True)
        every_method = [each for each in every_method if each.key not in budget.dropped]
        seeds = budget.seeds

    def make_planned_run(key: str, seed: int) -> Run:
        run = make_named_run(key, seed)
        return run if budget is None else with_equal_steps(run, budget)

    reported = [
        make_planned_run(method.key, seed)
        for seed in seeds
        for method in every_method
        if seed == seeds[0] or depends_on_seed(method.technique)
    ]
    reported = [run if run.seed == min(seeds) else _without_projection(run) for run in reported]
    runs = _collect_stages(reported)
    single = request.jobs == 1 and request.engine == "processes"
    plan = SweepPlan(
        runs,
        {method.name: method.key for method in every_method},
        make_planned_run,
        request.jobs,
        request.command,
        request.engine,
        progress_bar=single and console.is_terminal,
        strict=request.strict,
        interval=request.interval,
    )
    live = (console.is_terminal and not single) or shows_widgets(console)
    monitor, scores = runs[0].recipe.monitor, headline(request.benchmark)
    with SweepProgress(console, live=live, monitor=monitor, headline=scores) as watcher:
        results = run_sweep(plan, watcher, data)
    if not runs[0].trainer_config.is_follower_node:  # only the first of several machines writes
        write_page(results, request.out / PAGE)
    return results


def _select_suitable(
    methods: Sequence[Method], make_run: Callable[[Method, int], Run], seed: int, console: Console
) -> list[Method]:
    """Return the methods that can be trained on the data; print why others cannot."""
    suitable = []
    for method in methods:
        run = make_run(method, seed)
        benchmark = load_benchmark(run.source, run.recipe)
        try:
            check_method(run, benchmark)
        except (DataError, UsageError) as error:
            console.print(f"Left out: {error}", highlight=False, markup=False, soft_wrap=True)
        else:
            suitable.append(method)
    return suitable


def choose_default_methods(request: SweepRequest) -> SweepRequest:
    """Return the request with the methods that suit the data, if it asks for the default ones."""
    if request.methods != DEFAULT_METHODS:
        return request
    return replace(request, methods=choose_methods(request.source))


def choose_methods(source: DataSource) -> str:
    """Return the methods that ``ranksim compare`` trains by default on user data."""
    spec = source.spec
    assert isinstance(spec, UserDataSpec)
    if not isinstance(spec, TableSpec):
        return list_default_methods(spec, "")
    table = read_user_data(source.location, spec.reading)
    labels = read_targets(table, spec.target, spec.missing_target, missing="nan")
    transform = "yeo-johnson" if np.nanmin(labels, initial=np.inf) <= 0 else "log"
    return list_default_methods(spec, transform)


def _without_projection(run: Run) -> Run:
    """Return a copy of a run whose features, and those of required runs, are not projected."""
    return replace(run.with_required(_without_projection), has_projection=False)


def _collect_stages(runs: Iterable[Run]) -> list[Run]:
    """Return each run once, after its first stage or its members."""
    collected: dict[str, Run] = {}
    for run in runs:
        for stage in (*_collect_stages(run.required), run):
            collected[stage.name] = stage
    return list(collected.values())


def _plan_budget(
    request: SweepRequest, runs: Sequence[Run], methods: Sequence[Method], seeds: Sequence[int]
) -> tuple[BudgetPlan | None, Benchmark[Any] | None]:
    """Return a plan within the budget of a request, and the data if all methods were checked.

    There is no plan if no network is trained, and no check if an earlier command made the plan.
    """
    start = time.monotonic()
    networks = [method.key for method in methods if not method.technique.estimator]
    if not networks:
        return None, None
    assert request.budget is not None
    if (earlier := read_plan(request.out, request.budget)) is not None:
        return earlier, None
    data = check_methods(runs, strict=request.strict)
    plan = plan_budget(
        request.budget,
        runs,
        list(dict.fromkeys(networks)),
        seeds=seeds,
        jobs=request.jobs,
        engine=request.engine,
        num_samples=len(data.train),
        start=start,
    )
    return plan, data


def make_runs(request: SweepRequest, settings: SweepSettings) -> Callable[[Method, int], Run]:
    """Return a function that takes a method and a seed and builds their run."""
    source = identify_data(request.source)

    def make_run(method: Method, seed: int) -> Run:
        first = first_stage(method)
        recipe, encoder = to_portable_recipe(settings.recipe(method))
        location = replace(source.location, encoder=encoder or source.location.encoder)
        return Run(
            method,
            seed,
            recipe,
            replace(source, location=location),
            request.preset,
            request.trainer,
            request.limits,
            request.out,
            None if first is None else make_run(first, seed),
            members=tuple(make_run(member, seed) for member in average_members(method)),
            network=None if method.technique.estimator else request.network,
        )

    return make_run
