"""Options that commands share, in groups: a command that takes a group has all its options."""

from __future__ import annotations

import csv
import dataclasses
import functools
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from ranksim.exceptions import UsageError

if TYPE_CHECKING:
    from ranksim.experiments.sweep_request import BenchRequest

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="CSV, TSV, Parquet, a folder of images with a table, or a Hugging Face data set.",
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option(help="Folder for results; what is finished there is kept.")]
Jobs = Annotated[int, typer.Option(min=1, help="Runs side by side, one thread each.")]
Engine = Annotated[
    Literal["processes", "ray"],
    typer.Option(help="What runs train in: this machine, or a Ray cluster (extra: ray)."),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder that holds the data. Default: RANKSIM_DATA, then a verified download."
    ),
]
Preset = Annotated[
    Literal["small", "paper"],
    typer.Option(help="small: a CPU in minutes; paper: as published, a GPU's work."),
]
Protocol = Annotated[
    Literal["extrapolation", "interpolation", "blindspot"] | None,
    typer.Option(help="Train on a part of the labels, test on all: a zero-shot protocol."),
]
TestPerBin = Annotated[
    int | None, typer.Option(min=1, help="With --protocol: test samples per label bin (50).")
]
SkipBroken = Annotated[
    bool, typer.Option("--skip-broken", help="Leave out images that cannot be read, and say so.")
]
CacheDir = Annotated[
    Path | None,
    typer.Option(help="Folder for decoded images. Default: RANKSIM_CACHE, then the user's cache."),
]
ChannelsLast = Annotated[
    bool | None,
    typer.Option(
        "--channels-last/--no-channels-last",
        help="Lay images out with channels last. Default: on a CPU.",
    ),
]
DropLabels = Annotated[
    str | None,
    typer.Option(
        help="Leave labels out of training and validation, as 30-40,>80, and test on them."
    ),
]
Many = Annotated[int | None, typer.Option(min=1, help="Many-shot bins have more training samples.")]
Few = Annotated[int | None, typer.Option(min=1, help="Few-shot bins have fewer training samples.")]
Named = Annotated[
    list[str] | None,
    typer.Option(help="A region of your own, as --region 'hypoglycaemia=<70'; repeatable."),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Write one JSON document to stdout, all else to stderr.")
]


class Group:
    """Options whose names are those of fields of a ``BenchRequest``."""

    def asked(self) -> dict[str, Any]:
        """Arguments of a ``BenchRequest``."""
        return dict(vars(self))


@dataclass
class RunOptions(Group):
    """How a run is trained."""

    change: Annotated[
        list[str] | None, typer.Option("--set", help="Override a recipe field: --set lr=5e-4.")
    ] = None
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", help="Recipes by method, as ranksim tune writes them."),
    ] = None
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="End each training after these steps.")
    ] = None
    max_epochs: Annotated[
        int | None, typer.Option(min=1, help="End each training after these validations.")
    ] = None

    def asked(self) -> dict[str, Any]:
        asked = super().asked()
        return asked | {"changes": tuple(asked.pop("change") or ())}


@dataclass
class SweepOptions(RunOptions):
    """How runs are trained."""

    jobs: Jobs = 1
    engine: Engine = "processes"


@dataclass
class HardwareOptions(Group):
    """What trains."""

    accelerator: Annotated[str, typer.Option(help="For Lightning: auto, cpu, gpu, mps …")] = "auto"
    devices: Annotated[str, typer.Option(help="For Lightning: how many devices, or which.")] = "1"
    num_nodes: Annotated[int, typer.Option(min=1, help="Machines that train together.")] = 1
    precision: Annotated[
        str, typer.Option(help="For Lightning: 32-true, bf16-mixed, 16-mixed, 64-true …")
    ] = "32-true"
    gather: Annotated[
        bool, typer.Option("--gather", help="RankSim ranks the samples of all devices together.")
    ] = False
    compile: Annotated[bool, typer.Option("--compile", help="Compile the network.")] = False


