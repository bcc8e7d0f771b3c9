"""Measure training speed on images, and the shares of data loading and RankSim in a step."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
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
from ranksim._utils.storage import cache_dir, write_json
from ranksim.data.images.pixel_cache import ImageDataset, PixelCache
from ranksim.datasets.image_benchmarks import BENCHMARKS
from ranksim.exceptions import RankSimError, UsageError
from ranksim.imbalance import LabelBins
from ranksim.losses import RankSimLoss
from ranksim.metrics.shot_regions import ShotRegions
from ranksim.training.factory import augmentation, image_network
from ranksim.training.fit import fit
from ranksim.training.hardware import check_trainer_config
from ranksim.training.limits import TrainingLimits
from ranksim.training.method import Method, parse_method
from ranksim.training.module import RegressionModule
from ranksim.training.presets import load_recipe
from ranksim.training.recipe import ImageRecipe, parse_change
from ranksim.training.task import TrainingOptions, TrainingTask
from ranksim.training.trainer_config import TrainerConfig

METHODS = ("vanilla", "vanilla+ranksim")
_IMAGES, _VALIDATED = 2_048, 64  # generated images in training and in validation
_AGES = (0, 100)


@dataclass(frozen=True)
class ThroughputRequest:
    """The arguments of ``ranksim throughput``."""

    changes: tuple[str, ...]  # recipe fields to override, such as "batch_size=32"
    steps: int  # steps to time for each method
    warmup_steps: int  # untimed steps before them
    trainer: TrainerConfig = TrainerConfig()
    out: Path | None = None  # JSON file for the result
    preset: str = "paper"  # of AgeDB-DIR


def measure_throughput(request: ThroughputRequest) -> dict[str, Any]:
    """Measure the speed of training on random images, with and without RankSim.

    The training is the one of ``ranksim bench``. RankSim's share is its forward and backward pass,
    timed within the step with the device synchronized.
    """
    check_trainer_config(request.trainer)
    if request.trainer.is_distributed:
        raise UsageError(
            "ranksim throughput measures one device only: remove --devices and --num-nodes."
        )
    changes = dict(parse_change(text) for text in request.changes)
    recipes = {name: _load_recipe("agedb-dir", request.preset, name, changes) for name in METHODS}
    # one batch size for both, so that images per second are comparable
    batch_size = changes.get("batch_size", recipes["vanilla"].batch_size)
    with _generate_images(recipes["vanilla"].image_size) as cache:
        rows = [
            _time_method(name, dataclasses.replace(recipe, batch_size=batch_size), cache, request)
            for name, recipe in recipes.items()
        ]
    device = "cpu" if request.trainer.uses_channels_last else request.trainer.accelerator
    device = torch.cuda.get_device_name() if request.trainer.on_gpu else device
    result = {
        "format": 1,
        "recipe": dataclasses.asdict(recipes["vanilla"]) | {"batch_size": batch_size},
        "hardware": dataclasses.asdict(request.trainer) | {"device": device},
        "threads": torch.get_num_threads(),
        "rows": rows,
        "whole_runs": _estimate_runs(rows, request.preset),
        **collect_provenance(),
    }
    if request.out is not None:
        write_json(request.out, result)
    return result


def _parse(name: str) -> Method:
    return parse_method(name, "sqrt_inverse")


def _load_recipe(
    benchmark: str, preset: str, method: str, changes: Mapping[str, Any] | None = None
) -> ImageRecipe:
    recipe = load_recipe(benchmark, preset, _parse(method), changes or {})
    assert isinstance(recipe, ImageRecipe)
    return recipe


class StepTimer(L.Callback):
    """A Lightning callback that times training steps, waiting for data, and RankSim."""

    def __init__(self, warmup_steps: int) -> None:
        self.warmup_steps = max(warmup_steps, 1)  # a step is timed from the end of the last one
        self.step_seconds: list[float] = []
        self.data_seconds = self.ranksim_seconds = 0.0
        self._step_start = self._last_end = self._last_ranksim = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, RegressionModule)
        if pl_module.ranksim is not None:
            pl_module.ranksim = TimedRankSim(pl_module.ranksim)  # type: ignore[assignment]

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any, **__: Any
    ) -> None:
        self._step_start = _synchronized_time(pl_module.device)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any, **__: Any
    ) -> None:
        end = _synchronized_time(pl_module.device)
        ranksim = getattr(pl_module.ranksim, "seconds", 0.0)
        if trainer.global_step > self.warmup_steps:
            self.step_seconds.append(end - self._last_end)
            self.data_seconds += self._step_start - self._last_end
            self.ranksim_seconds += ranksim - self._last_ranksim
        self._last_end, self._last_ranksim = end, ranksim


class TimedRankSim(nn.Module):
    """A wrapper of RankSimLoss that times its forward and backward pass, with equal results."""

    def __init__(self, term: RankSimLoss) -> None:
        super().__init__()
        self.term, self.seconds = term, 0.0

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        start = _synchronized_time(features.device)
        leaf = features.detach().requires_grad_()
        with torch.enable_grad():
            value = self.term(leaf, labels)
            (gradient,) = torch.autograd.grad(value, leaf)
        self.seconds += _synchronized_time(features.device) - start
        linear = (features * gradient).sum()  # has this gradient with respect to the features
        loss: Tensor = value.detach() + linear - linear.detach()
        return loss


def _synchronized_time(device: torch.device) -> float:
    """Wait until the device has finished its work, and return the time in seconds."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()


