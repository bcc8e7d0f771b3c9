"""Images per second: the cache and batch augmentation against Pillow in DataLoader workers.

Usage: ``python -m benchmarks.image_pipeline`` (200 × 200 JPEG to float32 batches of 64 at 224 px,
pad 16, random crop, flip, scaled to [−1, 1]; two cores; prints a table).

Both return network inputs. The reference is a data set that opens, resizes, pads, crops and flips
one image at a time with Pillow, in one persistent worker process per core.
"""

import argparse
import os
import random
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset

from ranksim.data.images.augment import CropFlip
from ranksim.data.images.pixel_cache import ImageDataset, PixelCache
from ranksim.models.vision import Pixels
from ranksim.training.data_loader import SeededSampler, make_loader
from tests.helpers.faces import draw_face

SOURCE, SIZE, PAD, BATCH = 200, 224, 16, 64


class PillowDataset(Dataset[torch.Tensor]):
    """The published augmentation, one image at a time."""

    def __init__(self, paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, row):
        with Image.open(self.paths[row]) as file:
            image = file.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        image = ImageOps.expand(image, PAD)
        x, y = random.randint(0, 2 * PAD), random.randint(0, 2 * PAD)  # noqa: S311
        image = image.crop((x, y, x + SIZE, y + SIZE))
        if random.random() < 0.5:  # noqa: S311
            image = ImageOps.mirror(image)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        return pixels.float().div_(255).sub_(0.5).div_(0.5)


def run_pillow_epoch(loader):
    for batch in loader:
        batch[0, 0, 0, 0].item()


def run_cached_epoch(loader, augment, pixels, epoch):
    loader.sampler.set_epoch(epoch)
    for batch in loader:
        images = pixels(*augment(batch["inputs"], batch["index"], epoch), torch.float32)
        images[0, 0, 0, 0].item()


def measure_seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--epochs", type=int, default=4)
    arguments = parser.parse_args()
    cores = os.cpu_count() or 1
    torch.set_num_threads(cores)
    with tempfile.TemporaryDirectory() as folder:
        root, draw = Path(folder), np.random.default_rng(0)
        paths = [f"{k}.jpg" for k in range(arguments.images)]
        for path in paths:
            draw_face(float(draw.integers(0, 101)), draw, SOURCE).save(root / path, quality=90)
        labels = np.zeros(arguments.images)

        pillow_loader = DataLoader(
            PillowDataset([root / path for path in paths]),
            BATCH,
            shuffle=True,
            num_workers=cores,
            persistent_workers=True,
        )
        cache = PixelCache(SIZE, root / "cache")
        filling_seconds = measure_seconds(lambda: cache.add_images(root, paths))
        rows, _ = cache.add_images(root, paths)
        data = ImageDataset(cache, rows, labels)
        loader = make_loader(data, BATCH, SeededSampler(len(data), 0))
        augment, pixels = CropFlip(0, PAD, True), Pixels((0.5,) * 3, (0.5,) * 3, channels_last=True)
        pillow_seconds, cached_seconds = [], []
        for epoch in range(arguments.epochs):  # alternating, so that other load affects both
            pillow_seconds.append(measure_seconds(lambda: run_pillow_epoch(pillow_loader)))
            cached_seconds.append(
                measure_seconds(lambda k=epoch: run_cached_epoch(loader, augment, pixels, k))
            )
    table = Table(
        "epoch", f"Pillow, {cores} workers", "ranksim", "ratio", title="images per second"
    )
    cached_seconds[0] += filling_seconds  # the first epoch includes filling the cache
    for k, (pillow, cached) in enumerate(zip(pillow_seconds, cached_seconds, strict=True), start=1):
        table.add_row(
            str(k),
            f"{arguments.images / pillow:,.0f}",
            f"{arguments.images / cached:,.0f}",
            f"{pillow / cached:.1f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
