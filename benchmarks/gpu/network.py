"""Parts 5 and 6: steps of ResNet-50 at 224 pixels, and a short training on faces."""

from __future__ import annotations

import functools
import os
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.gpu.figures import Figure, Settings
from ranksim import RankSimLoss
from ranksim.data.images.table import ImageTable, read_split_file
from ranksim.data.splitting import balanced_split
from ranksim.datasets import agedb_dir
from ranksim.datasets.image_benchmarks import ImagePlan, load_images
from ranksim.models import ImageEncoder, Regressor
from ranksim.training.factory import augmentation, image_network
from ranksim.training.fit import fit
from ranksim.training.method import parse_method
from ranksim.training.presets import load_recipe
from ranksim.training.recipe import ImageRecipe
from ranksim.training.task import TrainingOptions, TrainingTask
from ranksim.training.trainer_config import TrainerConfig

PUBLISHED = ("vanilla", "vanilla+ranksim")
RANKSIM_SHARE = 2.0  # percent of a step
ROUNDS, STEPS = 5, 6  # of ResNet-50, each way in turn
FACES = "faces-64.zip"
EPOCHS, DRAWN_SCALE = 10, 0.3


def load_image_recipe(preset: str, method: str, **changes: Any) -> ImageRecipe:
    """Return a recipe of AgeDB-DIR."""
    recipe = load_recipe("agedb-dir", preset, parse_method(method, "sqrt_inverse"), changes)
    assert isinstance(recipe, ImageRecipe)
    return recipe


def measure_resnet50(settings: Settings) -> Iterator[Figure]:
    """Yield images per second with and without RankSim, and hours of the published runs.

    Images are on the device; reading them is not counted.
    """
    torch.backends.cudnn.benchmark = True
    recipes = {name: load_image_recipe("paper", name) for name in PUBLISHED}
    size = recipes["vanilla"].image_size
    if settings.smoke:
        size, model = 32, Regressor(ImageEncoder("resnet18", channels_last=True))
    else:
        model = Regressor(ImageEncoder(recipes["vanilla"].encoder, channels_last=True))
    model = model.to(settings.device)
    for name, recipe in recipes.items():  # batch 256 without RankSim, 64 with it
        batch_size = 4 if settings.smoke else recipe.batch_size
        row = f"{size} px, batch {batch_size}, bf16"
        times = time_steps(model, recipe, batch_size, size, settings)
        for method, seconds in times.items():
            yield Figure(row, method, batch_size / seconds, "images/s")
        share = 100 * (1 - times["vanilla"] / times["vanilla+ranksim"])
        yield Figure(row, "RankSim, of a step", share, "%", at_most=RANKSIM_SHARE)
        images = agedb_dir.COUNTS[0] * recipe.max_validations
        hours = images * times[name] / batch_size / 3600
        yield Figure(row, f"published run, {recipe.max_validations} epochs, {name}", hours, "h")


def time_steps(
    model: Regressor, recipe: ImageRecipe, batch_size: int, size: int, settings: Settings
) -> dict[str, float]:
    """Return the median seconds of a step without and with RankSim, timed in turns."""
    device = settings.device
    images = torch.randint(0, 256, (batch_size, size, size, 3), dtype=torch.uint8, device=device)
    ages = torch.randint(0, 101, (batch_size,), device=device)
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.lr, fused=True)
    ranksim = RankSimLoss(recipe.gamma, recipe.lambda_, weight=recipe.ranksim_weight)

    def run(with_ranksim: bool) -> None:
        with torch.autocast(device, torch.bfloat16):
            preds, features = model(images)
            loss = nn.functional.l1_loss(preds.float(), ages.float())
            if with_ranksim:
                loss = loss + ranksim(features, ages)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    rounds, steps = (1, 1) if settings.smoke else (ROUNDS, STEPS)
    times: dict[str, list[float]] = {name: [] for name in PUBLISHED}
    for turn in range(rounds + 1):  # the first one is not counted
        for name in PUBLISHED:
            seconds = time_calls(functools.partial(run, "ranksim" in name), steps, device)
            if turn:
                times[name].append(seconds)
    return {name: statistics.median(each) for name, each in times.items()}


def time_calls(function: Callable[[], None], count: int, device: str) -> float:
    """Return the mean seconds of several calls in a row."""
    synchronize = torch.cuda.synchronize if device == "cuda" else lambda: None
    synchronize()
    start = time.perf_counter()
    for _ in range(count):
        function()
    synchronize()
    return (time.perf_counter() - start) / count


def measure_training(settings: Settings) -> Iterator[Figure]:
    """Yield test errors by region and speed of ResNet-18 on faces of 64 pixels."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["RANKSIM_CACHE"] = str(folder / "cache")
        plan = extract_faces(settings, folder) or draw_faces(settings, folder)
        benchmark, (train, val, test) = load_images(plan, 16 if settings.smoke else 64)
        yield Figure(plan.origin, "training images", len(train))
        for method in PUBLISHED:
            changes = {"max_validations": 1 if settings.smoke else EPOCHS, "patience": 0}
            image_size = 16 if settings.smoke else 64
            recipe = load_image_recipe("small", method, image_size=image_size, **changes)
            accelerator = "cpu" if settings.smoke else "gpu"
            config = TrainerConfig(accelerator, precision="bf16-mixed", channels_last=True)
            task = TrainingTask(
                *(train, val, test, image_network(recipe, config), plan.bins),
                benchmark.regions("rule"),
                augment=augmentation(recipe, 0),
            )
            technique = parse_method(method, "sqrt_inverse").technique
            options = TrainingOptions(seed=0, trainer_config=config, write_logs=False)
            result = fit(task, recipe, technique, folder / method, options)
            speed = result.steps * recipe.batch_size / result.seconds
            yield Figure(method, "training, validation included", speed, "images/s")
            for region in ("all", "many", "medium", "few"):
                for part, scores in (("validation", result.val), ("test", result.test)):
                    error = scores[region]["mae"]
                    if error is not None:
                        yield Figure(method, f"{part} MAE, {region}", error, "years")


def extract_faces(settings: Settings, folder: Path) -> ImagePlan | None:
    """Extract the photographs that were brought along, if any."""
    paths = [each / FACES for each in find_data_folders(settings)]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        return None
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    table = read_split_file(folder / "faces.csv")
    return ImagePlan("faces", folder, table, agedb_dir.BINS, origin=FACES)


def find_data_folders(settings: Settings) -> Iterator[Path]:
    """Yield the folders in which photographs may be."""
    if settings.data is not None:
        yield settings.data
    elif "RANKSIM_DATA" in os.environ:
        yield Path(os.environ["RANKSIM_DATA"])
    elif not settings.smoke:
        root = Path(__file__).resolve().parents[2]
        yield from (root / "shared" / "data", root.parent / "shared" / "data")


def draw_faces(settings: Settings, folder: Path) -> ImagePlan:
    """Draw faces with a visible age."""
    from tests.helpers import faces

    scale = 0.03 if settings.smoke else DRAWN_SCALE
    paths = faces.write_agedb(folder, faces.count_faces(None, scale), size=64)
    names = tuple(path.relative_to(folder).as_posix() for path in paths)
    ages = np.array([int(path.stem.split("_")[2]) for path in paths], dtype=np.int64)
    max_per_bin = 1 if settings.smoke else agedb_dir.MAX_PER_BIN
    split = balanced_split(ages, max_per_bin=max_per_bin, seed=0)
    table = ImageTable(names, ages.astype(np.float64)).with_split(split)
    return ImagePlan("faces", folder, table, agedb_dir.BINS, origin="drawn faces")
