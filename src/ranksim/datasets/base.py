"""Benchmark data: three labeled parts, label bins, and the regions of its tables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ranksim.imbalance import LabelBins
from ranksim.imbalance.bins import LabelRange
from ranksim.metrics.shot_regions import FEW, MANY, ShotRegions


class LabeledSamples(Protocol):
    """Samples with one real label each."""

    @property
    def labels(self) -> np.ndarray: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True, eq=False)
class LabelSamples:
    """Labels of samples without inputs, float64 ``(N,)``."""

    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


S = TypeVar("S", bound=LabeledSamples, covariant=True)


@dataclass(frozen=True)
class Benchmark(Generic[S]):
    """A data set for regression, split and ready for training.

    Args:
        name: name on the command line.
        train, val, test: the parts.
        bins: label bins of the shot regions.
        published_shots: published bins of the many- and medium-shot region, if any.
        gmean_epsilon: replaces zero errors in the geometric mean.
        facts: identity of the data in results: split, checksums, domains.
        comparable: whether the data is exactly that of the published table.
        many, few: thresholds of training samples per bin for the many- and few-shot region.
        named_regions: further regions, label ranges by name.
        quantity, unit: name and unit of the label in figures.
        groups: group of each test sample, int64 ``(N,)``, such as a day or a person, whose samples
            are not independent; None if all samples are independent.
    """

    name: str
    train: S
    val: S
    test: S
    bins: LabelBins
    published_shots: dict[str, frozenset[int]] | None = None
    gmean_epsilon: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    comparable: bool = True
    many: int = MANY
    few: int = FEW
    named_regions: Mapping[str, LabelRange] = field(default_factory=dict)
    quantity: str = "label"
    unit: str | None = None
    groups: NDArray[np.int64] | None = None

    @property
    def parts(self) -> tuple[S, S, S]:
        """Training, validation and test samples."""
        return self.train, self.val, self.test

    def regions(self, source: str) -> ShotRegions:
        """Return the shot regions by training counts (``"rule"``) or the ``"published"`` list."""
        labels: np.ndarray = self.train.labels
        if source == "published" and self.published_shots is not None:
            return ShotRegions.from_bin_ids(
                self.bins, labels, **self.published_shots, named=self.named_regions
            )
        return ShotRegions.from_counts(
            self.bins, labels, many=self.many, few=self.few, named=self.named_regions
        )


def data_folder(data_dir: Path | None) -> Path | None:
    """Return the folder that may contain data: ``data_dir``, else ``RANKSIM_DATA`` if set."""
    folder = data_dir or os.environ.get("RANKSIM_DATA")
    return Path(folder).expanduser() if folder else None


def find_data_file(benchmark: str, file: str, data_dir: Path | None) -> Path | None:
    """Return the path of a file in the data folder or its subfolder ``benchmark``, if it exists."""
    folder = data_folder(data_dir)
    paths = [folder / file, folder / benchmark / file] if folder else []
    return next((path for path in paths if path.is_file()), None)
