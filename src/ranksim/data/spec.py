"""Data specifications: a frozen dataclass for each benchmark and each modality of user data.

A specification identifies the data of a run and is recorded with its results. A
:class:`DataLocation` says where that data lies on this machine and is never recorded.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Collection, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

from ranksim.exceptions import UsageError

Protocol = Literal["extrapolation", "interpolation", "blindspot"]
SplitRule = Literal["random", "group", "identity", "time", "day"]
RepeatedTimes = Literal["error", "mean"]
SplitMethod = Literal["column", "random", "group", "time", "day", "protocol"]


def option(text: str, default: Any = None, metavar: str | None = None, **settings: Any) -> Any:
    """Declare a dataclass field that is also a command-line option.

    Args:
        text: its help.
        default: its default; ``...`` if it must be given.
        metavar: its type in the help; by default that of the field.
        **settings: ``cli_default``, if the command line has another default; ``name``, such as
            ``--set``; ``min`` and ``max``; ``parse``, a function of the option's text; ``repeat``,
            if a tuple comes from several options, not from words with commas between them;
            ``excludes`` and ``requires``, names of options beside or without which it does nothing.
    """
    metadata = {"help": text, "metavar": metavar, **settings}
    return field(metadata=metadata) if default is ... else field(default=default, metadata=metadata)


def parse_drop_labels(text: str) -> tuple[str, ...]:
    """Parse label ranges such as ``30..40, > 80`` and return each in normalized form."""
    from ranksim.imbalance.bins import parse_ranges

    try:
        return tuple(part.text for part in parse_ranges(text))
    except ValueError as error:
        raise UsageError(f"--drop-labels {text!r}: {error}.") from error


@dataclass(frozen=True)
class DataLocation:
    """The location of the data on this machine (not part of a run's identity)."""

    data: str | None = option("The DATA of ranksim compare.")
    data_dir: Path | None = option(
        "Folder with the data. Default: RANKSIM_DATA, then a verified download."
    )
    image_root: Path | None = option("Folder of the images, if DATA is a table elsewhere.")
    split_file: Path | None = option("Split file, if the runs were trained with one.")
    glove: Path | None = option("GloVe 840B.300d text file, for the preset paper.")
    encoder: str | None = option(
        "Folder of the pretrained encoder, if the model was trained with one.", metavar="PATH"
    )


def parse_words(text: str) -> tuple[str, ...]:
    """Split text at commas, except those in double quotes."""
    words = (word for line in csv.reader([text], skipinitialspace=True) for word in line)
    return tuple(word.strip() for word in words if word.strip())


def join_words(words: Iterable[str]) -> str:
    """Join words with commas, as :func:`parse_words` splits them."""
    return ",".join(
        '"' + word.replace('"', '""') + '"' if "," in word or '"' in word else word
        for word in words
    )


def parse_missing_target(text: str) -> tuple[float, ...]:
    """Parse numbers that stand for a missing target, such as ``-200,9999``."""
    try:
        return tuple(map(float, parse_words(text)))
    except ValueError as error:
        raise UsageError(f"--missing-target takes numbers such as -200, got {text!r}.") from error


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """Options for how the cells of a table are read; None: as detected."""

    decimal: str | None = option("Decimal sign, point or comma. Default: detected.")
    thousands: str | None = option("Thousands separator. Default: detected.")
    missing: tuple[str, ...] = option("Further values for missing ones: -9,unknown.", (), "VALUES")
    encoding: str | None = option("Such as cp1252. Default: UTF-8.")
    comment: str | None = option("Leave out lines that start with it, such as #.")
    skip_rows: int | None = option("Leave out this many lines above the header.", min=0)

    @staticmethod
    def from_options(options: Mapping[str, Any]) -> ReadOptions:
        """Return the options of reading among others; lists, as in JSON, become tuples."""
        values = {k.name: options[k.name] for k in fields(ReadOptions) if k.name in options}
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        reading = ReadOptions(**values)
        reading.check_signs()
        return reading

    @property
    def reading(self) -> ReadOptions:
        """These options alone, without those of a subclass."""
        return ReadOptions.from_options(vars(self))

    def check_signs(self) -> None:
        """Raise a UsageError for signs that no number can have."""
        for name, signs in (("decimal", ".,"), ("thousands", ",. '_")):
            value = getattr(self, name)
            if value is not None and (value not in signs or len(value) != 1):
                choice = " or ".join(map(repr, signs))
                raise UsageError(f"--{name} takes one sign, {choice}, got {value!r}.")
        if self.decimal is not None and self.decimal == self.thousands:
            raise UsageError(
                f"--decimal and --thousands are both {self.decimal!r}: change one of them."
            )
        if self.encoding is not None:
            try:
                codecs.lookup(self.encoding)
            except LookupError as error:
                raise UsageError(
                    f"--encoding {self.encoding!r} does not exist: use utf-8, cp1252, latin-1 or "
                    "utf-16, for example."
                ) from error
        if self.comment == "":
            raise UsageError("--comment is empty: give the text that starts a comment, such as #.")


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """A base class for specifications of which data a run uses, independent of the location."""

    benchmark: ClassVar[str]  # name of the benchmark or modality in results
    location_options: ClassVar[tuple[str, ...]] = ("data_dir",)  # fields of DataLocation in use

    drop_labels: tuple[str, ...] = option(
        "Leave these labels out of training and validation, such as 30-40,>80.",
        (),
        "RANGES",
        parse=parse_drop_labels,
    )
    regions_from: Literal["published", "rule"] = option(
        "Shot regions: the published list, or the rule of counts (100 and 20).",
        "rule",
        cli_default="published",
    )
    table_sha256: str | None = None  # its first 16 digits, of the table or the split file
    calibration: bool = False  # whether half of validation calibrates intervals

    def __post_init__(self) -> None:
        from ranksim._utils.arrays import unwrap_scalar

        for item in fields(self):  # NumPy scalars cannot be recorded
            value = getattr(self, item.name)
            is_tuple = isinstance(value, tuple)
            value = tuple(map(unwrap_scalar, value)) if is_tuple else unwrap_scalar(value)
            object.__setattr__(self, item.name, value)

    def to_dict(self) -> dict[str, Any]:
        """Return the specification as JSON values, without options left at their default."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        options = {
            item.name: list(value) if isinstance(value := values[item.name], tuple) else value
            for item in fields(self)
            if item.name != "regions_from"
            and (item.default is MISSING or values[item.name] != item.default)
        }
        return {"benchmark": self.benchmark, "options": options, "regions_from": self.regions_from}

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> DataSpec:
        """Recreate a specification from :meth:`to_dict`; raise KeyError or TypeError if invalid."""
        values = content["options"].items()
        options: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values}
        return SPEC_TYPES[content["benchmark"]](**options, regions_from=content["regions_from"])


@dataclass(frozen=True, kw_only=True)
class StsBSpec(DataSpec):
    """A specification of STS-B-DIR with one of the two published splits."""

    benchmark = "sts-b-dir"
    location_options = ("data_dir", "glove")
    split: Literal["borealis", "yang"] = option(
        "Published split: borealis (RankSim's) or yang (the first one).",
        ...,
        cli_default="borealis",
    )


@dataclass(frozen=True, kw_only=True)
class SentimentSpec(DataSpec):
    """A specification of Sentiment-DIR with sentences from the chosen domains."""

    benchmark = "sentiment-dir"
    location_options = ("data_dir", "glove")
    domains: tuple[str, ...] = option(
        "Any of tweets, amazon, movies and nyt.", ..., cli_default="tweets,amazon"
    )


@dataclass(frozen=True, kw_only=True)
class GlucoseSpec(DataSpec):
    """A specification of the glucose benchmark with the forecast horizon in minutes."""

    benchmark = "glucose"
    horizon: int = option("Minutes to forecast ahead, a multiple of 5.", ..., cli_default=30)


_PROTOCOL = "Zero-shot protocol: extrapolation, interpolation or blindspot."
_SKIP_BROKEN = "Leave out images that cannot be read."


@dataclass(frozen=True, kw_only=True)
class AgeDbSpec(DataSpec):
    """A specification of AgeDB-DIR with the published split or a zero-shot protocol."""

    benchmark = "agedb-dir"
    location_options = ("data_dir", "split_file")
    protocol: Protocol | None = option(_PROTOCOL)
    skip_broken: bool = option(_SKIP_BROKEN, False)
    split_by: Literal["identity"] | None = option(
        "Split the images anew: identity keeps the images of a person in one part."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.split_by is not None and self.protocol is not None:
            raise UsageError(
                "--split-by has no effect together with --protocol: remove one of them."
            )


@dataclass(frozen=True, kw_only=True)
class ImdbWikiSpec(AgeDbSpec):
    """A specification of IMDB-WIKI-DIR with the options of AgeDB-DIR, except the split."""

    benchmark = "imdb-wiki-dir"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.split_by is not None:
            raise UsageError(
                f"--split-by has no effect on {self.benchmark}, whose file names contain no name "
                "of the person: remove it."
            )


@dataclass(frozen=True, kw_only=True)
class UserDataSpec(ReadOptions, DataSpec):
    """A base class for specifications of user data: target column, split and label bins."""

    location_options: ClassVar[tuple[str, ...]] = ("data", "split_file")
    title: ClassVar[str] = "user data"
    selector: ClassVar[str | None] = None  # the option that selects this modality
    encoders: ClassVar[tuple[str, ...]] = ()  # built-in networks; empty: encoders of the hub
    extra_options: ClassVar[tuple[str, ...]] = ("encoder",)  # of the recipe or the trainer

    target: str = option("Column of the number to predict.", ..., "COLUMN")
    time: str | None = option("Column of the time.", None, "COLUMN")
    group: str | None = option(
        "Column whose equal values stay in one part.", None, "COLUMN", excludes="split protocol"
    )
    split: str | None = option(
        "Column of train, val and test, or a split.csv. Default: a column split.",
        None,
        "COLUMN|FILE",
        excludes="protocol",
    )
    split_sha256: str | None = None  # its first 16 digits, of a split file
    weights: str | None = option("Column of sample weights.", None, "COLUMN")
    drop_shared: bool = option("Leave out training samples equal to held-out ones.", False)
    split_by: SplitRule | None = option(
        "Draw the split by: random (default), group (of images also: identity), day or time "
        "(default of a series).",
        excludes="split protocol",
    )
    balanced: bool = option("Do not balance validation and test over label bins.", True)
    max_per_bin: int | None = option(
        "Most samples of a bin in validation, and in test.",
        min=1,
        excludes="split protocol",
        requires="balanced",
    )
    protocol: Protocol | None = option(_PROTOCOL, excludes="window", requires="balanced")
    test_per_bin: int | None = option(
        "Test samples per label bin under --protocol (50).", min=1, requires="protocol"
    )
    split_seed: int | None = option("Seed of a drawn split (666).", min=0, excludes="split")
    bin_width: float | None = option("Width of label bins. Default: chosen for the labels.")
    many: int | None = option("Many-shot bins have more training samples than this.", min=1)
    few: int | None = option("Few-shot bins have fewer training samples than this.", min=1)
    region: tuple[str, ...] = option(
        "A further region of labels, such as low=<70; repeatable.", (), "NAME=RANGE", repeat=True
    )
    skip_missing: bool = option("Leave out rows without a target or text.", False)
    missing_target: tuple[float, ...] = option(
        "Leave out rows whose target is one of these numbers, such as -200.",
        (),
        "NUMBERS",
        parse=parse_missing_target,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_signs()
        self._reject_idle_options()
        if self.target in self.inputs and not isinstance(self, SeriesSpec):
            raise UsageError(
                f"Column {self.target!r} is both the target and an input: remove it from the "
                "inputs."
            )
        if self.weights is not None and self.weights in (self.target, *self.inputs):
            raise UsageError(
                f"Column {self.weights!r} of --weights is the target or an input: name another "
                "column."
            )
        if self.split_by == "identity" and not isinstance(self, ImageSpec):
            raise UsageError(
                f"--split-by identity has no effect on {self.title}: use --split-by group."
            )
        columns = {"group": "group", "identity": "group", "day": "time", "time": "time"}
        column = columns.get(self.split_by or "")
        ordered = isinstance(self, SeriesSpec) and self.split_by == "time"
        if column is not None and getattr(self, column) is None and not ordered:
            raise UsageError(
                f"--split-by {self.split_by} needs the column of the {column}: add --{column}."
            )

    def _reject_idle_options(self) -> None:
        for item in fields(self):
            if getattr(self, item.name) == item.default:
                continue
            name = option_name(item.name)
            for other in item.metadata.get("excludes", "").split():
                if getattr(self, other, None):
                    raise UsageError(
                        f"{name} has no effect together with {option_name(other)}: remove one "
                        "of them."
                    )
            for other in item.metadata.get("requires", "").split():
                if not getattr(self, other):
                    required = option_name(other)
                    if other == "balanced":
                        context, remedy = "with --no-balanced", "remove one of them"
                    else:
                        context, remedy = f"without {required}", f"add {required} or remove {name}"
                    raise UsageError(f"{name} has no effect {context}: {remedy}.")

    def check_folds(self) -> None:
        """Raise a UsageError if the data cannot be divided into folds."""
        reason = remedy = ""
        if isinstance(self, SeriesSpec) or self.split_method == "time":
            reason = "would train on times after those that it predicts"
            remedy = "use --refit, whose scores are those of the latest samples"
        elif self.split is not None:
            reason = f"draws its own folds, but column {self.split!r} names the parts"
            remedy = "use --refit, or add --split-by random"
        elif self.protocol is not None:
            reason = f"draws its own folds, so that --protocol {self.protocol} has no effect"
            remedy = "remove one of them"
        if reason:
            raise UsageError(f"--cross-validate {reason}: {remedy}.")

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the input columns; empty if all columns without another role are inputs."""
        return ()

    @property
    def split_method(self) -> SplitMethod:
        """Name of the rule that assigns samples to training, validation and test."""
        if self.split is not None:
            return "column"
        if self.protocol is not None:
            return "protocol"
        if self.split_by == "identity":
            return "group"
        return self.split_by or ("group" if self.group else "random")

    @property
    def seed(self) -> int:
        """Seed of a random split."""
        return 666 if self.split_seed is None else self.split_seed


@dataclass(frozen=True, kw_only=True)
class TableSpec(UserDataSpec):
    """A specification of tabular data; by default all columns without another role are features."""

    benchmark = "table"
    title = "a table"
    encoders: ClassVar[tuple[str, ...]] = ("mlp",)
    features: tuple[str, ...] = option(
        "Input columns, separated by commas. Default: all others.", (), "COLUMNS"
    )
    categories: tuple[str, ...] = option(
        "Input columns of names that look like numbers.", (), "COLUMNS"
    )
    embedding: tuple[str, ...] = option(
        "Input columns of lists of numbers, all equally long. Default: detected.", (), "COLUMNS"
    )
    keep: tuple[str, ...] = option(
        "Input columns to read although they number rows or contain the target.", (), "COLUMNS"
    )

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.features


@dataclass(frozen=True, kw_only=True)
class TextSpec(UserDataSpec):
    """A specification of text data, one or two columns, for a BiLSTM."""

    benchmark = "text"
    title = "texts"
    selector = "text"
    encoders: ClassVar[tuple[str, ...]] = ("bilstm",)
    text: tuple[str, ...] = option(
        "One or two columns of texts: a, or a,b.", ..., "COLUMNS", cli_default=()
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.text) > 2:
            raise UsageError(f"--text takes one or two columns, got {len(self.text)}.")
        if len(set(self.text)) < len(self.text):
            raise UsageError(f"--text takes two different columns, got {self.text[0]!r} twice.")

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.text


@dataclass(frozen=True, kw_only=True)
class SentenceSpec(TextSpec):
    """A specification of text data, one or two columns, for a pretrained sentence encoder."""

    benchmark = "sentences"
    encoders: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True, kw_only=True)
