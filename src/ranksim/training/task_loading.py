"""Which data sets are benchmarks, and how each, or anyone's own data, becomes a task."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import parent_process
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ranksim._utils.progress import print_notice, progress_counter
from ranksim._utils.storage import sha256
from ranksim.data.batch import Samples
from ranksim.data.options import UserDataSpec
from ranksim.data.reading import load_table
from ranksim.data.series import make_series_datasets
from ranksim.data.split_plan import SplitPlan, make_split_plan
from ranksim.data.table import Table
from ranksim.data.text import encode_texts
from ranksim.datasets import glucose, sentiment_dir, sts_b_dir
from ranksim.datasets import image_benchmarks as images
from ranksim.datasets.base import Benchmark
from ranksim.datasets.label_gaps import Subset, drop_labels
from ranksim.imbalance.label_range import parse_ranges
from ranksim.models import ImageEncoder
from ranksim.models.vision import RESNETS
from ranksim.training.adapters import AdaptedParts, DataAdapter, LabelSamples, adapter_type
from ranksim.training.divergence import SampleIds
from ranksim.training.factory import (
    augmentation,
    image_network,
    series_network,
    text_network,
    word_vectors,
)
from ranksim.training.fit import TrainingTask
from ranksim.training.modality import GLUCOSE, IMAGE, IMAGES
from ranksim.training.pretrained import with_encoder_folder
from ranksim.training.recipe import ImageRecipe, Recipe, SentenceRecipe, TextRecipe
from ranksim.training.trainer_config import TrainerConfig

_TEXTS = {sts_b_dir.NAME: sts_b_dir.load, sentiment_dir.NAME: sentiment_dir.load}
_DROPPED = "drop_labels"  # the option that all data sets have


@dataclass(frozen=True)
class DataSource:
    """Which data a sweep trains on, in a form that travels to other processes.

    Args:
        benchmark: its name; of anyone's own data, what a network reads there.
        options: what else decides the data; recorded with results.
        shots: regions by the rule or by the published list.
        files: where things lie on this machine, by the names of :func:`load_task`'s loaders.
        skip_broken: leave broken images out.
    """

    benchmark: str
    options: tuple[tuple[str, Any], ...]
    shots: str
    files: tuple[tuple[str, Any], ...] = ()
    skip_broken: bool = False

    def named_options(self) -> dict[str, Any]:
        """The benchmark's own options, as results hold them."""
        named = {k: list(v) if isinstance(v, tuple) else v for k, v in self.options}
        return named | ({"skip_broken": True} if self.skip_broken else {})

    def to_dict(self) -> dict[str, Any]:
        """Return what the identity of a run records about its data."""
        options, regions = self.named_options(), self.shots
        return {"benchmark": self.benchmark, "options": options, "regions_from": regions}

    @property
    def own(self) -> bool:
        """Whether it is anyone's own data, as ``ranksim compare`` takes it."""
        return "data" in dict(self.files)

    def with_file(self, name: str, path: Any) -> DataSource:
        """With one more of :attr:`files`."""
        return dataclasses.replace(self, files=(*self.files, (name, path)))

    @property
    def encoder(self) -> str | None:
        """The folder of a pretrained encoder, where it is in one."""
        folder: str | None = dict(self.files).get("encoder")
        return folder

    @property
    def loaded_by(self) -> dict[str, Any]:
        """The options that the loaders know."""
        return {k: v for k, v in self.options if k not in (_DROPPED, "table_sha256")}


@dataclass(frozen=True, eq=False)
class LoadedData:
    """Data, and what makes networks for it.

    Args:
        benchmark: the parts, as labels, bins and facts.
        parts: the same, as a network reads them.
    """

    benchmark: Benchmark[Any]
    parts: AdaptedParts


def fingerprint(benchmark: str, options: dict[str, Any], files: dict[str, Any]) -> dict[str, Any]:
    """What tells the user's own data from other data under the same options.

    Raises:
        DataError: the table or split file does not exist.
    """
    if "data" in files:
        return {"table_sha256": read_user_data(files["data"], files.get("image_root")).sha256[:16]}
    if benchmark in IMAGES:
        table = images.find_split_file(
            benchmark,
            data_dir=files["data_dir"],
            split_file=files["split_file"],
            protocol=options.get("protocol"),
        )
    else:
        return {}
    return {"table_sha256": sha256(table)[:16]}


