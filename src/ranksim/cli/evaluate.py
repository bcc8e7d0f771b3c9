"""``ranksim evaluate`` and ``ranksim throughput``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ranksim.cli import options as texts
from ranksim.cli.options import (
    AgeOptions,
    AsJson,
    Group,
    ImageOptions,
    NetworkOptions,
    TrainerOptions,
    option,
    print_json,
    set_options,
    with_options,
)
from ranksim.cli.requests import sweep_request, trainer_config
from ranksim.exceptions import UsageError


@dataclass
class UserImageOptions(Group):
    """The user's images that a checkpoint is tested on, split as in ``ranksim compare``."""

    panel = "Data"
    data: str | None = option("Test a checkpoint on the test part of these images.")
    target: str | None = option("Column of the label, for --data and --train.", metavar="COLUMN")
    image: str | None = option("Column of image paths.", metavar="COLUMN")
    image_root: Path | None = option(texts.IMAGE_ROOT)
    split: str | None = option("Column of train, val and test.", metavar="COLUMN")
    bin_width: float | None = option("Width of label bins. Default: as inspect suggests.")
    max_per_bin: int | None = option(texts.MAX_PER_BIN, minimum=1)
    split_seed: int | None = option("Seed of a drawn split (666).", minimum=0)
    test_per_bin: int | None = option(texts.TEST_PER_BIN, minimum=1)


@dataclass
class PredictionOptions(Group):
    """Columns of predictions, and the label density that their regions follow."""

    panel = "Predictions"
    train: str | None = option("The training data of the predictions, as for compare.")
    model: Path | None = option("Instead of --train: the model, a folder of ranksim fit.")
    prediction: str | None = option("Default: prediction, pred or y_pred.", metavar="COLUMN")
    label: str | None = option("Default: label, target, y_true or the target.", metavar="COLUMN")
    many: int | None = option(texts.MANY, minimum=1)
    few: int | None = option(texts.FEW, minimum=1)
    region: list[str] | None = option(texts.REGION, metavar="NAME=RANGE")


@dataclass
class CheckpointOptions(Group):
    """How a checkpoint is run."""

    panel = "Checkpoint"
    image_size: int | None = option(
        "Side in pixels. Default: the run's, or the preset's.", minimum=1
    )
    accelerator: str = option(texts.ACCELERATOR, "auto")
    precision: str = option(texts.PRECISION, "32-true")


@dataclass
class StepOptions(Group):
    """The steps that ``ranksim throughput`` times."""

    preset: Literal["small", "paper"] = option(texts.PRESET, "paper")
    batch_size: int | None = option("Images per step. Default: the preset's.", minimum=1)
    steps: int = option("Steps to time for each method.", 50, minimum=1)
    warmup_steps: int = option("Untimed steps before them.", 10, minimum=0)


_TRAIN_OPTIONS = ("train", "target", "split", "bin_width", "many", "few", "region")


