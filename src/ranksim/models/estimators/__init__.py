"""Estimators besides the networks: boosted trees of four libraries, ridge, neighbors, median."""

from __future__ import annotations

from pathlib import Path

from ranksim._utils.formatting import format_value
from ranksim.exceptions import DataError, UsageError
from ranksim.models.estimators import (
    catboost_trees,
    lightgbm_trees,
    references,
    scikit_trees,
    xgboost_trees,
)
from ranksim.models.estimators.base import DESCRIPTION, Estimator, EstimatorFit, read_description
from ranksim.models.estimators.catboost_trees import CatBoostTrees
from ranksim.models.estimators.data import LOSSES, EstimatorData, EstimatorSettings
from ranksim.models.estimators.lightgbm_trees import LightGBMTrees
from ranksim.models.estimators.references import Median, Neighbors, Ridge
from ranksim.models.estimators.scikit_trees import ScikitTrees
from ranksim.models.estimators.xgboost_trees import XGBoostTrees

__all__ = [
    "ESTIMATORS",
    "ESTIMATOR_FILES",
    "LOSSES",
    "Estimator",
    "EstimatorData",
    "EstimatorFit",
    "EstimatorSettings",
    "estimator_type",
    "load_estimator",
]

_TYPES: tuple[type[Estimator], ...] = (
    ScikitTrees,
    LightGBMTrees,
    XGBoostTrees,
    CatBoostTrees,
    Ridge,
    Neighbors,
    Median,
)
ESTIMATORS = tuple(each.name for each in _TYPES)
"""Names of the estimators: trees, lightgbm, xgboost, catboost, linear, knn, median."""


_MODULES = (scikit_trees, lightgbm_trees, xgboost_trees, catboost_trees, references)
ESTIMATOR_FILES = frozenset({DESCRIPTION, *(module.FILE for module in _MODULES)})
"""Names of the files that an estimator is saved to; each needs one or two of them."""


def estimator_type(name: str) -> type[Estimator]:
    """Return the class of an estimator; raise a UsageError if there is none of this name.

    Example:
        >>> estimator_type("median").reads
        'labels'
    """
    for each in _TYPES:
        if each.name == name:
            return each
    raise UsageError(f"There is no estimator {format_value(name)}: choose {', '.join(ESTIMATORS)}.")


def load_estimator(folder: Path) -> Estimator:
    """Load an estimator that :meth:`Estimator.save` wrote, without executing code from its files.

    Raises:
        DataError: a file is missing or damaged.
        MissingDependencyError: the library of the estimator is not installed.
    """
    name = read_description(folder).get("name")
    if name not in ESTIMATORS:
        raise DataError(
            f"{folder / DESCRIPTION} describes the unknown estimator {format_value(name)}: "
            "install the version of ranksim that wrote it."
        )
    return estimator_type(name).load(folder)
