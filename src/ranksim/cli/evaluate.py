"""``ranksim evaluate`` and ``ranksim throughput``."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ranksim.cli.options import (
    AgeOptions,
    AsJson,
    Few,
    Group,
    HardwareOptions,
    ImageOptions,
    Many,
    Named,
    NetworkOptions,
    Preset,
    TestPerBin,
    print_json,
    request,
    with_options,
)
from ranksim.exceptions import UsageError

if TYPE_CHECKING:
    from ranksim.experiments.sweep_request import BenchRequest


@dataclass
class UserImageOptions(Group):
    """The user's images that a checkpoint is tested on, split as in ``ranksim compare``."""

    data: Annotated[
        str | None, typer.Option(help="Test a checkpoint on the test part of this data of images.")
    ] = None
    target: Annotated[
        str | None, typer.Option(help="Column of the label, for --data and --train.")
    ] = None
    image: Annotated[str | None, typer.Option(help="Column of image paths.")] = None
    image_root: Annotated[
        Path | None, typer.Option(help="Folder of the images, if DATA is a table elsewhere.")
    ] = None
    split: Annotated[str | None, typer.Option(help="Column of train, val, test.")] = None
    bin_width: Annotated[float | None, typer.Option(help="Width of label bins.")] = None
    cap: Annotated[
        int | None, typer.Option(min=1, help="Most samples of a bin in validation, and in test.")
    ] = None
    split_seed: Annotated[int | None, typer.Option(min=0, help="Seed of a drawn split.")] = None
    test_per_bin: TestPerBin = None

    def asked(self) -> dict[str, Any]:
        options = super().asked()
        del options["data"]
        return {"files": {"image_root": options.pop("image_root")}, "options": options}


@dataclass
class Predicted:
    """What predictions take: whose label density their regions are by."""

    train: Annotated[
        str | None,
        typer.Option(help="Of predictions: the data that was trained on, as compare takes it."),
    ] = None
    model: Annotated[
        Path | None, typer.Option(help="In its place: the model, as ranksim fit writes it.")
    ] = None
    prediction: Annotated[
        str | None,
        typer.Option(help="Column of the prediction. Default: prediction, pred, y_pred."),
    ] = None
    label: Annotated[
        str | None,
        typer.Option(help="Column of the label. Default: label, target, y_true, the target's."),
    ] = None
    many: Many = None
    few: Few = None
    region: Named = None


@dataclass
class Judged:
    """What a checkpoint is judged with."""

    image_size: Annotated[
        int | None,
        typer.Option(min=1, help="Side in pixels. Default: the run's, or the preset's."),
    ] = None
    accelerator: Annotated[str, typer.Option(help="For Lightning: auto, cpu, gpu, mps …")] = "auto"
    precision: Annotated[
        str, typer.Option(help="For Lightning: 32-true, bf16-mixed, 16-mixed, 64-true …")
    ] = "32-true"


_OF_TRAIN = ("target", "split", "bin_width")  # shared by --data and --train