@with_options(
    AgeOptions,
    UserImageOptions,
    ImageOptions,
    PredictionOptions,
    CheckpointOptions,
    first=("what", "benchmark", "data", "train", "model", "target", "out"),
)
def evaluate(
    ages: AgeOptions,
    user: UserImageOptions,
    images: ImageOptions,
    predictions: PredictionOptions,
    checkpoint: CheckpointOptions,
    *,
    what: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT|PREDICTIONS",
            help="With --benchmark or --data: a published ResNet checkpoint, or best.ckpt of an "
            "image run. With --train or --model: a table of predictions of any model.",
            show_default=False,
        ),
    ],
    benchmark: Annotated[
        Literal["agedb-dir", "imdb-wiki-dir"] | None,
        typer.Option(help="Test a checkpoint on agedb-dir or imdb-wiki-dir."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the result; an old result is replaced.")] = (
        Path("runs/evaluate")
    ),
    as_json: AsJson = False,
) -> None:
    """Score an image checkpoint on a test set, or predictions of any model, by region."""
    from ranksim.data.spec import reject_unused

    modes: dict[str, object] = {"--benchmark": benchmark, "--data": user.data}
    modes |= {"--train": predictions.train, "--model": predictions.model}
    chosen = [name for name, value in modes.items() if value is not None]
    if len(chosen) != 1:
        raise UsageError(
            "Give --benchmark or --data for a checkpoint, or --train or --model for predictions, "
            f"got {' and '.join(chosen) or 'none of them'}."
        )
    (mode,) = chosen
    used: dict[str, Sequence[str]] = {
        "--benchmark": [*vars(ages), *vars(images), *vars(checkpoint)],
        "--data": [*vars(user), *vars(images), *vars(checkpoint)],
        "--train": [*_TRAIN_OPTIONS, "prediction", "label"],
        "--model": ["model", "prediction", "label"],
    }
    groups = (ages, user, images, predictions, checkpoint)
    reject_unused(set_options(*groups), (*used[mode], "preset"), mode)
    if mode in ("--train", "--data") and user.target is None:
        raise UsageError(f"{mode} needs the column of the label: give --target.")
    if mode in ("--train", "--model"):
        result = _score_predictions(what, user, predictions, out, as_json)
    elif benchmark is not None:
        result = _score_checkpoint(what, benchmark, (ages, images, checkpoint), out, as_json)
    else:
        result = _score_checkpoint(what, None, (user, images, checkpoint), out, as_json)
    print_json(result, as_json)


def _score_predictions(
    path: Path, user: UserImageOptions, predictions: PredictionOptions, out: Path, as_json: bool
) -> dict[str, Any]:
    from ranksim.inference.scoring import ScoreRequest, score_predictions

    options = {
        "split": user.split,
        "bin_width": user.bin_width,
        "many": predictions.many,
        "few": predictions.few,
        "region": tuple(predictions.region or ()),
    }
    request = ScoreRequest(
        path,
        target=user.target,
        options=options,
        out=out,
        train=predictions.train,
        model=predictions.model,
        prediction=predictions.prediction,
        label=predictions.label,
    )
    return score_predictions(request, as_json=as_json)


def _score_checkpoint(
    path: Path, benchmark: str | None, groups: tuple[Group, ...], out: Path, as_json: bool
) -> dict[str, Any]:
    from rich.console import Console

    from ranksim.evaluation.report.terminal import print_scores
    from ranksim.experiments.checkpoint_scores import RESULT, score_checkpoint
    from ranksim.training.modality import headline

    if benchmark is not None:
        request = sweep_request(benchmark, out, groups, user_data=False)
    else:
        (data,) = (group.data for group in groups if isinstance(group, UserImageOptions))
        request = sweep_request(str(data), out, groups)
    result = score_checkpoint(path, request)
    console, name = Console(stderr=as_json), result["benchmark"]
    print_scores(result["test"], headline(name), f"{result['encoder']} on {name}, test", console)
    console.print(f"Result: {out / RESULT}", highlight=False, markup=False, soft_wrap=True)
    return result


@with_options(StepOptions, NetworkOptions, TrainerOptions)
def throughput(
    chosen: StepOptions,
    network: NetworkOptions,
    trainer: TrainerOptions,
    *,
    out: Annotated[Path | None, typer.Option(help="JSON file for the figures.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure images per second, the time waiting for data, and RankSim's share of a step."""
    from rich.console import Console

    from ranksim.experiments import throughput as engine

    changes = {"encoder": network.encoder, "image_size": network.image_size}
    changes |= {"batch_size": chosen.batch_size}
    request = engine.ThroughputRequest(
        tuple(f"{name}={value}" for name, value in changes.items() if value is not None),
        chosen.steps,
        chosen.warmup_steps,
        trainer_config(trainer.values() | network.values()),
        out,
        chosen.preset,
    )
    result = engine.measure_throughput(request)
    engine.print_throughput(result, Console(stderr=as_json))
    if out is not None and not as_json:
        typer.echo(f"Figures: {out}")
    print_json(result, as_json)
