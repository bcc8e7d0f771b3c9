"""Adapters from user data to network inputs, one per kind of data.

An adapter is fitted on the training samples of a split plan, converts its splits and new data in
the same way, and is saved as JSON with a model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ranksim._utils.formatting import format_value
from ranksim._utils.progress import progress_counter
from ranksim._utils.storage import validate_types
from ranksim.data import TextSamples
from ranksim.data.batch import BatchDataset, TableDataset, TableRows
from ranksim.data.cells import describe_time_zones, have_time_zone, is_blank, is_missing
from ranksim.data.data_report import DataReport
from ranksim.data.features import embed_images
from ranksim.data.images.decode import check_images, describe_broken
from ranksim.data.images.facts import compare_value_range, describe_images, examine_images
from ranksim.data.images.pixel_cache import ImageDataset, PixelCache
from ranksim.data.images.table import ImageTable, image_paths
from ranksim.data.series import (
    SeriesDataset,
    SeriesScaling,
    describe_readings,
    describe_windows,
    make_windows,
    match_steps,
)
from ranksim.data.spec import ImageSpec, SeriesSpec, TableSpec
from ranksim.data.splitting import PARTS, Split, factorize
from ranksim.data.table import Floats, Table, format_times
from ranksim.data.text import (
    TOKEN_LIMITS,
    TokenDataset,
    compute_states,
    describe_texts,
    embed_texts,
    encode_texts,
    tokenize,
)
from ranksim.datasets.image_benchmarks import ImagePlan, load_images
from ranksim.exceptions import DataError
from ranksim.models import ImageEncoder, Regressor, SentenceEncoder, load_tokenizer
from ranksim.models.tuned_layers import split_encoder
from ranksim.training.factory import (
    finetuned_network,
    image_head,
    image_network,
    series_network,
    table_network,
    text_network,
    word_vectors,
)
from ranksim.training.feature_readers import (
    FeatureReader,
    ImageReader,
    SeriesReader,
    TableReader,
    TextReader,
    VectorReader,
)
from ranksim.training.recipe import IMAGE, SENTENCES, SERIES, TABLE, TEXT, pretrained_name
from ranksim.training.trainer_config import TrainerConfig
from ranksim.user_data.columns import Kind
from ranksim.user_data.features import TableFeatures
from ranksim.user_data.near_duplicates import report_near_duplicates
from ranksim.user_data.sample_keys import hash_windows
from ranksim.user_data.split_plan import SplitPlan, read_series

NetworkFactory = Callable[[Any, TrainerConfig], Callable[[], Regressor]]
"""Called with a recipe and hardware settings; returns a function that builds a new network."""


@dataclass(frozen=True)
class AdaptedSplits:
    """The splits of a plan as network inputs."""

    samples: tuple[BatchDataset, BatchDataset, BatchDataset]  # training, validation and test
    make_network: NetworkFactory
    facts: dict[str, Any] = field(default_factory=dict)  # facts about the data to record
    report: DataReport = field(default_factory=DataReport)
    split: Split | None = None  # of the plan, without samples that could not be read
    reader: FeatureReader | None = None  # reads the samples for estimators
    adapter: DataAdapter | None = None  # if converting the splits determined more of it


@dataclass(frozen=True)
class AdaptedTable:
    """New data as network inputs."""

    rows: NDArray[np.int64]  # table row of each sample (N,)
    samples: BatchDataset  # their labels are meaningless
    make_network: NetworkFactory
    labels: NDArray[np.float64] | None = None  # true values of forecasts (N,), NaN in the future
    times: list[Any] | None = None  # times of forecasts, in the format of the data
    report: DataReport = field(default_factory=DataReport)
    hashes: NDArray[np.uint64] | None = None  # of the windows of a series (N,)
    reader: FeatureReader | None = None  # reads the samples for estimators
    kind: str | None = None  # of data, for networks of the user


_FILL_IN = "fill it in, remove these rows, or leave them out with --skip-missing"
MAX_COPIED = 2**24  # bytes of columns and features; beyond, the parts of a split share them
MAX_ENCODED = 2**28  # beyond, features are computed when a batch is read
_MAX_COMPARED = 10_000_000  # features of samples that are compared with each other
_NESTED: dict[str, Any] = {"features": TableFeatures, "scaling": SeriesScaling}  # fields


@dataclass(frozen=True)
class DataAdapter(ABC):
    """Converts columns of a table to network inputs."""

    kind: ClassVar[str]

    @classmethod
    @abstractmethod
    def fit(cls, plan: SplitPlan) -> Self:
        """Return an adapter fitted on the training samples of a plan."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that the network reads."""

    @abstractmethod
    def adapt_splits(self, plan: SplitPlan, recipe: Any) -> AdaptedSplits:
        """Convert the splits of the plan."""

    @abstractmethod
    def adapt_table(self, table: Table, recipe: Any) -> AdaptedTable:
        """Convert a table with the input columns of the training data to network inputs."""

    def find_unusable(self, table: Table) -> dict[str, NDArray[np.bool_]]:
        """Return which rows ``(N,)`` of a table cannot be predicted, by reason."""
        return {}

    def spell_as_trained(self, table: Table) -> Table:
        """Return a table whose values are spelled as in the training data where they are equal."""
        return table

    def to_dict(self) -> dict[str, Any]:
        """Return the adapter as JSON values."""
        fields = {k: v.to_dict() if k in _NESTED else v for k, v in vars(self).items()}
        return {"kind": self.kind, **fields}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Restore the adapter from the result of :meth:`to_dict` without its ``kind``."""
        fields = {k: _NESTED[k].from_dict(v) if k in _NESTED else v for k, v in content.items()}
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})


@dataclass(frozen=True)
class TableAdapter(DataAdapter):
    """Adapter of number and category columns, encoded as fitted on training rows, to an MLP."""

    kind: ClassVar[str] = TABLE
    names: tuple[str, ...]
    features: TableFeatures

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.features.columns)

    @classmethod
    def fit(cls, plan: SplitPlan) -> Self:
        assert isinstance(plan.options, TableSpec)
        kinds: dict[str, Kind] = dict.fromkeys(plan.options.categories, "category")
        kinds |= dict.fromkeys(plan.options.embedding, "embedding")
        train, keep = plan.rows[plan.split.train], plan.options.keep
        features = TableFeatures.fit(plan.table, plan.inputs, train, kinds=kinds, keep=keep)
        return cls(plan.inputs, features)

    def adapt_splits(self, plan: SplitPlan, recipe: Any) -> AdaptedSplits:
        columns = self.features.read(plan.table)
        if len(plan.rows) < len(columns):
            columns = columns[plan.rows]
        size = columns.nbytes + 4 * len(columns) * self.features.width
        encode = self.features.encode
        vectors = None if size > MAX_ENCODED else encode(columns)
        train, val, test = (
            TableRows(columns, i, plan.labels[i], encode, vectors)
            if vectors is None or size > MAX_COPIED
            else TableDataset(vectors[i], columns[i], plan.labels[i])
            for i in plan.split
        )
        dropped = self.features.dropped
        facts = {"left_out_columns": dict(dropped)} if dropped else {}
        report = self.features.describe(plan.table.take(plan.rows))
        names = plan.options.categories if isinstance(plan.options, TableSpec) else ()
        report = report.combine(self.features.describe_names(plan.table, confirmed=names))
        for place, index in (("validation", plan.split.val), ("test", plan.split.test)):
            part = plan.table.take(plan.rows[index])
            report = report.combine(self.features.describe_unknown(part, place, is_new=False))
        compared = self._select_compared(columns, vectors, plan.split)
        report = report.combine(report_near_duplicates(*compared))
        if len(compared[0]) < sum(map(len, plan.split)):
            text = f"sought among {len(compared[0]):,} samples of this large table"
            report = report.combine(DataReport(notes={"Near-duplicates": text}))
        return AdaptedSplits(
            *((train, val, test), self._make_network, facts, report), reader=self._reader
        )

    def _select_compared(
        self, columns: Floats, vectors: NDArray[np.float32] | None, split: Split
    ) -> tuple[NDArray[np.float32], list[int], Split]:
        """Return the features of the samples that are compared, their widths and the split.

        Of a large table, whose samples are not encoded, these are some of each part.
        """
        widths = [len(column.features) for column in self.features.columns]
        if vectors is not None:
            return vectors, widths, split
        limit = max(_MAX_COMPARED // max(self.features.width, 1), 1)
        rng = np.random.default_rng(0)
        parts = [
            part if len(part) <= limit else np.sort(rng.choice(part, limit, replace=False))
            for part in split
        ]
        ends = np.cumsum([len(part) for part in parts])
        sample = Split(*(np.arange(e - len(p), e) for p, e in zip(parts, ends, strict=True)))
        return self.features.encode(columns[np.concatenate(parts)]), widths, sample

    def adapt_table(self, table: Table, recipe: Any) -> AdaptedTable:
        columns = self.features.read(table)
        vectors = self.features.encode(columns)
        samples = TableDataset(vectors, columns, np.zeros(len(columns)))
        report = self.features.describe(table)
        report = report.combine(self.features.describe_unknown(table, "this data"))
        report = report.combine(self.features.describe_time_zones(table))
        rows = np.arange(len(columns))
        return AdaptedTable(rows, samples, self._make_network, report=report, reader=self._reader)

    @property
    def _reader(self) -> TableReader:
        return TableReader(self.features)

    def spell_as_trained(self, table: Table) -> Table:
        return self.features.spell_booleans(table)

    def _make_network(self, recipe: Any, config: TrainerConfig) -> Callable[[], Regressor]:
        return table_network(recipe, self.features.width)


@dataclass(frozen=True)
class TextAdapter(DataAdapter):
    """Adapter of one or two text columns to a BiLSTM."""

    kind: ClassVar[str] = TEXT
    unit: ClassVar[str] = "words"
    names: tuple[str, ...]
    max_tokens: int = 0  # read of each text; 0 in models of earlier versions: that of the recipe

    @property
    def columns(self) -> tuple[str, ...]:
        return self.names

    @classmethod
    def fit(cls, plan: SplitPlan) -> Self:
        return cls(plan.inputs)

    def adapt_splits(self, plan: SplitPlan, recipe: Any) -> AdaptedSplits:
        samples = TextSamples(self._read_texts(plan.table, plan.rows, _FILL_IN), plan.labels)
        splits = [samples.take(index) for index in plan.split]
        tokens = self._tokenize(splits, recipe, recipe.max_tokens)
        (train, val, test), make_network, reader = self._encode(tokens, recipe)
        counts = tokens[0][0].counts
        assert counts is not None
        long = max(part.counts.long for part in tokens[0] if part.counts is not None)
        # a limit that the training texts do not exceed is not that of the encoder
        is_capped = counts.long > counts.limit
        advice = self._advise(counts.limit, long) if is_capped else _read_more(long)
        remedy = None if recipe.max_tokens else advice
        report = describe_texts(tokens[0], unit=self.unit, remedy=remedy)
        adapter = replace(self, max_tokens=counts.limit)
        return AdaptedSplits(
            (train, val, test), make_network, report=report, adapter=adapter, reader=reader
        )

    def adapt_table(self, table: Table, recipe: Any) -> AdaptedTable:
        rows = np.arange(table.n_rows)
        texts = self._read_texts(table, rows, _FILL_IN)
        samples = TextSamples(texts, np.zeros(len(rows)))
        tokens = self._tokenize([samples], recipe, self.max_tokens or recipe.max_tokens)
        (encoded,), make_network, reader = self._encode(tokens, recipe)
        remedy = "train the model on texts of this length"
        report = describe_texts(tokens[0], unit=self.unit, remedy=remedy)
        return AdaptedTable(rows, encoded, make_network, report=report, reader=reader)

    def find_unusable(self, table: Table) -> dict[str, NDArray[np.bool_]]:
        return {f"no text in column {name!r}": _mask(table, name, is_blank) for name in self.names}

    def _tokenize(
        self, splits: Sequence[TextSamples], recipe: Any, max_tokens: int
    ) -> tuple[Sequence[TokenDataset], Any]:
        """Convert texts to tokens; also return the word vectors."""
        return encode_texts(splits, word_vectors(recipe.vectors), max_tokens=max_tokens)

    def _encode(
        self, tokens: tuple[Sequence[TokenDataset], Any], recipe: Any
    ) -> tuple[Sequence[BatchDataset], NetworkFactory, FeatureReader | None]:
        """Convert tokens to network inputs; return them, the network factory and the reader."""
        datasets, table = tokens
        return datasets, partial(make_text_network, table, len(self.names)), TextReader(table)

    def _advise(self, limit: int, length: int) -> str:
        """Return how to read texts of a length above the limit."""
        return _read_more(length)

    def _read_texts(self, table: Table, rows: np.ndarray, remedy: str) -> tuple[list[str], ...]:
        texts = []
        for name in self.names:
            values = list(table.column(name))
            blank = [row for row in rows if is_blank(values[row])]
            table.raise_for_rows(blank, f"column {name!r} has no text", remedy)
            others = [row for row in rows if not isinstance(values[row], str)]
            if others:
                first = format_value(values[others[0]])
                problem = f"column {name!r} contains {first}, which is not text"
                table.raise_for_rows(others, problem, "choose another column")
            texts.append([values[row] for row in rows])
        return tuple(texts)


@dataclass(frozen=True)
class SentenceAdapter(TextAdapter):
    """Adapter of text columns to a pretrained encoder, fine-tuned or frozen below an MLP."""

    kind: ClassVar[str] = SENTENCES
    unit: ClassVar[str] = "tokens"

    def _tokenize(
        self, splits: Sequence[TextSamples], recipe: Any, max_tokens: int
    ) -> tuple[Sequence[TokenDataset], Any]:
        return tokenize(splits, load_tokenizer(recipe.encoder), max_tokens=max_tokens), None

    def _encode(
        self, tokens: tuple[Sequence[TokenDataset], Any], recipe: Any
    ) -> tuple[Sequence[BatchDataset], NetworkFactory, FeatureReader | None]:
        return encode_sentences(tokens[0], recipe)

    def _advise(self, limit: int, length: int) -> str:
        if limit < TOKEN_LIMITS[1]:
            return "choose an encoder that reads longer texts, or shorten them"
        return super()._advise(limit, length)


# functions of modules, and no closures, so that a task can be handed to other processes
def make_text_network(
    vectors: Tensor, texts: int, recipe: Any, config: TrainerConfig
) -> Callable[[], Regressor]:
    """Return a factory of networks that read texts as word vectors ``(V, E)``."""
    return text_network(recipe, vectors, texts)


def encode_sentences(
    datasets: Sequence[TokenDataset], recipe: Any
) -> tuple[Sequence[BatchDataset], NetworkFactory, FeatureReader | None]:
    """Return what a network reads of tokens, its factory, and what estimators read.

    That is features of a frozen encoder, hidden states below the layers that are fine-tuned, or the
    tokens themselves.
    """
    texts = len(datasets[0].tokens)
    if recipe.frozen:
        encoder = _load_sentence_encoder(recipe, texts)
        features = embed_texts(datasets, encoder)
        return features, partial(_make_vector_network, encoder.width), VectorReader()
    if not recipe.tuned_layers:
        return datasets, partial(_make_sentence_network, texts), None
    encoder = _load_sentence_encoder(recipe, texts)
    lower, _ = split_encoder(encoder, recipe.tuned_layers, recipe.encoder)
    return compute_states(datasets, lower), partial(_make_sentence_network, texts), None


def encode_images(
    datasets: Sequence[ImageDataset], recipe: Any
) -> tuple[Sequence[BatchDataset], NetworkFactory, FeatureReader]:
    """Return what a network reads of images, its factory, and what estimators read.

    That is features of a frozen encoder, or the images themselves.
    """
    name = pretrained_name(recipe)
    if not (recipe.frozen and name):
        return datasets, image_network, ImageReader(name)
    encoder = ImageEncoder(name)
    return embed_images(datasets, encoder), partial(image_head, encoder.width), VectorReader()


def _load_sentence_encoder(recipe: Any, texts: int) -> SentenceEncoder:
    return SentenceEncoder(
        recipe.encoder,
        texts=texts,
        pair_features=recipe.pair_features,
        pooled_layers=recipe.pooled_layers,
    )


def _make_sentence_network(
    texts: int, recipe: Any, config: TrainerConfig
) -> Callable[[], Regressor]:
    def build() -> Regressor:
        whole = _load_sentence_encoder(recipe, texts)
        encoder: nn.Module = whole
        if recipe.tuned_layers:
            encoder = split_encoder(whole, recipe.tuned_layers, recipe.encoder)[1]
        return finetuned_network(recipe, encoder)

    return build


def _make_vector_network(width: int, recipe: Any, config: TrainerConfig) -> Callable[[], Regressor]:
    return table_network(recipe, width)


def _read_more(length: int) -> str:
    return f"read more with --set max_tokens={length}"


@dataclass(frozen=True)
class ImageAdapter(DataAdapter):
    """Adapter of a column of image paths, relative to the table's folder, to a vision model."""

    kind: ClassVar[str] = IMAGE
    name: str
    # of training pixels of more than 8 bits; None if there were none. Models of earlier versions
    # have no such field and used the range of 16 bits.
    value_range: tuple[float, float] | None = (0.0, 65_535.0)

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.name,)

    @classmethod
    def fit(cls, plan: SplitPlan) -> Self:
        return cls(plan.inputs[0])

    def adapt_splits(self, plan: SplitPlan, recipe: Any) -> AdaptedSplits:
        assert isinstance(plan.options, ImageSpec)
        paths, root = image_paths(plan.table, self.name), _image_root(plan.table)
        listed = ImageTable(tuple(paths[row] for row in plan.rows), plan.labels)
        table, size = listed.with_split(plan.split), recipe.image_size
        with progress_counter("examining images") as progress:
            facts = examine_images(root, table.paths, on_progress=progress)
        value_range = facts.take(table.split.train).value_range
        images = ImagePlan(IMAGE, root, table, plan.bins)
        with progress_counter("decoding images") as progress:
            benchmark, parts = load_images(
                images,
                size,
                skip_broken=plan.options.skip_broken,
                value_range=value_range,
                on_progress=progress,
            )
        n_skipped = benchmark.facts.get("n_skipped", 0)
        report = describe_images(facts, size, value_range, n_skipped=n_skipped)
        if n_skipped:
            report = report.combine(_report_skipped(plan.report, benchmark.facts))
        usable = [set(part.paths) for part in benchmark.parts]
        split = Split(
            *(
                part[[paths[plan.rows[k]] in names for k in part]]
                for part, names in zip(plan.split, usable, strict=True)
            )
        )
        (train, val, test), make_network, reader = encode_images(parts, recipe)
        return AdaptedSplits(
            *((train, val, test), make_network, benchmark.facts, report),
            split=split,
            adapter=replace(self, value_range=value_range),
            reader=reader,
        )

    def find_unusable(self, table: Table) -> dict[str, NDArray[np.bool_]]:
        is_empty = _mask(table, self.name, is_missing)
        is_broken = _find_broken_images(table, self.name, is_empty)
        return {
            f"no image in column {self.name!r}": is_empty,
            "the image cannot be read": is_broken,
        }

    def adapt_table(self, table: Table, recipe: Any) -> AdaptedTable:
        paths, root, size = image_paths(table, self.name), _image_root(table), recipe.image_size
        with progress_counter("examining images") as progress:
            facts = examine_images(root, paths, on_progress=progress)
        value_range = self.value_range or facts.value_range
        cache = PixelCache(size, value_range=value_range if facts.n_deep else None)
        with progress_counter("decoding images") as progress:
            rows, broken = cache.add_images(root, paths, on_progress=progress)
        if broken:
            description = describe_broken(broken, len(set(paths)))
            raise DataError(
                f"{description}; repair them, remove their rows, or leave them out with "
                "--skip-missing."
            )
        samples = ImageDataset(cache, rows, np.zeros(len(rows)))
        report = describe_images(facts, size, value_range)
        if self.value_range != type(self).value_range:  # that of an earlier version is not measured
            report.warnings.extend(compare_value_range(facts, self.value_range))
        (encoded,), make_network, reader = encode_images((samples,), recipe)
        return AdaptedTable(
            np.arange(len(rows)), encoded, make_network, report=report, reader=reader
        )


