"""Rows of numbers and categories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from ranksim.data.features import TableFeatures, VectorDataset
from ranksim.data.spec import TableSpec
from ranksim.data.split_plan import SplitPlan
from ranksim.data.table import Table
from ranksim.models import MLPEncoder, Regressor
from ranksim.training.adapters.base import AdaptedParts, AdaptedTable, select_columns
from ranksim.training.modality import TABLE
from ranksim.training.recipe import TableRecipe
from ranksim.training.trainer_config import TrainerConfig


@dataclass(frozen=True)
class TableAdapter:
    """An MLP over the columns of a table.

    Args:
        names: of the columns.
        features: from them to numbers, by the training rows.
    """

    kind: ClassVar[str] = TABLE
    names: tuple[str, ...]
    features: TableFeatures

    @classmethod
    def fit(cls, plan: SplitPlan, recipe: TableRecipe) -> Self:
        columns, train = plan.table, plan.rows[plan.split.train]
        assert isinstance(plan.options, TableSpec)
        kinds = dict.fromkeys(plan.options.categories, "category")
        found = TableFeatures.fit(select_columns(columns, plan.inputs), train, kinds=kinds)  # type: ignore[arg-type]
        return cls(plan.inputs, found)

    def parts(self, plan: SplitPlan, recipe: TableRecipe) -> AdaptedParts:
        vectors = self._vectors(plan.table)[plan.rows]
        train, val, test = (VectorDataset(vectors[part], plan.labels[part]) for part in plan.split)
        dropped = self.features.dropped
        facts = {"left_out_columns": dict(dropped)} if dropped else {}
        return AdaptedParts((train, val, test), self._network, facts)

    def read(self, columns: Table, recipe: TableRecipe) -> AdaptedTable:
        vectors = self._vectors(columns)
        samples = VectorDataset(vectors, np.zeros(len(vectors)))
        return AdaptedTable(np.arange(len(vectors)), samples, self._network)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "names": self.names, "features": self.features.to_dict()}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        return cls(tuple(content["names"]), TableFeatures.from_dict(content["features"]))

    def _vectors(self, columns: Table) -> np.ndarray:
        return self.features(
            select_columns(columns, self.names), raise_for_rows=columns.raise_for_rows
        )

    def _network(self, recipe: TableRecipe, hardware: TrainerConfig) -> Callable[[], Regressor]:
        shape: dict[str, Any] = {"hidden": recipe.hidden, "layers": recipe.layers}
        width = self.features.width
        return lambda: Regressor(MLPEncoder(width, dropout=recipe.dropout, **shape))