@dataclass
class MethodOptions:
    """What ``ranksim bench`` compares."""

    methods: Annotated[
        str, typer.Option(help="Names parted by commas (ranksim methods lists them), or all.")
    ] = "vanilla,vanilla+ranksim"
    seeds: Annotated[str, typer.Option(help="A number K (seeds 0 to K − 1), or seeds: 3,5,8.")] = (
        "5"
    )


@dataclass
class CompareOptions(MethodOptions):
    """What ``ranksim compare`` compares."""

    methods: Annotated[
        str, typer.Option(help="Names parted by commas (ranksim methods lists them), or all.")
    ] = "vanilla,sqinv,inv,vanilla+lds,vanilla+fds,focal-r,rrt,vanilla+ranksim"


@dataclass
class BudgetOptions(Group):
    """How long a comparison may take."""

    budget: Annotated[
        str | None,
        typer.Option(help="Time for all of it, as 10m, 90s or 2h: as many seeds as fit."),
    ] = None

    def asked(self) -> dict[str, Any]:
        from ranksim.experiments.user_data import seconds_of

        return {"budget": None if self.budget is None else seconds_of(self.budget)}


@dataclass
class LabelGapOptions(Group):
    """Gaps in the training labels, of any benchmark."""

    drop_labels: DropLabels = None

    def asked(self) -> dict[str, Any]:
        from ranksim.experiments.user_data import ranges_of

        if self.drop_labels is None:
            return {}
        return {"options": {"drop_labels": ranges_of(self.drop_labels)}}


@dataclass
class TuneOptions:
    """What ``ranksim tune`` searches."""

    method: Annotated[str, typer.Option(help="One name; ranksim methods lists them.")]
    trials: Annotated[
        int, typer.Option(min=1, help="Settings to try, earlier commands' included.")
    ] = 20
    fields: Annotated[
        str,
        typer.Option(
            help="Recipe fields to search, parted by commas. Default: all the method uses."
        ),
    ] = ""
    seeds: Annotated[str, typer.Option(help="A number K (seeds 0 to K − 1), or seeds: 3,5,8.")] = (
        "2"
    )


@dataclass
class StsBOptions(Group):
    """STS-B-DIR's own."""

    split: Annotated[
        Literal["borealis", "yang"],
        typer.Option(help="Which of the two published splits: RankSim's, or the first one."),
    ] = "borealis"
    preset: Preset = "small"
    data_dir: DataDir = None
    shots: Annotated[
        Literal["published", "rule"],
        typer.Option(help="Regions by the published list, or by counts (100 and 20)."),
    ] = "published"
    glove: Annotated[
        Path | None, typer.Option(help="GloVe 840B.300d text file, for the preset paper.")
    ] = None

    def asked(self) -> dict[str, Any]:
        asked = super().asked()
        return asked | {"options": {"split": asked.pop("split")}}


@dataclass
class SentimentOptions(Group):
    """Sentiment-DIR's own."""

    domains: Annotated[
        str, typer.Option(help="Any of tweets,amazon,movies,nyt, parted by commas.")
    ] = "tweets,amazon"
    data_dir: DataDir = None

    def asked(self) -> dict[str, Any]:
        return {"data_dir": self.data_dir, "options": {"domains": split_csv(self.domains)}}


@dataclass
class NetworkOptions(Group):
    """Which network reads images."""

    encoder: Annotated[
        str | None,
        typer.Option(
            help="resnet18, resnet34, resnet50, or a pretrained vision model of the hub. "
            "Default: the preset's."
        ),
    ] = None
    image_size: Annotated[
        int | None, typer.Option(min=1, help="Side in pixels. Default: the preset's.")
    ] = None
    channels_last: ChannelsLast = None

    def asked(self) -> dict[str, Any]:
        own = {"encoder": self.encoder, "image_size": self.image_size}
        changes = tuple(f"{name}={value}" for name, value in own.items() if value is not None)
        return {"channels_last": self.channels_last, "changes": changes}


@dataclass
class ImageOptions(Group):
    """What all data sets of images take."""

    protocol: Protocol = None
    skip_broken: SkipBroken = False
    cache_dir: CacheDir = None

    def asked(self) -> dict[str, Any]:
        asked = super().asked()
        return asked | {"options": {"protocol": asked.pop("protocol")}}


