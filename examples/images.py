"""Images: a folder of pictures and a table of labels.

The label is the number of bright dots in a picture; crowded pictures are rare. Run it with
``python examples/images.py``.
"""

from __future__ import annotations

import csv
import tempfile
import textwrap
from pathlib import Path

import numpy as np
from PIL import Image

import ranksim

SIDE = 24  # pixels


def write_pictures(folder: Path, count: int, seed: int = 0) -> Path:
    """Write pictures of dots, and ``labels.csv`` with their counts; return its path."""
    draw = np.random.default_rng(seed)
    rows = [("file", "dots")]
    for k in range(count):
        dots = int(min(1 + draw.gamma(1.6, 3.0), 20))
        pixels = draw.normal(40, 12, (SIDE, SIDE))
        for x, y in draw.integers(1, SIDE - 2, size=(dots, 2)):
            pixels[x : x + 2, y : y + 2] = 220
        name = f"{k:04}.png"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name)
        rows.append((name, str(dots)))
    path = folder / "labels.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def main(count: int = 300, epochs: int = 4) -> None:
    """Compare two networks and trees over three seeds, and print what it shows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = write_pictures(folder, count)
        result = ranksim.compare(
            table,
            target="dots",
            image="file",
            max_epochs=epochs,
            accelerator="cpu",
            methods=["vanilla", "sqinv", "trees+sqinv"],
            seeds=3,
            image_size=SIDE,
            progress=False,
            out=folder / "comparison",
        )
        scores = result.to_frame().groupby(["method", "region"], sort=False)["mae"].mean()
        print(scores.unstack()[["all", "many", "medium", "few"]].round(2).to_string())
        print(textwrap.fill(result.conclusion, 100))


if __name__ == "__main__":
    main()