class ImageSpec(UserDataSpec):
    """A specification of image data: column of image paths, and handling of broken images."""

    benchmark = "images"
    location_options: ClassVar[tuple[str, ...]] = ("data", "split_file", "image_root")
    title = "images"
    selector = "image"
    extra_options: ClassVar[tuple[str, ...]] = ("encoder", "image_size", "channels_last")
    image: str = option(
        "Column of image paths, relative to the folder DATA.", ..., "COLUMN", cli_default=None
    )
    skip_broken: bool = option(_SKIP_BROKEN, False)

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.image,)


@dataclass(frozen=True, kw_only=True)
class SeriesSpec(UserDataSpec):
    """A specification of time-series data: past target and features forecast the future target."""

    benchmark = "series"
    title = "a series"
    selector = "window"
    encoders: ClassVar[tuple[str, ...]] = ("gru", "conv")
    group: str | None = None  # also tells series apart, so a split column does not exclude it
    window: int = option("Forecast a series from this many readings.", ..., min=1, cli_default=None)
    horizon: int | None = option("Readings from the window's last to the target (1).", min=1)
    repeated_times: RepeatedTimes | None = option(
        "Readings whose time repeats with other values: error (default), or mean to merge them.",
        requires="time",
    )
    features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if min(self.window, 1 if self.horizon is None else self.horizon) < 1:
            raise UsageError("--window and --horizon count readings: give integers of at least 1.")
        if self.split_by == "random":
            raise UsageError(
                "Windows of a series overlap, so a random split would test on training data: add "
                "--split-by time or day, or --group."
            )
        super().__post_init__()

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.target, *self.features)))

    @property
    def split_method(self) -> SplitMethod:
        method = super().split_method
        return "time" if method == "random" else method


