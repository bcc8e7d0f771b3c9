"""Changes of a training task before training: resampled rows and transformed labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.arrays import copy_to_numpy
from ranksim.data.batch import TableDataset
from ranksim.data.target_transform import TargetTransform
from ranksim.exceptions import UsageError
from ranksim.imbalance.resampling import make_resampler
from ranksim.training.feature_readers import TableReader
from ranksim.training.fit import TrainingTask
from ranksim.training.method import Technique


def prepare_task(task: TrainingTask, technique: Technique, seed: int) -> TrainingTask:
    """Return the task with the resampled rows and the transform of a technique."""
    if technique.resampling:
        task = _resample(task, technique.resampling, seed)
    if technique.transform:
        labels = copy_to_numpy(task.train.labels)
        task = replace(task, transform=TargetTransform.fit(labels, technique.transform))
    return task


def needs_table(name: str) -> str:
    """Return the message that a resampler cannot be used on other data than tables."""
    return f"{name} resamples the rows of a table: use a weight such as inv instead."


def _resample(task: TrainingTask, name: str, seed: int) -> TrainingTask:
    """Return the task with resampled training rows; bins and regions stay those of all rows."""
    reader = task.reader
    if not isinstance(reader, TableReader):
        raise UsageError(needs_table(name))
    cells = _to_cells(reader.read_columns(task.train), reader.categories)
    resampler = make_resampler(name, random_state=seed)  # type: ignore[arg-type]
    try:
        cells, labels = resampler.fit_resample(cells, copy_to_numpy(task.train.labels))
    except ValueError as error:
        raise UsageError(f"{name} cannot resample these rows: {error}.") from error
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
