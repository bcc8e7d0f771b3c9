"""What all readers have in common, and which one reads what."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.schema import validate_types
from ranksim.data.batch import BatchDataset
from ranksim.data.split_plan import SplitPlan
from ranksim.data.table import Table
from ranksim.models import Regressor
from ranksim.training.modality import IMAGE, SENTENCES, SERIES, TABLE, TEXT
from ranksim.training.trainer_config import TrainerConfig


@dataclass(frozen=True)
class LabelSamples:
    """Samples of which labels alone are known here, float64 ``(N,)``."""

    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


Network = Callable[[Any, TrainerConfig], Callable[[], Regressor]]


@dataclass(frozen=True)
class AdaptedParts:
    """The parts of a plan, as a network reads them.

    Args:
        samples: training, validation and test.
        network: from a recipe and hardware to what makes a new network for them.
        facts: what the reader adds to what identifies the data.
    """

    samples: tuple[BatchDataset, BatchDataset, BatchDataset]
    network: Network
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AdaptedTable:
    """New data, as a trained network reads it.

    Args:
        rows: the row that each sample stands for, int64 ``(N,)``.
        samples: these N; their labels mean nothing.
        network: as of :class:`AdaptedParts`; untrained.
        labels: of forecasts, what came true, float64 ``(N,)``, NaN where that is not known yet.
        times: of forecasts, when that is, as the data writes times.
    """

    rows: NDArray[np.int64]
    samples: BatchDataset
    network: Network
    labels: NDArray[np.float64] | None = None
    times: list[Any] | None = None


class DataAdapter(Protocol):
    """From columns to what a network reads; made by :meth:`fit` from training samples."""

    kind: ClassVar[str]

    @classmethod
    def fit(cls, plan: SplitPlan, recipe: Any) -> Self:
        """A reader for data like this plan's, by its training samples alone."""
        ...

    def parts(self, plan: SplitPlan, recipe: Any) -> AdaptedParts:
        """The parts of that plan."""
        ...

    def read(self, columns: Table, recipe: Any) -> AdaptedTable:
        """New data, whose columns have the same names."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        ...

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """What :meth:`as_dict` wrote."""
        ...


def adapter_type(kind: str) -> type[DataAdapter]:
    """The reader of a kind; what it needs is imported here."""
    if kind == TABLE:
        from ranksim.training.adapters.table import TableAdapter

        return TableAdapter
    if kind == TEXT:
        from ranksim.training.adapters.text import TextAdapter

        return TextAdapter
    if kind == SENTENCES:
        from ranksim.training.adapters.sentences import SentenceAdapter

        return SentenceAdapter
    if kind == IMAGE:
        from ranksim.training.adapters.image import ImageAdapter

        return ImageAdapter
    if kind == SERIES:
        from ranksim.training.adapters.series import SeriesAdapter

        return SeriesAdapter
    raise ValueError(f"kind must be one of the readers', got {kind!r}")


def adapter_from_dict(content: dict[str, Any]) -> DataAdapter:
    """A reader of any kind from what its ``as_dict`` wrote."""
    content = dict(content)
    return validate_types(adapter_type(content.pop("kind")).from_dict(content))


def to_plain_dict(reader: Any) -> dict[str, Any]:
    """A reader whose fields are plain, as JSON holds it."""
    return {"kind": reader.kind, **dataclasses.asdict(reader)}


def select_columns(columns: Table, names: Sequence[str]) -> dict[str, list[Any]]:
    """These columns by their names."""
    return {name: columns.column(name) for name in names}
