"""Sweep requests for tests, from flat keywords."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from ranksim.data.spec import SPEC_TYPES, DataLocation
from ranksim.experiments.sweep_request import resolve_user_data
from ranksim.experiments.sweep_settings import SweepRequest
from ranksim.training.data_source import DataSource
from ranksim.training.limits import TrainingLimits
from ranksim.training.trainer_config import TrainerConfig


def make_request(data: str | Path, out: Path, **values: Any) -> SweepRequest:
    """Build a request on a benchmark, by its name, or on user data, by its path.

    Args:
        data: the benchmark or the path.
        out: folder for the results.
        **values: ``options`` of the data, and fields of the request, ``DataLocation``,
            ``TrainerConfig`` or the recipe's ``encoder`` and ``image_size``.
    """
    options = values.pop("options", {})
    values = {"methods": "vanilla", "seeds": "1", "accelerator": "cpu"} | values
    network = {name: values.pop(name, None) for name in ("encoder", "image_size")}
    network = {name: value for name, value in network.items() if value is not None}
    changes = tuple(f"{name}={value}" for name, value in network.items())
    limits = TrainingLimits(values.pop("max_steps", None), values.pop("max_epochs", None))
    location = DataLocation(**_take(values, DataLocation))
    trainer = TrainerConfig(**_take(values, TrainerConfig))
    if data in SPEC_TYPES:
        source = DataSource(SPEC_TYPES[str(data)](**options), location)
    else:
        source = resolve_user_data(
            DataLocation(str(data), image_root=location.image_root), options | network
        )
    changes += tuple(values.pop("changes", ()))
    return SweepRequest(source, out=out, changes=changes, trainer=trainer, limits=limits, **values)


def _take(values: dict[str, Any], kind: Any) -> dict[str, Any]:
    return {item.name: values.pop(item.name) for item in fields(kind) if item.name in values}
