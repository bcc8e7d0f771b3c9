"""Windows of a series."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from ranksim.data.cells import format_times
from ranksim.data.series import SeriesDataset, SeriesScaling, make_windows
from ranksim.data.spec import SeriesSpec
from ranksim.data.split_plan import SplitPlan, read_series
from ranksim.data.table import Table
from ranksim.models import Regressor
from ranksim.training.adapters.base import AdaptedParts, AdaptedTable
from ranksim.training.factory import series_network
from ranksim.training.modality import SERIES
from ranksim.training.recipe import SeriesRecipe
from ranksim.training.trainer_config import TrainerConfig


@dataclass(frozen=True)
class SeriesAdapter:
    """A network over the last readings.

    Args:
        names: columns of the readings.
        time, group: columns of the time, and of what each reading belongs to.
        window, horizon: readings that a forecast sees, and from the last of them to its target.
        step: seconds from one reading to the next; None of a series without times.
        scaling: of the readings.
    """

    kind: ClassVar[str] = SERIES
    names: tuple[str, ...]
    time: str | None
    group: str | None
    window: int
    horizon: int
    step: float | None
    scaling: SeriesScaling

    @classmethod
    def fit(cls, plan: SplitPlan, recipe: SeriesRecipe) -> Self:
        assert plan.readings is not None
        assert plan.windows is not None
        options, window = plan.options, plan.windows.window
        assert isinstance(options, SeriesSpec)
        scaling = SeriesScaling.fit(
            plan.readings, plan.windows.ends[plan.split.train], window=window
        )
        named, horizon = (plan.inputs, options.time, options.group), options.horizon or 1
        return cls(*named, window, horizon, plan.windows.step, scaling)

    def parts(self, plan: SplitPlan, recipe: SeriesRecipe) -> AdaptedParts:
        assert plan.readings is not None
        assert plan.windows is not None
        scaled, ends = self.scaling(plan.readings), plan.windows.ends
        train, val, test = (
            SeriesDataset(scaled, ends[part], plan.labels[part], window=self.window)
            for part in plan.split
        )
        return AdaptedParts((train, val, test), self._network)

    def read(self, columns: Table, recipe: SeriesRecipe) -> AdaptedTable:
        # the target's own column is among the readings; a forecast needs nothing after its window
        options = SeriesSpec(
            target=self.names[0], time=self.time, group=self.group, window=self.window
        )
        order, readings, times, groups = read_series(columns, options, self.names)
        shape = {"window": self.window, "horizon": self.horizon}
        found = make_windows(readings, times, None, **shape, step=self.step, groups=groups)
        labels = np.where(found.target_rows < 0, np.nan, readings[found.target_rows, 0])
        when = None
        if self.time is not None and found.times is not None:
            when = format_times(found.times, columns.column(self.time)[0])
        samples = SeriesDataset(
            self.scaling(readings), found.ends, np.zeros(len(found)), window=self.window
        )
        return AdaptedTable(order[found.ends], samples, self._network, labels, when)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, **vars(self), "scaling": self.scaling.to_dict()}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        names, scaling = tuple(content["names"]), SeriesScaling.from_dict(content["scaling"])
        return cls(**content | {"names": names, "scaling": scaling})

    def _network(self, recipe: SeriesRecipe, hardware: TrainerConfig) -> Callable[[], Regressor]:
        return series_network(recipe, len(self.names))
