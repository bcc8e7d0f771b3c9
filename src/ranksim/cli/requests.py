"""Build typed requests from the options of a command."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranksim.cli.options import Group

if TYPE_CHECKING:
    from ranksim.experiments.sweep_request import SweepRequest
    from ranksim.training.task_loading import DataSource
    from ranksim.training.trainer_config import TrainerConfig

_UNRECORDED = ("--out", "--cache-dir")  # options with a value that decides no result
_DATA_OPTIONS = ("Data", "Split and regions")  # panels of the options that describe user data


def sweep_request(
    data: str, out: Path, groups: Sequence[Group], *, user_data: bool = True
) -> SweepRequest:
    """Build the request of a command that trains.

    Args:
        data: user data, or the name of a benchmark.
        out: folder for the results.
        groups: the options of the command.
        user_data: whether ``data`` is user data.

    Raises:
        DataError: user data that cannot be read.
        UsageError: options that contradict each other or do nothing.
    """
    from ranksim.experiments.sweep_request import SweepRequest
    from ranksim.training.fit import TrainingLimits
    from ranksim.training.modality import recipe_type

    values = {name: value for group in groups for name, value in group.values().items()}
    if values.get("cache_dir") is not None:
        os.environ["RANKSIM_CACHE"] = str(values["cache_dir"])  # worker processes inherit it
    source = _user_source(data, groups) if user_data else _benchmark_source(data, values)
    known = {item.name for item in fields(recipe_type(source.spec.benchmark))}
    network = tuple(
        f"{name}={values[name]}"
        for name in ("encoder", "image_size")
        if values.get(name) is not None and name in known
    )
    names = ("preset", "recipe_file", "jobs", "engine", "budget")
    return SweepRequest(
        source,
        values.get("methods") or values.get("method", "vanilla"),
        values["seeds"] if "seeds" in values else f"{values.get('seed', 0)},",
        out,
        changes=network + values.get("changes", ()),
        trainer=trainer_config(values),
        limits=TrainingLimits(values.get("max_steps"), values.get("max_epochs")),
        command=portable_command(sys.argv[1:]),
        **_select(values, names),
    )


def trainer_config(values: Mapping[str, Any]) -> TrainerConfig:
    """Build the hardware settings from options by name."""
    from ranksim.training.trainer_config import TrainerConfig

    layout = {"auto": None, "yes": True, "no": False}[values.get("channels_last", "auto")]
    selected = _select(values, (item.name for item in fields(TrainerConfig)))
    return TrainerConfig(**selected | {"channels_last": layout})


def _benchmark_source(benchmark: str, values: Mapping[str, Any]) -> DataSource:
    from ranksim.data.spec import SPEC_TYPES, DataLocation
    from ranksim.training.task_loading import DataSource

    kind = SPEC_TYPES[benchmark]
    spec = kind(**_select(values, (item.name for item in fields(kind))))
    return DataSource(spec, DataLocation(**_select(values, kind.location_options)))


def _user_source(data: str, groups: Sequence[Group]) -> DataSource:
    from ranksim.data.spec import DataLocation
    from ranksim.experiments.user_data import resolve_user_data

    options: dict[str, Any] = {}
    for group in groups:
        if group.panel in _DATA_OPTIONS:
            options |= group.values()
    options.pop("cache_dir", None)
    if options.get("channels_last") == "auto":
        del options["channels_last"]
    return resolve_user_data(
        DataLocation(data, image_root=options.pop("image_root", None)), options
    )


def _select(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}


def portable_command(words: Sequence[str]) -> str:
    """Return a command line as results record it, without folders of this machine.

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
    """Reduce a path, or a path after ``=``, to its name; other words stay as they are."""
    path = Path(word).expanduser()
    if path.is_absolute() or ".." in path.parts or (len(path.parts) > 1 and path.exists()):
        path = path.resolve()
        return "." if path == Path.home().resolve() else path.name
    name, equals, value = word.partition("=")
    return f"{name}={_without_folder(value)}" if equals else word
