"""Options of commands and of the Python API: their declarations, checks and requests.

An option is declared once, as a field of a dataclass; the command line and the functions of
:mod:`ranksim.api` read it from there.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ranksim._utils.formatting import METRIC_TITLES
from ranksim._utils.worker_server import start_worker_server
from ranksim.data import spec
from ranksim.data.spec import option
from ranksim.exceptions import UsageError

if TYPE_CHECKING:
    from ranksim.experiments.sweep_settings import SweepRequest
    from ranksim.training.custom_estimator import CustomEstimator
    from ranksim.training.custom_network import CustomNetwork
    from ranksim.training.data_source import DataSource
    from ranksim.training.trainer_config import TrainerConfig

PresetName = Literal["small", "paper", "minilm", "minilm-finetuned", "frozen", "finetuned"]
Values = dict[str, Any]  # options by name, parsed
_REQUEST = (
    "methods", "seeds", "preset", "changes", "recipe_file", "share_ranksim", "jobs", "engine",
    "budget", "strict", "target_transform", "predictions", "name", "tune", "interval",
)  # fmt: skip
_UNRECORDED = ("--out", "--cache-dir")  # options with a value that decides no result
_SECONDS = {"s": 1, "m": 60, "h": 3600}

INPUTS = "target features text image window time"
# headings of the help, and the options below them
DATA = (
    "Data",
    "weights drop_labels protocol skip_broken cache_dir categories embedding keep image_root "
    "horizon repeated_times skip_missing missing_target strict preset encoder image_size "
    "channels_last",
)
READING = ("Reading", "decimal thousands missing encoding comment skip_rows")
SPLIT = (
    "Split and regions",
    "split split_by group balanced max_per_bin test_per_bin split_seed drop_shared bin_width many "
    "few region",
)
NETWORK = ("Network", "encoder image_size channels_last")
RUN = ("Training", "target_transform changes recipe_file share_ranksim max_steps max_epochs")
ROWS = ("Further rows", "predictions name estimators")
SWEEP = ("Training", f"{RUN[1]} jobs engine")
HARDWARE = ("Hardware", "accelerator devices num_nodes precision gather_across_devices compile")


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


def parse_interval(value: str | float) -> float:
    """Return the coverage of prediction intervals, between 0 and 1."""
    try:
        level = float(value)
    except ValueError:
        level = 0.0
    if not 0 < level < 1:
        raise UsageError(
            f"--interval takes a coverage between 0 and 1, such as 0.9, got {value!r}."
        )
    return level


def parse_transform(text: str) -> str:
    """Return the name of a transform of the target; ``none`` is empty."""
    from ranksim.data.target_transform import TRANSFORMS

    name = text.strip().lower()
    if name not in ("none", *TRANSFORMS):
        raise UsageError(f"--target-transform takes {', '.join(TRANSFORMS)} or none, got {text!r}.")
    return "" if name == "none" else name


def parse_metrics(text: str) -> tuple[str, ...]:
    """Return the names of the scores in a text such as ``mae,ccc``, each once."""
    names = tuple(dict.fromkeys(spec.parse_words(text)))
    for name in names:
        if name not in METRIC_TITLES or name.startswith("balanced_"):
            known = [each for each in METRIC_TITLES if not each.startswith("balanced_")]
            raise UsageError(f"--metrics takes some of {', '.join(known)}, got {name!r}.")
    return names


@dataclass(kw_only=True)
class CommandOptions:
    """Command-line options that do not describe data, such as methods, seeds and budget."""

    methods: str = option(
        "Names separated by commas (see ranksim methods), all or family.", "vanilla,vanilla+ranksim"
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
    estimators: tuple[str, ...] = option(
        "An estimator of scikit-learn as a row, [NAME=]MODULE:OBJECT; repeatable.",
        (),
        "OBJECT",
        name="--estimator",
        repeat=True,
    )
    network: str | None = option(
        "Function that builds the network from an example batch, PACKAGE.MODULE:FUNCTION.",
        None,
        "FUNCTION",
        name="--model",
    )
    method: str = option("One name; see ranksim methods.", ...)
    refit: bool = option("Train again on all rows; the scores are those before.", False)
    ensemble: int = option("Average the predictions of this many seeds.", 1, min=1)
    cross_validate: int | None = option(
        "Score all rows in this many folds, and then train on all of them.", min=2
    )
    seeds: str = option("A number K (seeds 0 to K - 1), or a list of seeds such as 3,5,8.", "5")
    metrics: tuple[str, ...] = option(
        "Scores to print, such as mae,ccc. Default: two that suit the data.",
        (),
        parse=parse_metrics,
    )
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
    interval: float | None = option(
        "Prediction intervals of coverage X: 0.9.", None, "X", parse=parse_interval
    )
    strict: bool = option("Treat warnings about the data as errors.", False)
    preset: PresetName = option(
        "small: minutes on a CPU. paper: the published settings, for a GPU. minilm, "
        "minilm-finetuned: a pretrained encoder of texts.",
        "small",
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
    share_ranksim: bool = option("RankSim rows take the fields of vanilla+ranksim.", False)
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

    preset: PresetName = option("small; frozen or finetuned, of --encoder.", "small", "WORD")
    encoder: str | None = option(
        "Table: mlp. Texts: bilstm, or a sentence encoder of the hub. Images: resnet18, "
        "resnet34, resnet50, or a vision model of the hub. Series: gru, conv."
    )
    image_size: int | None = option("Side of images in pixels (64).", min=1)


USER_SPECS = (spec.TableSpec, spec.TextSpec, spec.ImageSpec, spec.SeriesSpec)
OWNERS: tuple[type, ...] = (CommandOptions, spec.DataLocation, spec.ReadOptions, *USER_SPECS)


DEFAULT_METHOD = "sqinv"  # of a single model, also of RankSimRegressor

# all options of each function of the Python interface, and of its command
INSPECT_OPTIONS = (
    f"target bin_width many few drop_labels region missing_target keep strict {READING[1]}"
)
_TRAINING = " ".join(panel[1] for panel in (DATA, READING, SPLIT, HARDWARE))
COMPARE_OPTIONS = (
    f"{INPUTS} methods seeds budget tune interval {_TRAINING} predictions name {SWEEP[1]}"
)
FIT_OPTIONS = f"{INPUTS} method seed refit ensemble cross_validate interval {_TRAINING} {RUN[1]}"


def find_declaration(name: str, owners: Iterable[type]) -> tuple[type, Field[Any]]:
    """Return the class and the field that declare an option, of the first class that does."""
    return next(
        (owner, item)
        for owner in owners
        for item in fields(owner)
        if item.name == name and "help" in item.metadata
    )


def make_sweep_request(
    data: str,
    out: Path,
    values: Values,
    *,
    command: str = "",
    user_data: bool = True,
    check: Callable[[SweepRequest], None] | None = None,
) -> SweepRequest:
    """Build a SweepRequest from parsed options.

    Args:
        data: a path, or the name of a benchmark.
        out: folder for the results.
        values: options by name.
        command: recorded with the results.
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
    values = {**values, "calibration": values.get("interval") is not None}
    if values["calibration"]:
        parse_interval(values["interval"])
    if not user_data:
        kind = spec.SPEC_TYPES[data]
        location = spec.DataLocation(**_select(values, kind.location_options))
        source = DataSource(kind(**_select(values, _list_fields(kind))), location)
        request = _make_request(source, out, values, command)
        check(request)
        _start_workers(values)
        return request
    location = spec.DataLocation(data, image_root=values.get("image_root"))
    options = _select(values, (name for name in values if name in spec.user_data_options()))
    if options.get("channels_last") == "auto":
        del options["channels_last"]
    drafts = draft_user_data(location, options)
    _check_any([_make_request(draft, out, values, command) for draft in drafts], check)

    from ranksim.data.reading import require_source

    require_source(data)
    _start_workers(values)

    from ranksim.experiments.sweep_request import resolve_user_data

    return _make_request(resolve_user_data(location, options), out, values, command)


