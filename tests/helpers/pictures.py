"""A tiny image regression task, whose label is the brightness, and trainings of it on the CPU."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from ranksim.data.images.augment import CropFlip
from ranksim.data.images.pixel_cache import ImageDataset
from ranksim.imbalance import LabelBins
from ranksim.metrics import ShotRegions
from ranksim.models import ImageEncoder, Regressor
from ranksim.training.fit import fit
from ranksim.training.method import Technique, parse_method
from ranksim.training.presets import load_recipe
from ranksim.training.recipe import ImageRecipe
from ranksim.training.resume import LAST
from ranksim.training.task import TrainingOptions, TrainingResult, TrainingTask
from ranksim.training.trainer_config import TrainerConfig

BINS = LabelBins.integers(0, 9)
VANILLA = Technique()
RECIPE = load_recipe("images", "small", parse_method("vanilla", "inverse"), {
    "batch_size": 8, "lr": 0.01, "ranksim_weight": 0.1, "label_scale": 1.0, "label_step": 1.0,
    "patience": 0, "max_validations": 3,
})  # fmt: skip


def make_recipe(**changes: Any) -> ImageRecipe:
    return ImageRecipe.from_table(dataclasses.asdict(RECIPE) | changes)


class PixelArray(NamedTuple):
    """Stands for the pixel cache."""

    pixels: torch.Tensor

    def map_pixels(self):
        return self.pixels


class TinyEncoder(nn.Module):
    """A perceptron over pixels: unlike global pooling, its features depend on a crop."""

    width = 6

    def __init__(self, size):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3 * size * size, 8), nn.Tanh(), nn.Linear(8, 6))

    def forward(self, images):
        dtype = self.layers[0].weight.dtype
        return self.layers(images.flatten(1).to(dtype) / 128 - 1)


def make_dataset(count: int, seed: Any, size: int) -> ImageDataset:
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 10, count)
    shape = (count, size, size, 3)
    pixels = (labels[:, None, None, None] * 22 + draw.integers(0, 40, shape)).astype(np.uint8)
    cache: Any = PixelArray(torch.from_numpy(pixels))
    return ImageDataset(cache, np.arange(count), labels.astype(float))


def make_task(*, count=40, encoder=None, size=4, augment=True, channels_last=False) -> TrainingTask:
    train, val, test = (make_dataset(count, (0, split), size) for split in range(3))

    def build_model():
        if encoder is None:
            return Regressor(TinyEncoder(size))
        return Regressor(ImageEncoder(encoder, channels_last=channels_last))

    return TrainingTask(
        train,
        val,
        test,
        build_model,
        BINS,
        ShotRegions.from_counts(BINS, train.labels.numpy()),
        augment=CropFlip(0, 1, True) if augment else None,
    )


def train(
    folder: Path, recipe=RECIPE, technique=VANILLA, *, task=None, **options: Any
) -> TrainingResult:
    defaults: dict[str, Any] = {
        "seed": 0,
        "trainer_config": TrainerConfig("cpu"),
        "write_logs": False,
    }
    return fit(
        task or make_task(), recipe, technique, folder, TrainingOptions(**defaults | options)
    )


def load_weights(folder: Path, name: str = LAST) -> dict[str, torch.Tensor]:
    return torch.load(folder / name, weights_only=True)["state_dict"]


def assert_same_weights(folder: Path, other: Path, name: str = LAST, **tolerance: Any) -> None:
    first, second = load_weights(folder, name), load_weights(other, name)
    assert first.keys() == second.keys()
    for key in first:
        torch.testing.assert_close(first[key], second[key], **{"rtol": 0, "atol": 0} | tolerance)
