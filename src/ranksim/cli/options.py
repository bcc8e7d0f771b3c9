"""Declarations of all command-line options, and functions that build requests from them."""

from __future__ import annotations

import functools
import inspect
import json
import operator
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from ranksim.data import spec
from ranksim.data.spec import option
from ranksim.exceptions import UsageError

if TYPE_CHECKING:
    from ranksim.experiments.sweep_settings import SweepRequest
    from ranksim.training.data_source import DataSource
    from ranksim.training.trainer_config import TrainerConfig

PresetName = Literal["small", "paper"]
_METAVARS: dict[Any, str] = {int: "N", float: "X", Path: "PATH", str: "TEXT", bool: ""}
_UNRECORDED = ("--out", "--cache-dir")  # options with a value that decides no result
_REQUEST = (
    "methods", "seeds", "preset", "changes", "recipe_file", "jobs", "engine", "budget", "strict",
    "target_transform", "predictions", "name", "tune",
)  # fmt: skip
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_DATA = "CSV, TSV or Parquet file, folder with such a table, or Hugging Face data set."

Values = dict[str, Any]  # options by name, parsed
Data = Annotated[str, typer.Argument(metavar="DATA", help=_DATA, show_default=False)]
Out = Annotated[
    Path, typer.Option(help="Folder for results; finished runs in it are kept.", metavar="PATH")
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Write one JSON document to stdout, all else to stderr.")
]

# headings of the help, and the options below them
DATA = (
    "Data",
    "weights drop_labels protocol skip_broken cache_dir categories embedding keep image_root "
    "horizon repeated_times skip_missing missing_target strict encoder image_size channels_last",
)
READING = ("Reading", "decimal thousands missing encoding comment skip_rows")
SPLIT = (
    "Split and regions",
    "split split_by group balanced max_per_bin test_per_bin split_seed drop_shared bin_width many "
    "few region",
)
NETWORK = ("Network", "encoder image_size channels_last")
RUN = ("Training", "target_transform changes recipe_file max_steps max_epochs")
ROWS = ("Further rows", "predictions name")
SWEEP = ("Training", f"{RUN[1]} jobs engine")
HARDWARE = ("Hardware", "accelerator devices num_nodes precision gather_across_devices compile")


def print_json(content: Any, as_json: bool) -> None:
    """Print the result of a command as JSON if ``as_json``, else print nothing."""
    if as_json:
        typer.echo(to_json(content))


def to_json(content: Any) -> str:
    """Format a result as indented JSON."""
    return json.dumps(content, indent=1, ensure_ascii=False)


def parse_seconds(text: str) -> float:
    """Convert a duration such as ``10m``, ``90s`` or ``1.5h`` to seconds."""
    number, unit = text.strip()[:-1], text.strip()[-1:].lower()
    try:
        seconds = float(number) * _SECONDS[unit]
    except (ValueError, KeyError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"--budget takes a time such as 10m, 90s or 2h, got {text!r}.")
    return seconds


def parse_transform(text: str) -> str:
    """Return the name of a transform of the target; ``none`` is empty."""
    from ranksim.data.target_transform import TRANSFORMS

    name = text.strip().lower()
    if name not in ("none", *TRANSFORMS):
        raise UsageError(f"--target-transform takes {', '.join(TRANSFORMS)} or none, got {text!r}.")
    return "" if name == "none" else name


