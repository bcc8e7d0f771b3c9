"""Table rows of numbers and categories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from ranksim.data.features import TableFeatures, VectorDataset
from ranksim.data.spec import TableSpec
from ranksim.data.split_plan import SplitPlan
from ranksim.data.table import Table
from ranksim.models import Regressor
from ranksim.training.adapters.base import AdaptedSplits, AdaptedTable
from ranksim.training.factory import table_network
from ranksim.training.modality import TABLE
from ranksim.training.recipe import TableRecipe
from ranksim.training.trainer_config import TrainerConfig


@dataclass(frozen=True)
class TableAdapter:
    """An MLP over the columns of a table.

    Args:
        names: the columns.
        features: their encoding as numbers, fitted on the training rows.
    """

    kind: ClassVar[str] = TABLE
    names: tuple[str, ...]
    features: TableFeatures

    @classmethod
    def fit(cls, plan: SplitPlan, recipe: TableRecipe) -> Self:
        assert isinstance(plan.options, TableSpec)
        columns = {name: plan.table.column(name) for name in plan.inputs}
        kinds = dict.fromkeys(plan.options.categories, "category")
        train = plan.rows[plan.split.train]
        return cls(plan.inputs, TableFeatures.fit(columns, train, kinds=kinds))  # type: ignore[arg-type]

    def adapt_splits(self, plan: SplitPlan, recipe: TableRecipe) -> AdaptedSplits:
        vectors = self._encode(plan.table)[plan.rows]
        train, val, test = (
            VectorDataset(vectors[index], plan.labels[index]) for index in plan.split
        )
        dropped = self.features.dropped
        facts = {"left_out_columns": dict(dropped)} if dropped else {}
        return AdaptedSplits((train, val, test), self._make_network, facts)

    def adapt_table(self, table: Table, recipe: TableRecipe) -> AdaptedTable:
        vectors = self._encode(table)
        samples = VectorDataset(vectors, np.zeros(len(vectors)))
        return AdaptedTable(np.arange(len(vectors)), samples, self._make_network)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "names": self.names, "features": self.features.to_dict()}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        return cls(tuple(content["names"]), TableFeatures.from_dict(content["features"]))

    def _encode(self, table: Table) -> np.ndarray:
        columns = {name: table.column(name) for name in self.names}
        return self.features(columns, raise_for_rows=table.raise_for_rows)

    def _make_network(self, recipe: TableRecipe, config: TrainerConfig) -> Callable[[], Regressor]:
        return table_network(recipe, self.features.width)
