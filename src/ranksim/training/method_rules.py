"""What the parts of a method need and read: recipe fields, kinds of data, seeds (no PyTorch)."""

from __future__ import annotations

import dataclasses
from typing import Any

from ranksim.imbalance.resampling import make_resampler
from ranksim.models.estimators import estimator_type
from ranksim.training.method import Technique
from ranksim.training.parts import unused_fields
from ranksim.training.recipe import Recipe

LAST_VALUE = "last-value"
EXTERNAL = "predictions"  # made elsewhere
THRESHOLD = "rare_threshold"  # field of a recipe
NEEDS_SERIES = "last-value repeats the last reading of a series: it needs --window."


def depends_on_seed(technique: Technique) -> bool:
    """Return whether another seed gives another result, apart from the bins of huge data."""
    if not technique.estimator or technique.resampling:
        return True
    if technique.estimator in (LAST_VALUE, EXTERNAL):
        return False
    if technique.custom is not None:
        return technique.custom.depends_on_seed
    return estimator_type(technique.estimator).depends_on_seed(samples=0)


def record_recipe(recipe: Recipe, technique: Technique) -> dict[str, Any]:
    """Return the fields of a recipe for a record, without those of parts that are not used."""
    unused = unused_fields(technique.parts, technique.weighting)
    return {k: v for k, v in dataclasses.asdict(recipe).items() if k not in unused}


def estimator_options(name: str) -> tuple[str, ...]:
    """Return the fields of a recipe that an estimator uses and that can be tuned."""
    return () if name == LAST_VALUE else estimator_type(name).options


def needs_table(name: str) -> str:
    """Return the message that a resampler cannot be used on other data than tables."""
    return f"{name} resamples the rows of a table: use a weight such as inv instead."


def has_threshold(name: str) -> bool:
    """Return whether a resampler divides rare from common labels by ``rare_threshold``."""
    return bool(name) and hasattr(make_resampler(name), "threshold")  # type: ignore[arg-type]
