"""Specifications of data: one frozen class per benchmark and per modality of user data.

A specification identifies the data of a run and is recorded with its results. A
:class:`DataLocation` says where that data lies on this machine and is never recorded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

from ranksim.exceptions import UsageError

SplitRule = Literal["random", "group", "time", "day"]
DEFAULT_SEED = 666


@dataclass(frozen=True)
class DataLocation:
    """The place of a run's data on this machine.

    Args:
        data: user data: a table, a folder or the name of a Hugging Face data set.
        data_dir: folder of a benchmark's data.
        image_root: folder that the image paths of user data are relative to.
        split_file: split file of an age benchmark, if it is not in ``data_dir``.
        glove: text file of GloVe word vectors.
        encoder: folder of a pretrained encoder.
    """

    data: str | None = None
    data_dir: Path | None = None
    image_root: Path | None = None
    split_file: Path | None = None
    glove: Path | None = None
    encoder: str | None = None


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """The identity of a run's data.

    Args:
        drop_labels: ranges of labels that are left out of training and validation.
        regions_from: shot regions by the published list or by the rule of counts.
        table_sha256: first 16 digits of the SHA-256 of the table or split file, if there is one.
    """

    benchmark: ClassVar[str]  # name of the benchmark or modality in results
    location_options: ClassVar[tuple[str, ...]] = ("data_dir",)  # fields of DataLocation in use

    drop_labels: tuple[str, ...] = ()
    regions_from: Literal["published", "rule"] = "rule"
    table_sha256: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the specification as JSON values; options with a default only if they are set."""
        options = {
            item.name: _to_json(getattr(self, item.name))
            for item in fields(self)
            if item.name != "regions_from"
            and (item.default is MISSING or getattr(self, item.name) != item.default)
        }
        return {"benchmark": self.benchmark, "options": options, "regions_from": self.regions_from}

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> DataSpec:
        """Rebuild a specification from :meth:`to_dict`.

        Raises:
            KeyError: there is no such benchmark or modality, or a part is missing.
            TypeError: an option that this benchmark or modality does not have.

        Example:
            >>> spec = StsBSpec(split="yang", regions_from="published")
            >>> DataSpec.from_dict(spec.to_dict()) == spec
            True
        """
        values = content["options"].items()
        options: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values}
        return SPEC_TYPES[content["benchmark"]](**options, regions_from=content["regions_from"])


def _to_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True, kw_only=True)
class StsBSpec(DataSpec):
    """STS-B-DIR, by one of its two published splits."""

    benchmark = "sts-b-dir"
    location_options = ("data_dir", "glove")
    split: Literal["borealis", "yang"]


@dataclass(frozen=True, kw_only=True)
class SentimentSpec(DataSpec):
    """Sentiment-DIR, with sentences of these domains."""

    benchmark = "sentiment-dir"
    location_options = ("data_dir", "glove")
    domains: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class GlucoseSpec(DataSpec):
    """The glucose benchmark, forecasting this many minutes ahead."""

    benchmark = "glucose"
    horizon: int


@dataclass(frozen=True, kw_only=True)
class AgeDbSpec(DataSpec):
    """AgeDB-DIR; a zero-shot protocol replaces the published split."""

    benchmark = "agedb-dir"
    location_options = ("data_dir", "split_file")
    protocol: str | None = None
    skip_broken: bool = False


@dataclass(frozen=True, kw_only=True)
class ImdbWikiSpec(AgeDbSpec):
    """IMDB-WIKI-DIR; the same options as AgeDB-DIR."""

    benchmark = "imdb-wiki-dir"


def _option(*, excludes: tuple[str, ...] = (), requires: tuple[str, ...] = ()) -> Any:
    """Declare an option, unset by default, that does nothing beside or without others."""
    return field(default=None, metadata={"excludes": excludes, "requires": requires})