def _time_method(
    name: str, recipe: ImageRecipe, cache: PixelCache, request: ThroughputRequest
) -> dict[str, Any]:
    """Train one method on random images, and return its images per second and step times."""
    draw = np.random.default_rng(0)
    labels = draw.integers(_AGES[0], _AGES[1] + 1, _IMAGES).astype(np.float64)
    rows = np.arange(_IMAGES)
    training = ImageDataset(cache, rows, labels)
    validation = ImageDataset(cache, rows[:_VALIDATED], labels[:_VALIDATED])
    bins = LabelBins.integers(0, 120)
    task = TrainingTask(
        *(training, validation, validation),
        image_network(recipe, request.trainer),
        bins,
        ShotRegions.from_counts(bins, labels),
        augment=augmentation(recipe, 0),
    )
    timer = StepTimer(request.warmup_steps)
    steps = timer.warmup_steps + request.steps
    recipe = dataclasses.replace(recipe, max_validations=-(-steps * recipe.batch_size // _IMAGES))
    options = TrainingOptions(
        seed=0,
        trainer_config=request.trainer,
        limits=TrainingLimits(steps=steps, epochs=recipe.max_validations),
        callbacks=[timer],
    )
    with tempfile.TemporaryDirectory() as folder:
        fit(task, recipe, _parse(name).technique, Path(folder), options)
    if not timer.step_seconds:
        raise RankSimError("No step was timed, because all were warmup: set a larger --steps.")
    seconds = sum(timer.step_seconds)
    return {
        "method": name,
        "batch_size": recipe.batch_size,
        "images_per_second": recipe.batch_size * len(timer.step_seconds) / seconds,
        "step_ms": 1e3 * float(np.median(timer.step_seconds)),
        "waiting_for_data": timer.data_seconds / seconds,
        "ranksim": timer.ranksim_seconds / seconds,
        "steps": len(timer.step_seconds),
    }


@contextmanager
def _generate_images(size: int) -> Iterator[PixelCache]:
    """Yield a pixel cache of random images, which is deleted when the ``with`` block ends."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir()) as folder:
        cache = PixelCache(size, Path(folder))
        draw = np.random.default_rng(0)
        with cache.path.open("wb") as file:
            for _ in range(_IMAGES):
                file.write(draw.integers(0, 256, cache.row_bytes, dtype=np.uint8).tobytes())
        yield cache


def _estimate_runs(rows: list[dict[str, Any]], preset: str) -> list[dict[str, Any]]:
    """Estimate the hours that the published trainings take at the measured speed."""
    runs: list[dict[str, Any]] = []
    for (benchmark, module), row in itertools.product(BENCHMARKS.items(), rows):
        epochs = _load_recipe(benchmark, preset, row["method"]).max_validations
        images = module.COUNTS[0]
        hours = images * epochs / row["images_per_second"] / 3600
        run = {"benchmark": benchmark, "method": row["method"], "epochs": epochs}
        runs.append(run | {"images": images, "hours": hours})
    return runs


def print_throughput(result: dict[str, Any], console: Console) -> None:
    """Print the measured speeds, and the estimated hours of the published trainings."""
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
    published = _load_recipe("agedb-dir", "paper", "vanilla")
    if (recipe["encoder"], recipe["image_size"]) != (published.encoder, published.image_size):
        console.print(f"The published network is {published.encoder}, {published.image_size} px.")
    for run in result["whole_runs"]:
        console.print(
            f"{run['benchmark']}, {run['method']}: {run['epochs']} epochs of {run['images']:,} "
            f"images would take {run['hours']:,.1f} hours",
            highlight=False,
            soft_wrap=True,
        )