@dataclass
class AgeOptions(Group):
    """What AgeDB-DIR and IMDB-WIKI-DIR take."""

    preset: Preset = "paper"
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder that ranksim data prepare was given as --root. Default: RANKSIM_DATA."
        ),
    ] = None
    split_file: Annotated[
        Path | None, typer.Option(help="The split file, where it is not in that folder.")
    ] = None

    def asked(self) -> dict[str, Any]:
        asked = super().asked()
        return asked | {"files": {"split_file": asked.pop("split_file")}}


@dataclass
class UserInputOptions(Group):
    """Which columns of anyone's data are read, and by what."""

    target: Annotated[str, typer.Option(help="Column of the number to predict.")]
    features: Annotated[
        str, typer.Option(help="Columns of inputs, parted by commas. Default: all others.")
    ] = ""
    categories: Annotated[
        str, typer.Option(help="Columns of names that look like numbers, parted by commas.")
    ] = ""
    text: Annotated[str, typer.Option(help="One or two columns of texts: a, or a,b.")] = ""
    image: Annotated[
        str | None, typer.Option(help="Column of paths of images, relative to the folder DATA.")
    ] = None
    image_root: Annotated[
        Path | None, typer.Option(help="Folder of the images, where DATA is a table elsewhere.")
    ] = None
    window: Annotated[
        int | None, typer.Option(min=1, help="Readings of a series that a forecast sees.")
    ] = None
    horizon: Annotated[
        int | None, typer.Option(min=1, help="Readings from the last of them to the target: 1.")
    ] = None
    time: Annotated[str | None, typer.Option(help="Column of the time.")] = None
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Tables: mlp. Texts: bilstm, or a sentence encoder of the hub. Images: resnet18, "
            "resnet34, resnet50, or a vision model of the hub. Series: gru, conv."
        ),
    ] = None
    image_size: Annotated[
        int | None, typer.Option(min=1, help="Side of images in pixels. Default: 64.")
    ] = None
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave out rows without a target.")
    ] = False
    skip_broken: SkipBroken = False
    cache_dir: CacheDir = None
    channels_last: ChannelsLast = None

    def asked(self) -> dict[str, Any]:
        given = dict(vars(self))
        kept = ("encoder", "image_size", "skip_broken", "cache_dir", "channels_last")
        asked = {name: given.pop(name) for name in kept}
        asked["files"] = {"image_root": given.pop("image_root")}
        for name in ("features", "categories", "text"):
            given[name] = split_csv(given[name])
        return asked | {"options": given}


@dataclass
class UserSplitOptions(Group):
    """How anyone's data is split, and its label axis cut."""

    split: Annotated[
        str | None,
        typer.Option(
            help="Column of train, val, test. Default: split, where it says so of each row; else "
            "the split is drawn."
        ),
    ] = None
    split_by: Annotated[
        Literal["random", "group", "time", "day"] | None,
        typer.Option(help="What a split is drawn by. Default: random; of a series, time."),
    ] = None
    group: Annotated[
        str | None, typer.Option(help="Column whose equal values stay in one part.")
    ] = None
    balanced: Annotated[
        bool,
        typer.Option(help="Balance validation and test over label bins, as published."),
    ] = True
    cap: Annotated[
        int | None, typer.Option(min=1, help="Most samples of a bin in validation, and in test.")
    ] = None
    protocol: Protocol = None
    test_per_bin: TestPerBin = None
    split_seed: Annotated[
        int | None, typer.Option(min=0, help="Of a drawn split. Default: 666.")
    ] = None
    bin_width: Annotated[
        float | None, typer.Option(help="Width of label bins. Default: what inspect suggests.")
    ] = None
    many: Many = None
    few: Few = None
    region: Named = None

    def asked(self) -> dict[str, Any]:
        asked = super().asked()
        return {"options": asked | {"region": tuple(asked.pop("region") or ())}}


@dataclass
class GlucoseOptions(Group):
    """The glucose data set's own."""

    horizon: Annotated[
        int, typer.Option(help="Minutes ahead that are forecast, a multiple of 5.")
    ] = 30
    data_dir: DataDir = None

    def asked(self) -> dict[str, Any]:
        return {"data_dir": self.data_dir, "options": {"horizon": self.horizon}}