@dataclass(kw_only=True)
class CommandOptions:
    """Command-line options that do not describe data, such as methods, seeds and budget."""

    methods: str = option(
        "Names separated by commas (see ranksim methods), or all.", "vanilla,vanilla+ranksim"
    )
    target_transform: str | None = option(
        "Train on log, yeo-johnson or quantile of the target. Default: none.",
        metavar="WORD",
        parse=parse_transform,
    )
    predictions: tuple[str, ...] = option(
        "Predictions of the test set made elsewhere, as a further row; repeatable.",
        (),
        "FILE",
        repeat=True,
    )
    name: tuple[str, ...] = option(
        "Name of the row of a --predictions file. Default: that of the file.",
        (),
        "NAME",
        repeat=True,
    )
    method: str = option("One name; see ranksim methods.", ...)
    refit: bool = option("Train again on all rows; the scores are those before.", False)
    ensemble: int = option("Average the predictions of this many seeds.", 1, min=1)
    cross_validate: int | None = option(
        "Score all rows in this many folds, and then train on all of them.", min=2
    )
    seeds: str = option("A number K (seeds 0 to K - 1), or a list of seeds such as 3,5,8.", "5")
    seed: int = option("Random seed.", 0, min=0, max=2**32 - 1)
    budget: float | None = option(
        "Time for everything, such as 10m; all networks get equal steps and 3 seeds or more.",
        parse=parse_seconds,
    )
    tune: int | None = option(
        "Search a recipe for each row first, with N trials each (extra: tune).", min=1
    )
    trials: int = option("Settings to try, including those of earlier commands.", 20, min=1)
    fields: tuple[str, ...] = option(
        "Recipe fields to search, such as lr,gamma. Default: all in use.", ()
    )
    strict: bool = option("Treat warnings about the data as errors.", False)
    preset: PresetName = option(
        "small: minutes on a CPU. paper: the published settings, for a GPU.", "small"
    )
    cache_dir: Path | None = option(
        "Folder for decoded images. Default: RANKSIM_CACHE, then the user cache."
    )
    encoder: str | None = option("resnet18, resnet34, resnet50, or a vision model of the hub.")
    image_size: int | None = option("Side in pixels. Default: the preset's.", min=1)
    channels_last: Literal["auto", "yes", "no"] = option(
        "Channels-last memory layout of images: yes, no, or auto (yes on a CPU).", "auto"
    )
    changes: tuple[str, ...] = option(
        "Change a recipe field, such as lr=5e-4.", (), "FIELD=VALUE", name="--set", repeat=True
    )
    recipe_file: Path | None = option("Recipes by method, from ranksim tune.", name="--recipe")
    max_steps: int | None = option("End each training after this many steps.", min=1)
    max_epochs: int | None = option("End each training after this many validations.", min=1)
    jobs: int = option("Runs side by side, one thread each.", 1, min=1)
    engine: Literal["processes", "ray"] = option(
        "Where runs train: processes of this machine, or a ray cluster.", "processes"
    )
    accelerator: str = option("Lightning's accelerator: auto, cpu, gpu, mps.", "auto")
    devices: str = option("Number of devices, or a list of them.", "1")
    num_nodes: int = option("Number of machines that train together.", 1, min=1)
    precision: str = option(
        "Lightning's precision: 32-true, bf16-mixed, 16-mixed, 64-true.", "32-true"
    )
    gather_across_devices: bool = option("Rank samples of all devices together.", False)
    compile: bool = option("Compile the network.", False)


@dataclass(kw_only=True)
class UserDataOptions:
    """Options for commands on user data that choose the network."""

    encoder: str | None = option(
        "Table: mlp. Texts: bilstm, or a sentence encoder of the hub. Images: resnet18, "
        "resnet34, resnet50, or a vision model of the hub. Series: gru, conv."
    )
    image_size: int | None = option("Side of images in pixels (64).", min=1)


_USER_SPECS = (spec.TableSpec, spec.TextSpec, spec.ImageSpec, spec.SeriesSpec)
_OWNERS: tuple[type, ...] = (CommandOptions, spec.DataLocation, spec.ReadOptions, *_USER_SPECS)


