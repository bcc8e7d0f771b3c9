"""``ranksim evaluate`` and ``ranksim throughput``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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

if TYPE_CHECKING:
    from rich.console import Console

    from ranksim.experiments.sweep_request import SweepRequest


@dataclass(kw_only=True)
class UserImageOptions(ImageOptions):
    """The user's images that a checkpoint is tested on, split as in ``ranksim compare``."""

    data: str | None = option("Test a checkpoint on the test part of these images.")
    target: str | None = option("Column of the label, for --data and --train.", None, "COLUMN")
    image: str | None = option("Column of image paths.", None, "COLUMN")
    image_root: Path | None = option(texts.IMAGE_ROOT)
    split: str | None = option("Column of train, val and test.", None, "COLUMN")
    bin_width: float | None = option(texts.BIN_WIDTH)
    max_per_bin: int | None = option(texts.MAX_PER_BIN, min=1)
    split_seed: int | None = option(texts.SPLIT_SEED, min=0)
    test_per_bin: int | None = option(texts.TEST_PER_BIN, min=1)


@dataclass(kw_only=True)
class PredictionOptions(Group):
    """Columns of predictions, and the label density that their regions follow."""

    panel = "Predictions"
    train: str | None = option("The training data of the predictions, as for compare.")
    model: Path | None = option("Instead of --train: the model, a folder of ranksim fit.")
    prediction: str | None = option("Default: prediction, pred or y_pred.", None, "COLUMN")
    label: str | None = option("Default: label, target, y_true or the target.", None, "COLUMN")
    many: int | None = option(texts.MANY, min=1)
    few: int | None = option(texts.FEW, min=1)
    region: texts.Regions = option(texts.REGION, None, "NAME=RANGE")


@dataclass(kw_only=True)
class CheckpointOptions(Group):
    """Image size and hardware of a checkpoint."""

    panel = "Checkpoint"
    image_size: int | None = option("Side in pixels. Default: the run's, or the preset's.", min=1)
    accelerator: str = option(texts.ACCELERATOR, "auto")
    precision: str = option(texts.PRECISION, "32-true")


@dataclass(kw_only=True)
class StepOptions(Group):
    """The steps that ``ranksim throughput`` times."""

    preset: texts.PresetName = option(texts.PRESET, "paper")
    batch_size: int | None = option("Images per step. Default: the preset's.", min=1)
    steps: int = option("Steps to time for each method.", 50, min=1)
    warmup_steps: int = option("Untimed steps before them.", 10, min=0)


_TRAIN_OPTIONS = ("train", "target", "split", "bin_width", "many", "few", "region")


@with_options(
    AgeOptions,
    UserImageOptions,
    PredictionOptions,
    CheckpointOptions,
    first=("what", "benchmark", "data", "train", "model", "target", "out"),
)
def evaluate(
    ages: AgeOptions,
    user: UserImageOptions,
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
        typer.Option(help="Test a checkpoint on agedb-dir or imdb-wiki-dir.", metavar="WORD"),
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
        "--benchmark": [*vars(ages), *vars(checkpoint)],
        "--data": [*vars(user), *vars(checkpoint)],
        "--train": [*_TRAIN_OPTIONS, "prediction", "label"],
        "--model": ["model", "prediction", "label"],
    }
    set_names = set_options(ages, user, predictions, checkpoint)
    reject_unused(set_names, (*used[mode], "preset"), mode)
    if mode in ("--train", "--data") and user.target is None:
        raise UsageError(f"{mode} needs the column of the label: give --target.")
    if mode in ("--train", "--model"):
        result = _score_predictions(what, user, predictions, out, as_json)
    else:
        request = sweep_request(
            benchmark or str(user.data),
            out,
            (ages if benchmark else user, checkpoint),
            user_data=benchmark is None,
        )
        result = _score_checkpoint(what, request, as_json)
    print_json(result, as_json)


def _score_predictions(
    path: Path, user: UserImageOptions, predictions: PredictionOptions, out: Path, as_json: bool
) -> dict[str, Any]:
    """Score a table of predictions and print the result."""
    from rich.console import Console

    from ranksim.inference.prediction import RESULT, ScoreRequest, score_predictions

    names = ("train", "model", "prediction", "label")
    columns = {name: getattr(predictions, name) for name in names}
    options = {name: getattr(predictions, name) for name in ("many", "few")}
    options |= {"split": user.split, "bin_width": user.bin_width}
    options |= {"region": tuple(predictions.region or ())}
    request = ScoreRequest(path, target=user.target, options=options, out=out, **columns)
    result = score_predictions(request)
    console = Console(stderr=as_json)
    _print_intervals(result, console)
    written_to = f"Result: {out / RESULT}"
    console.print(written_to, highlight=False, markup=False, soft_wrap=True)
    return result


def _print_intervals(result: dict[str, Any], console: Console) -> None:
    """Print errors with their intervals by region."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from ranksim._utils.formatting import METRIC_TITLES, choose_digits

    file, scores = result["predictions"], result["test"]
    title = f"\n{escape(file['name'])}, by region of {escape(file['label'])}"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("region")
    table.add_column("samples", justify="right", no_wrap=True)
    digits = {metric: choose_digits(metric, [scores["all"][metric]]) for metric in ("mae", "gm")}
    for metric in digits:
        table.add_column(METRIC_TITLES[metric][0], justify="right", no_wrap=True)
        table.add_column("95\u202f%", style="dim", no_wrap=True)
    for region, values in scores.items():
        if not values["n"] or (region == "seen" and not scores["zero"]["n"]):
            continue
        cells = []
        for metric, places in digits.items():
            ends = result["intervals"][region][metric]
            cells.append(f"{values[metric]:.{places}f}")
            cells.append("" if ends is None else " to ".join(f"{end:.{places}f}" for end in ends))
        table.add_row(escape(region), f"{values['n']:,}", *cells)
    console.print(table)
    if file["without_label"]:
        console.print(f"{file['without_label']:,} rows without a label are left out.")


def _score_checkpoint(path: Path, request: SweepRequest, as_json: bool) -> dict[str, Any]:
    """Score a checkpoint and print the result."""
    from rich.console import Console

    from ranksim.evaluation.report.terminal import print_scores
    from ranksim.experiments.checkpoint_scores import RESULT, score_checkpoint
    from ranksim.training.modality import headline

    result = score_checkpoint(path, request)
    console, name = Console(stderr=as_json), result["benchmark"]
    print_scores(result["test"], headline(name), f"{result['encoder']} on {name}, test", console)
    written_to = f"Result: {request.out / RESULT}"
    console.print(written_to, highlight=False, markup=False, soft_wrap=True)
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
