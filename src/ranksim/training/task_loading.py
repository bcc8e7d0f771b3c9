"""Load the data of a run, benchmark or user data, as a training task."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.arrays import copy_to_numpy
from ranksim._utils.progress import progress_counter
from ranksim._utils.storage import sha256
from ranksim.data.batch import BatchDataset
from ranksim.data.reading import load_table
from ranksim.data.series import SeriesScaling, make_series_datasets
from ranksim.data.spec import (
    AgeDbSpec,
    DataLocation,
    GlucoseSpec,
    ReadOptions,
    SentimentSpec,
    StsBSpec,
    UserDataSpec,
)
from ranksim.data.splitting import CALIBRATION, PARTS
from ranksim.data.table import Ints, Table, read_lines
from ranksim.data.text import TextSamples, describe_texts, encode_texts, tokenize
from ranksim.datasets import glucose, sentiment_dir, sts_b_dir
from ranksim.datasets import image_benchmarks as images
from ranksim.datasets.base import Benchmark, LabelSamples
from ranksim.datasets.calibration import choose_calibration, separate_calibration
from ranksim.datasets.label_gaps import Subset, drop_labels
from ranksim.imbalance.bins import parse_ranges
from ranksim.models import ImageEncoder, Regressor, load_tokenizer
from ranksim.models.vision import RESNETS
from ranksim.training.adapters import (
    AdaptedSplits,
    DataAdapter,
    adapter_type,
    encode_images,
    encode_sentences,
    make_text_network,
)
from ranksim.training.custom_encoder import check_custom_network, make_factory
from ranksim.training.custom_network import CustomNetwork
from ranksim.training.data_source import DataSource
from ranksim.training.divergence import SampleIds
from ranksim.training.factory import (
    augmentation,
    series_network,
    word_vectors,
)
from ranksim.training.feature_readers import SeriesReader, TextReader
from ranksim.training.handover import SharedObject
from ranksim.training.recipe import (
    IMAGES,
    SENTENCES,
    TEXT,
    TEXTS,
    ImageRecipe,
    Recipe,
    pretrained_name,
    with_encoder_folder,
)
from ranksim.training.task import TrainingTask
from ranksim.training.trainer_config import TrainerConfig
from ranksim.user_data.folds import Folds, assign_folds, make_fold, train_on_all
from ranksim.user_data.split_column import join_split_file
from ranksim.user_data.split_plan import SplitPlan, make_split_plan

Reading = tuple[tuple[str, Any], ...]
"""The fields of a recipe that change how data is read."""


@dataclass(frozen=True, eq=False)
class LoadedData:
    """Data as labels, bins and facts (``benchmark``) and as networks read it (``parts``)."""

    benchmark: Benchmark[Any]
    parts: AdaptedSplits
    adapter: DataAdapter | None = None  # of user data
    calibration: BatchDataset | None = None  # samples of validation that calibrate intervals


@dataclass(frozen=True, eq=False)
class PreparedData:
    """Data as one process has loaded it for others, by what identifies it."""

    loaded: Mapping[tuple[DataSource, Reading], LoadedData] = field(default_factory=dict)
    plans: Mapping[DataSource, SplitPlan] = field(default_factory=dict)


_MAX_LOADED = 2  # data that a process keeps
_handed_over: SharedObject | None = None  # data that another process has prepared for this one


@contextmanager
def hand_over_data(
    runs: Iterable[tuple[DataSource, Recipe]],
) -> Iterator[SharedObject | None]:
    """Yield the data of runs for :func:`use_data` in other processes of this machine.

    Data that this process no longer keeps is left out, and loaded by each process itself. Arrays
    are in a file, which is removed when the block ends. Yields None if it cannot be written, as on
    a full disk.
    """
    keys = [(source, _select_reading(source, recipe)) for source, recipe in runs]
    last = list(dict.fromkeys(reversed(keys)))[:_MAX_LOADED]
    prepared = _prepare(last)
    with TemporaryDirectory(prefix="ranksim-", ignore_cleanup_errors=True) as folder:
        data = None
        if last:
            with contextlib.suppress(OSError):
                data = SharedObject.write(Path(folder) / "arrays", prepared)
        del prepared
        yield data


def _prepare(keys: Sequence[tuple[DataSource, Reading]]) -> PreparedData:
    """Return data without the columns of its table, which a process reads if it needs them."""
    loaded = {key: _load_cached(*key) for key in keys}
    plans = {}
    for source in dict.fromkeys(source for source, _ in keys if source.is_user_data):
        plan = load_plan(source)
        table = dataclasses.replace(plan.table, read=partial(_read_column, source), whole=None)
        plans[source] = dataclasses.replace(plan, table=table)
    return PreparedData(loaded, plans)


def _read_column(source: DataSource, name: str) -> Sequence[Any]:
    assert isinstance(source.spec, UserDataSpec)
    return read_user_data(source.location, source.spec.reading).read(name)


def use_data(data: SharedObject | None) -> None:
    """Use the data of :func:`hand_over_data` instead of loading it."""
    global _handed_over
    _handed_over = data
    _adopt_data.cache_clear()


@lru_cache(maxsize=1)
def _adopt_data() -> PreparedData:
    if _handed_over is None:
        return PreparedData()
    prepared = _handed_over.load()
    assert isinstance(prepared, PreparedData)
    return prepared


def identify_data(source: DataSource) -> DataSource:
    """Return the source with the digest of its table or split file, if it has one."""
    spec, location = source.spec, source.location
    if isinstance(spec, UserDataSpec):
        digest = read_user_data(location, spec.reading).sha256
        if location.split_file is not None:
            spec = dataclasses.replace(spec, split_sha256=sha256(location.split_file)[:16])
    elif isinstance(spec, AgeDbSpec):
        split_file = images.find_split_file(
            spec.benchmark,
            data_dir=location.data_dir,
            split_file=location.split_file,
            protocol=spec.protocol,
        )
        digest = sha256(split_file)
    else:
        return source
    spec = dataclasses.replace(spec, table_sha256=digest[:16])
    return dataclasses.replace(source, spec=spec, location=location)


def load_benchmark(source: DataSource, recipe: Recipe) -> Benchmark[Any]:
    """Load the data of a run, once per process."""
    return _load(source, recipe).benchmark


def load_adapter(source: DataSource, recipe: Recipe) -> DataAdapter:
    """Load the adapter that reads user data for the networks trained on it."""
    adapter = _load(source, recipe).adapter
    assert adapter is not None
    return adapter


def load_task(
    source: DataSource,
    recipe: Recipe,
    *,
    seed: int = 0,
    hardware: TrainerConfig | None = None,
    network: CustomNetwork | None = None,
) -> tuple[Benchmark[Any], TrainingTask]:
    """Load the data of a run and the training task on it.

    ``seed`` is that of augmentation; ``network`` builds the network instead of the recipe.
    """
    loaded = _load(source, recipe)
    benchmark, samples = loaded.benchmark, loaded.parts.samples
    recipe = with_encoder_folder(recipe, source.location.encoder)
    if network is None:
        build_model = loaded.parts.make_network(recipe, hardware or TrainerConfig())
    else:
        kind, reader = source.spec.benchmark, loaded.parts.reader
        build_model = make_factory(network, samples[0], kind, reader)
    return benchmark, TrainingTask(
        *samples,
        build_model,
        benchmark.bins,
        benchmark.regions(source.spec.regions_from),
        benchmark.gmean_epsilon,
        augment=augmentation(recipe, seed) if isinstance(recipe, ImageRecipe) else None,
        # labels of user data may lie far from zero
        initial_bias=float(benchmark.train.labels.mean()) if source.is_user_data else 0.0,
        sample_weight=_sample_weight(source, loaded.parts) if source.is_user_data else None,
        sample_ids=_sample_ids(source, loaded.parts) if source.is_user_data else None,
        reader=loaded.parts.reader,
        calibration=loaded.calibration,
    )


def check_network_of_user(source: DataSource, recipe: Recipe, network: CustomNetwork) -> None:
    """Raise a UsageError if a network of the user cannot be trained on the data of a run."""
    parts = _load(source, recipe).parts
    check_custom_network(network, parts.samples[0], source.spec.benchmark, parts.reader)


def check_network(source: DataSource, recipe: Recipe) -> None:
    """Build a pretrained image encoder once, so that errors come before images are decoded."""
    recipe = with_encoder_folder(recipe, source.location.encoder)
    if isinstance(recipe, ImageRecipe) and recipe.encoder not in RESNETS:
        _build_encoder(recipe.encoder)


@lru_cache
def _build_encoder(encoder: str) -> None:
    ImageEncoder(encoder)


@lru_cache(maxsize=_MAX_LOADED)
def load_plan(source: DataSource) -> SplitPlan:
    """Load user data and choose which of its samples are trained on."""
    assert isinstance(source.spec, UserDataSpec)
    if (plan := _adopt_data().plans.get(source)) is not None:
        return plan
    if source.all_rows:
        return train_on_all(load_plan(dataclasses.replace(source, all_rows=False)))
    if source.fold is not None:
        number, count = source.fold
        whole = dataclasses.replace(source, fold=None)
        return make_fold(load_plan(whole), load_folds(whole, count), number)
    return make_split_plan(read_user_data(source.location, source.spec.reading), source.spec)


@lru_cache(maxsize=1)
def load_folds(source: DataSource, count: int) -> Folds:
    """Draw the folds of a cross-validation of user data."""
    return assign_folds(load_plan(source), count)


def read_user_data(location: DataLocation, reading: ReadOptions = ReadOptions()) -> Table:
    """Read user data, once per process unless its file changes."""
    assert location.data is not None
    path, root = Path(location.data), location.image_root
    modified = path.stat().st_mtime_ns if path.exists() else 0
    table = _read_table(location.data, modified, reading)
    if location.split_file is not None:
        table = join_split_file(table, location.split_file)
    return table if root is None else dataclasses.replace(table, root=Path(root))


@lru_cache(maxsize=2)
def _read_table(data: str, modified: int, reading: ReadOptions) -> Table:
    return load_table(data, reading)


def _find_positions(
    plan: SplitPlan,
    parts: AdaptedSplits,
    part: str = "train",
    calibration: BatchDataset | None = None,
) -> Ints:
    """Return the position in the plan of each sample of a part that is used.

    If ``calibration`` is given, they are those of these samples of the part.
    """
    positions: Ints = getattr(parts.split or plan.split, part)
    samples = parts.samples[PARTS.index(part)] if calibration is None else calibration
    if isinstance(samples, Subset):  # without dropped labels
        positions = positions[copy_to_numpy(samples.rows)]
    assert len(positions) == len(samples)
    return positions


def find_positions(source: DataSource, recipe: Recipe, part: str) -> Ints:
    """Return the position in the plan of each sample of a part that is used ``(N,)``.

    ``part`` is one of the three, or ``calibration`` if validation is divided.
    """
    plan, loaded = load_plan(source), _load(source, recipe)
    if part == CALIBRATION:
        return _find_positions(plan, loaded.parts, "val", loaded.calibration)
    return _find_positions(plan, loaded.parts, part)


def _sample_weight(source: DataSource, parts: AdaptedSplits) -> NDArray[np.float64] | None:
    """Return the user's weight of each training sample ``(N,)``; None if all are equal."""
    plan = load_plan(source)
    if plan.weights is None:
        return None
    weights = plan.weights[_find_positions(plan, parts)]
    return None if np.ptp(weights) == 0 else weights


