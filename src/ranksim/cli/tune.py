"""``ranksim tune``: a command for each benchmark."""

from __future__ import annotations

from pathlib import Path

import typer

from ranksim.cli.options import (
    Accelerator,
    Change,
    DataDir,
    Devices,
    Domains,
    Fields,
    Glove,
    Jobs,
    MaxEpochs,
    MaxSteps,
    Out,
    Precision,
    Preset,
    RecipeFile,
    Seeds,
    Split,
    Trials,
    TunedMethod,
    parted,
)

tune_app = typer.Typer(
    help="Search a recipe for one method by validation score (extra: tune).",
    no_args_is_help=True,
)


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
    tune(TuneRequest(request, trials, parted(fields)))


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
        options={"domains": parted(domains)},
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
    tune(TuneRequest(request, trials, parted(fields)))
