"""Small generated user data of four modalities, whose labels can be learned."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from tests.conftest import sentence
from tests.helpers import faces

TABLE, SENTENCES, PICTURES, SERIES = "table", "sentences", "pictures", "series"
OPTIONS: dict[str, dict[str, Any]] = {
    TABLE: {"target": "price"},
    SENTENCES: {"target": "feeling", "text": ("said",)},
    PICTURES: {"target": "years", "image": "file"},
    SERIES: {"target": "level", "window": 4, "horizon": 2, "time": "when"},
}
SMALL_NETWORK = {  # options for networks that train in a moment
    TABLE: ["--set", "hidden=8"],
    SENTENCES: ["--set", "hidden=4"],
    PICTURES: ["--image-size", "16"],
    SERIES: ["--set", "hidden=4"],
}
START = datetime(2024, 3, 1)


def write_table(folder: Path, rows: int = 120) -> Path:
    """Write numbers, categories and dates, with missing values and few high prices."""
    rng = np.random.default_rng(1)
    size = rng.gamma(2.0, 20.0, rows) + 10
    kind = rng.choice(["flat", "house", "barn"], rows)
    lines = ["size,kind,built,price"]
    for k in range(rows):
        price = round(size[k] * (2 if kind[k] == "house" else 1) / 5)
        cell = "" if k % 17 == 3 else f"{size[k]:.1f}"
        lines.append(f"{cell},{kind[k]},{START - timedelta(days=int(k * 31)):%Y-%m-%d},{price}")
    return _write(folder / "homes.csv", lines)


def write_sentences(folder: Path, rows: int = 90) -> Path:
    """Write sentences whose score is the sum of the scores of their words."""
    rng = np.random.default_rng(2)
    scores = {"good": 2.0, "great": 4.0, "bad": -2.0, "awful": -4.0}
    lines = ["said,feeling"]
    for _ in range(rows):
        text = sentence(rng)
        score = sum(scores.get(word, 0.0) for word in text.split())
        lines.append(f"{text},{score + rng.integers(-1, 2):g}")
    return _write(folder / "sayings.csv", lines)


def write_pictures(folder: Path) -> Path:
    """Write a folder of drawn faces with a table of their ages."""
    root = folder / "faces"
    faces.write_user_data(root, {20: 9, 30: 12, 40: 9, 70: 4}, size=20)
    return root


def write_series(folder: Path, rows: int = 240) -> Path:
    """Write readings every five minutes, with a missing one and a gap of an hour in the middle."""
    rng = np.random.default_rng(3)
    lines = ["when,level,dose"]
    for k in range(rows):
        when = START + timedelta(minutes=5 * k + 60 * (k >= rows // 2))
        level = 100 + 40 * np.sin(k / 9) + rng.normal(0, 2)
        cell = "" if k == 30 else f"{level:.0f}"
        lines.append(f"{when:%Y-%m-%d %H:%M},{cell},{rng.integers(0, 3)}")
    return _write(folder / "levels.csv", lines)


WRITERS = {
    TABLE: write_table,
    SENTENCES: write_sentences,
    PICTURES: write_pictures,
    SERIES: write_series,
}


def cli_options(kind: str) -> list[str]:
    """Return the options for the columns of a modality and for a small network."""
    values = {name: ",".join(v) if isinstance(v, tuple) else v for name, v in OPTIONS[kind].items()}
    options = [str(word) for name, value in values.items() for word in (f"--{name}", value)]
    return options + SMALL_NETWORK[kind]


def _write(path: Path, lines: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