def find_sample_ids(source: DataSource, recipe: Recipe, part: str) -> SampleIds | None:
    """Return the table line of each sample of a part; None for a benchmark."""
    return _sample_ids(source, _load(source, recipe).parts, part) if source.is_user_data else None


def _sample_ids(source: DataSource, parts: AdaptedSplits, part: str = "train") -> SampleIds:
    """Return the table line of each sample of a part; of a forecast, that of its target."""
    plan = load_plan(source)
    rows, columns = plan.rows[_find_positions(plan, parts, part)], plan.table
    return SampleIds(read_lines(columns, rows), columns.line_unit, Path(columns.name).name)


def _load(source: DataSource, recipe: Recipe) -> LoadedData:
    return _load_cached(source, _select_reading(source, recipe))


def _select_reading(source: DataSource, recipe: Recipe) -> Reading:
    recipe = with_encoder_folder(recipe, source.location.encoder)
    kind = source.spec.benchmark
    if kind in TEXTS and pretrained_name(recipe):
        kind = SENTENCES
    names = _READING_FIELDS.get(kind, ())
    return tuple((name, getattr(recipe, name)) for name in names)


_READING_FIELDS: dict[str, tuple[str, ...]] = {
    SENTENCES: (
        *("encoder", "max_tokens", "frozen"),
        *("pair_features", "pooled_layers", "tuned_layers"),
    ),
    **dict.fromkeys((TEXT, *TEXTS), ("vectors", "max_tokens")),
    **dict.fromkeys(IMAGES, ("image_size", "encoder", "frozen")),
}
"""Fields of a recipe that change how data is read, as a key of the cache."""


