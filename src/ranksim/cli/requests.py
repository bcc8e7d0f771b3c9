"""Build typed requests from the options of a command."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranksim.cli.options import Values
from ranksim.data.spec import SPEC_TYPES, DataLocation, user_data_options

if TYPE_CHECKING:
    from ranksim.experiments.sweep_request import SweepRequest
    from ranksim.training.trainer_config import TrainerConfig

_UNRECORDED = ("--out", "--cache-dir")  # options with a value that decides no result
_REQUEST = ("methods", "seeds", "preset", "changes", "recipe_file", "jobs", "engine", "budget")


def sweep_request(data: str, out: Path, values: Values, *, user_data: bool = True) -> SweepRequest:
    """Build the request of a command that trains.

    Args:
        data: user data, or the name of a benchmark.
        out: folder for the results.
        values: the options of the command.
        user_data: whether ``data`` is user data.
    """
    from ranksim.experiments.sweep_request import SweepRequest, resolve_user_data
    from ranksim.training.fit import TrainingLimits
    from ranksim.training.recipe import recipe_type
    from ranksim.training.task_loading import DataSource

    if values.get("cache_dir") is not None:
        os.environ["RANKSIM_CACHE"] = str(values["cache_dir"])  # worker processes inherit it
    if user_data:
        location = DataLocation(data, image_root=values.get("image_root"))
        options = _select(values, (name for name in values if name in user_data_options()))
        if options.get("channels_last") == "auto":
            del options["channels_last"]
        source = resolve_user_data(location, options)
    else:
        kind = SPEC_TYPES[data]
        spec = kind(**_select(values, _names(kind)))
        source = DataSource(spec, DataLocation(**_select(values, kind.location_options)))
    known = _names(recipe_type(source.spec.benchmark))
    network = tuple(
        f"{name}={values[name]}"
        for name in ("encoder", "image_size")
        if values.get(name) is not None and name in known
    )
    settings: Values = {"methods": values.get("method", "vanilla"), "changes": ()}
    settings |= {"seeds": f"{values.get('seed', 0)},", **_select(values, _REQUEST)}
    return SweepRequest(
        source,
        out=out,
        trainer=trainer_config(values),
        limits=TrainingLimits(values.get("max_steps"), values.get("max_epochs")),
        command=portable_command(sys.argv[1:]),
        **settings | {"changes": network + settings["changes"]},
    )


def trainer_config(values: Values) -> TrainerConfig:
    """Build the hardware settings from options by name."""
    from ranksim.training.trainer_config import TrainerConfig

    layout = {"auto": None, "yes": True, "no": False}[values.get("channels_last", "auto")]
    return TrainerConfig(**_select(values, _names(TrainerConfig)) | {"channels_last": layout})


def _names(kind: Any) -> list[str]:
    return [item.name for item in fields(kind)]


def _select(values: Mapping[str, Any], names: Iterable[str]) -> Values:
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
