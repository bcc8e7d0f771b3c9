"""Commands and their options. What is heavy is imported inside a command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

import ranksim
from ranksim.cli.bench import bench_app
from ranksim.cli.data import data_app
from ranksim.cli.evaluate import evaluate, throughput
from ranksim.cli.inspect import inspect
from ranksim.cli.options import AsJson, DataDir, Jobs, Out, print_json
from ranksim.cli.report import report
from ranksim.cli.rerun import rerun
from ranksim.cli.tune import tune_app
from ranksim.cli.user_data import compare, fit, predict

app = typer.Typer(
    help="Deep regression where the labels that matter are rare.",
    epilog="Exit codes: 0 done, 1 the data or a training failed, 2 a command that cannot be "
    "carried out as asked, 130 Ctrl-C. Errors are one sentence on stderr.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(bench_app, name="bench")
app.add_typer(tune_app, name="tune")
app.add_typer(data_app, name="data")
app.command()(inspect)
app.command()(compare)
app.command()(fit)
app.command()(predict)
app.command()(evaluate)
app.command()(report)
app.command()(rerun)
app.command()(throughput)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ranksim {ranksim.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    """Deep regression where the labels that matter are rare."""


@app.command("methods")
def list_methods(
    benchmark: Annotated[
        Literal[
            "sts-b-dir",
            "sentiment-dir",
            "glucose",
            "agedb-dir",
            "imdb-wiki-dir",
            "table",
            "text",
            "sentences",
            "images",
            "series",
        ],
        typer.Argument(help="Whose weighting LDS and RRT use, and whose loss is the plain one."),
    ] = "sts-b-dir",
    as_json: AsJson = False,
) -> None:
    """List the 32 methods of the published tables and what each means."""
    from ranksim.experiments.sweep_request import described_methods, print_methods

    if as_json:
        print_json(described_methods(benchmark), as_json)
    else:
        print_methods(benchmark)


@app.command()
def demo(
    out: Out = Path("runs/demo"),
    jobs: Jobs = 2,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Train with and without RankSim on rare feelings, and explain what is seen (minutes)."""
    from ranksim.cli._demo import demo as run_demo
    from ranksim.experiments.sweep_request import summary_json

    print_json(
        summary_json(run_demo(out=out, jobs=jobs, data_dir=data_dir, as_json=as_json), out), as_json
    )
