"""``ranksim evaluate`` and ``ranksim throughput``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ranksim.cli.options import (
    Ages,
    Group,
    Machine,
    Network,
    Out,
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


@taking(Ages, OwnIfAny, Pictures, Network, Machine)
def evaluate(
    ages: Ages,
    own: OwnIfAny,
    pictures: Pictures,
    network: Network,
    machine: Machine,
    *,
    checkpoint: Annotated[
        Path, typer.Argument(help="A published checkpoint of a ResNet, or best.ckpt of a run.")
    ],
    benchmark: Annotated[
        Literal["agedb-dir", "imdb-wiki-dir", "images"], typer.Option(help="What it is tested on.")
    ],
    out: Out = Path("runs/evaluate"),
) -> None:
    """Score a trained network on a test set, by region."""
    from ranksim.bench.evaluate import EvaluateRequest
    from ranksim.bench.evaluate import evaluate as score

    data: Group = ages
    if benchmark == "images":
        for name in ("table", "image_root", "target"):
            if getattr(own, name) is None:
                option = "--" + name.replace("_", "-")
                raise UsageError(f"--benchmark images needs {option}: say where your images are.")
        data = own
    bench = request(benchmark, out, "vanilla", "1", data, pictures, network, machine)
    score(EvaluateRequest(checkpoint, bench))


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
