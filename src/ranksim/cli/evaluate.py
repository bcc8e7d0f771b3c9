"""``ranksim evaluate`` and ``ranksim throughput``."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ranksim.cli.options import (
    Ages,
    Group,
    Machine,
    Network,
    Own,
    Pictures,
    Preset,
    request,
    taking,
)
from ranksim.errors import UsageError


@dataclass
class OwnIfAny(Own):
    """What anyone's images take, where they are what is evaluated on."""

    table: Annotated[
        Path | None, typer.Option(help="Of images: CSV, TSV or Parquet with a row an image.")
    ] = None  # type: ignore[assignment]
    image_root: Annotated[
        Path | None, typer.Option(help="Of images: folder that its paths are relative to.")
    ] = None  # type: ignore[assignment]
    target: Annotated[
        str | None, typer.Option(help="Of images: column of the number to predict.")
    ] = None  # type: ignore[assignment]


@taking(Ages, OwnIfAny, Pictures)
def evaluate(
    ages: Ages,
    own: OwnIfAny,
    pictures: Pictures,
    *,
    checkpoint: Annotated[
        Path,
        typer.Argument(help="A published checkpoint of a ResNet, or best.ckpt of a run of one."),
    ],
    benchmark: Annotated[
        Literal["agedb-dir", "imdb-wiki-dir", "images"], typer.Option(help="What it is tested on.")
    ],
    image_size: Annotated[
        int | None,
        typer.Option(min=1, help="Side in pixels. Default: the run's, or the preset's."),
    ] = None,
    accelerator: Annotated[str, typer.Option(help="For Lightning: auto, cpu, gpu, mps …")] = "auto",
    precision: Annotated[
        str, typer.Option(help="For Lightning: 32-true, bf16-mixed, 16-mixed, 64-true …")
    ] = "32-true",
    out: Annotated[Path, typer.Option(help="Folder for the result; an earlier one goes.")] = Path(
        "runs/evaluate"
    ),
) -> None:
    """Score a trained network on a test set, by region."""
    from ranksim.bench.evaluate import EvaluateRequest
    from ranksim.bench.evaluate import evaluate as score

    data: Group = own if benchmark == "images" else ages
    if benchmark == "images":
        missing = [n for n in ("table", "image_root", "target") if getattr(own, n) is None]
        if missing:
            raise UsageError(
                f"--benchmark images needs {', '.join(map(_option, missing))}: give them."
            )
    _refuse_idle(benchmark, ages if benchmark == "images" else own)
    bench = request(benchmark, out, "vanilla", "1", data, pictures)
    size = () if image_size is None else (f"image_size={image_size}",)
    bench = dataclasses.replace(bench, changes=size, accelerator=accelerator, precision=precision)
    score(EvaluateRequest(checkpoint, bench))


def _refuse_idle(benchmark: str, other: Group) -> None:
    """Refuse options of the data sets that are not asked for."""
    for item in dataclasses.fields(other):  # type: ignore[arg-type]
        if item.name != "preset" and getattr(other, item.name) != item.default:
            raise UsageError(
                f"{_option(item.name)} does nothing with --benchmark {benchmark}: leave it out."
            )


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


@taking(Network, Machine)
def throughput(
    network: Network,
    machine: Machine,
    *,
    preset: Preset = "paper",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images of a step. Default: the preset's.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps to time for each method.")] = 50,
    warm: Annotated[int, typer.Option(min=0, help="Steps before these, untimed.")] = 10,
    out: Annotated[Path | None, typer.Option(help="File for the figures, as JSON.")] = None,
) -> None:
    """Images per second here, the share of waiting for data, and that of RankSim."""
    from ranksim.bench.throughput import ThroughputRequest
    from ranksim.bench.throughput import throughput as time_training

    told: dict[str, Any] = network.asked()
    changes = told.pop("changes")
    if batch_size is not None:
        changes += (f"batch_size={batch_size}",)
    hardware = machine.asked() | told
    time_training(ThroughputRequest(changes, steps, warm, hardware, out, preset))
