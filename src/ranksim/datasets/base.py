"""What a benchmark is: three parts, label bins, and the regions its tables use."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ranksim.imbalance import LabelBins
from ranksim.imbalance.label_range import LabelRange
from ranksim.metrics.shot_regions import FEW, MANY, ShotRegions


class Labelled(Protocol):
    """Samples with a real label each."""

    @property
    def labels(self) -> np.ndarray: ...
    def __len__(self) -> int: ...


S = TypeVar("S", bound=Labelled, covariant=True)


@dataclass(frozen=True)
class Benchmark(Generic[S]):
    """A data set with a real label, split and ready to be trained on.

    Args:
        name: its name on the command line.
        train, val, test: the parts.
        bins: label bins that regions are counted over.
        shot_lists: published bins of the many- and medium-shot region, if there are any.
        gmean_epsilon: stands in for zero errors in the geometric mean.
        facts: what identifies the data in results (split, checksums, domains).
        comparable: whether it is the very data of the published table.
        many, few: regions by the rule: bins of more and of fewer training samples.
        named: regions of its own, ranges of labels by their names, reported beside the others.
        quantity, unit: what the label is, for pictures.
        groups: what each test sample belongs to, such as a day or a person, where samples of one
            are no independent evidence; ``None``: each stands for itself.
    """

    name: str
    train: S
    val: S
    test: S
    bins: LabelBins
    shot_lists: dict[str, frozenset[int]] | None = None
    gmean_epsilon: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    comparable: bool = True
    many: int = MANY
    few: int = FEW
    named: Mapping[str, LabelRange] = field(default_factory=dict)
    quantity: str = "label"
    unit: str | None = None
    groups: NDArray[np.int64] | None = None

    @property
    def parts(self) -> tuple[S, S, S]:
        return self.train, self.val, self.test

    def regions(self, shots: str) -> ShotRegions:
        """Regions by ``"rule"`` (training counts) or by the ``"published"`` list."""
        training: np.ndarray = self.train.labels
        if shots == "published" and self.shot_lists is not None:
            return ShotRegions.from_bin_ids(self.bins, training, **self.shot_lists, named=self.named)
        return ShotRegions.from_counts(
            self.bins, training, many=self.many, few=self.few, named=self.named
        )


def data_folders(data_dir: Path | None) -> Iterator[Path]:
    """Where data may lie: the named folder alone, else the one in ``RANKSIM_DATA``."""
    named = data_dir or os.environ.get("RANKSIM_DATA")
    if named:
        yield Path(named).expanduser()