def _mask(table: Table, name: str, is_wrong: Callable[[Any], bool]) -> NDArray[np.bool_]:
    """Return which cells ``(N,)`` of a column are wrong."""
    return np.array([is_wrong(value) for value in table.column(name)], dtype=np.bool_)


def _find_broken_images(table: Table, name: str, is_empty: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which rows ``(N,)`` of a table with a path, which may be empty, cannot be decoded."""
    rows = np.flatnonzero(~is_empty)
    if not len(rows):
        return ~is_empty
    paths = image_paths(table.take(rows), name)
    with progress_counter("checking images") as progress:
        broken = check_images(_image_root(table), [*dict.fromkeys(paths)], on_progress=progress)
    is_broken = np.zeros(len(is_empty), dtype=np.bool_)
    is_broken[rows] = [path in broken for path in paths]
    return is_broken


def _report_skipped(report: DataReport, facts: Mapping[str, Any]) -> DataReport:
    """Report rows and split of a plan without the images that were skipped."""
    counts = facts["counts"]
    used, left_out = sum(counts), dict(report.rows.get("left_out", {}))
    left_out["the image cannot be read"] = report.rows["used"] - used
    split = report.split | dict(zip(PARTS, counts, strict=True))
    notes = {"Skipped": facts["skipped_note"]}
    return DataReport(rows={"used": used, "left_out": left_out}, split=split, notes=notes)


def _image_root(table: Table) -> Path:
    """Return the folder to which image paths are relative."""
    if table.root is None:
        raise DataError(
            f"{table.name} has no image folder: name the folder that holds both table and images, "
            "or give --image-root."
        )
    if not table.root.is_dir():
        raise DataError(f"{table.root} is not a folder: name the image folder with --image-root.")
    return table.root


@dataclass(frozen=True)
class SeriesAdapter(DataAdapter):
    """Adapter of the last readings of a time series to a forecasting network."""

    kind: ClassVar[str] = SERIES
    names: tuple[str, ...]  # columns of the readings, the target first
    time: str | None
    group: str | None  # column of the group, for example the patient
    window: int  # readings that a forecast uses
    horizon: int  # readings from the last one used to the forecast one
    steps: tuple[float, ...]  # seconds between readings, by group; empty without a time column
    scaling: SeriesScaling
    repeated_times: str = "mean"  # in models of earlier versions, which have no such field
    zoned: bool | None = None  # times have a time zone; None if they are numbers, or not known

    @property
    def columns(self) -> tuple[str, ...]:
        return self.names

    @classmethod
    def fit(cls, plan: SplitPlan) -> Self:
        assert plan.readings is not None
        assert plan.windows is not None
        assert isinstance(plan.options, SeriesSpec)
        spec, window, steps = plan.options, plan.windows.window, plan.windows.steps
        train = plan.windows.ends[plan.split.train]
        scaling = SeriesScaling.fit(plan.readings, train, window=window)
        columns = plan.inputs, spec.time, spec.group
        distinct = () if steps is None else tuple(np.unique(steps).tolist())
        repeated = spec.repeated_times or "error"
        zoned = None if spec.time is None else have_time_zone(plan.table.column(spec.time))
        return cls(*columns, window, spec.horizon or 1, distinct, scaling, repeated, zoned)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Restore the adapter; earlier versions had one ``step`` for all groups."""
        content = dict(content)
        if "step" in content:
            step = content.pop("step")
            content["steps"] = [] if step is None else [step]
        return super().from_dict(content)

    def adapt_splits(self, plan: SplitPlan, recipe: Any) -> AdaptedSplits:
        assert plan.readings is not None
        assert plan.windows is not None
        scaled, ends = self.scaling(plan.readings), plan.windows.ends
        train, val, test = (
            SeriesDataset(scaled, ends[index], plan.labels[index], window=self.window)
            for index in plan.split
        )
        return AdaptedSplits((train, val, test), self._make_network, reader=self._reader)

    @property
    def _reader(self) -> SeriesReader:
        return SeriesReader(self.scaling.mean[0], self.scaling.deviation[0])

    def find_unusable(self, table: Table) -> dict[str, NDArray[np.bool_]]:
        columns = {"time": self.time, "group": self.group}
        return {
            f"no {noun} in column {name!r}": _mask(table, name, is_missing)
            for noun, name in columns.items()
            if name is not None
        }

    def adapt_table(self, table: Table, recipe: Any) -> AdaptedTable:
        # the target column is among the readings; a forecast needs nothing after its window
        columns = {"target": self.names[0], "time": self.time, "group": self.group}
        columns |= {"repeated_times": self.repeated_times} if self.time else {}
        spec = SeriesSpec(**columns, window=self.window)  # type: ignore[arg-type]
        readings = read_series(table, spec, self.names)
        values, times, groups = readings.values, readings.times, readings.groups
        step = None
        if times is not None:
            series = np.zeros(len(times), np.int64) if groups is None else factorize(groups)
            step = match_steps(times, series, self.steps)
        shape: dict[str, Any] = {"window": self.window, "horizon": self.horizon}
        windows = make_windows(values, times, None, **shape, step=step, groups=groups)
        labels = np.where(windows.target_rows < 0, np.nan, values[windows.target_rows, 0])
        target_times = None
        if self.time is not None and windows.times is not None:
            examples = table.column(self.time)
            target_times = format_times(windows.times, examples, readings.time_scale)
        inputs, ends = self.scaling(values), windows.ends
        samples = SeriesDataset(inputs, ends, np.zeros(len(windows)), window=self.window)
        dates = readings.time_scale > 0
        report = describe_windows(windows, dates=dates, known=self.steps)
        report = describe_readings(readings, windows).combine(report)
        if self.time is not None:
            zoned = have_time_zone(table.column(self.time))
            warning = describe_time_zones(self.time, self.zoned, zoned)
            report.warnings += [warning] if warning else []
        rows, hashes = readings.rows[ends], hash_windows(values, times, ends, self.window)
        return AdaptedTable(
            *(rows, samples, self._make_network, labels, target_times, report, hashes),
            reader=self._reader,
        )

    def _make_network(self, recipe: Any, config: TrainerConfig) -> Callable[[], Regressor]:
        return series_network(recipe, len(self.names))


_TYPES = (TableAdapter, TextAdapter, SentenceAdapter, ImageAdapter, SeriesAdapter)
_ADAPTERS: dict[str, type[DataAdapter]] = {adapter.kind: adapter for adapter in _TYPES}


def adapter_type(kind: str) -> type[DataAdapter]:
    """Return the adapter class of a kind of data."""
    if kind not in _ADAPTERS:
        raise ValueError(f"kind must be one of {', '.join(_ADAPTERS)}, got {kind!r}")
    return _ADAPTERS[kind]


def adapter_from_dict(content: dict[str, Any]) -> DataAdapter:
    """Restore an adapter of any kind from the result of its ``to_dict``."""
    content = dict(content)
    return validate_types(adapter_type(content.pop("kind")).from_dict(content))
