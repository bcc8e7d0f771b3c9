"""Requests for sweeps, and functions that check them, build their runs and train these."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ranksim._utils.formatting import format_value
from ranksim._utils.progress import SweepProgress
from ranksim.data.images.table import IMAGE_COLUMNS
from ranksim.data.reading import require_text_file
from ranksim.data.spec import (
    DataLocation,
    ReadOptions,
    SeriesSpec,
    TableSpec,
    UserDataSpec,
    make_user_spec,
)
from ranksim.data.table import read_targets
from ranksim.evaluation.report.results_page import PAGE, write_page
from ranksim.exceptions import DataError, UsageError
from ranksim.experiments.budget import BudgetPlan, plan_budget, with_equal_steps
from ranksim.experiments.external import name_predictions
from ranksim.experiments.run import Run, check_method
from ranksim.experiments.store import SweepPlan
from ranksim.experiments.sweep import run_sweep
from ranksim.imbalance import Scheme
from ranksim.training.feature_readers import NEEDS_SERIES
from ranksim.training.fit_estimator import LAST_VALUE, depends_on_seed, estimator_options
from ranksim.training.method import (
    ESTIMATORS,
    Method,
    first_stage,
    parse_method,
    parse_methods,
)
from ranksim.training.prepare import THRESHOLD, has_threshold, needs_table
from ranksim.training.presets import (
    load_recipe,
    preset_table,
    read_tuned,
    without_estimator_fields,
)
from ranksim.training.recipe import (
    ESTIMATOR_LOSSES,
    GLUCOSE,
    LOSSES,
    OLD_FIELDS,
    SERIES,
    TABLE,
    EstimatorRecipe,
    Recipe,
    headline,
    parse_change,
    recipe_type,
    to_portable_recipe,
)
from ranksim.training.task import TrainingLimits
from ranksim.training.task_loading import (
    DataSource,
    identify_data,
    load_benchmark,
    read_user_data,
)
from ranksim.training.trainer_config import TrainerConfig
from ranksim.user_data.split_column import read_split_column, resolve_split_file

_MAX_SEEDS = 10_000
DEFAULT_METHODS = "default"
_NETWORKS = "vanilla,sqinv,inv,vanilla+lds,vanilla+fds,focal-r,rrt,vanilla+ranksim"


@dataclass(frozen=True)
class SweepRequest:
    """A request to train several methods with several seeds on one data set."""

    source: DataSource
    methods: str  # names separated by commas, or "all", or "default" for user data
    seeds: str  # as parse_seeds reads it
    out: Path
    preset: str = "small"
    changes: tuple[str, ...] = ()  # recipe fields to override, each "field=value"
    recipe_file: Path | None = None  # recipes by method, as ranksim tune writes them
    trainer: TrainerConfig = TrainerConfig()
    limits: TrainingLimits = TrainingLimits()
    jobs: int = 1
    engine: str = "processes"
    budget: float | None = None  # seconds for the whole sweep
    command: str = ""  # recorded with the results
    strict: bool = False  # warnings about the data are errors
    target_transform: str = ""  # of the methods whose name contains none
    predictions: tuple[str, ...] = ()  # files of predictions made elsewhere, a row each
    name: tuple[str, ...] = ()  # of these rows
    tune: int | None = None  # trials of a search for the recipe of each row, before the sweep

    @property
    def benchmark(self) -> str:
        """The name of the benchmark, or of the kind of user data."""
        return self.source.spec.benchmark


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
    seeds = parse_seeds(request.seeds)
    is_default = request.methods == DEFAULT_METHODS
    request = choose_default_methods(request)
    settings = SweepSettings.from_request(request)
    methods = parse_methods(
        request.methods, request.benchmark, settings.weighting, request.target_transform
    )
    settings.check(methods)  # before data is read
    external = name_predictions(request.predictions, request.name)
    make_run = make_runs(request, settings)
    if is_default:
        methods = _select_suitable(methods, make_run, seeds[0], console)
    vanilla = parse_method("vanilla", settings.weighting)
    files = {method.key: (path, method) for path, method in external}

    def make_named_run(key: str, seed: int) -> Run:
        if key not in files:
            return make_run(parse_method(key, settings.weighting), seed)
        path, method = files[key]
        return replace(make_run(vanilla, seed), method=method, predictions=path)

    every_method = [*methods, *(method for _, method in external)]
    budget = None
    if request.budget is not None:
        runs = _collect_stages(make_named_run(method.key, seeds[0]) for method in every_method)
        budget = _plan_budget(request, runs, methods, seeds)
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
    )
    live = console.is_terminal and not single
    monitor, scores = runs[0].recipe.monitor, headline(request.benchmark)
    with SweepProgress(console, live=live, monitor=monitor, headline=scores) as watcher:
        results = run_sweep(plan, watcher)
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
        last = ",last-value" if isinstance(spec, SeriesSpec) else ""
        return f"{_NETWORKS},linear,median{last}"
    table = read_user_data(source.location, spec.reading)
    labels = read_targets(table, spec.target, spec.missing_target, missing="nan")
    transform = "yeo-johnson" if np.nanmin(labels, initial=np.inf) <= 0 else "log"
    return f"vanilla,sqinv,rrt,vanilla+ranksim,trees,trees+sqinv,trees({transform}),linear,median"


def _without_projection(run: Run) -> Run:
    """Return a copy of a run whose features, and those of its first stage, are not projected."""
    first = None if run.stage_one is None else _without_projection(run.stage_one)
    return replace(run, has_projection=False, stage_one=first)


def _collect_stages(runs: Iterable[Run]) -> list[Run]:
    """Return each run once, after its first stage."""
    stages = [stage for run in runs for stage in (run.stage_one, run) if stage is not None]
    return list({run.name: run for run in stages}.values())


def _plan_budget(
    request: SweepRequest, runs: Sequence[Run], methods: Sequence[Method], seeds: Sequence[int]
) -> BudgetPlan | None:
    """Plan a comparison within the budget of a request; None if no network is trained."""
    for option, is_set in (
        ("--max-steps", request.limits.steps is not None),
        ("--num-nodes", request.trainer.num_nodes > 1),
    ):
        if is_set:
            raise UsageError(f"--budget plans the steps of each training: leave out {option}.")
    networks = [method.key for method in methods if not method.technique.estimator]
    if not networks:
        return None
    assert request.budget is not None
    rows = list(dict.fromkeys(networks))
    return plan_budget(
        request.budget, runs, rows, seeds=seeds, jobs=request.jobs, engine=request.engine
    )


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
        )

    return make_run


@dataclass(frozen=True)
class SweepSettings:
    """The preset, ``--set`` changes and recipe file of a request, after validation."""

    benchmark: str
    preset: str
    weighting: Scheme  # of LDS and RRT, if a method's name does not say it
    changes: Mapping[str, Any]  # recipe fields overridden with --set
    tuned: Mapping[str, Mapping[str, Any]]  # recipe fields by method, from --recipe

    @classmethod
    def from_request(cls, request: SweepRequest) -> SweepSettings:
        """Read the recipe settings of a request; raise an error if a field is set to two values."""
        changes: dict[str, Any] = {}
        for name, value in map(parse_change, request.changes):
            if changes.setdefault(name, value) != value:
                raise UsageError(f"{name} is set to {changes[name]} and to {value}: set it once.")
        kind = recipe_type(request.benchmark)
        common = preset_table(request.benchmark, request.preset)
        names = {item.name for item in fields(kind)}  # check() refuses others
        common |= {
            name: value
            for name, value in without_estimator_fields(changes, kind).items()
            if name in names
        }
        if common["loss"] in ESTIMATOR_LOSSES and common["loss"] not in LOSSES:
            common["loss"] = LOSSES[0]  # check() refuses it for networks
        weighting: Scheme = kind.from_table(common).weighting  # type: ignore[assignment]
        tuned: Mapping[str, Mapping[str, Any]] = {}
        if request.recipe_file is not None:
            tuned = read_tuned(request.recipe_file, common, weighting, kind)
        return cls(request.benchmark, request.preset, weighting, changes, tuned)

    def recipe(self, method: Method) -> Recipe:
        """Return the recipe of a method: preset, tuned values and ``--set`` changes combined.

        A change of a field that the method does not have is one of other rows.
        """
        names = self.list_fields(method)
        changes = {name: value for name, value in self.changes.items() if name in names}
        return load_recipe(self.benchmark, self.preset, method, changes, self.tuned)

    def check(self, methods: Sequence[Method]) -> None:
        """Raise a UsageError if a method does not suit the data, or a change has no effect."""
        known = dict.fromkeys(name for method in methods for name in self.list_fields(method))
        for name in self.changes:
            if name not in known:
                raise UsageError(self._describe_useless_change(name, known))
        for technique in (method.technique for method in methods):
            if technique.estimator == LAST_VALUE and self.benchmark not in (SERIES, GLUCOSE):
                raise UsageError(NEEDS_SERIES)
            if technique.resampling and self.benchmark != TABLE:
                raise UsageError(needs_table(technique.resampling))
        loss = self.changes.get("loss")
        for method in methods:
            is_network = not method.technique.estimator
            if is_network and loss in ESTIMATOR_LOSSES and loss not in LOSSES:
                raise UsageError(
                    f"Method {method.name} cannot be trained: a network has no loss {loss}: set "
                    f"loss to one of {', '.join(LOSSES)}, or leave out the networks."
                )
            self.recipe(method)

    def list_fields(self, method: Method) -> list[str]:
        """Return the recipe fields that a method has and that --set can change."""
        technique = method.technique
        names = [item.name for item in fields(recipe_type(self.benchmark))]
        if technique.estimator:
            tunable = {name for each in ESTIMATORS for name in estimator_options(each)}
            useless = tunable - {*estimator_options(technique.estimator)}
            names = [item.name for item in fields(EstimatorRecipe) if item.name not in useless]
        if not has_threshold(technique.resampling):
            names.remove(THRESHOLD)
        return names

    def _describe_useless_change(self, name: str, known: Collection[str]) -> str:
        """Return the message that --set changes a field which no method has."""
        if name in OLD_FIELDS and OLD_FIELDS[name] in known:
            return f"Recipe field {name} is now called {OLD_FIELDS[name]}: use that."
        networks = {item.name for item in fields(recipe_type(self.benchmark))}
        if name == THRESHOLD:
            owners = "rows that are resampled with over, under, smoter or smogn"
        elif name in {item.name for item in fields(EstimatorRecipe)} - networks:
            rows = [each for each in ESTIMATORS if name in estimator_options(each)]
            owners = f"the estimators {', '.join(rows)}" if rows else "estimators"
        elif name in networks:
            owners = "networks"
        else:
            return (
                f"--set {format_value(name)} names no setting of the methods of this command: they "
                f"have {', '.join(sorted(known))}."
            )
        return f"--set {name} changes only {owners}, and --methods has none: leave it out."


def parse_seeds(text: str) -> list[int]:
    """Parse a number of seeds (``"5"``: 0 to 4) or a list of seeds (``"3,5"``)."""
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        numbers = []
    if "," not in text and len(numbers) == 1 and 0 < numbers[0] <= _MAX_SEEDS:
        return list(range(numbers[0]))
    if "," in text and numbers and 0 <= min(numbers) <= max(numbers) < 2**32:
        return list(dict.fromkeys(numbers))
    raise UsageError(
        f"--seeds takes a number above 0 and at most {_MAX_SEEDS:,}, or a list of seeds below "
        f"2**32 such as 3,5,8, got {format_value(text)}."
    )
