"""Gaps in the training labels of any benchmark, made by leaving samples out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ranksim.data.batch import BatchDataset
from ranksim.datasets.base import Benchmark, Labelled
from ranksim.exceptions import UsageError
from ranksim.imbalance.label_range import LabelRange


@dataclass(frozen=True, eq=False)
class LabelledSubset:
    """The samples of a part at some positions, by their labels alone."""

    part: Labelled
    rows: NDArray[np.int64]

    @property
    def labels(self) -> np.ndarray:
        """Labels ``(N,)``."""
        chosen: np.ndarray = self.part.labels[self.rows]
        return chosen

    def __len__(self) -> int:
        return len(self.rows)


class Subset(BatchDataset):
    """The samples of a data set at some positions, ``rows`` (N,), counted anew from 0."""

    def __init__(self, samples: BatchDataset, rows: NDArray[np.int64]) -> None:
        self.samples, self.rows = samples, torch.from_numpy(rows)
        self.labels = samples.labels[self.rows]
        self.on_disk = samples.on_disk

    def get_inputs(self, index: Tensor) -> tuple[Tensor, ...]:
        return self.samples.get_inputs(self.rows[index])

    def length_order(self) -> Tensor:
        """All positions, in the order of the whole data set."""
        order = self.samples.length_order()
        place = torch.full((len(order),), -1)
        place[self.rows] = torch.arange(len(self))
        own = place[order]
        return own[own >= 0]


def rows_outside(labels: ArrayLike, ranges: Sequence[LabelRange]) -> NDArray[np.int64]:
    """Positions of the labels ``(N,)`` that lie in none of the ranges.

    Example:
        >>> from ranksim.imbalance.label_range import parse_ranges
        >>> rows_outside([20, 30, 40, 50, 90], parse_ranges("30-40,>80")).tolist()
        [0, 3]
    """
    values = np.asarray(labels)
    inside = np.zeros(values.shape, dtype=bool)
    for each in ranges:
        inside |= each.contains(values)
    return np.flatnonzero(~inside)


def drop_labels(
    benchmark: Benchmark[Any], datasets: Sequence[BatchDataset], ranges: Sequence[LabelRange]
) -> tuple[Benchmark[Any], list[BatchDataset]]:
    """Leave out the training and validation samples whose label lies in one of the ranges.

    The test set stays whole, so that it shows what a network does with labels that it never saw.
    Regions are then those of the rule: a published list is of the whole training set.

    Args:
        benchmark: any.
        datasets: its parts, ready to be trained on.
        ranges: of labels.

    Returns:
        The benchmark, no longer comparable, with ``dropped`` and ``counts`` among its facts; and
        its data sets. Both as they were, where there are no ranges.

    Raises:
        UsageError: a range holds no training label, or nothing is left to train on or to validate.
    """
    train, val, test = datasets
    if not ranges:
        return benchmark, [train, val, test]
    for each in ranges:
        if not each.contains(benchmark.train.labels).any():
            raise UsageError(
                f"--drop-labels {each.text} drops nothing: no training label of {benchmark.name} "
                "lies there; give a range that holds some."
            )
    rows = [rows_outside(part.labels, ranges) for part in (benchmark.train, benchmark.val)]
    for kept, called in zip(rows, ("training", "validation"), strict=True):
        if not len(kept):
            given = ",".join(each.text for each in ranges)
            raise UsageError(
                f"--drop-labels {given} leaves no {called} sample of {benchmark.name}: give "
                "narrower ranges."
            )
    facts = {
        "dropped": [each.text for each in ranges],
        "counts": [len(rows[0]), len(rows[1]), len(test)],
    }
    narrowed = dataclasses.replace(
        benchmark,
        train=LabelledSubset(benchmark.train, rows[0]),
        val=LabelledSubset(benchmark.val, rows[1]),
        shot_lists=None,
        facts=benchmark.facts | facts,
        comparable=False,
    )
    return narrowed, [Subset(train, rows[0]), Subset(val, rows[1]), test]
