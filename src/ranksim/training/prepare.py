"""Changes of a training task before training: resampled rows and transformed labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.arrays import copy_to_numpy
from ranksim.data.batch import TableDataset
from ranksim.data.target_transform import TargetTransform
from ranksim.exceptions import UsageError
from ranksim.imbalance import fit_relevance
from ranksim.imbalance.resampling import Resampler, make_resampler
from ranksim.training.feature_readers import TableReader
from ranksim.training.method import Technique
from ranksim.training.method_rules import has_threshold, needs_table
from ranksim.training.recipe import Recipe
from ranksim.training.task import TrainingTask

_ROUNDING = 1e-9  # a relevance this close to the threshold reaches it


def prepare_task(
    task: TrainingTask, recipe: Recipe, technique: Technique, seed: int
) -> TrainingTask:
    """Return the task with the resampled rows and the transform of a technique."""
    if technique.resampling:
        task = _resample(task, recipe, technique.resampling, seed)
    if technique.transform:
        labels = copy_to_numpy(task.train.labels)
        task = replace(task, transform=TargetTransform.fit(labels, technique.transform))
    return task


def check_resampling(name: str, recipe: Recipe, labels: NDArray[np.float64]) -> None:
    """Raise a UsageError if a resampler finds no rare or no common training label ``(N,)``."""
    if len(np.unique(labels)) < 2:
        raise UsageError(
            f"{name} needs training labels that differ, and all are {labels[0]:g}: leave it out."
        )
    relevance = fit_relevance(labels)(labels)
    low, high, limit = float(relevance.min()), float(relevance.max()), recipe.rare_threshold
    if not has_threshold(name):
        if high == 0 or low == 1:
            raise UsageError(
                f"{name} needs training labels that are rarer than others, and all are equally "
                "frequent: leave it out."
            )
    elif high < limit - _ROUNDING:
        raise UsageError(
            f"{name} needs rare labels, and no training label is rare: the largest relevance is "
            f"{high:.3g}, and labels are rare from rare_threshold={limit:g} on; lower it with "
            f"--set, or leave out {name}."
        )
    elif low >= limit - _ROUNDING:
        raise UsageError(
            f"{name} needs common labels, and all training labels are rare: the smallest relevance "
            f"is {low:.3g}, and labels are rare from rare_threshold={limit:g} on; raise it with "
            f"--set, or leave out {name}."
        )


def _make_resampler(name: str, recipe: Recipe, seed: int) -> Resampler:
    resampler = make_resampler(name, random_state=seed)  # type: ignore[arg-type]
    if has_threshold(name):
        resampler.set_params(threshold=recipe.rare_threshold)
    return resampler


def _resample(task: TrainingTask, recipe: Recipe, name: str, seed: int) -> TrainingTask:
    """Return the task with resampled training rows; bins and regions stay those of all rows."""
    reader = task.reader
    if not isinstance(reader, TableReader):
        raise UsageError(needs_table(name))
    check_resampling(name, recipe, copy_to_numpy(task.train.labels))
    cells = _to_cells(reader.read_columns(task.train), reader.categories)
    resampler = _make_resampler(name, recipe, seed)
    cells, labels = resampler.fit_resample(cells, copy_to_numpy(task.train.labels))
    columns = cells.astype(np.float64)  # None becomes NaN
    rows, weight, ids = resampler.sample_indices_, task.sample_weight, task.sample_ids
    if ids is not None:
        ids = replace(ids, numbers=ids.numbers[rows])
    return replace(
        task,
        train=TableDataset(reader.encode(columns), columns, labels),
        sample_weight=None if weight is None else weight[rows],
        sample_ids=ids,
    )


def _to_cells(columns: NDArray[np.float64], categories: tuple[int, ...]) -> NDArray[np.object_]:
    """Return columns with the types that resampling keeps: texts of categories, and integers."""
    cells = columns.astype(object)
    for column, count in enumerate(categories):
        values = columns[:, column]
        missing = np.isnan(values)
        if count:
            cells[:, column] = [None if np.isnan(v) else str(int(v)) for v in values]
        elif np.array_equal(values[~missing], np.rint(values[~missing])):
            cells[:, column] = [None if np.isnan(v) else int(v) for v in values]
    return cells
