"""Small images whose label is their brightness, and an encoder of them without BatchNorm."""

import dataclasses
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from ranksim.data.images.augment import CropFlip
from ranksim.data.images.dataset import ImageDataset
from ranksim.imbalance import LabelBins
from ranksim.metrics import ShotRegions
from ranksim.models import ImageEncoder, Regressor
from ranksim.training.fit import TrainingTask
from ranksim.training.method import parse_method
from ranksim.training.presets import load_recipe
from ranksim.training.recipe import ImageRecipe

BINS = LabelBins.integers(0, 9)
RECIPE = load_recipe("images", "small", parse_method("vanilla", "inverse"), {
    "batch_size": 8, "lr": 0.01, "ranksim_weight": 0.1, "label_scale": 1.0, "label_step": 1.0,
    "patience": 0, "max_validations": 3,
})  # fmt: skip


def changed(**changes):
    return ImageRecipe.from_table(dataclasses.asdict(RECIPE) | changes)


class Store(NamedTuple):
    pixels: torch.Tensor

    def images(self):
        return self.pixels


class Tiny(nn.Module):
    """Features of an image that see where its pixels are, so that a crop counts."""

    width = 6

    def __init__(self, size):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3 * size * size, 8), nn.Tanh(), nn.Linear(8, 6))

    def forward(self, images):
        dtype = self.layers[0].weight.dtype
        return self.layers(images.flatten(1).to(dtype) / 128 - 1)


def pictures(count, seed, size):
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 10, count)
    shape = (count, size, size, 3)
    pixels = (labels[:, None, None, None] * 22 + draw.integers(0, 40, shape)).astype(np.uint8)
    return ImageDataset(Store(torch.from_numpy(pixels)), np.arange(count), labels.astype(float))


def small_task(*, count=40, encoder=None, size=4, augment=True, seed=0, **layout):
    parts = [pictures(count, (seed, part), size) for part in range(3)]

    def build():
        return Regressor(Tiny(size) if encoder is None else ImageEncoder(encoder, **layout))

    return TrainingTask(
        *parts,
        build=build,
        bins=BINS,
        regions=ShotRegions.from_counts(BINS, parts[0].labels.numpy()),
        augment=CropFlip(seed, 1, True) if augment else None,
    )