@dataclass(frozen=True, kw_only=True)
class UserDataSpec(DataSpec):
    """User data of any modality: target, split and label bins.

    Args:
        target: column of the label.
        time: column of the time.
        group: column whose equal values stay in one part.
        split: column of train, val and test.
        split_by: rule of a drawn split; by default ``group`` with a group column, ``time`` for a
            series, else ``random``.
        balanced: balance validation and test over label bins.
        max_per_bin: most samples of a bin in validation, and in test.
        protocol: zero-shot protocol that draws the split (:mod:`ranksim.data.splitting`).
        test_per_bin: test samples of a bin under a protocol (50).
        split_seed: seed of a drawn split (666).
        bin_width: width of the label bins; by default chosen for the labels.
        many: many-shot bins have more training samples than this.
        few: few-shot bins have fewer training samples than this.
        region: further regions, each as ``name=range``.
        skip_missing: leave out rows without a target.

    Raises:
        UsageError: options that contradict each other or do nothing.
    """

    location_options: ClassVar[tuple[str, ...]] = ("data",)
    title: ClassVar[str] = "user data"
    selector: ClassVar[str | None] = None  # the option that selects this modality
    encoders: ClassVar[tuple[str, ...]] = ()  # built-in networks; empty: encoders of the hub
    extra_options: ClassVar[tuple[str, ...]] = ("encoder",)  # of the recipe or the trainer

    target: str
    time: str | None = None
    group: str | None = _option(excludes=("split", "protocol"))
    split: str | None = _option(excludes=("protocol",))
    split_by: SplitRule | None = _option(excludes=("split", "protocol"))
    balanced: bool = True
    max_per_bin: int | None = _option(excludes=("split", "protocol"), requires=("balanced",))
    protocol: str | None = _option(excludes=("window",), requires=("balanced",))
    test_per_bin: int | None = _option(requires=("protocol",))
    split_seed: int | None = _option(excludes=("split",))
    bin_width: float | None = None
    many: int | None = None
    few: int | None = None
    region: tuple[str, ...] = ()
    skip_missing: bool = False

    def __post_init__(self) -> None:
        reject_idle_options(self)
        if self.target in self.inputs and not isinstance(self, SeriesSpec):
            raise UsageError(
                f"Column {self.target!r} is both the target and an input: leave it out of the "
                "inputs."
            )
        column = {"group": "group", "day": "time", "time": "time"}.get(self.split_by or "")
        ordered = isinstance(self, SeriesSpec) and self.split_by == "time"
        if column is not None and getattr(self, column) is None and not ordered:
            raise UsageError(f"--split-by {self.split_by} needs a column: give --{column}.")

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the input columns; empty if all other columns are inputs."""
        return ()

    @property
    def split_method(self) -> Literal["column", "random", "group", "time", "day", "protocol"]:
        """Name of the rule that assigns samples to parts."""
        if self.split is not None:
            return "column"
        if self.protocol is not None:
            return "protocol"
        return self.split_by or ("group" if self.group else "random")

    @property
    def seed(self) -> int:
        """Seed of a drawn split."""
        return DEFAULT_SEED if self.split_seed is None else self.split_seed


@dataclass(frozen=True, kw_only=True)
class TableSpec(UserDataSpec):
    """Columns of a table.

    Args:
        features: input columns; empty: all columns without another role.
        categories: input columns of names, even if they look like numbers.
    """

    benchmark = "table"
    title = "a table"
    encoders: ClassVar[tuple[str, ...]] = ("mlp",)
    features: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.features


@dataclass(frozen=True, kw_only=True)
class TextSpec(UserDataSpec):
    """One or two columns of texts, read by a BiLSTM."""

    benchmark = "text"
    title = "texts"
    selector = "text"
    encoders: ClassVar[tuple[str, ...]] = ("bilstm",)
    text: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.text) > 2:
            raise UsageError(f"--text takes one or two columns, got {len(self.text)}.")

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.text


@dataclass(frozen=True, kw_only=True)
class SentenceSpec(TextSpec):
    """One or two columns of texts, read by a pretrained sentence encoder."""

    benchmark = "sentences"
    encoders: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True, kw_only=True)
class ImageSpec(UserDataSpec):
    """A column of image paths; images that cannot be read are an error or left out."""

    benchmark = "images"
    location_options: ClassVar[tuple[str, ...]] = ("data", "image_root")
    title = "images"
    selector = "image"
    extra_options: ClassVar[tuple[str, ...]] = ("encoder", "image_size", "channels_last")
    image: str
    skip_broken: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.image,)


@dataclass(frozen=True, kw_only=True)
class SeriesSpec(UserDataSpec):
    """Windows of a series, whose target is forecast.

    Args:
        window: readings that a forecast sees.
        horizon: readings from the last of them to the target (1).
        features: columns read beside the target.
    """

    benchmark = "series"
    title = "a series"
    selector = "window"
    encoders: ClassVar[tuple[str, ...]] = ("gru", "conv")
    group: str | None = None  # also tells series apart, so a split column does not exclude it
    window: int
    horizon: int | None = None
    features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("window", "horizon"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise UsageError(f"--{name} is a number of readings of at least 1, got {number}.")
        if self.split_by == "random":
            raise UsageError(
                "Windows of a series overlap, so a random split would test on training data: give "
                "--split-by time or day, or --group."
            )
        super().__post_init__()

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.target, *self.features)))

    @property
    def split_method(self) -> Literal["column", "random", "group", "time", "day", "protocol"]:
        method = super().split_method
        return "time" if method == "random" else method


_USER_TYPES = (TableSpec, TextSpec, SentenceSpec, ImageSpec, SeriesSpec)
SPEC_TYPES: dict[str, type[DataSpec]] = {
    kind.benchmark: kind
    for kind in (StsBSpec, SentimentSpec, GlucoseSpec, AgeDbSpec, ImdbWikiSpec, *_USER_TYPES)
}


def make_user_spec(options: Mapping[str, Any]) -> UserDataSpec:
    """Build the specification of user data from command-line options by name.

    Args:
        options: fields of the specification, of :class:`DataLocation` and ``extra_options``;
            ``None``, False and empty values count as not set.

    Raises:
        UsageError: options that contradict each other, or that do nothing for this modality.

    Example:
        >>> make_user_spec({"target": "level", "window": 12, "time": None}).to_dict()["options"]
        {'target': 'level', 'window': 12}
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
        raise UsageError(f"--encoder {encoder} does not read {kind.title}: choose {choice}.")
    return kind(**{name: value for name, value in options.items() if name in names})


