"""Commands and their options. What is heavy is imported inside a command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

import ranksim

app = typer.Typer(
    help="Deep regression where the labels that matter are rare.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
bench_app = typer.Typer(
    help="Train methods on a benchmark and set the result beside the published table.",
    no_args_is_help=True,
)
app.add_typer(bench_app, name="bench")

Split = Annotated[
    Literal["borealis", "yang"],
    typer.Option(help="Which of the two published splits: RankSim's, or the first one."),
]
Preset = Annotated[
    Literal["small", "paper"],
    typer.Option(help="small: a CPU in minutes; paper: as published, a GPU's work."),
]
Domains = Annotated[str, typer.Option(help="Any of tweets,amazon,movies,nyt, parted by commas.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder that holds the data. Default: RANKSIM_DATA, then a verified download."
    ),
]
Methods = Annotated[
    str, typer.Option(help="Names parted by commas (ranksim methods lists them), or all.")
]
Seeds = Annotated[str, typer.Option(help="A number K (seeds 0 to K − 1), or seeds: 3,5,8.")]
Jobs = Annotated[int, typer.Option(min=1, help="Runs side by side, one thread each.")]
Out = Annotated[Path, typer.Option(help="Folder for results; what is finished there is kept.")]
Shots = Annotated[
    Literal["published", "rule"],
    typer.Option(help="Regions by the published list, or by counts (100 and 20)."),
]
Change = Annotated[
    list[str] | None, typer.Option("--set", help="Override a recipe field: --set lr=5e-4.")
]
RecipeFile = Annotated[
    Path | None, typer.Option("--recipe", help="Recipes by method, as ranksim tune writes them.")
]
MaxSteps = Annotated[int | None, typer.Option(min=1, help="End each training after these steps.")]
MaxEpochs = Annotated[
    int | None, typer.Option(min=1, help="End each training after these validations.")
]
Accelerator = Annotated[str, typer.Option(help="For Lightning: auto, cpu, gpu, mps …")]
Devices = Annotated[str, typer.Option(help="For Lightning: how many devices, or which.")]
Precision = Annotated[
    str, typer.Option(help="For Lightning: 32-true, bf16-mixed, 16-mixed, 64-true …")
]
Glove = Annotated[
    Path | None, typer.Option(help="GloVe 840B.300d text file, for the preset paper.")
]


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


@bench_app.command("sts-b-dir")
def bench_sts_b_dir(
    split: Split = "borealis",
    preset: Preset = "small",
    methods: Methods = "vanilla,vanilla+ranksim",
    seeds: Seeds = "5",
    jobs: Jobs = 1,
    out: Out = Path("runs/sts-b-dir"),
    data_dir: DataDir = None,
    shots: Shots = "published",
    change: Change = None,
    recipe: RecipeFile = None,
    max_steps: MaxSteps = None,
    max_epochs: MaxEpochs = None,
    accelerator: Accelerator = "auto",
    devices: Devices = "1",
    precision: Precision = "32-true",
    glove: Glove = None,
) -> None:
    """Sentence pairs with a similarity of 0..5 (5,249 / 1,000 / 1,000 pairs)."""
    from ranksim.bench.command import BenchRequest, bench

    bench(
        BenchRequest(
            benchmark="sts-b-dir",
            options={"split": split},
            preset=preset,
            methods=methods,
            seeds=seeds,
            jobs=jobs,
            out=out,
            data_dir=data_dir,
            shots=shots,
            changes=tuple(change or ()),
            recipe=recipe,
            max_steps=max_steps,
            max_epochs=max_epochs,
            accelerator=accelerator,
            devices=devices,
            precision=precision,
            glove=glove,
        )
    )


@bench_app.command("sentiment-dir")
def bench_sentiment_dir(
    domains: Domains = "tweets,amazon",
    methods: Methods = "vanilla,vanilla+ranksim",
    seeds: Seeds = "5",
    jobs: Jobs = 1,
    out: Out = Path("runs/sentiment-dir"),
    data_dir: DataDir = None,
    change: Change = None,
    recipe: RecipeFile = None,
    max_steps: MaxSteps = None,
    max_epochs: MaxEpochs = None,
    accelerator: Accelerator = "auto",
    devices: Devices = "1",
    precision: Precision = "32-true",
) -> None:
    """Sentences with human-rated sentiment in −4..4; strong feelings are rare."""
    from ranksim.bench.command import BenchRequest, bench

    bench(
        BenchRequest(
            benchmark="sentiment-dir",
            options={"domains": _parted(domains)},
            methods=methods,
            seeds=seeds,
            jobs=jobs,
            out=out,
            data_dir=data_dir,
            changes=tuple(change or ()),
            recipe=recipe,
            max_steps=max_steps,
            max_epochs=max_epochs,
            accelerator=accelerator,
            devices=devices,
            precision=precision,
        )
    )


tune_app = typer.Typer(
    help="Search a recipe for one method by validation score (extra: tune).",
    no_args_is_help=True,
)
app.add_typer(tune_app, name="tune")

TunedMethod = Annotated[str, typer.Option(help="One name; ranksim methods lists them.")]
Trials = Annotated[int, typer.Option(min=1, help="Settings to try, earlier commands' included.")]
Fields = Annotated[
    str,
    typer.Option(help="Recipe fields to search, parted by commas. Default: all the method uses."),
]


@tune_app.command("sts-b-dir")
def tune_sts_b_dir(
    method: TunedMethod,
    split: Split = "borealis",
    preset: Preset = "small",
    trials: Trials = 20,
    fields: Fields = "",
    seeds: Seeds = "2",
    jobs: Jobs = 1,
    out: Out = Path("runs/tune/sts-b-dir"),
    data_dir: DataDir = None,
    change: Change = None,
    recipe: RecipeFile = None,
    max_steps: MaxSteps = None,
    max_epochs: MaxEpochs = None,
    accelerator: Accelerator = "auto",
    devices: Devices = "1",
    precision: Precision = "32-true",
    glove: Glove = None,
) -> None:
    """Tune a method on sentence pairs with a similarity of 0..5."""
    from ranksim.bench.command import BenchRequest
    from ranksim.bench.tune import TuneRequest, tune

    request = BenchRequest(
        benchmark="sts-b-dir",
        options={"split": split},
        preset=preset,
        methods=method,
        seeds=seeds,
        jobs=jobs,
        out=out,
        data_dir=data_dir,
        shots="published",
        changes=tuple(change or ()),
        recipe=recipe,
        max_steps=max_steps,
        max_epochs=max_epochs,
        accelerator=accelerator,
        devices=devices,
        precision=precision,
        glove=glove,
    )
    tune(TuneRequest(request, trials, _parted(fields)))


@tune_app.command("sentiment-dir")
def tune_sentiment_dir(
    method: TunedMethod,
    domains: Domains = "tweets,amazon",
    trials: Trials = 20,
    fields: Fields = "",
    seeds: Seeds = "2",
    jobs: Jobs = 1,
    out: Out = Path("runs/tune/sentiment-dir"),
    data_dir: DataDir = None,
    change: Change = None,
    recipe: RecipeFile = None,
    max_steps: MaxSteps = None,
    max_epochs: MaxEpochs = None,
    accelerator: Accelerator = "auto",
    devices: Devices = "1",
    precision: Precision = "32-true",
) -> None:
    """Tune a method on sentences with human-rated sentiment."""
    from ranksim.bench.command import BenchRequest
    from ranksim.bench.tune import TuneRequest, tune

    request = BenchRequest(
        benchmark="sentiment-dir",
        options={"domains": _parted(domains)},
        methods=method,
        seeds=seeds,
        jobs=jobs,
        out=out,
        data_dir=data_dir,
        changes=tuple(change or ()),
        recipe=recipe,
        max_steps=max_steps,
        max_epochs=max_epochs,
        accelerator=accelerator,
        devices=devices,
        precision=precision,
    )
    tune(TuneRequest(request, trials, _parted(fields)))


def _parted(text: str) -> tuple[str, ...]:
    """Words parted by commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


@app.command("methods")
def list_methods(
    benchmark: Annotated[
        Literal["sts-b-dir", "sentiment-dir"],
        typer.Argument(help="Whose weighting LDS and RRT use, and whose loss is the plain one."),
    ] = "sts-b-dir",
) -> None:
    """List the 32 methods of the published tables and what each means."""
    from ranksim.bench.command import print_methods

    print_methods(benchmark)


@app.command()
def demo(out: Out = Path("runs/demo"), jobs: Jobs = 2, data_dir: DataDir = None) -> None:
    """Train with and without RankSim on rare feelings, and explain what is seen (minutes)."""
    from ranksim.bench.demo import demo as run_demo

    run_demo(out=out, jobs=jobs, data_dir=data_dir)
