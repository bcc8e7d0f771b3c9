"""Options that several commands share, in groups that a command takes as a whole."""

from __future__ import annotations

import csv
import dataclasses
import functools
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args, get_type_hints

import typer

from ranksim.exceptions import UsageError

ProtocolName = Literal["extrapolation", "interpolation", "blindspot"]
PresetName = Literal["small", "paper"]
Layout = Literal["auto", "yes", "no"]
Regions = list[str] | None
_METAVARS: dict[Any, str] = {int: "N", float: "X", Path: "PATH", str: "TEXT", bool: ""}
_SECONDS = {"s": 1, "m": 60, "h": 3600}
PRESET = "small: minutes on a CPU. paper: the published settings, for a GPU."
PROTOCOL = "Zero-shot protocol: extrapolation, interpolation or blindspot."
TEST_PER_BIN = "Test samples per label bin under --protocol (50)."
MAX_PER_BIN = "Most samples of a bin in validation, and in test."
SPLIT_SEED = "Seed of a drawn split (666)."
BIN_WIDTH = "Width of label bins. Default: as inspect suggests."
DATA_DIR = "Folder with the data. Default: RANKSIM_DATA, then a verified download."
IMAGE_ROOT = "Folder of the images, if DATA is a table elsewhere."
SKIP_BROKEN = "Leave out images that cannot be read."
CACHE_DIR = "Folder for decoded images. Default: RANKSIM_CACHE, then the user cache."
LAYOUT = "Channels-last memory layout of images: yes, no, or auto (yes on a CPU)."
DROP_LABELS = "Leave these labels out of training and validation, such as 30-40,>80."
MANY = "Many-shot bins have more training samples than this."
FEW = "Few-shot bins have fewer training samples than this."
REGION = "A further region of labels, such as low=<70; repeatable."
SEEDS = "A number K (seeds 0 to K - 1), or a list of seeds such as 3,5,8."
METHOD = "One name; see ranksim methods."
METHODS = "Names separated by commas (see ranksim methods), or all."
ACCELERATOR = "Lightning's accelerator: auto, cpu, gpu, mps."
PRECISION = "Lightning's precision: 32-true, bf16-mixed, 16-mixed, 64-true."
DATA = "CSV, TSV or Parquet file, folder with such a table, or Hugging Face data set."

Data = Annotated[str, typer.Argument(metavar="DATA", help=DATA, show_default=False)]
Out = Annotated[
    Path, typer.Option(help="Folder for results; finished runs in it are kept.", metavar="PATH")
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Write one JSON document to stdout, all else to stderr.")
]


def option(text: str, default: Any = None, metavar: str | None = None, **settings: Any) -> Any:
    """Declare an option as a field of a group.

    Args:
        text: its help.
        default: its value if it is not given; ``...`` if it must be given.
        metavar: its type in the help; by default that of the field.
        **settings: ``name``, such as ``--set``, and what ``typer.Option`` takes.
    """
    metadata = {"help": text, "metavar": metavar, **settings}
    if default is ...:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(kw_only=True)
class Group:
    """Options of a command, under one heading of its help."""

    panel: ClassVar[str] = "Options"

    def values(self) -> dict[str, Any]:
        """Return the values by option name, parsed."""
        return dict(vars(self))


@dataclass(kw_only=True)
class MethodOptions(Group):
    """Methods, seeds and time limit of ``ranksim bench``."""

    panel = "Methods"
    methods: str = option(METHODS, "vanilla,vanilla+ranksim")
    seeds: str = option(SEEDS, "5")
    budget: str | None = option("Time for everything, such as 10m: as many seeds as fit.")

    def values(self) -> dict[str, Any]:
        budget = None if self.budget is None else parse_seconds(self.budget)
        return super().values() | {"budget": budget}


@dataclass(kw_only=True)
class CompareOptions(MethodOptions):
    """Methods, seeds and time limit of ``ranksim compare``."""

    methods: str = option(
        METHODS, "vanilla,sqinv,inv,vanilla+lds,vanilla+fds,focal-r,rrt,vanilla+ranksim"
    )


