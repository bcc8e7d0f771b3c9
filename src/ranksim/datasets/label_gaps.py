"""Remove label ranges from the training and validation sets of a benchmark."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ranksim._utils.arrays import copy_to_numpy
from ranksim.data.batch import BatchDataset
from ranksim.datasets.base import Benchmark, LabelSamples
from ranksim.exceptions import UsageError
from ranksim.imbalance.bins import LabelRange


class Subset(BatchDataset):
    """A subset of a data set: the samples at positions ``rows`` ``(N,)``."""

    def __init__(self, samples: BatchDataset, rows: NDArray[np.int64]) -> None:
        self.samples, self.rows = samples, torch.from_numpy(rows)
        self.labels = samples.labels[self.rows]
        self.on_disk = samples.on_disk

    @classmethod
    def select(cls, samples: BatchDataset, rows: NDArray[np.int64]) -> Subset:
        """Return the samples at positions ``rows`` of a data set, or of a subset of one."""
        if isinstance(samples, Subset):
            return cls(samples.samples, copy_to_numpy(samples.rows)[rows])
        return cls(samples, rows)

    def get_inputs(self, index: Tensor) -> tuple[Tensor, ...]:
        """Return the inputs of the samples at positions ``index`` ``(N,)`` of the subset."""
        return self.samples.get_inputs(self.rows[index])

    def get_raw_inputs(self, index: Tensor) -> tuple[Tensor, ...]:
        """Return the inputs of estimators at positions ``index`` ``(N,)`` of the subset."""
        return self.samples.get_raw_inputs(self.rows[index])

    def length_order(self) -> Tensor:
        """Return the positions of all samples in the length order of the underlying data set."""
        positions = torch.full((len(self.samples),), -1)
        positions[self.rows] = torch.arange(len(self))
        ordered = positions[self.samples.length_order()]
        return ordered[ordered >= 0]


def rows_outside(labels: ArrayLike, ranges: Sequence[LabelRange]) -> NDArray[np.int64]:
    """Return the positions of those labels ``(N,)`` that lie outside all ranges."""
    inside = [label_range.contains(labels) for label_range in ranges]
    return np.flatnonzero(~np.any(inside, axis=0))


def drop_labels(
    benchmark: Benchmark[Any], datasets: Sequence[BatchDataset], ranges: Sequence[LabelRange]
) -> tuple[Benchmark[Any], list[BatchDataset]]:
    """Remove training and validation samples whose label is in one of the ranges.

    The test set stays complete, so it measures errors at labels without training samples. Regions
    follow training counts: a published list refers to the complete training set.

    The benchmark is no longer comparable, and its facts contain ``dropped`` and ``counts``.

    Raises:
        UsageError: a range contains no training label, or no training or validation sample remains.
    """
    train, val, test = datasets
    if not ranges:
        return benchmark, [train, val, test]
    for label_range in ranges:
        if not label_range.contains(benchmark.train.labels).any():
            raise UsageError(
                f"--drop-labels {label_range.text} has no effect, because no training label of "
                f"{benchmark.name} is in this range: choose another range."
            )
    texts = [label_range.text for label_range in ranges]
    rows = [rows_outside(part.labels, ranges) for part in (benchmark.train, benchmark.val)]
    for remaining, title in zip(rows, ("training", "validation"), strict=True):
        if not len(remaining):
            raise UsageError(
                f"--drop-labels {','.join(texts)} removes all {title} samples of {benchmark.name}: "
                "choose narrower ranges."
            )
    facts = {"dropped": texts, "counts": [len(rows[0]), len(rows[1]), len(test)]}
    reduced = dataclasses.replace(
        benchmark,
        train=LabelSamples(benchmark.train.labels[rows[0]]),
        val=LabelSamples(benchmark.val.labels[rows[1]]),
        published_shots=None,
        facts=benchmark.facts | facts,
        comparable=False,
        label_counts=benchmark.count_labels(),
    )
    return reduced, [Subset(train, rows[0]), Subset(val, rows[1]), test]
