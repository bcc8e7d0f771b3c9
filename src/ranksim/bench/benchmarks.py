"""Which data sets are benchmarks, and how each is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ranksim.data import TextBenchmark, sentiment_dir, sts_b_dir
from ranksim.data.benchmark import data_folders
from ranksim.data.cache import cache_dir
from ranksim.data.vectors import GLOVE_840B, GloveFile, PackagedGlove, WordVectors
from ranksim.errors import UsageError

_LOADERS = {sts_b_dir.NAME: sts_b_dir.load, sentiment_dir.NAME: sentiment_dir.load}


def load_benchmark(name: str, options: Mapping[str, Any], data_dir: Path | None) -> TextBenchmark:
    """A benchmark by name; ``options`` are its own, such as ``split`` or ``domains``."""
    return _LOADERS[name](**options, data_dir=data_dir)


def load_vectors(name: str, glove: Path | None, data_dir: Path | None) -> WordVectors:
    """Word vectors by the name a recipe gives them; ``glove`` is the file of the large ones."""
    if name == "glove-6b-50d":
        return PackagedGlove()
    if name == "glove-840b-300d":
        folders = [*data_folders(data_dir), cache_dir()]
        places = [folder / "glove" / GLOVE_840B for folder in folders]
        found = [place for place in places if place.is_file()]
        return GloveFile(glove or (found or places[-1:])[0], 300, lower=False)
    raise UsageError(f"Recipe field vectors must be glove-6b-50d or glove-840b-300d, got {name!r}.")