@lru_cache(maxsize=_MAX_LOADED)
def _load_cached(source: DataSource, reading: Reading) -> LoadedData:
    """Load data of any kind, without the labels to drop, and with calibration samples if asked."""
    adopted = _adopt_data().loaded.get((source, reading))
    if adopted is not None:
        return adopted
    loaded = _drop_labels(source, _load_any(source, SimpleNamespace(**dict(reading))))
    return _separate_calibration(source, loaded) if source.spec.calibration else loaded


def _drop_labels(source: DataSource, loaded: LoadedData) -> LoadedData:
    """Return data without the labels to drop."""
    ranges = [part for text in source.spec.drop_labels for part in parse_ranges(text)]
    if not ranges:
        return loaded
    benchmark, (train, val, test) = drop_labels(loaded.benchmark, loaded.parts.samples, ranges)
    parts = dataclasses.replace(loaded.parts, samples=(train, val, test))
    return LoadedData(benchmark, parts, loaded.adapter)


def _separate_calibration(source: DataSource, loaded: LoadedData) -> LoadedData:
    """Return data whose validation is divided for the calibration of intervals."""
    benchmark = loaded.benchmark
    if source.is_user_data:
        plan = load_plan(source)
        assert plan.calibration is not None
        mask = np.isin(_find_positions(plan, loaded.parts, "val"), plan.calibration)
    else:
        horizon = source.spec.horizon // glucose.STEP if isinstance(source.spec, GlucoseSpec) else 0
        mask, report = choose_calibration(benchmark, horizon)
        benchmark = dataclasses.replace(benchmark, report=benchmark.report.combine(report))
    train, val, test = loaded.parts.samples
    benchmark, val, calibration = separate_calibration(benchmark, val, mask)
    parts = dataclasses.replace(loaded.parts, samples=(train, val, test))
    return LoadedData(benchmark, parts, loaded.adapter, calibration)


