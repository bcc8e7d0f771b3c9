"""Which data sets are benchmarks, and how each becomes a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

from torch import Tensor

from ranksim.bench.kinds import IMAGES
from ranksim.data import Benchmark, TextSamples, sentiment_dir, sts_b_dir
from ranksim.data.benchmark import data_folders
from ranksim.data.cache import cache_dir, sha256
from ranksim.data.images import load as images
from ranksim.data.images.augment import CropFlip
from ranksim.data.images.dataset import ImageDataset, ImageSamples
from ranksim.data.text import TokenDataset, encode
from ranksim.data.vectors import GLOVE_840B, GloveFile, PackagedGlove, WordVectors
from ranksim.errors import UsageError
from ranksim.models import ImageEncoder, Regressor, TextEncoder
from ranksim.models.vision import RESNETS
from ranksim.report.progress import counting, say
from ranksim.training.fit import Task
from ranksim.training.hardware import Hardware
from ranksim.training.recipe import ImageRecipe, Recipe, TextRecipe

_TEXTS = {sts_b_dir.NAME: sts_b_dir.load, sentiment_dir.NAME: sentiment_dir.load}
_PAD_OF = 224  # pixels of the image that a recipe's pad is meant for


@dataclass(frozen=True)
class Source:
    """Which data a sweep trains on, in a form that travels to other processes.

    Args:
        benchmark: its name.
        options: what else decides the data; recorded with results.
        shots: regions by the rule or by the published list.
        files: where things lie on this machine, by the names of :func:`load_task`'s loaders.
        skip_broken: leave broken images out.
    """

    benchmark: str
    options: tuple[tuple[str, Any], ...]
    shots: str
    files: tuple[tuple[str, Path | None], ...] = ()
    skip_broken: bool = False

    def named_options(self) -> dict[str, Any]:
        """The benchmark's own options, as results hold them."""
        named = {k: list(v) if isinstance(v, tuple) else v for k, v in self.options}
        return named | ({"skip_broken": True} if self.skip_broken else {})


def fingerprint(benchmark: str, options: dict[str, Any], files: dict[str, Any]) -> dict[str, Any]:
    """What tells the user's own data from other data under the same options.

    Raises:
        DataError: the table or split file does not exist.
    """
    if benchmark == images.IMAGES:
        table = images.existing(files["table"], "--table")
    elif benchmark in IMAGES:
        table = images.find_table(
            benchmark,
            data_dir=files["data_dir"],
            split_file=files["split_file"],
            protocol=options.get("protocol"),
        )
    else:
        return {}
    return {"table_sha256": sha256(table)[:16]}


def load_benchmark(source: Source, recipe: Recipe) -> Benchmark[Any]:
    """The data of a run, ready to be trained on; read once a process."""
    if isinstance(recipe, ImageRecipe):
        return _images(source, recipe.image_size)[0]
    assert isinstance(recipe, TextRecipe)
    return _texts(source, recipe.vectors, recipe.max_tokens)[0]


def load_task(
    source: Source, recipe: Recipe, *, seed: int = 0, hardware: Hardware | None = None
) -> tuple[Benchmark[Any], Task]:
    """The data of a run and what is to be learned from it.

    Args:
        source: which data.
        recipe: the network and what it reads.
        seed: of the augmentation.
        hardware: how the network is laid out.
    """
    if isinstance(recipe, ImageRecipe):
        return _image_task(source, recipe, seed, hardware or Hardware())
    assert isinstance(recipe, TextRecipe)
    benchmark, (train, val, test), vectors = _texts(source, recipe.vectors, recipe.max_tokens)
    texts = len(train.tokens)

    def build() -> Regressor:
        encoder = TextEncoder(
            vectors,
            texts=texts,
            hidden=recipe.hidden,
            layers=recipe.layers,
            dropout=recipe.dropout,
        )
        return Regressor(encoder)

    regions = benchmark.regions(source.shots)
    return benchmark, Task(train, val, test, build, benchmark.bins, regions, benchmark.gm_guard)


