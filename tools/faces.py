"""The picture of drawn faces in ``docs/images.md``: python -m tools.faces docs/img/faces.png."""

import sys

import numpy as np
import torch
from PIL import Image, ImageDraw

from ranksim.data.images.augment import CropFlip
from tests.helpers.faces import face

SIDE, GAP, LEFT = 72, 4, 90
AGES = range(5, 96, 10)


def main(path: str) -> None:
    """Draw it."""
    draw = np.random.default_rng(3)
    drawn = [face(age, draw, SIDE) for age in AGES]
    images = torch.from_numpy(np.stack([np.asarray(image) for image in drawn]))
    index = torch.arange(len(drawn))
    augment = CropFlip(seed=0, pad=round(16 * SIDE / 224), flip=True)
    rows = [("as it is", images)]
    for epoch in (0, 1):
        (seen,) = augment((images,), index, epoch)
        rows.append((f"in epoch {epoch + 1}", seen))
    height = 20 + len(rows) * (SIDE + GAP)
    sheet = Image.new("RGB", (LEFT + len(drawn) * (SIDE + GAP), height), "white")
    pen = ImageDraw.Draw(sheet)
    for k, age in enumerate(AGES):
        middle = LEFT + k * (SIDE + GAP) + SIDE / 2
        pen.text((middle, 10), f"{age} years", fill="black", anchor="mm", font_size=12)
    for r, (title, batch) in enumerate(rows):
        top = 20 + r * (SIDE + GAP)
        pen.text((LEFT - 10, top + SIDE / 2), title, fill="black", anchor="rm", font_size=13)
        for k, pixels in enumerate(batch):
            sheet.paste(Image.fromarray(pixels.numpy()), (LEFT + k * (SIDE + GAP), top))
    sheet.quantize(96).save(path, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])