def _load_any(source: DataSource, recipe: Any) -> LoadedData:
    match source.spec:
        case StsBSpec() | SentimentSpec():
            return _load_texts(source, recipe)
        case GlucoseSpec():
            return _load_glucose(source)
        case AgeDbSpec():
            return _load_ages(source, recipe)
    return _load_user_data(source, recipe)


def _load_user_data(source: DataSource, recipe: Any) -> LoadedData:
    plan = load_plan(source)
    adapter = adapter_type(source.spec.benchmark).fit(plan)
    parts = adapter.adapt_splits(plan, recipe)
    plan = dataclasses.replace(plan, split=parts.split or plan.split)
    train, val, test = (LabelSamples(copy_to_numpy(samples.labels)) for samples in parts.samples)
    benchmark = Benchmark(
        source.spec.benchmark,
        *(train, val, test),
        plan.bins,
        facts=plan.facts | {"counts": [len(train), len(val), len(test)]} | parts.facts,
        comparable=False,
        many=plan.many,
        few=plan.few,
        named_regions=plan.named,
        quantity=plan.options.target,
        groups=plan.groups,
        report=plan.report.combine(parts.report).combine(plan.table.report),
        origin=plan.describe_test(),
        test_set=plan.test_set,
        label_counts=plan.count_labels(),
    )
    return LoadedData(benchmark, parts, parts.adapter or adapter)