@with_options(AgeOptions, UserImageOptions, ImageOptions, Predicted, Judged)
def evaluate(
    ages: AgeOptions,
    own: UserImageOptions,
    pictures: ImageOptions,
    predicted: Predicted,
    judged: Judged,
    *,
    what: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT|PREDICTIONS",
            help="With --benchmark or --data a published checkpoint of a ResNet, or best.ckpt of a "
            "run of one; with --train or --model a table of predictions, whatever made them.",
            show_default=False,
        ),
    ],
    benchmark: Annotated[
        Literal["agedb-dir", "imdb-wiki-dir"] | None,
        typer.Option(help="What a checkpoint is tested on."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the result; an earlier one goes.")] = Path(
        "runs/evaluate"
    ),
    as_json: AsJson = False,
) -> None:
    """Score a trained network on a test set, or anyone's predictions, by region."""
    by: dict[str, object] = {"--benchmark": benchmark, "--data": own.data}
    by |= {"--train": predicted.train, "--model": predicted.model}
    given = [name for name, value in by.items() if value is not None]
    if len(given) != 1:
        told = "none" if not given else " and ".join(given)
        raise UsageError(
            "Give --benchmark or --data for a checkpoint, or one of --train and --model for "
            f"predictions, got {told}."
        )
    mode = given[0]
    if mode in ("--train", "--data") and own.target is None:
        raise UsageError(f"{mode} needs the column of its label: give --target.")
    if mode in ("--train", "--model"):
        usable = _OF_TRAIN if mode == "--train" else ()
        _refuse_idle(mode, (ages, own, pictures, judged), usable)
        if mode == "--model":
            _refuse_idle(mode, (predicted,), ("model", "prediction", "label"))
        result = _score(what, own, predicted, out, as_json)
    else:
        _refuse_idle(mode, (own if benchmark else ages, predicted))
        if benchmark is not None:
            bench = request(benchmark, out, "vanilla", "1", ages, pictures)
        else:
            from ranksim.experiments.user_data import own_request

            assert own.data is not None
            bench = own_request(own.data, request("own", out, "vanilla", "1", own, pictures))
        result = _judge(what, bench, judged, as_json)
    print_json(result, as_json)


def _score(
    predictions: Path, own: UserImageOptions, predicted: Predicted, out: Path, as_json: bool
) -> dict[str, Any]:
    from ranksim.inference.scoring import ScoreRequest, score_predictions

    given = vars(predicted)
    columns = {name: given[name] for name in ("train", "model", "prediction", "label")}
    options = {
        "split": own.split,
        "bin_width": own.bin_width,
        "many": predicted.many,
        "few": predicted.few,
        "region": tuple(predicted.region or ()),
    }
    asked = ScoreRequest(predictions, target=own.target, options=options, out=out, **columns)
    return score_predictions(asked, as_json=as_json)


def _judge(checkpoint: Path, bench: BenchRequest, judged: Judged, as_json: bool) -> dict[str, Any]:
    from ranksim.cli._evaluate import EvaluateRequest, score_checkpoint

    told = vars(judged).copy()
    size = told.pop("image_size")
    told["changes"] = () if size is None else (f"image_size={size}",)
    return score_checkpoint(
        EvaluateRequest(checkpoint, dataclasses.replace(bench, **told)), as_json=as_json
    )


def _refuse_idle(mode: str, groups: tuple[Any, ...], usable: tuple[str, ...] = ()) -> None:
    """Refuse options of what is not asked for."""
    for group in groups:
        for item in dataclasses.fields(group):
            # all data sets have a preset, each its own default
            if item.name in (*usable, "preset") or getattr(group, item.name) == item.default:
                continue
            raise UsageError(f"{_option(item.name)} does nothing with {mode}: leave it out.")


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


@with_options(NetworkOptions, HardwareOptions)
def throughput(
    network: NetworkOptions,
    machine: HardwareOptions,
    *,
    preset: Preset = "paper",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images of a step. Default: the preset's.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps to time for each method.")] = 50,
    warm: Annotated[int, typer.Option(min=0, help="Steps before these, untimed.")] = 10,
    out: Annotated[Path | None, typer.Option(help="File for the figures, as JSON.")] = None,
    as_json: AsJson = False,
) -> None:
    """Images per second here, the share of waiting for data, and that of RankSim."""
    from ranksim.experiments.throughput import ThroughputRequest
    from ranksim.experiments.throughput import throughput as time_training

    told: dict[str, Any] = network.asked()
    changes = told.pop("changes")
    if batch_size is not None:
        changes += (f"batch_size={batch_size}",)
    hardware = machine.asked() | told
    asked = ThroughputRequest(changes, steps, warm, hardware, out, preset)
    print_json(time_training(asked, as_json=as_json), as_json)
