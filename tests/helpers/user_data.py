"""Small generated data of the four kinds that anyone brings; each label can be learned."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from tests.conftest import sentence
from tests.helpers import faces

TABLE, SENTENCES, PICTURES, SERIES = "table", "sentences", "pictures", "series"
OPTIONS = {
    TABLE: {"target": "price"},
    SENTENCES: {"target": "feeling", "text": ("said",)},
    PICTURES: {"target": "years", "image": "file"},
    SERIES: {"target": "level", "window": 4, "horizon": 2, "time": "when"},
}
# networks so small that an epoch takes a moment
SMALL = {
    TABLE: ["--set", "hidden=8"],
    SENTENCES: ["--set", "hidden=4"],
    PICTURES: ["--image-size", "16"],
    SERIES: ["--set", "hidden=4"],
}
START = datetime(2024, 3, 1)


def table(folder: Path, rows: int = 120) -> Path:
    """Numbers, names and dates, some of them missing; few are dear."""
    draw = np.random.default_rng(1)
    size = draw.gamma(2.0, 20.0, rows) + 10
    kind = draw.choice(["flat", "house", "barn"], rows)
    lines = ["size,kind,built,price"]
    for k in range(rows):
        price = round(size[k] * (2 if kind[k] == "house" else 1) / 5)
        shown = "" if k % 17 == 3 else f"{size[k]:.1f}"
        lines.append(f"{shown},{kind[k]},{START - timedelta(days=int(k * 31)):%Y-%m-%d},{price}")
    return _written(folder / "homes.csv", lines)


def sentences(folder: Path, rows: int = 90) -> Path:
    """Sentences whose feeling is that of their words."""
    draw = np.random.default_rng(2)
    worth = {"good": 2.0, "great": 4.0, "bad": -2.0, "awful": -4.0}
    lines = ["said,feeling"]
    for _ in range(rows):
        said = sentence(draw)
        feeling = sum(worth.get(word, 0.0) for word in said.split())
        lines.append(f"{said},{feeling + draw.integers(-1, 2):g}")
    return _written(folder / "sayings.csv", lines)


def pictures(folder: Path) -> Path:
    """A folder of drawn faces, and the table of their ages."""
    root = folder / "faces"
    faces.own(root, {20: 9, 30: 12, 40: 9, 70: 4}, size=20)
    return root


def series(folder: Path, rows: int = 240) -> Path:
    """Readings every five minutes, one of them missing, and an hour's gap in the middle."""
    draw = np.random.default_rng(3)
    lines = ["when,level,dose"]
    for k in range(rows):
        when = START + timedelta(minutes=5 * k + 60 * (k >= rows // 2))
        level = 100 + 40 * np.sin(k / 9) + draw.normal(0, 2)
        shown = "" if k == 30 else f"{level:.0f}"
        lines.append(f"{when:%Y-%m-%d %H:%M},{shown},{draw.integers(0, 3)}")
    return _written(folder / "levels.csv", lines)


MAKE = {TABLE: table, SENTENCES: sentences, PICTURES: pictures, SERIES: series}


def words(kind: str) -> list[str]:
    """What is typed to name the columns of a kind, and to keep its network small."""
    told = {name: ",".join(v) if isinstance(v, tuple) else v for name, v in OPTIONS[kind].items()}
    return [str(word) for name, v in told.items() for word in (f"--{name}", v)] + SMALL[kind]


def _written(path: Path, lines: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