def _load_texts(source: DataSource, recipe: Any) -> LoadedData:
    spec, data_dir = source.spec, source.location.data_dir
    if isinstance(spec, StsBSpec):
        benchmark = sts_b_dir.load(spec.split, data_dir=data_dir)
    else:
        assert isinstance(spec, SentimentSpec)
        benchmark = sentiment_dir.load(spec.domains, data_dir=data_dir)
    if pretrained_name(recipe):
        return _load_sentences(benchmark, recipe)
    table = word_vectors(recipe.vectors, source.location.glove, data_dir)
    (train, val, test), rows = encode_texts(benchmark.parts, table, max_tokens=recipe.max_tokens)
    texts = len(train.tokens)
    report = benchmark.report.combine(describe_texts((train, val, test)))
    benchmark = dataclasses.replace(benchmark, report=report)
    parts = AdaptedSplits(
        (train, val, test),
        partial(make_text_network, rows, texts),
        reader=TextReader(rows),
    )
    return LoadedData(benchmark, parts)


def _load_sentences(benchmark: Benchmark[TextSamples], recipe: Any) -> LoadedData:
    """Read the texts of a benchmark with a pretrained encoder."""
    limit = recipe.max_tokens
    tokens = tokenize(benchmark.parts, load_tokenizer(recipe.encoder), max_tokens=limit)
    report = benchmark.report.combine(describe_texts(tokens, unit="tokens"))
    (train, val, test), make_network, reader = encode_sentences(tokens, recipe)
    parts = AdaptedSplits((train, val, test), make_network, reader=reader)
    return LoadedData(dataclasses.replace(benchmark, report=report), parts)


def _load_glucose(source: DataSource) -> LoadedData:
    assert isinstance(source.spec, GlucoseSpec)
    benchmark = glucose.load(source.spec.horizon, data_dir=source.location.data_dir)
    train, val, test = make_series_datasets(benchmark.parts)
    channels = benchmark.train.values.shape[1]
    values = benchmark.train
    scaling = SeriesScaling.fit(values.values, values.ends, window=values.window)
    parts = AdaptedSplits(
        (train, val, test),
        partial(_make_series_network, channels),
        reader=SeriesReader(scaling.mean[0], scaling.deviation[0]),
    )
    return LoadedData(benchmark, parts)


def _make_series_network(
    channels: int, recipe: Any, config: TrainerConfig
) -> Callable[[], Regressor]:
    return series_network(recipe, channels)


def _load_ages(source: DataSource, recipe: Any) -> LoadedData:
    assert isinstance(source.spec, AgeDbSpec)
    plan = images.plan_ages(
        source.spec.benchmark,
        data_dir=source.location.data_dir,
        split_file=source.location.split_file,
        protocol=source.spec.protocol,
        split_by=source.spec.split_by,
    )
    with progress_counter("decoding images") as progress:
        benchmark, parts = images.load_images(
            plan, recipe.image_size, skip_broken=source.spec.skip_broken, on_progress=progress
        )
    (train, val, test), make_network, reader = encode_images(parts, recipe)
    return LoadedData(benchmark, AdaptedSplits((train, val, test), make_network, reader=reader))
