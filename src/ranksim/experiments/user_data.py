"""What ``ranksim compare`` and ``ranksim fit`` are given: anyone's data, as a bench request."""

from __future__ import annotations

import dataclasses
from dataclasses import fields
from typing import Any

from ranksim.data.images.table import IMAGE_COLUMNS
from ranksim.data.options import UserDataSpec, reject_idle_options
from ranksim.data.split_plan import read_split_column
from ranksim.data.table import Table
from ranksim.exceptions import UsageError
from ranksim.experiments.sweep_request import BenchRequest
from ranksim.imbalance.label_range import parse_ranges
from ranksim.training.adapters import infer_modality
from ranksim.training.modality import (
    BILSTM,
    IMAGE,
    MLP,
    SENTENCES,
    SERIES,
    TABLE,
    TEXT,
    recipe_type,
)
from ranksim.training.recipe import SERIES_ENCODERS
from ranksim.training.task_loading import read_user_data

_UNITS = {"s": 1, "m": 60, "h": 3600}


def own_request(data: str, asked: BenchRequest) -> BenchRequest:
    """A request on anyone's data: what reads it follows from the columns that are named.

    Args:
        data: a table, a folder, or a Hugging Face data set.
        asked: the rest of the command, its ``options`` those of :class:`UserDataSpec`.

    Raises:
        DataError: the data cannot be read.
        UsageError: options that contradict each other, or would do nothing.
    """
    columns = read_user_data(data, asked.files.get("image_root"))
    usual = {item.name: item.default for item in fields(UserDataSpec)}
    given = {k: v for k, v in asked.options.items() if v != usual.get(k, ...) and v is not None}
    dropped = {k: given.pop(k) for k in ("drop_labels",) if k in given}
    options = UserDataSpec(**given)
    reject_idle_options(options)
    if image := _image_of(columns, options):
        options, given = dataclasses.replace(options, image=image), given | {"image": image}
    if split := read_split_column(columns, options):
        given |= {"split": split}
    kind = infer_modality(options, asked.encoder)
    _refuse_idle(kind, asked)
    return dataclasses.replace(
        asked,
        benchmark=kind,
        options=given | dropped,
        files={**asked.files, "data": data},
        changes=(*asked.changes, *_changes(kind, asked)),
    )


def seconds_of(text: str) -> float:
    """A time as people write it, in seconds.

    Raises:
        UsageError: it is none.

    Example:
        >>> seconds_of("10m"), seconds_of("90s"), seconds_of("1.5h")
        (600.0, 90.0, 5400.0)
    """
    number, unit = text.strip()[:-1], text.strip()[-1:].lower()
    try:
        seconds = float(number) * _UNITS[unit]
    except (ValueError, KeyError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"--budget takes a time such as 10m, 90s or 2h, got {text!r}.")
    return seconds


def ranges_of(text: str) -> tuple[str, ...]:
    """Ranges of labels, each as it is written shortest.

    Raises:
        UsageError: they are none.

    Example:
        >>> ranges_of("30..40, > 80")
        ('30-40', '>80')
    """
    try:
        return tuple(each.text for each in parse_ranges(text))
    except ValueError as error:
        raise UsageError(f"--drop-labels {text!r}: {error}.") from error


def _image_of(columns: Table, options: UserDataSpec) -> str | None:
    """The column of images' paths in a folder of images, where nothing else is asked for."""
    if columns.root is None or options.inputs:
        return None
    return next((name for name in IMAGE_COLUMNS if name in columns.names), None)


def _changes(kind: str, asked: BenchRequest) -> tuple[str, ...]:
    """What names the network, as changes of its recipe."""
    has = {item.name for item in fields(recipe_type(kind))}
    own: dict[str, Any] = {"encoder": asked.encoder, "image_size": asked.image_size}
    return tuple(f"{k}={v}" for k, v in own.items() if v is not None and k in has)


def _refuse_idle(kind: str, asked: BenchRequest) -> None:
    """Refuse what does not go with the inputs."""
    known = {TABLE: (MLP,), SERIES: SERIES_ENCODERS, TEXT: (BILSTM,)}.get(kind)
    if asked.encoder is not None and known is not None and asked.encoder not in known:
        what = {TABLE: "a table", SERIES: "a series"}[kind]
        raise UsageError(
            f"--encoder {asked.encoder} does not read {what}: leave it out, or choose "
            f"{' or '.join(known)}."
        )
    others = {MLP, BILSTM, *SERIES_ENCODERS}
    if kind in (SENTENCES, IMAGE) and asked.encoder in others:
        what = "texts" if kind == SENTENCES else "images"
        raise UsageError(f"--encoder {asked.encoder} does not read {what}: choose another one.")
    if kind != IMAGE:
        for name in ("image_size", "skip_broken", "channels_last"):
            if getattr(asked, name) not in (None, False):
                raise UsageError(
                    f"--{name.replace('_', '-')} is for images: leave it out, or name their column "
                    "with --image."
                )
        if asked.files.get("image_root") is not None:
            raise UsageError("--image-root is for images: leave it out, or give --image.")
