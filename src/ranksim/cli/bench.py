"""``ranksim bench``: a command for each benchmark."""

from __future__ import annotations

from pathlib import Path

import typer

from ranksim.cli.options import (
    Accelerator,
    Change,
    DataDir,
    Devices,
    Domains,
    Glove,
    Jobs,
    MaxEpochs,
    MaxSteps,
    Methods,
    Out,
    Precision,
    Preset,
    RecipeFile,
    Seeds,
    Shots,
    Split,
    parted,
)

bench_app = typer.Typer(
    help="Train methods on a benchmark and set the result beside the published table.",
    no_args_is_help=True,
)


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
            options={"domains": parted(domains)},
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