_BENCHMARK_TYPES = (StsBSpec, SentimentSpec, GlucoseSpec, AgeDbSpec, ImdbWikiSpec)
_USER_TYPES = (TableSpec, TextSpec, SentenceSpec, ImageSpec, SeriesSpec)
SPEC_TYPES: dict[str, type[DataSpec]] = {
    kind.benchmark: kind for kind in (*_BENCHMARK_TYPES, *_USER_TYPES)
}


def user_data_options() -> set[str]:
    """Return the names of all options that describe user data."""
    names = {item.name for kind in _USER_TYPES for item in fields(kind)}
    return names.union(*(kind.extra_options for kind in _USER_TYPES))


def make_user_spec(options: Mapping[str, Any]) -> UserDataSpec:
    """Create a specification of user data from a mapping of command-line options.

    Args:
        options: fields of the specification, of :class:`DataLocation` and ``extra_options``;
            ``None``, False and empty values count as not set.

    Raises:
        UsageError: options that contradict each other, or that do nothing for this modality.
    """
    options = {
        name: value
        for name, value in options.items()
        if name == "balanced" or not (value is None or value is False or value == ())
    }
    kinds: list[type[UserDataSpec]] = [
        kind for kind in (TextSpec, ImageSpec, SeriesSpec) if kind.selector in options
    ]
    if len(kinds) > 1:
        first, second = (option_name(str(kind.selector)) for kind in kinds[:2])
        raise UsageError(f"{first} and {second} both select the inputs: give one of them.")
    kind = kinds[0] if kinds else TableSpec
    encoder = options.get("encoder")
    if kind is TextSpec and encoder not in (None, *kind.encoders):
        kind = SentenceSpec
    names = {item.name for item in fields(kind)}
    reject_unused(options, {*names, *kind.location_options, *kind.extra_options}, kind.title)
    built_in = {name for each in _USER_TYPES for name in each.encoders}
    known = encoder in kind.encoders if kind.encoders else encoder not in built_in
    if encoder is not None and not known:
        choice = " or ".join(kind.encoders) or "an encoder of the Hugging Face hub"
        raise UsageError(f"--encoder {encoder} does not support {kind.title}: choose {choice}.")
    return kind(**{name: value for name, value in options.items() if name in names})


def reject_unused(options: Iterable[str], used: Collection[str], context: str) -> None:
    """Raise a UsageError for the first option that is set but not in ``used``."""
    for name in options:
        if name not in used:
            needs = {
                kind.selector
                for kind in _USER_TYPES
                if name in (*kind.location_options, *kind.extra_options, *kind.__annotations__)
            }
            remedy = f", or add {option_name(str(*needs))}" if len(needs) == 1 else ""
            raise UsageError(f"{option_name(name)} has no effect on {context}: remove it{remedy}.")


def option_name(name: str) -> str:
    """Return the command-line option of a field: ``--max-per-bin`` for ``max_per_bin``."""
    return "--" + name.replace("_", "-")