@dataclass(kw_only=True)
class FitOptions(Group):
    """Method and seed of ``ranksim fit``."""

    panel = "Methods"
    method: str = option(METHOD, "vanilla+ranksim")
    seed: int = option("Random seed.", 0, min=0, max=2**32 - 1)


@dataclass(kw_only=True)
class TuneOptions(Group):
    """Method and search of ``ranksim tune``."""

    panel = "Methods"
    method: str = option(METHOD, ...)
    trials: int = option("Settings to try, including those of earlier commands.", 20, min=1)
    fields: str = option("Recipe fields to search, such as lr,gamma. Default: all in use.", "")
    seeds: str = option(SEEDS, "2")


@dataclass(kw_only=True)
class RunOptions(Group):
    """Training options of one run."""

    panel = "Training"
    changes: list[str] | None = option(
        "Change a recipe field, such as lr=5e-4.", None, "FIELD=VALUE", name="--set"
    )
    recipe_file: Path | None = option("Recipes by method, from ranksim tune.", name="--recipe")
    max_steps: int | None = option("End each training after this many steps.", min=1)
    max_epochs: int | None = option("End each training after this many validations.", min=1)

    def values(self) -> dict[str, Any]:
        return super().values() | {"changes": tuple(self.changes or ())}


@dataclass(kw_only=True)
class SweepOptions(RunOptions):
    """Training options of several runs."""

    jobs: int = option("Runs side by side, one thread each.", 1, min=1)
    engine: Literal["processes", "ray"] = option(
        "Where runs train: processes of this machine, or a ray cluster.", "processes"
    )


@dataclass(kw_only=True)
class TrainerOptions(Group):
    """Hardware and precision; the names are fields of ``TrainerConfig``."""

    panel = "Hardware"
    accelerator: str = option(ACCELERATOR, "auto")
    devices: str = option("Number of devices, or a list of them.", "1")
    num_nodes: int = option("Number of machines that train together.", 1, min=1)
    precision: str = option(PRECISION, "32-true")
    gather_across_devices: bool = option("Rank samples of all devices together.", False)
    compile: bool = option("Compile the network.", False)


@dataclass(kw_only=True)
class DataOptions(Group):
    """Options of all data sets."""

    panel = "Data"
    drop_labels: str | None = option(DROP_LABELS, None, "RANGES")

    def values(self) -> dict[str, Any]:
        return super().values() | {"drop_labels": parse_drop_labels(self.drop_labels)}


@dataclass(kw_only=True)
class StsBOptions(DataOptions):
    """Options of STS-B-DIR."""

    split: Literal["borealis", "yang"] = option(
        "Published split: borealis (RankSim's) or yang (the first one).", "borealis"
    )
    preset: PresetName = option(PRESET, "small")
    data_dir: Path | None = option(DATA_DIR)
    regions_from: Literal["published", "rule"] = option(
        "Shot regions: the published list, or the rule of counts (100 and 20).", "published"
    )
    glove: Path | None = option("GloVe 840B.300d text file, for the preset paper.")


@dataclass(kw_only=True)
class SentimentOptions(DataOptions):
    """Options of Sentiment-DIR."""

    domains: str = option("Any of tweets, amazon, movies and nyt.", "tweets,amazon")
    data_dir: Path | None = option(DATA_DIR)

    def values(self) -> dict[str, Any]:
        return super().values() | {"domains": split_csv(self.domains)}


@dataclass(kw_only=True)
class GlucoseOptions(DataOptions):
    """Options of the glucose benchmark."""

    horizon: int = option("Minutes to forecast ahead, a multiple of 5.", 30)
    data_dir: Path | None = option(DATA_DIR)


@dataclass(kw_only=True)
class ImageOptions(DataOptions):
    """Options of all image data."""

    protocol: ProtocolName | None = option(PROTOCOL)
    skip_broken: bool = option(SKIP_BROKEN, False)
    cache_dir: Path | None = option(CACHE_DIR)


@dataclass(kw_only=True)
class AgeOptions(ImageOptions):
    """Options of AgeDB-DIR and IMDB-WIKI-DIR."""

    preset: PresetName = option(PRESET, "paper")
    data_dir: Path | None = option("The --root of ranksim data prepare. Default: RANKSIM_DATA.")
    split_file: Path | None = option("Split file, if it is not in that folder.")