def _image_task(
    source: Source, recipe: ImageRecipe, seed: int, hardware: Hardware
) -> tuple[Benchmark[ImageSamples], Task]:
    benchmark, (train, val, test) = _images(source, recipe.image_size)

    task = Task(
        *(train, val, test),
        image_network(recipe, hardware),
        benchmark.bins,
        benchmark.regions(source.shots),
        benchmark.gm_guard,
        augment=augmentation(recipe, seed),
    )
    return benchmark, task


def image_network(recipe: ImageRecipe, hardware: Hardware) -> Callable[[], Regressor]:
    """What makes the network of a recipe."""
    last = hardware.puts_channels_last
    return lambda: Regressor(ImageEncoder(recipe.encoder, channels_last=last))


def augmentation(recipe: ImageRecipe, seed: int) -> CropFlip | None:
    """What happens to training images, if anything."""
    pad = round(recipe.pad * recipe.image_size / _PAD_OF)
    return CropFlip(seed, pad, recipe.flip) if pad or recipe.flip else None


@lru_cache(maxsize=2)
def _texts(
    source: Source, vectors: str, max_tokens: int
) -> tuple[Benchmark[TextSamples], list[TokenDataset], Tensor]:
    files = dict(source.files)
    data_dir = files.get("data_dir")
    benchmark = _TEXTS[source.benchmark](**dict(source.options), data_dir=data_dir)
    table = _vectors(vectors, files.get("glove"), data_dir)
    datasets, rows = encode(benchmark.parts, table, max_tokens=max_tokens)
    return benchmark, datasets, rows


@lru_cache(maxsize=2)
def _images(source: Source, size: int) -> tuple[Benchmark[ImageSamples], list[ImageDataset]]:
    options = {k: v for k, v in source.options if k != "table_sha256"}
    files: dict[str, Any] = dict(source.files)
    if source.benchmark == images.IMAGES:
        own = {name: files[name] for name in ("table", "image_root")}
        plan = images.plan_own(**options, **own)
    else:
        own = {name: files[name] for name in ("data_dir", "split_file")}
        plan = images.plan_ages(source.benchmark, **options, **own)
    with counting("decoding images") as told:
        opened = images.open_images(plan, size, skip_broken=source.skip_broken, told=told)
    if parent_process() is None:
        _tell(opened[0].facts)
    return opened


def _tell(facts: dict[str, Any]) -> None:
    """What is trained on, before it is."""
    train, val, test = facts["counts"]
    seed = facts.get("split_seed")
    how = "as the table says" if seed is None else f"drawn here with seed {seed}"
    say(f"{train:,} training, {val:,} validation and {test:,} test images, {how}.")
    if note := facts.get("left_out_note"):
        say(f"{note}; left out.")


def check_network(recipe: Recipe) -> None:
    """Make a pretrained encoder once, which says what is wrong before images are decoded.

    Raises:
        UsageError: there is no such encoder.
    """
    if isinstance(recipe, ImageRecipe) and recipe.encoder not in RESNETS:
        _made(recipe.encoder)


@lru_cache
def _made(encoder: str) -> None:
    ImageEncoder(encoder)


def _vectors(name: str, glove: Path | None, data_dir: Path | None) -> WordVectors:
    """Word vectors by the name a recipe gives them; ``glove`` is the file of the large ones."""
    if name == "glove-6b-50d":
        return PackagedGlove()
    if name == "glove-840b-300d":
        folders = [*data_folders(data_dir), cache_dir()]
        places = [folder / "glove" / GLOVE_840B for folder in folders]
        found = [place for place in places if place.is_file()]
        return GloveFile(glove or (found or places[-1:])[0], 300, lower=False)
    raise UsageError(f"Recipe field vectors must be glove-6b-50d or glove-840b-300d, got {name!r}.")
