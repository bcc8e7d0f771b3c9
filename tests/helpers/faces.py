"""Drawn faces with a visible age, in the layouts of AgeDB, IMDB-WIKI and user data.

    python -m tests.helpers.faces OUT [--counts agedb.csv] [--scale 0.1] [--size 64]

With age, hair turns gray, the face gets lines and the head sinks; everything else is random. No
photograph is involved.
"""

import argparse
import csv
import datetime
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

# the shape of AgeDB's counts, used without its split file
PEAK, SPREAD = 40, 17


def draw_face(age: float, draw: np.random.Generator, size: int = 64) -> Image.Image:
    """Draw a face of an age in 0..101."""
    share = min(age, 101) / 101
    background = tuple(int(c) for c in draw.integers(40, 216, 3))
    image = Image.new("RGB", (size, size), background)
    pen, unit = ImageDraw.Draw(image), size / 64
    x = (32 + draw.uniform(-4, 4)) * unit
    y = (30 + 6 * share + draw.uniform(-2, 2)) * unit
    r = draw.uniform(15, 18) * unit
    hair = int(np.clip(30 + 190 * share + draw.normal(0, 8), 0, 255))
    pen.ellipse((x - 1.2 * r, y - 1.4 * r, x + 1.2 * r, y + 0.6 * r), fill=(hair, hair, hair))
    tone = draw.uniform(0.55, 1.0)
    skin = tuple(int(tone * c) for c in (236, 200, 170))
    pen.ellipse((x - r, y - r, x + r, y + 1.2 * r), fill=skin)
    line = tuple(int(c * (1 - 0.6 * share)) for c in skin)
    for k in range(1 + int(6 * share)):  # lines on the forehead and the cheeks
        at = y - 0.6 * r + k * 0.28 * r
        pen.line((x - 0.7 * r, at, x + 0.7 * r, at + draw.uniform(-1, 1) * unit), fill=line)
    for side in (-1, 1):
        pen.ellipse(_box(x + side * 0.4 * r, y - 0.1 * r, 0.12 * r), fill=(20, 20, 30))
    pen.arc(_box(x, y + 0.5 * r, 0.4 * r), 20, 160, fill=(120, 30, 30), width=max(1, int(unit)))
    pixels = np.asarray(image) + draw.normal(0, 6, (size, size, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _box(x: float, y: float, r: float) -> tuple[float, float, float, float]:
    return x - r, y - r, x + r, y + r


def count_faces(split_file: Path | None, scale: float) -> dict[int, int]:
    """Return the number of faces per age: AgeDB's counts scaled down, at least one each."""
    if split_file is not None:
        with split_file.open(encoding="utf-8", newline="") as file:
            counts = Counter(int(row["age"]) for row in csv.DictReader(file))
    else:
        shape = {age: np.exp(-(((age - PEAK) / SPREAD) ** 2) / 2) for age in range(1, 102)}
        total = sum(shape.values())
        counts = Counter({age: round(16_488 * part / total) for age, part in shape.items()})
    return {age: max(1, round(scale * count)) for age, count in sorted(counts.items())}


def list_ages(counts: dict[int, int]) -> list[int]:
    return [age for age, count in counts.items() for _ in range(count)]


def write_agedb(root: Path, counts: dict[int, int], *, seed: int = 0, size: int = 64) -> list[Path]:
    """Write ``AgeDB/<index>_<Name>_<age>_<gender>.jpg``."""
    draw = np.random.default_rng((seed, 1))
    (root / "AgeDB").mkdir(parents=True, exist_ok=True)
    ages = draw.permutation(list_ages(counts))
    paths = []
    for index, age in enumerate(ages):
        name = f"{index}_Drawn{index % 97}Face_{age}_{'mf'[index % 2]}.jpg"
        paths.append(root / "AgeDB" / name)
        draw_face(age, draw, size).save(paths[-1], quality=90)
    return paths


def write_imdb_wiki(
    root: Path, counts: dict[int, int], *, seed: int = 0, size: int = 64
) -> list[Path]:
    """Write ``imdb_crop`` and ``wiki_crop`` with ``.mat`` lists, including unusable entries."""
    import scipy.io

    draw = np.random.default_rng((seed, 2))
    ages = draw.permutation(list_ages(counts))
    paths = []
    for part, part_ages in (("imdb", ages[::2]), ("wiki", ages[1::2])):
        rows = []
        for index, age in enumerate(part_ages):
            birthday = datetime.date(1900 + int(draw.integers(60)), int(draw.integers(1, 13)), 10)
            year = birthday.year + int(age) + (birthday.month >= 7)
            name = f"{index % 100:02}/nm{index:07}_rm{index}_{birthday:%Y-%m-%d}_{year}.jpg"
            rows.append((birthday.toordinal() + 366, year, name, 4.2, np.nan))
            path = root / f"{part}_crop" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            draw_face(age, draw, size).save(path, quality=90)
            paths.append(path)
        day = datetime.date(1950, 3, 1).toordinal() + 366
        rows += [
            (day, 1990, "00/no_face.jpg", -np.inf, np.nan),
            (day, 1990, "00/two_faces.jpg", 4.0, 2.5),
            (day, 1940, "00/not_born.jpg", 4.0, np.nan),
        ]
        birthdays, years, names, score, second = zip(*rows, strict=True)
        cells = np.empty((1, len(names)), dtype=object)
        cells[0] = names
        struct = {
            "dob": np.array([birthdays], dtype=np.float64),
            "photo_taken": np.array([years], dtype=np.float64),
            "full_path": cells,
            "face_score": np.array([score]),
            "second_face_score": np.array([second]),
        }
        scipy.io.savemat(root / f"{part}_crop" / f"{part}.mat", {part: struct})
    return paths


def write_user_data(root: Path, counts: dict[int, int], *, seed: int = 0, size: int = 64) -> Path:
    """Write a table and images in several formats: PNG, gray, with alpha, turned by EXIF, WebP."""
    draw = np.random.default_rng((seed, 3))
    (root / "photos").mkdir(parents=True, exist_ok=True)
    lines = ["file,years"]
    for index, age in enumerate(draw.permutation(list_ages(counts))):
        image = draw_face(age, draw, size)
        suffix = (".png", ".png", ".png", ".jpg", ".webp")[index % 5]
        name, options = f"photos/{index}{suffix}", dict[str, Any]()
        if index % 5 == 1:
            image = image.convert("L")
        elif index % 5 == 2:
            image.putalpha(Image.new("L", image.size, 255))
        elif index % 5 == 3:
            image = image.transpose(Image.Transpose.ROTATE_90)
            options["exif"] = image.getexif()
            options["exif"][0x0112] = 6  # turns it back
        image.save(root / name, **options)
        lines.append(f"{name},{age}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root / "labels.csv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--counts", type=Path)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--size", type=int, default=64)
    arguments = parser.parse_args()
    counts = count_faces(arguments.counts, arguments.scale)
    for write in (write_agedb, write_imdb_wiki, write_user_data):
        write(arguments.out, counts, size=arguments.size)
    print(f"{sum(counts.values())} faces of {len(counts)} ages in each of three layouts")


if __name__ == "__main__":
    main()