def load_benchmark(source: DataSource, recipe: Recipe) -> Benchmark[Any]:
    """The data of a run, ready to be trained on; read once a process."""
    return _loaded(source, with_encoder_folder(recipe, source.encoder)).benchmark


def load_task(
    source: DataSource, recipe: Recipe, *, seed: int = 0, hardware: TrainerConfig | None = None
) -> tuple[Benchmark[Any], TrainingTask]:
    """The data of a run and what is to be learned from it.

    Args:
        source: which data.
        recipe: the network and what it reads.
        seed: of the augmentation.
        hardware: how the network is laid out.
    """
    recipe = with_encoder_folder(recipe, source.encoder)
    found = _loaded(source, recipe)
    benchmark = found.benchmark
    return benchmark, TrainingTask(
        *found.parts.samples,
        found.parts.network(recipe, hardware or TrainerConfig()),
        benchmark.bins,
        benchmark.regions(source.shots),
        benchmark.gmean_epsilon,
        augment=augmentation(recipe, seed) if isinstance(recipe, ImageRecipe) else None,
        # labels of the user's own may lie far from zero
        initial_bias=float(benchmark.train.labels.mean()) if source.own else 0.0,
        sample_ids=_sample_ids(source, found.parts.samples[0]) if source.own else None,
    )


def _sample_ids(source: DataSource, train: Samples) -> SampleIds | None:
    """The line of anyone's table that each training sample stands in, of a forecast its target.

    ``None`` where broken images are left out, whose places are not known.
    """
    plan = load_plan(source)
    rows, columns = plan.rows[plan.split.train], plan.table
    if isinstance(train, Subset):  # without labels that were dropped
        rows = rows[train.rows.numpy()]
    if len(rows) != len(train):
        return None
    return SampleIds(np.array(columns.lines)[rows], columns.line_unit, Path(columns.name).name)


def load_adapter(source: DataSource, recipe: Recipe) -> DataAdapter:
    """What reads anyone's data for the networks that were trained on it."""
    return _own(source, _reading(with_encoder_folder(recipe, source.encoder)))[1]


@lru_cache(maxsize=2)
def load_plan(source: DataSource) -> SplitPlan:
    """Which samples of anyone's data are trained on."""
    files: dict[str, Any] = dict(source.files)
    columns = read_user_data(files["data"], files.get("image_root"))
    return make_split_plan(
        columns, UserDataSpec(**source.loaded_by, skip_broken=source.skip_broken)
    )


def read_user_data(data: str | Path, image_root: str | Path | None = None) -> Table:
    """Anyone's data, read once a process, unless it was written anew.

    Args:
        data: a table, a folder, or a Hugging Face data set.
        image_root: folder that paths in it are relative to, where the data does not say.
    """
    path = Path(data)
    columns = _columns(str(data), path.stat().st_mtime_ns if path.exists() else 0)
    return columns if image_root is None else dataclasses.replace(columns, root=Path(image_root))


@lru_cache(maxsize=2)
def _columns(data: str, written: int) -> Table:
    return load_table(data)


def _loaded(source: DataSource, recipe: Recipe) -> LoadedData:
    """Data of any kind, without the labels that are to be dropped."""
    if source.own:
        found = _own(source, _reading(recipe))[0]
    elif source.benchmark == GLUCOSE:
        found = _glucose(source)
    elif isinstance(recipe, ImageRecipe):
        found = _images(source, recipe.image_size)
    else:
        assert isinstance(recipe, TextRecipe)
        found = _texts(source, recipe.vectors, recipe.max_tokens)
    dropped = dict(source.options).get(_DROPPED, ())
    if not dropped:
        return found
    ranges = [each for text in dropped for each in parse_ranges(text)]
    benchmark, (train, val, test) = drop_labels(found.benchmark, found.parts.samples, ranges)
    return LoadedData(benchmark, dataclasses.replace(found.parts, samples=(train, val, test)))


