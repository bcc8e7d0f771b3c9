"""Images per second: the cache and batch augmentation against Pillow in DataLoader workers.

Usage: ``python -m benchmarks.image_pipeline`` (200 × 200 JPEG to float32 batches of 64 at 224 px,
pad 16, random crop, mirror, scaled to [−1, 1]; two cores; prints a table).

Both give what a network takes. The other side is the usual one: a data set that opens, resizes,
pads, crops and mirrors one image at a time with Pillow, in as many worker processes as there are
cores, kept alive between epochs.
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
from ranksim.data.images.dataset import ImageDataset
from ranksim.data.images.pixel_cache import PixelCache
from ranksim.models.pixels import Pixels
from ranksim.training.data_loader import SeededSampler, make_loader
from tests.helpers.faces import face

SOURCE, SIZE, PAD, BATCH = 200, 224, 16, 64


class PerImage(Dataset):
    """The published recipe, image by image."""

    def __init__(self, paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, row):
        with Image.open(self.paths[row]) as image:
            image = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        image = ImageOps.expand(image, PAD)
        x, y = random.randint(0, 2 * PAD), random.randint(0, 2 * PAD)
        image = image.crop((x, y, x + SIZE, y + SIZE))
        if random.random() < 0.5:
            image = ImageOps.mirror(image)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        return pixels.float().div_(255).sub_(0.5).div_(0.5)


def epoch_of_workers(loader):
    for batch in loader:
        batch[0, 0, 0, 0].item()


def epoch_of_ours(loader, augment, pixels, epoch):
    loader.sampler.set_epoch(epoch)
    for batch in loader:
        images = pixels(*augment(batch["inputs"], batch["index"], epoch), torch.float32)
        images[0, 0, 0, 0].item()


def timed(epoch):
    began = time.perf_counter()
    epoch()
    return time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--epochs", type=int, default=4)
    given = parser.parse_args()
    cores = os.cpu_count()
    torch.set_num_threads(cores)
    with tempfile.TemporaryDirectory() as folder:
        root, draw = Path(folder), np.random.default_rng(0)
        paths = [f"{k}.jpg" for k in range(given.images)]
        for path in paths:
            face(draw.integers(0, 101), draw, SOURCE).save(root / path, quality=90)
        labels = np.zeros(given.images)

        usual = DataLoader(
            PerImage([root / path for path in paths]),
            BATCH,
            shuffle=True,
            num_workers=cores,
            persistent_workers=True,
        )
        store = PixelCache(SIZE, root / "cache")
        filling = timed(lambda: store.add_images(root, paths))
        rows, _ = store.add_images(root, paths)
        data = ImageDataset(store, rows, labels)
        loader = make_loader(data, BATCH, SeededSampler(len(data), 0))
        augment, pixels = CropFlip(0, PAD, True), Pixels((0.5,) * 3, (0.5,) * 3, channels_last=True)
        slow, fast = [], []
        for epoch in range(given.epochs):  # in turn, so that other work slows both
            slow.append(timed(lambda: epoch_of_workers(usual)))
            fast.append(timed(lambda k=epoch: epoch_of_ours(loader, augment, pixels, k)))
    table = Table(
        "epoch", f"Pillow, {cores} workers", "ranksim", "ratio", title="images per second"
    )
    fast[0] += filling  # the first epoch is also the one that fills the cache
    for k, (theirs, ours) in enumerate(zip(slow, fast, strict=True), start=1):
        table.add_row(
            str(k),
            f"{given.images / theirs:,.0f}",
            f"{given.images / ours:,.0f}",
            f"{theirs / ours:.1f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
