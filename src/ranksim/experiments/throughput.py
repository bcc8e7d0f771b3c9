"""What ``ranksim throughput`` does: how fast this machine trains a recipe, and where time goes."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from ranksim._utils.provenance import collect_provenance
from ranksim._utils.storage import atomic_write, cache_dir
from ranksim.data.images.dataset import ImageDataset
from ranksim.data.images.pixel_cache import PixelCache
from ranksim.datasets.prepare import BENCHMARKS
from ranksim.exceptions import RankSimError, UsageError
from ranksim.imbalance import LabelBins
from ranksim.losses import RankSimLoss
from ranksim.metrics.shot_regions import ShotRegions
from ranksim.training.factory import augmentation, image_network
from ranksim.training.fit import TrainingLimits, TrainingOptions, TrainingTask, fit
from ranksim.training.method import Method, parse_method
from ranksim.training.module import RegressionModule
from ranksim.training.presets import load_recipe
from ranksim.training.recipe import ImageRecipe, parse_change
from ranksim.training.trainer_config import TrainerConfig, check_trainer_config, silence_lightning

METHODS = ("vanilla", "vanilla+ranksim")
_IMAGES, _VALIDATED = 2_048, 64  # generated images in training and in validation
_AGES = (0, 100)


@dataclass(frozen=True)
class ThroughputRequest:
    """A throughput command as it was given.

    Args:
        changes: of the recipe; ``encoder``, ``image_size`` and ``batch_size`` among them.
        steps: steps to time for each method.
        warm: steps before these, in which things are compiled, tuned and filled.
        machine: fields of ``Hardware``.
        out: a file for the figures, or ``None``.
        preset: of AgeDB-DIR's recipe, from which the changes start.
    """

    changes: tuple[str, ...]
    steps: int
    warm: int
    machine: Mapping[str, Any]
    out: Path | None = None
    preset: str = "paper"

    @property
    def hardware(self) -> TrainerConfig:
        """What trains."""
        return TrainerConfig(**self.machine)


@dataclass
class Timed:
    """Where the time of the timed steps went, in seconds."""

    step: float = 0.0
    data: float = 0.0
    ranksim: float = 0.0
    images: int = 0
    steps: list[float] = field(default_factory=list)


def throughput(request: ThroughputRequest, *, as_json: bool = False) -> dict[str, Any]:
    """Train on generated images for some steps, with and without RankSim, and tell the times.

    It is the training of ``ranksim bench``: the image cache, augmentation on the device, the
    network, the step of the optimiser. RankSim's share is its forward and backward pass, timed
    alone within the step, the device being waited for.

    Raises:
        UsageError: hardware that is not there, or a recipe that makes no sense.
    """
    silence_lightning()
    check_trainer_config(request.hardware)
    if request.hardware.is_distributed:
        raise UsageError("throughput times one device: leave out --devices and --num-nodes.")
    console = Console(stderr=as_json)
    changes = dict(parse_change(text) for text in request.changes)
    methods = [parse_method(name, "sqrt_inverse") for name in METHODS]
    recipes = {}
    for method in methods:
        recipe = load_recipe("agedb-dir", request.preset, method, changes)
        assert isinstance(recipe, ImageRecipe)
        recipes[method.name] = recipe
    # both with one batch size, so that images per second compare
    shared = changes.get("batch_size", recipes["vanilla"].batch_size)
    rows = []
    with _generated(recipes["vanilla"].image_size) as store:
        for method in methods:
            recipe = dataclasses.replace(recipes[method.name], batch_size=shared)
            rows.append(_time(method, recipe, store, request))
    result = {
        "format": 1,
        "recipe": dataclasses.asdict(recipes["vanilla"]) | {"batch_size": shared},
        "hardware": dataclasses.asdict(request.hardware) | {"device": _device(request.hardware)},
        "threads": torch.get_num_threads(),
        "rows": rows,
        "whole_runs": _whole_runs(rows, request.preset),
        **collect_provenance(),
    }
    _print(result, console)
    if request.out is not None:
        with atomic_write(request.out) as aside:
            aside.write_text(json.dumps(result, indent=1), encoding="utf-8")
        console.print(f"Figures: {request.out}", highlight=False)
    return result


class Stopwatch(L.Callback):
    """Times the steps of a training, what they wait for, and RankSim within them."""

    def __init__(self, warm: int) -> None:
        self.warm, self.timed = max(warm, 1), Timed()  # a step is timed from the end of another
        self._began = self._ended = self._before = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, RegressionModule)
        if pl_module.ranksim is not None:
            pl_module.ranksim = TimedRankSim(pl_module.ranksim)  # type: ignore[assignment]

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._began = _now(pl_module.device)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        ended = _now(pl_module.device)
        spent = getattr(pl_module.ranksim, "spent", 0.0)
        if trainer.global_step > self.warm:
            timed = self.timed
            timed.step += ended - self._ended
            timed.steps.append(ended - self._ended)
            timed.data += self._began - self._ended
            timed.ranksim += spent - self._before
            timed.images += len(batch["label"])
        self._ended, self._before = ended, spent


class TimedRankSim(nn.Module):
    """The term with its gradient made at once, so that both can be timed; the same numbers."""

    def __init__(self, term: RankSimLoss) -> None:
        super().__init__()
        self.term, self.spent = term, 0.0

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        began = _now(features.device)
        leaf = features.detach().requires_grad_()
        with torch.enable_grad():
            value = self.term(leaf, labels)
            (gradient,) = torch.autograd.grad(value, leaf)
        self.spent += _now(features.device) - began
        carried = (features * gradient).sum()
        whole: Tensor = value.detach() + carried - carried.detach()
        return whole


def _now(device: torch.device) -> float:
    """Seconds, once the device has done all that it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()