def with_options(
    first: str,
    *panels: tuple[str, str],
    owner: type = CommandOptions,
    **changes: Mapping[str, Any],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command with the named options; it receives their parsed values as a dictionary.

    The command takes the dictionary, and the options that it declares itself by keyword.

    Args:
        first: names of the options that the help lists first, under no heading.
        panels: headings, and names of the options below each.
        owner: class whose fields take precedence over those of the other classes.
        changes: settings of an option that differ from its declaration, such as ``default``.
    """
    owners = (owner, *_OWNERS)

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True).parameters.values()
        direct = {param.name: param for param in signature if param.kind is param.KEYWORD_ONLY}
        params: dict[str, inspect.Parameter] = {}
        parsers: dict[str, Callable[[Any], Any]] = {}
        for panel, names in ((None, first), *panels):
            for name in names.split():
                if name in direct:
                    params[name] = direct[name]
                else:
                    params[name], parsers[name] = _parameter(
                        name, panel, owners, changes.get(name, {})
                    )
        order = sorted(
            (params | direct).values(), key=lambda param: param.default is not param.empty
        )

        @functools.wraps(command)
        def filled(**values: Any) -> None:
            parsed = {name: parse(values[name]) for name, parse in parsers.items()}
            command(parsed, **{name: values[name] for name in direct})

        filled.__signature__ = inspect.Signature(order)  # type: ignore[attr-defined]
        filled.__annotations__ = {param.name: param.annotation for param in order}
        del filled.__wrapped__
        return filled

    return decorate


@functools.cache  # commands share their options
def _type_hints(owner: type) -> dict[str, Any]:
    return get_type_hints(owner)


def _parameter(
    name: str, panel: str | None, owners: tuple[type, ...], change: Mapping[str, Any]
) -> tuple[inspect.Parameter, Callable[[Any], Any]]:
    """Return the typer parameter of an option, and the function that parses its value.

    Types are shortened to one word, as typer would list all choices in a column of the help.
    """
    owner, item = next(
        (owner, item)
        for owner in owners
        for item in fields(owner)
        if item.name == name and "help" in item.metadata
    )
    hint: Any = _type_hints(owner)[name]
    settings = {"default": item.default, **item.metadata, **change}
    default, parse = settings.get("cli_default", settings["default"]), settings.get("parse")
    if settings.get("repeat"):
        hint, parse = list[get_args(hint)[0]] | None, tuple  # type: ignore[misc]
    elif get_origin(hint) is tuple or parse:
        hint, parse = str | None, parse or spec.parse_words
    option_name = settings.get("name", spec.option_name(name))
    if default is True:
        option_name, default, parse = spec.option_name(f"no_{name}"), False, operator.not_
    words = [_METAVARS[kind] for kind in (hint, *get_args(hint)) if kind in _METAVARS]
    declaration = typer.Option(
        option_name,
        help=settings["help"],
        metavar=(words or ["WORD"])[0] if settings["metavar"] is None else settings["metavar"],
        rich_help_panel=panel,
        min=settings.get("min"),
        max=settings.get("max"),
    )
    param = inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default={MISSING: inspect.Parameter.empty, (): None}.get(default, default),
        annotation=Annotated[hint, declaration],
    )

    def read(value: Any) -> Any:
        if value is None:
            return default
        return value if parse is None else parse(value)

    return param, read


def sweep_request(
    data: str,
    out: Path,
    values: Values,
    *,
    user_data: bool = True,
    check: Callable[[SweepRequest], None] | None = None,
) -> SweepRequest:
    """Build a SweepRequest from parsed options.

    Args:
        data: a path, or the name of a benchmark.
        out: folder for the results.
        values: options by name.
        user_data: whether ``data`` is a path.
        check: raises a UsageError for wrong options; called before data is read and PyTorch is
            imported, which takes seconds. By default
            :func:`ranksim.experiments.sweep_settings.check_request`.
    """
    from ranksim.experiments.sweep_settings import check_request, draft_user_data
    from ranksim.training.data_source import DataSource

    if values.get("cache_dir") is not None:
        os.environ["RANKSIM_CACHE"] = str(values["cache_dir"])  # worker processes inherit it
    check = check or check_request
    if not user_data:
        kind = spec.SPEC_TYPES[data]
        location = spec.DataLocation(**_select(values, kind.location_options))
        source = DataSource(kind(**_select(values, _names(kind))), location)
        request = _make_request(source, out, values)
        check(request)
        return request
    location = spec.DataLocation(data, image_root=values.get("image_root"))
    options = _select(values, (name for name in values if name in spec.user_data_options()))
    if options.get("channels_last") == "auto":
        del options["channels_last"]
    drafts = draft_user_data(location, options)
    _check_any([_make_request(draft, out, values) for draft in drafts], check)

    from ranksim.data.reading import require_source

    require_source(data)

    from ranksim.experiments.sweep_request import resolve_user_data

    return _make_request(resolve_user_data(location, options), out, values)


def _check_any(requests: Sequence[SweepRequest], check: Callable[[SweepRequest], None]) -> None:
    """Check requests for the kinds of data that are possible; raise an error if none is valid."""
    first: UsageError | None = None
    for request in requests:
        try:
            check(request)
        except UsageError as error:
            first = first or error
        else:
            return
    if first is not None:
        raise first


def _make_request(source: DataSource, out: Path, values: Values) -> SweepRequest:
    """Build a request for a data source."""
    from ranksim.experiments.sweep_settings import SweepRequest
    from ranksim.training.limits import TrainingLimits
    from ranksim.training.recipe import recipe_type

    known = _names(recipe_type(source.spec.benchmark))
    network = tuple(
        f"{name}={values[name]}"
        for name in ("encoder", "image_size")
        if values.get(name) is not None and name in known
    )
    settings: Values = {"methods": values.get("method", "vanilla"), "changes": ()}
    settings |= {"seeds": f"{values.get('seed', 0)},", **_select(values, _REQUEST)}
    settings = {name: value for name, value in settings.items() if value is not None}
    return SweepRequest(
        source,
        out=out,
        trainer=trainer_config(values),
        limits=TrainingLimits(values.get("max_steps"), values.get("max_epochs")),
        command=portable_command(sys.argv[1:]),
        **settings | {"changes": network + settings["changes"]},
    )


def trainer_config(values: Values) -> TrainerConfig:
    """Build a TrainerConfig, the hardware settings, from parsed options."""
    from ranksim.training.trainer_config import TrainerConfig

    layout = {"auto": None, "yes": True, "no": False}[values.get("channels_last", "auto")]
    return TrainerConfig(**_select(values, _names(TrainerConfig)) | {"channels_last": layout})


def _names(kind: Any) -> list[str]:
    return [item.name for item in fields(kind)]


def _select(values: Mapping[str, Any], names: Iterable[str]) -> Values:
    return {name: values[name] for name in names if name in values}


def portable_command(words: Sequence[str]) -> str:
    """Return a command line for storage with results, without the folders of this machine.

    Paths are reduced to their names, and options that decide no result are left out.

    Example:
        >>> portable_command(["compare", "/home/me/homes.csv", "--set", "encoder=~/bert"])
        'ranksim compare homes.csv --set encoder=bert'
    """
    recorded: list[str] = []
    skip = False
    for word in words:
        if skip or word in _UNRECORDED:
            skip = not skip
        elif word != "--json" and word.partition("=")[0] not in _UNRECORDED:
            recorded.append(_without_folder(word))
    return shlex.join(["ranksim", *recorded])


def _without_folder(word: str) -> str:
    """Reduce a path, or the path in ``name=path``, to its last part; keep other words unchanged."""
    path = Path(word).expanduser()
    if path.is_absolute() or ".." in path.parts or (len(path.parts) > 1 and path.exists()):
        path = path.resolve()
        return "." if path == Path.home().resolve() else path.name
    name, equals, value = word.partition("=")
    return f"{name}={_without_folder(value)}" if equals else word