def reject_unused(options: Iterable[str], used: Collection[str], context: str) -> None:
    """Refuse the first of the set options that is not among the used ones.

    Raises:
        UsageError: naming the option, and the option that it needs, if there is exactly one.
    """
    for name in options:
        if name not in used:
            needs = {
                kind.selector
                for kind in _USER_TYPES
                if name in (*kind.location_options, *kind.extra_options, *kind.__annotations__)
            }
            remedy = f", or give {option_name(str(*needs))} too" if len(needs) == 1 else ""
            raise UsageError(
                f"{option_name(name)} does nothing with {context}: leave it out{remedy}."
            )


def reject_idle_options(spec: DataSpec) -> None:
    """Refuse options that do nothing beside or without another one, as their fields declare.

    Raises:
        UsageError: naming both.
    """
    for item in fields(spec):
        if getattr(spec, item.name) == item.default:
            continue
        name = option_name(item.name)
        for other in item.metadata.get("excludes", ()):
            if getattr(spec, other, None):
                raise UsageError(
                    f"{name} does nothing beside {option_name(other)}: leave one of the two out."
                )
        for other in item.metadata.get("requires", ()):
            if not getattr(spec, other):
                context = "with --no-" if other == "balanced" else "without --"
                context += other.replace("_", "-")
                raise UsageError(f"{name} does nothing {context}: change one of the two.")


def option_name(name: str) -> str:
    """Return the command-line option of a field.

    Example:
        >>> option_name("max_per_bin")
        '--max-per-bin'
    """
    return "--" + name.replace("_", "-")