@dataclass(kw_only=True)
class NetworkOptions(Group):
    """The network that reads images."""

    panel = "Network"
    encoder: str | None = option("resnet18, resnet34, resnet50, or a vision model of the hub.")
    image_size: int | None = option("Side in pixels. Default: the preset's.", min=1)
    channels_last: Layout = option(LAYOUT, "auto")


@dataclass(kw_only=True)
class UserInputOptions(ImageOptions):
    """Columns of user data, and the network that reads them."""

    target: str = option("Column of the number to predict.", ..., "COLUMN")
    features: str = option(
        "Input columns, separated by commas. Default: all others.", "", "COLUMNS"
    )
    categories: str = option("Input columns of names that look like numbers.", "", "COLUMNS")
    text: str = option("One or two columns of texts: a, or a,b.", "", "COLUMNS")
    image: str | None = option(
        "Column of image paths, relative to the folder DATA.", None, "COLUMN"
    )
    image_root: Path | None = option(IMAGE_ROOT)
    window: int | None = option("Forecast a series from this many readings.", min=1)
    horizon: int | None = option("Readings from the window's last to the target (1).", min=1)
    time: str | None = option("Column of the time.", None, "COLUMN")
    skip_missing: bool = option("Leave out rows without a target.", False)
    encoder: str | None = option(
        "Table: mlp. Texts: bilstm, or a sentence encoder of the hub. Images: resnet18, "
        "resnet34, resnet50, or a vision model of the hub. Series: gru, conv."
    )
    image_size: int | None = option("Side of images in pixels (64).", min=1)
    channels_last: Layout = option(LAYOUT, "auto")

    def values(self) -> dict[str, Any]:
        columns = ("features", "categories", "text")
        return super().values() | {name: split_csv(getattr(self, name)) for name in columns}


@dataclass(kw_only=True)
class UserSplitOptions(Group):
    """The split of user data, and its label bins."""

    panel = "Split and regions"
    split: str | None = option(
        "Column of train, val and test. Default: split, if it names all three; otherwise a "
        "split is drawn.",
        metavar="COLUMN",
    )
    split_by: Literal["random", "group", "time", "day"] | None = option(
        "Draw the split by: random (default), group, day or time (default of a series)."
    )
    group: str | None = option("Column whose equal values stay in one part.", None, "COLUMN")
    no_balanced: bool = option("Do not balance validation and test over label bins.", False)
    max_per_bin: int | None = option(MAX_PER_BIN, min=1)
    test_per_bin: int | None = option(TEST_PER_BIN, min=1)
    split_seed: int | None = option(SPLIT_SEED, min=0)
    bin_width: float | None = option(BIN_WIDTH)
    many: int | None = option(MANY, min=1)
    few: int | None = option(FEW, min=1)
    region: Regions = option(REGION, None, "NAME=RANGE")

    def values(self) -> dict[str, Any]:
        values = super().values() | {"region": tuple(self.region or ())}
        return values | {"balanced": not values.pop("no_balanced")}


# one command of bench and tune per benchmark: its help and its options
BENCHMARKS: dict[str, tuple[str, tuple[type[Group], ...]]] = {
    "sts-b-dir": (
        "Sentence pairs with a similarity of 0..5 (5,249 / 1,000 / 1,000 pairs).",
        (StsBOptions,),
    ),
    "sentiment-dir": (
        "Sentences with a human-rated sentiment in -4..4; strong sentiments are rare.",
        (SentimentOptions,),
    ),
    "glucose": (
        "Blood glucose 30 minutes ahead (one person, 52,281 readings); low values are rare.",
        (GlucoseOptions,),
    ),
    "agedb-dir": (
        "Faces with ages (12,208 / 2,140 / 2,140); needs ranksim data prepare agedb-dir.",
        (AgeOptions, NetworkOptions),
    ),
    "imdb-wiki-dir": (
        "Faces with ages (191,509 / 11,022 / 11,022); needs ranksim data prepare imdb-wiki-dir.",
        (AgeOptions, NetworkOptions),
    ),
}