def _reading(recipe: Recipe) -> tuple[tuple[str, Any], ...]:
    """What a recipe says of how data is read; what else it says makes no other data."""
    kept: dict[type[Recipe], tuple[str, ...]] = {
        SentenceRecipe: ("encoder", "max_tokens", "frozen"),
        TextRecipe: ("vectors", "max_tokens"),
        ImageRecipe: ("image_size",),
    }
    return tuple((name, getattr(recipe, name)) for name in kept.get(type(recipe), ()))


@lru_cache(maxsize=2)
def _own(
    source: DataSource, reading: tuple[tuple[str, Any], ...]
) -> tuple[LoadedData, DataAdapter]:
    plan, recipe = load_plan(source), SimpleNamespace(**dict(reading))
    reader = adapter_type(source.benchmark).fit(plan, recipe)
    parts = reader.parts(plan, recipe)
    train, val, test = (LabelSamples(samples.labels.numpy()) for samples in parts.samples)
    benchmark = Benchmark(
        source.benchmark,
        *(train, val, test),
        plan.bins,
        facts=plan.facts | {"counts": [len(train), len(val), len(test)]} | parts.facts,
        comparable=False,
        many=plan.many,
        few=plan.few,
        named=plan.named,
        quantity=plan.options.target,
        groups=plan.groups,
    )
    if source.benchmark == IMAGE:
        _report_images(benchmark.facts)
    return LoadedData(benchmark, parts), reader


@lru_cache(maxsize=2)
def _texts(source: DataSource, vectors: str, max_tokens: int) -> LoadedData:
    files = dict(source.files)
    data_dir = files.get("data_dir")
    benchmark = _TEXTS[source.benchmark](**source.loaded_by, data_dir=data_dir)
    table = word_vectors(vectors, files.get("glove"), data_dir)
    (train, val, test), rows = encode_texts(benchmark.parts, table, max_tokens=max_tokens)
    texts = len(train.tokens)
    return LoadedData(
        benchmark,
        AdaptedParts(
            (train, val, test), lambda recipe, hardware: text_network(recipe, rows, texts)
        ),
    )


@lru_cache(maxsize=2)
def _glucose(source: DataSource) -> LoadedData:
    benchmark = glucose.load(**source.loaded_by, data_dir=dict(source.files).get("data_dir"))
    train, val, test = make_series_datasets(benchmark.parts, benchmark.train.scaling())
    channels = benchmark.train.values.shape[1]
    return LoadedData(
        benchmark,
        AdaptedParts((train, val, test), lambda recipe, hardware: series_network(recipe, channels)),
    )


@lru_cache(maxsize=2)
def _images(source: DataSource, size: int) -> LoadedData:
    files: dict[str, Any] = dict(source.files)
    plan = images.plan_ages(
        source.benchmark,
        **source.loaded_by,
        data_dir=files["data_dir"],
        split_file=files["split_file"],
    )
    with progress_counter("decoding images") as told:
        benchmark, (train, val, test) = images.load_images(
            plan, size, skip_broken=source.skip_broken, told=told
        )
    _report_images(benchmark.facts)
    return LoadedData(benchmark, AdaptedParts((train, val, test), image_network))


def _report_images(facts: dict[str, Any]) -> None:
    """Print how many images are used and how they were split, once per sweep."""
    if parent_process() is not None:
        return
    train, val, test = facts["counts"]
    seed = facts.get("split_seed")
    how = "as the table says" if seed is None else f"drawn here with seed {seed}"
    print_notice(f"{train:,} training, {val:,} validation and {test:,} test images, {how}.")
    if note := facts.get("left_out_note"):
        print_notice(f"{note}; left out.")


def check_network(source: DataSource, recipe: Recipe) -> None:
    """Make a pretrained encoder once, which says what is wrong before images are decoded.

    Raises:
        UsageError: there is no such encoder.
    """
    recipe = with_encoder_folder(recipe, source.encoder)
    if isinstance(recipe, ImageRecipe) and recipe.encoder not in RESNETS:
        _made(recipe.encoder)


@lru_cache
def _made(encoder: str) -> None:
    ImageEncoder(encoder)
