"""Windows of a time series."""

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
from ranksim.training.adapters.base import AdaptedSplits, AdaptedTable
from ranksim.training.factory import series_network
from ranksim.training.modality import SERIES
from ranksim.training.recipe import SeriesRecipe
from ranksim.training.trainer_config import TrainerConfig


@dataclass(frozen=True)
class SeriesAdapter:
    """A forecasting network over the last readings.

    Args:
        names: columns of the readings, the target first.
        time, group: columns of the time and of the group, for example the patient.
        window: readings that a forecast uses.
        horizon: readings from the last one used to the forecast one.
        step: seconds between readings; ``None`` without a time column.
        scaling: standardization of the readings.
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
        spec, windows = plan.options, plan.windows
        assert isinstance(spec, SeriesSpec)
        return cls(
            names=plan.inputs,
            time=spec.time,
            group=spec.group,
            window=windows.window,
            horizon=spec.horizon or 1,
            step=windows.step,
            scaling=SeriesScaling.fit(
                plan.readings, windows.ends[plan.split.train], window=windows.window
            ),
        )

    def adapt_splits(self, plan: SplitPlan, recipe: SeriesRecipe) -> AdaptedSplits:
        assert plan.readings is not None
        assert plan.windows is not None
        scaled, ends = self.scaling(plan.readings), plan.windows.ends
        train, val, test = (
            SeriesDataset(scaled, ends[index], plan.labels[index], window=self.window)
            for index in plan.split
        )
        return AdaptedSplits((train, val, test), self._make_network)

    def adapt_table(self, table: Table, recipe: SeriesRecipe) -> AdaptedTable:
        # the target column is among the readings; a forecast needs nothing after its window
        spec = SeriesSpec(
            target=self.names[0], time=self.time, group=self.group, window=self.window
        )
        order, readings, times, groups = read_series(table, spec, self.names)
        shape = {"window": self.window, "horizon": self.horizon}
        windows = make_windows(readings, times, None, **shape, step=self.step, groups=groups)
        labels = np.where(windows.target_rows < 0, np.nan, readings[windows.target_rows, 0])
        target_times = None
        if self.time is not None and windows.times is not None:
            target_times = format_times(windows.times, table.column(self.time)[0])
        samples = SeriesDataset(
            self.scaling(readings), windows.ends, np.zeros(len(windows)), window=self.window
        )
        rows = order[windows.ends]
        return AdaptedTable(rows, samples, self._make_network, labels, target_times)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, **vars(self), "scaling": self.scaling.to_dict()}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        names, scaling = tuple(content["names"]), SeriesScaling.from_dict(content["scaling"])
        return cls(**content | {"names": names, "scaling": scaling})

    def _make_network(self, recipe: SeriesRecipe, config: TrainerConfig) -> Callable[[], Regressor]:
        return series_network(recipe, len(self.names))
