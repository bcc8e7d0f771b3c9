"""Protocol of the adapters and their results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ranksim.data.batch import BatchDataset
from ranksim.data.split_plan import SplitPlan
from ranksim.data.table import Table
from ranksim.models import Regressor
from ranksim.training.trainer_config import TrainerConfig

NetworkFactory = Callable[[Any, TrainerConfig], Callable[[], Regressor]]
"""Called with a recipe and hardware settings; returns a function that builds a new network."""


@dataclass(frozen=True)
class LabelSamples:
    """Labels of a split without inputs, float64 ``(N,)``."""

    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class AdaptedSplits:
    """The splits of a plan as network inputs.

    Args:
        samples: training, validation and test.
        make_network: factory of networks for these samples.
        facts: facts about the data to record.
    """

    samples: tuple[BatchDataset, BatchDataset, BatchDataset]
    make_network: NetworkFactory
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AdaptedTable:
    """New data as network inputs.

    Args:
        rows: table row of each sample, int64 ``(N,)``.
        samples: the samples; their labels are meaningless.
        make_network: factory of untrained networks for these samples.
        labels: true values of forecasts, float64 ``(N,)``, NaN if in the future.
        times: times to which forecasts refer, in the format of the data.
    """

    rows: NDArray[np.int64]
    samples: BatchDataset
    make_network: NetworkFactory
    labels: NDArray[np.float64] | None = None
    times: list[Any] | None = None


class DataAdapter(Protocol):
    """Converts columns of a table to network inputs."""

    kind: ClassVar[str]

    @classmethod
    def fit(cls, plan: SplitPlan, recipe: Any) -> Self:
        """Return an adapter fitted on the training samples of a plan."""
        ...

    def adapt_splits(self, plan: SplitPlan, recipe: Any) -> AdaptedSplits:
        """Convert the splits of the plan."""
        ...

    def adapt_table(self, table: Table, recipe: Any) -> AdaptedTable:
        """Convert new data with the same columns."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return the adapter as JSON values."""
        ...

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Restore the adapter from the result of :meth:`to_dict` without its ``kind``."""
        ...