def with_options(
    *groups: type[Group], first: tuple[str, ...] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of these groups; it is called with the groups filled in.

    The command takes the groups in this order, and its own options by keyword. If two groups have
    an option, help and default of the first one count.

    Args:
        groups: the groups.
        first: names of the options that the help lists first, under no heading.
    """
    names = {group: [item.name for item in dataclasses.fields(group)] for group in groups}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True).parameters.values()
        direct = [param for param in signature if param.kind is inspect.Parameter.KEYWORD_ONLY]
        params = {param.name: param for param in direct}
        for group in groups:
            for param in _parameters(group, first):
                params.setdefault(param.name, param)
        order = [params.pop(name) for name in first] + list(params.values())
        order.sort(key=lambda param: param.default is not inspect.Parameter.empty)

        @functools.wraps(command)
        def filled(**values: Any) -> None:
            built = [group(**{name: values[name] for name in names[group]}) for group in groups]
            command(*built, **{param.name: values[param.name] for param in direct})

        filled.__signature__ = inspect.Signature(order)  # type: ignore[attr-defined]
        filled.__annotations__ = {param.name: param.annotation for param in order}
        del filled.__wrapped__
        return filled

    return decorate


def _parameters(group: type[Group], first: tuple[str, ...]) -> list[inspect.Parameter]:
    """Return the parameters of a command that fill a group.

    Types are shortened to one word, as typer would list all choices in a column of the help.
    """
    hints, params = get_type_hints(group), []
    for item in dataclasses.fields(group):
        hint, metadata = hints[item.name], dict(item.metadata)
        types = [t for t in (hint, *get_args(hint)) if t is not type(None)]
        short = next((_METAVARS[t] for t in types if t in _METAVARS), "WORD")
        metadata["metavar"] = short if metadata["metavar"] is None else metadata["metavar"]
        name = metadata.pop("name", "--" + item.name.replace("_", "-"))
        panel = None if item.name in first else group.panel
        missing = item.default is dataclasses.MISSING
        params.append(
            inspect.Parameter(
                item.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if missing else item.default,
                annotation=Annotated[hint, typer.Option(name, rich_help_panel=panel, **metadata)],
            )
        )
    return params


def set_options(*groups: Group) -> dict[str, Any]:
    """Return the options of these groups whose value is not their default."""
    return {
        item.name: getattr(group, item.name)
        for group in groups
        for item in dataclasses.fields(group)
        if getattr(group, item.name) != item.default
    }


def print_json(content: Any, as_json: bool) -> None:
    """Print the result of a command as JSON, if ``--json`` is given."""
    if as_json:
        typer.echo(json.dumps(content, indent=1, ensure_ascii=False))


def split_csv(text: str) -> tuple[str, ...]:
    """Split words at commas; a word with a comma is put in double quotes.

    Example:
        >>> split_csv('size, "height, cm"')
        ('size', 'height, cm')
    """
    words = (word for line in csv.reader([text], skipinitialspace=True) for word in line)
    return tuple(word.strip() for word in words if word.strip())


def parse_seconds(text: str) -> float:
    """Parse a time such as ``10m`` to seconds.

    Raises:
        UsageError: not a time.

    Example:
        >>> parse_seconds("10m"), parse_seconds("90s"), parse_seconds("1.5h")
        (600.0, 90.0, 5400.0)
    """
    number, unit = text.strip()[:-1], text.strip()[-1:].lower()
    try:
        seconds = float(number) * _SECONDS[unit]
    except (ValueError, KeyError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"--budget takes a time such as 10m, 90s or 2h, got {text!r}.")
    return seconds


def parse_drop_labels(text: str | None) -> tuple[str, ...]:
    """Parse ranges of labels, each in its shortest form.

    Raises:
        UsageError: not ranges.

    Example:
        >>> parse_drop_labels("30..40, > 80")
        ('30-40', '>80')
    """
    from ranksim.imbalance.label_range import parse_ranges

    try:
        return tuple(part.text for part in parse_ranges(text)) if text is not None else ()
    except ValueError as error:
        raise UsageError(f"--drop-labels {text!r}: {error}.") from error
