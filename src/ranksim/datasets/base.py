"""The class of benchmark data (splits, label bins, shot regions), and a search for data files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ranksim.data.data_report import DataReport
from ranksim.data.splitting import PARTS
from ranksim.imbalance import LabelBins
from ranksim.imbalance.bins import LabelRange
from ranksim.metrics.shot_regions import FEW, MANY, ShotRegions

TestSet = Literal["balanced", "random", "latest", "given"]


class LabeledSamples(Protocol):
    """An interface: samples with one real-valued label each."""

    @property
    def labels(self) -> np.ndarray: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True, eq=False)
class LabelSamples:
    """Samples that consist of labels only, float64 ``(N,)``."""

    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


S = TypeVar("S", bound=LabeledSamples, covariant=True)


@dataclass(frozen=True)
class Benchmark(Generic[S]):
    """A regression data set with its split, label bins and evaluation settings.

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
        report: what was read of the data.
        origin: where each test sample comes from, ``(N,)`` each: row, line, image, group, time.
        test_set: how the test samples were chosen: ``balanced`` by label, ``random`` from the
            rows, the ``latest`` rows, or as ``given``.
        label_counts: rows with a label in each bin, ``(K,)``, also those that no part contains;
            None: those of the three parts.
        calibration: samples of validation that calibrate intervals, and are in no other part.
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
    report: DataReport = field(default_factory=DataReport)
    origin: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    test_set: TestSet = "given"
    label_counts: NDArray[np.int64] | None = None
    calibration: S | None = None

    def count_labels(self) -> NDArray[np.int64]:
        """Count the rows of the data in each label bin, ``(K,)``, before any are left out."""
        if self.label_counts is not None:
            return self.label_counts
        return self.bins.histogram(np.concatenate([part.labels for part in self.parts]))

    @property
    def parts(self) -> tuple[S, S, S]:
        """The training, validation and test samples."""
        return self.train, self.val, self.test

    def regions(self, source: str) -> ShotRegions:
        """Return the shot regions, by training counts (``"rule"``) or as ``"published"``."""
        labels: np.ndarray = self.train.labels
        if source == "published" and self.published_shots is not None:
            return ShotRegions.from_bin_ids(
                self.bins, labels, **self.published_shots, named=self.named_regions
            )
        return ShotRegions.from_counts(
            self.bins, labels, many=self.many, few=self.few, named=self.named_regions
        )


def report_parts(
    parts: Sequence[LabeledSamples], method: str, *, seed: int | None = None
) -> DataReport:
    """Report the number of rows and the split of a benchmark all of whose rows are used."""
    counts = dict(zip(PARTS, map(len, parts), strict=True))
    split = {"method": method, **counts} | ({} if seed is None else {"seed": seed})
    return DataReport(rows={"used": sum(counts.values())}, split=split)


def data_folder(data_dir: Path | None) -> Path | None:
    """Return the data folder: ``data_dir``, else ``RANKSIM_DATA`` if set, else None."""
    folder = data_dir or os.environ.get("RANKSIM_DATA")
    return Path(folder).expanduser() if folder else None


def find_data_file(benchmark: str, file: str, data_dir: Path | None) -> Path | None:
    """Find a file in the data folder or the subfolder ``benchmark``; return None if missing."""
    folder = data_folder(data_dir)
    paths = [folder / file, folder / benchmark / file] if folder else []
    return next((path for path in paths if path.is_file()), None)