def _start_workers(values: Values) -> None:
    """Let worker processes import PyTorch while this one does so and reads the data."""
    if (values.get("jobs") or 1) > 1 and values.get("engine") == "processes":
        start_worker_server()


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


def _make_request(source: DataSource, out: Path, values: Values, command: str) -> SweepRequest:
    """Build a request for a data source."""
    from ranksim.experiments.sweep_settings import SweepRequest
    from ranksim.training.limits import TrainingLimits
    from ranksim.training.recipe import MINILM_PRESETS, recipe_type

    known = _list_fields(recipe_type(source.spec.benchmark, values.get("preset")))
    network = tuple(
        f"{name}={values[name]}"
        for name in ("encoder", "image_size")
        if values.get(name) is not None and name in known
    )
    if values.get("encoder") is not None and "encoder" not in known and not source.is_user_data:
        choices = " or ".join(MINILM_PRESETS)
        raise UsageError(f"--encoder has no effect without --preset {choices}: add one of them.")
    settings: Values = {"methods": values.get("method", "vanilla"), "changes": ()}
    settings |= {"seeds": f"{values.get('seed', 0)},", **_select(values, _REQUEST)}
    settings = {name: value for name, value in settings.items() if value is not None}
    if estimators := values.get("estimators"):
        settings["estimators"] = _name_estimators(estimators, settings)
    if values.get("network") is not None:
        settings["network"] = _make_network(values["network"], settings)
    return SweepRequest(
        source,
        out=out,
        trainer=trainer_config(values),
        limits=TrainingLimits(values.get("max_steps"), values.get("max_epochs")),
        command=command,
        **settings | {"changes": network + settings["changes"]},
    )