def _time(
    method: Method, recipe: ImageRecipe, store: PixelCache, request: ThroughputRequest
) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    labels = draw.integers(_AGES[0], _AGES[1] + 1, _IMAGES).astype(np.float64)
    rows = np.arange(_IMAGES)
    training = ImageDataset(store, rows, labels)
    validation = ImageDataset(store, rows[:_VALIDATED], labels[:_VALIDATED])
    bins = LabelBins.integers(0, 120)
    hardware = request.hardware
    task = TrainingTask(
        *(training, validation, validation),
        image_network(recipe, hardware),
        bins,
        ShotRegions.from_counts(bins, labels),
        augment=augmentation(recipe, 0),
    )
    watch = Stopwatch(request.warm)
    steps = watch.warm + request.steps
    an_epoch = -(-_IMAGES // recipe.batch_size)
    recipe = dataclasses.replace(recipe, max_validations=-(-steps // an_epoch))
    with tempfile.TemporaryDirectory() as folder:
        fit(
            task,
            recipe,
            method.technique,
            Path(folder),
            TrainingOptions(
                seed=0,
                trainer_config=hardware,
                limits=TrainingLimits(steps=steps, epochs=recipe.max_validations),
                callbacks=[watch],
            ),
        )
    timed = watch.timed
    if not timed.images:
        raise RankSimError("No step was timed: give more --steps.")
    return {
        "method": method.name,
        "batch_size": recipe.batch_size,
        "images_per_second": timed.images / timed.step,
        "step_ms": 1e3 * float(np.median(timed.steps)),
        "waiting_for_data": timed.data / timed.step,
        "ranksim": timed.ranksim / timed.step,
        "steps": len(timed.steps),
    }


@contextmanager
def _generated(size: int) -> Iterator[PixelCache]:
    """Images of noise, in a store of their own."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir()) as folder:
        store = PixelCache(size, Path(folder))
        draw = np.random.default_rng(0)
        with store.path.open("wb") as file:
            for _ in range(_IMAGES):
                file.write(draw.integers(0, 256, store.row_bytes, dtype=np.uint8).tobytes())
        yield store


def _whole_runs(rows: list[dict[str, Any]], preset: str) -> list[dict[str, Any]]:
    """How long the published recipes' trainings would take at these rates, validation aside."""
    found = []
    for benchmark, module in BENCHMARKS.items():
        for row in rows:
            recipe = load_recipe(benchmark, preset, parse_method(row["method"], "sqrt_inverse"))
            seconds = module.COUNTS[0] * recipe.max_validations / row["images_per_second"]
            found.append(
                {
                    "benchmark": benchmark,
                    "method": row["method"],
                    "epochs": recipe.max_validations,
                    "images": module.COUNTS[0],
                    "hours": seconds / 3600,
                }
            )
    return found


def _device(hardware: TrainerConfig) -> str:
    if hardware.on_gpu:
        return torch.cuda.get_device_name()
    return "cpu" if hardware.uses_channels_last else hardware.accelerator


def _print(result: dict[str, Any], console: Console) -> None:
    recipe = result["recipe"]
    table = Table(
        title=f"\n{recipe['encoder']}, {recipe['image_size']} px, batch {recipe['batch_size']}, "
        f"{result['hardware']['precision']}, {result['hardware']['device']}",
        box=box.SIMPLE_HEAD,
        title_justify="left",
    )
    for title in ("", "images/s", "step, ms", "waits for data", "RankSim"):
        table.add_column(title, justify="right" if title else "left", no_wrap=True)
    for row in result["rows"]:
        table.add_row(
            row["method"],
            f"{row['images_per_second']:,.1f}",
            f"{row['step_ms']:,.1f}",
            f"{row['waiting_for_data']:.1%}",
            f"{row['ranksim']:.2%}" if "ranksim" in row["method"] else "–",
        )
    console.print(table)
    published = load_recipe("agedb-dir", "paper", parse_method("vanilla", "sqrt_inverse"))
    assert isinstance(published, ImageRecipe)
    if (recipe["encoder"], recipe["image_size"]) != (published.encoder, published.image_size):
        console.print(
            f"The published network is {published.encoder} at {published.image_size} px, not this "
            "one.",
            highlight=False,
        )
    for run in result["whole_runs"]:
        console.print(
            f"{run['benchmark']}, {run['method']}: {run['epochs']} epochs of {run['images']:,} "
            f"images at this rate: {run['hours']:,.1f} hours",
            highlight=False,
            soft_wrap=True,
        )