# what each benchmark is, and its own options
BENCHMARKS: dict[str, tuple[str, tuple[type[Group], ...]]] = {
    "sts-b-dir": (
        "Sentence pairs with a similarity of 0..5 (5,249 / 1,000 / 1,000 pairs).",
        (StsBOptions,),
    ),
    "sentiment-dir": (
        "Sentences with human-rated sentiment in −4..4; strong feelings are rare.",
        (SentimentOptions,),
    ),
    "glucose": (
        "Blood glucose 30 minutes ahead (one person, 52,281 readings); lows are rare.",
        (GlucoseOptions,),
    ),
    "agedb-dir": (
        "Faces with an age (12,208 / 2,140 / 2,140); first: ranksim data prepare agedb-dir.",
        (AgeOptions, ImageOptions, NetworkOptions),
    ),
    "imdb-wiki-dir": (
        "Faces with an age (191,509 / 11,022 / 11,022); first: ranksim data prepare imdb-wiki-dir.",
        (AgeOptions, ImageOptions, NetworkOptions),
    ),
}


def request(benchmark: str, out: Path, methods: str, seeds: str, *groups: Group) -> BenchRequest:
    """A bench request from groups of options."""
    from ranksim.experiments.sweep_request import BenchRequest

    given: dict[str, Any] = {"jobs": 1}
    for group in groups:
        asked = group.asked()
        # later groups add to what earlier ones say of these
        options = given.get("options", {}) | asked.pop("options", {})
        changes = given.get("changes", ()) + asked.pop("changes", ())
        files = {**given.get("files", {}), **asked.pop("files", {})}
        given |= asked | {"options": options, "changes": changes, "files": files}
    settings: dict[str, str] = {}
    for change in given["changes"]:
        name, _, value = change.partition("=")
        if settings.setdefault(name, value) != value:
            raise UsageError(f"{name} is set to {settings[name]} and to {value}: set it once.")
    return BenchRequest(benchmark=benchmark, out=out, methods=methods, seeds=seeds, **given)


def print_json(result: Any, as_json: bool) -> None:
    """What a command came to, where it is asked for as JSON."""
    if as_json:
        typer.echo(json.dumps(result, indent=1, ensure_ascii=False))


def with_options(*groups: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options that these dataclasses list; it is called with them filled in.

    The command takes the groups in this order, and options of its own by keyword alone. Of an
    option that two groups list, the first one's help and default count.
    """
    hints = {group: get_type_hints(group, include_extras=True) for group in groups}
    listed = {
        group: [_parameter(item, hints[group][item.name]) for item in dataclasses.fields(group)]
        for group in groups
    }

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        parameters = inspect.signature(command, eval_str=True).parameters.values()
        own = [each for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY]
        named: dict[str, inspect.Parameter] = {}
        for each in (*(each for group in groups for each in listed[group]), *own):
            named.setdefault(each.name, each)
        # what must be given comes first
        every = sorted(named.values(), key=lambda p: p.default is not inspect.Parameter.empty)

        @functools.wraps(command)
        def filled(**given: Any) -> None:
            values = [
                group(**{each.name: given[each.name] for each in listed[group]}) for group in groups
            ]
            command(*values, **{each.name: given[each.name] for each in own})

        filled.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
        filled.__annotations__ = {each.name: each.annotation for each in every}
        del filled.__wrapped__
        return filled

    return decorate


def _parameter(item: dataclasses.Field[Any], annotation: Any) -> inspect.Parameter:
    missing = item.default is dataclasses.MISSING
    return inspect.Parameter(
        item.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if missing else item.default,
        annotation=annotation,
    )


def split_csv(text: str) -> tuple[str, ...]:
    """Words parted by commas; one that holds a comma stands in double quotes.

    Example:
        >>> split_csv('size, "height, cm"')
        ('size', 'height, cm')
    """
    words = (word for line in csv.reader([text], skipinitialspace=True) for word in line)
    return tuple(word.strip() for word in words if word.strip())