def _name_estimators(
    estimators: Mapping[str, Any] | tuple[str, ...], settings: Values
) -> tuple[CustomEstimator, ...]:
    """Return estimators by the names of their rows, given so or as texts that name objects."""
    from ranksim.api.objects import check_transferable, load_object, split_name
    from ranksim.training.custom_estimator import name_estimators
    from ranksim.training.method import RESERVED

    if isinstance(estimators, tuple):  # of the command line
        pairs = [split_name(text) for text in estimators]
        names = [name for name, _ in pairs]
        if len({*names}) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise UsageError(f"Two rows are named {twice!r}: write --estimator NAME=MODULE:OBJECT.")
        estimators = {name: load_object(text, "--estimator") for name, text in pairs}
    customs = name_estimators(estimators, RESERVED)
    if settings.get("jobs", 1) > 1 or settings.get("engine") == "ray":
        for each in customs:
            check_transferable(each.estimator, f"Estimator {each.name!r}")
    return customs


def _make_network(function: Any, settings: Values) -> CustomNetwork:
    """Return the network of a function, given so or as a text that names it."""
    from ranksim.api.objects import check_transferable

    network = load_network(function)
    if settings.get("jobs", 1) > 1 or settings.get("engine") == "ray":
        check_transferable(network.build, f"--model {network.name}")
    return network


def load_network(function: Any) -> CustomNetwork:
    """Return the network of a function, given so or as ``package.module:function``."""
    from ranksim.api.objects import load_object
    from ranksim.training.custom_network import MODEL, CustomNetwork

    return CustomNetwork(load_object(function, MODEL) if isinstance(function, str) else function)


def trainer_config(values: Values) -> TrainerConfig:
    """Build a TrainerConfig, the hardware settings, from parsed options."""
    from ranksim.training.trainer_config import TrainerConfig

    layout = {"auto": None, "yes": True, "no": False}[values.get("channels_last", "auto")]
    return TrainerConfig(**_select(values, _list_fields(TrainerConfig)) | {"channels_last": layout})


def _list_fields(kind: Any) -> list[str]:
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


def to_json(content: Any) -> str:
    """Format a result as indented JSON."""
    return json.dumps(content, indent=1, ensure_ascii=False)
