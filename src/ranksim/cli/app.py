"""The ``ranksim`` application, which collects all commands and imports PyTorch only when needed."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

import ranksim
from ranksim.cli.data import data_app, inspect
from ranksim.cli.demo import demo
from ranksim.cli.drift import drift
from ranksim.cli.options import AsJson, print_json
from ranksim.cli.results import evaluate, leaderboard, report, reproduce, throughput
from ranksim.cli.train import bench_app, compare, fit, predict, tune_app

_BenchmarkName = Literal[
    "sts-b-dir", "sentiment-dir", "glucose", "agedb-dir", "imdb-wiki-dir",
    "table", "text", "sentences", "images", "series",
]  # fmt: skip
app = typer.Typer(
    help="Deep imbalanced regression: methods for scarce labels, and comparisons of them.",
    epilog="Exit codes: 0 success, 1 the data or a training failed, 2 invalid usage, 130 Ctrl-C. "
    "An error is one sentence on stderr.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in (
    *(inspect, compare, fit, predict, evaluate, drift, report, leaderboard, reproduce),
    *(throughput, demo),
):
    app.command()(_command)
app.add_typer(bench_app, name="bench")
app.add_typer(tune_app, name="tune")
app.add_typer(data_app, name="data")


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"ranksim {ranksim.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    """Deep imbalanced regression: methods for scarce labels, and comparisons of them."""


@app.command("methods")
def list_methods(
    benchmark: Annotated[
        _BenchmarkName,
        typer.Argument(
            metavar="BENCHMARK",
            help="Benchmark, or table, text, sentences, images or series for your own data: it "
            "decides the plain loss, and the weighting of LDS and RRT.",
        ),
    ] = "sts-b-dir",
    as_json: AsJson = False,
) -> None:
    """List the 32 methods of the published tables, and those published since, with their paper."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from ranksim.data.target_transform import TRANSFORMS
    from ranksim.training.method import (
        ALL_METHODS,
        AVERAGE,
        AVERAGE_PAPER,
        ESTIMATORS,
        NETWORKS,
        RESAMPLERS,
        WEIGHTS,
        describe_method,
        parse_method,
        parse_methods,
    )
    from ranksim.training.parts import PARTS
    from ranksim.training.presets import preset_table

    preset = preset_table(benchmark, "small")
    parsed = parse_methods(ALL_METHODS, benchmark, preset["weighting"])
    keys = {method.key for method in parsed}
    methods: list[dict[str, str]] = []
    table = Table("method", "what it trains", box=box.SIMPLE_HEAD)
    for method in parsed:
        row = {"method": method.name, "trains": describe_method(method, preset["loss"])}
        alias = method.name != method.key and method.key in keys
        methods.append(row | ({"alias_of": method.key} if alias else {}))
        same = f": the same as {method.key}" if alias else ""
        table.add_row(method.name, row["trains"] + same)
    later = Table("published since", "what it trains", "paper", box=box.SIMPLE_HEAD)
    for name, part in PARTS.items():
        method = parse_method(f"vanilla+{name}", preset["weighting"])
        row = {"method": method.name, "trains": describe_method(method, preset["loss"])}
        methods.append(row | {"paper": part.paper})
        later.add_row(name, row["trains"], part.paper)
    average = parse_method(f"{AVERAGE}+sqinv", preset["weighting"])
    row = {"method": average.name, "trains": describe_method(average, preset["loss"])}
    methods.append(row | {"paper": AVERAGE_PAPER})
    later.add_row(average.name, row["trains"], AVERAGE_PAPER)
    print_json(methods, as_json)
    if as_json:
        return
    console = Console()
    console.print(table)
    console.print(later)
    rules = [
        f"Networks: {', '.join(NETWORKS)}, and any of {', '.join(PARTS)}, lds, fds and ranksim, "
        "joined by +, such as sqinv+fds+ranksim; average+ before such a name averages its network "
        "with the plain one.",
        "In --methods, all stands for the methods of the published tables, and family for one row "
        "of each method.",
        f"Estimators: {', '.join(ESTIMATORS)}; with weights {', '.join(WEIGHTS)}, lds, or average "
        "(of plain and weighted), such as trees+inv or lightgbm+average+inv+lds.",
        f"Tables: {', '.join(RESAMPLERS)} resample training rows, such as trees+smogn.",
        f"Any name: a transform of the target, {', '.join(TRANSFORMS)}, such as trees(log).",
    ]
    for rule in rules:
        console.print(rule, highlight=False, markup=False)
