"""What ``ranksim bench`` and ``ranksim demo`` do with what they were given."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from ranksim._utils.formatting import format_value
from ranksim._utils.progress import SweepProgress
from ranksim.evaluation.report.terminal import print_summary
from ranksim.exceptions import UsageError
from ranksim.imbalance import Scheme
from ranksim.training.method import (
    ALL_METHODS,
    BASES,
    MODIFIERS,
    Method,
    describe_method,
    first_stage,
    parse_method,
    parse_methods,
)
from ranksim.training.modality import ONE_PRESET, headline, recipe_type
from ranksim.training.presets import load_recipe, preset_table, read_tuned
from ranksim.training.recipe import Recipe, parse_change

_MOST_SEEDS = 10_000

if TYPE_CHECKING:
    from ranksim.experiments.run import Run


@dataclass(frozen=True)
class BenchRequest:
    """A bench command as it was given."""

    benchmark: str
    options: Mapping[str, Any]
    methods: str
    seeds: str
    jobs: int
    out: Path
    preset: str = "small"
    data_dir: Path | None = None
    shots: str = "rule"
    changes: tuple[str, ...] = field(default=())
    max_steps: int | None = None
    max_epochs: int | None = None
    accelerator: str = "auto"
    devices: str = "1"
    precision: str = "32-true"
    glove: Path | None = None
    recipe: Path | None = None
    files: Mapping[str, Path | str | None] = field(default_factory=dict)
    cache_dir: Path | None = None
    skip_broken: bool = False
    num_nodes: int = 1
    compile: bool = False
    channels_last: bool | None = None
    gather: bool = False
    encoder: str | None = None
    image_size: int | None = None
    engine: str = "processes"
    budget: float | None = None

    @property
    def hardware(self) -> dict[str, Any]:
        """What was said of the machine, by the fields of ``Hardware``."""
        return {
            "accelerator": self.accelerator,
            "devices": self.devices,
            "precision": self.precision,
            "num_nodes": self.num_nodes,
            "compile": self.compile,
            "channels_last": self.channels_last,
            "gather_across_devices": self.gather,
        }

    def command(self, seeds: list[int]) -> str:
        """The command to type for the same results, without folders of this machine."""
        listed = ",".join(map(str, seeds)) + ("," if len(seeds) == 1 else "")
        counted = str(len(seeds)) if seeds == list(range(len(seeds))) else listed
        runs = f"--seeds {counted} --jobs {self.jobs}"
        runs += f" --engine {self.engine}" * (self.engine != "processes")
        return self.worded("compare", f"--methods {self.methods}", runs)

    def worded(self, verb: str, methods: str, runs: str) -> str:
        """The same with other words for methods and runs; ``verb`` is that for own data."""
        data = self.files.get("data")
        words = ["ranksim bench", self.benchmark]
        if data is not None:
            words = [f"ranksim {verb}", shlex.quote(data_name(data))]
        for name, path in self.files.items():
            if path is not None and name != "data":
                words.append(f"{_option(name)} {shlex.quote(Path(path).name)}")
        for name, value in self.options.items():
            words += _said(name, value)
        if data is not None:
            words += [f"--encoder {shlex.quote(data_name(self.encoder))}"] if self.encoder else []
            words += [f"--image-size {self.image_size}"] if self.image_size else []
        words += ["--skip-broken"] * self.skip_broken
        words.append(methods)
        if data is None and self.benchmark not in ONE_PRESET:
            words.append(f"--preset {self.preset}")
        if self.benchmark == "sts-b-dir":
            words.append(f"--shots {self.shots}")
        words.append(runs)
        words += [f"--recipe {shlex.quote(self.recipe.name)}"] if self.recipe else []
        named = {f"encoder={self.encoder}", f"image_size={self.image_size}"}
        changes = [c for c in self.changes if data is None or c not in named]
        words += [f"--set {shlex.quote(_without_folder(c))}" for c in changes]
        words += [f"--max-steps {self.max_steps}"] if self.max_steps else []
        words += [f"--max-epochs {self.max_epochs}"] if self.max_epochs else []
        words += [f"--budget {self.budget:g}s"] if self.budget else []
        usual = {item.name: item.default for item in fields(self)}
        for name, value in self.hardware.items():
            if value is False and usual[name] is None:
                words.append(f"--no{_option(name)[1:]}")
            elif value != usual[name]:
                words.append(
                    _option(name) + ("" if value is True else f" {shlex.quote(str(value))}")
                )
        return " ".join(words)


def _option(field: str) -> str:
    return "--" + field.replace("_", "-")


def _said(name: str, value: Any) -> list[str]:
    """An option of the data as it is typed."""
    if value is None:
        return []
    if isinstance(value, bool):
        return [_option(name) if value else f"--no{_option(name)[1:]}"]
    if name == "region":
        return [f"--region {shlex.quote(each)}" for each in value]
    told = ",".join(map(_quoted, value)) if isinstance(value, tuple) else str(value)
    return [f"{_option(name)} {shlex.quote(told)}"]


def _quoted(word: str) -> str:
    """A word of a list that is parted by commas, as CSV holds it."""
    return '"' + word.replace('"', '""') + '"' if "," in word or word[:1] == '"' else word


def data_name(data: str | Path) -> str:
    """How results call anyone's data: without folders of this machine; a hub's name stays whole."""
    path = Path(data).expanduser()
    return path.resolve().name if path.exists() else str(data)


def _without_folder(change: str) -> str:
    """A change of a recipe, with the name alone of an encoder in a folder."""
    name, value = parse_change(change)
    folder = name == "encoder" and Path(str(value)).expanduser().is_dir()
    return f"{name}={data_name(str(value))}" if folder else change


def run_benchmark(request: BenchRequest, *, as_json: bool = False) -> dict[str, Any]:
    """Carry out a bench or compare command: check it, sweep, print the tables, write the page.

    Args:
        request: the command.
        as_json: print to stderr, so that stdout is left for JSON.
    """
    seeds = parse_seeds(request.seeds)
    settings = SweepSettings.of(request)
    methods = parse_methods(request.methods, request.benchmark, settings.weighting)
    for method in methods:
        settings.recipe(method)  # nonsense ends here

    # only now what takes seconds to import
    from ranksim.evaluation.record import RESULTS
    from ranksim.evaluation.report.results_page import PAGE, write_page
    from ranksim.experiments.sweep import SweepPlan, run_sweep
    from ranksim.training.trainer_config import silence_lightning

    silence_lightning()
    run_of = make_runs(request, settings)
    asked = [run_of(method, seed) for seed in seeds for method in methods]
    each = [part for run in asked for part in (run.stage_one, run) if part is not None]
    runs = list({run.name: run for run in each}.values())
    if request.budget is not None:
        share = request.budget * min(request.jobs, len(runs)) * len(seeds) / len(runs)
        runs = [_timed(run, share) for run in runs]
    console = Console(stderr=as_json)
    alone = request.jobs == 1 and request.engine == "processes"
    plan = SweepPlan(
        runs,
        {method.name: method.key for method in methods},
        lambda key, seed: run_of(parse_method(key, settings.weighting), seed),
        request.jobs,
        request.command(seeds),
        request.engine,
        progress_bar=alone and console.is_terminal,
        budget=request.budget,
    )
    live = console.is_terminal and not alone
    monitor, format_value = each[0].recipe.monitor, headline(request.benchmark)
    with SweepProgress(console, live=live, monitor=monitor, headline=format_value) as watcher:
        results = run_sweep(plan, watcher)
    print_summary(results, console)
    console.print(f"Results: {request.out / RESULTS}", highlight=False, soft_wrap=True)
    if not plan.runs[0].hardware.is_follower_node:  # the first of several machines alone writes
        page = write_page(results, request.out / PAGE)
        console.print(f"Page: {page}", highlight=False, soft_wrap=True)
    return results


def summary_json(results: dict[str, Any], out: Path) -> dict[str, Any]:
    """What ``--json`` prints: all that ``results.json`` holds but the runs, and where it lies."""
    return {k: v for k, v in results.items() if k != "runs"} | {"out": str(out)}


def _timed(run: Run, seconds: float) -> Run:
    """The run, and its first stage, with so much time."""
    first = None if run.stage_one is None else _timed(run.stage_one, seconds)
    limits = replace(run.limits, seconds=seconds)
    return replace(run, limits=limits, stage_one=first)


def make_runs(request: BenchRequest, settings: SweepSettings) -> Callable[[Method, int], Run]:
    """What makes the run of any method and seed under a request."""
    from ranksim.experiments.run import Run
    from ranksim.training.fit import TrainingLimits
    from ranksim.training.pretrained import to_portable_recipe
    from ranksim.training.task_loading import DataSource, fingerprint
    from ranksim.training.trainer_config import TrainerConfig

    if request.cache_dir is not None:
        os.environ["RANKSIM_CACHE"] = str(request.cache_dir)  # for workers too
    files = {"data_dir": request.data_dir, "glove": request.glove, **request.files}
    options = {k: v for k, v in request.options.items() if v is not None}
    source = DataSource(
        request.benchmark,
        tuple({**options, **fingerprint(request.benchmark, options, files)}.items()),
        request.shots,
        tuple(files.items()),
        request.skip_broken,
    )

    def run_of(method: Method, seed: int) -> Run:
        first = first_stage(method)
        recipe, encoder = to_portable_recipe(settings.recipe(method))
        own = source if encoder is None else source.with_file("encoder", encoder)
        return Run(
            method,
            seed,
            recipe,
            own,
            request.preset,
            TrainerConfig(**request.hardware),
            TrainingLimits(request.max_steps, request.max_epochs),
            request.out,
            None if first is None else run_of(first, seed),
        )

    return run_of


@dataclass(frozen=True)
class SweepSettings:
    """What a request says of recipes, read and checked.

    Args:
        benchmark, preset: whose recipes.
        weighting: what LDS and RRT weigh by where a name does not say.
        changes: ``--set``.
        tuned: ``--recipe``, fields by method.
    """

    benchmark: str
    preset: str
    weighting: Scheme
    changes: Mapping[str, Any]
    tuned: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, request: BenchRequest) -> SweepSettings:
        """Read them from a request."""
        changes = dict(parse_change(text) for text in request.changes)
        common = preset_table(request.benchmark, request.preset) | changes
        kind = recipe_type(request.benchmark)
        weighting: Scheme = kind.from_table(common).weighting  # type: ignore[assignment]
        tuned: Mapping[str, Mapping[str, Any]] = {}
        if request.recipe is not None:
            tuned = read_tuned(request.recipe, common, weighting, kind)
        return cls(request.benchmark, request.preset, weighting, changes, tuned)

    def recipe(self, method: Method) -> Recipe:
        """The recipe of a method under these settings."""
        return load_recipe(self.benchmark, self.preset, method, self.changes, self.tuned)


def print_methods(benchmark: str) -> None:
    """The 32 names, what each is made of, and which are one method under two names."""
    listing = Table("method", "what it trains", box=box.SIMPLE_HEAD)
    for method in described_methods(benchmark):
        same = f": the same as {method['same_as']}" if "same_as" in method else ""
        listing.add_row(method["method"], method["trains"] + same)
    console = Console()
    console.print(listing)
    console.print(
        f"Other names by the same grammar, such as sqinv+fds+ranksim: one of "
        f"{', '.join(BASES)}, and any of {', '.join(MODIFIERS)}, joined by +.",
        highlight=False,
    )


def described_methods(benchmark: str) -> list[dict[str, str]]:
    """The 32 names, what each trains, and the key that a second name stands for."""
    table = preset_table(benchmark, "small")
    methods = parse_methods(ALL_METHODS, benchmark, table["weighting"])
    keys = {method.key for method in methods}
    return [
        {"method": method.name, "trains": describe_method(method, table["loss"])}
        | ({"same_as": method.key} if method.name != method.key and method.key in keys else {})
        for method in methods
    ]


def parse_seeds(text: str) -> list[int]:
    """``"5"`` to 0..4, ``"3,5"`` to those two seeds."""
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        numbers = []
    if "," not in text and len(numbers) == 1 and 0 < numbers[0] <= _MOST_SEEDS:
        return list(range(numbers[0]))
    if "," in text and numbers and 0 <= min(numbers) <= max(numbers) < 2**32:
        return list(dict.fromkeys(numbers))
    raise UsageError(
        f"--seeds takes a number above 0 and at most {_MOST_SEEDS:,}, or a list of seeds below "
        f"2**32 such as 3,5,8, got {format_value(text)}."
    )
