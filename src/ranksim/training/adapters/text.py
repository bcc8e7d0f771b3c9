"""One or two texts, read by a BiLSTM over word vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from ranksim.data import TextSamples
from ranksim.data.batch import BatchDataset
from ranksim.data.split_plan import SplitPlan
from ranksim.data.table import Table
from ranksim.data.text import encode_texts
from ranksim.training.adapters.base import AdaptedSplits, AdaptedTable, NetworkFactory
from ranksim.training.factory import text_network, word_vectors
from ranksim.training.modality import TEXT


@dataclass(frozen=True)
class TextAdapter:
    """A BiLSTM over one or two text columns.

    Args:
        names: the columns.
    """

    kind: ClassVar[str] = TEXT
    names: tuple[str, ...]

    @classmethod
    def fit(cls, plan: SplitPlan, recipe: Any) -> Self:
        return cls(plan.inputs)

    def adapt_splits(self, plan: SplitPlan, recipe: Any) -> AdaptedSplits:
        samples = TextSamples(_read_texts(plan.table, self.names, plan.rows), plan.labels)
        splits = [samples.take(index) for index in plan.split]
        (train, val, test), make_network = self._encode(splits, recipe)
        return AdaptedSplits((train, val, test), make_network)

    def adapt_table(self, table: Table, recipe: Any) -> AdaptedTable:
        rows = np.arange(table.n_rows)
        samples = TextSamples(_read_texts(table, self.names, rows), np.zeros(len(rows)))
        (encoded,), make_network = self._encode([samples], recipe)
        return AdaptedTable(rows, encoded, make_network)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "names": self.names}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        return cls(tuple(content["names"]))

    def _encode(
        self, splits: Sequence[TextSamples], recipe: Any
    ) -> tuple[Sequence[BatchDataset], NetworkFactory]:
        """Convert texts to network inputs; return them and the network factory."""
        vectors = word_vectors(recipe.vectors)
        datasets, table = encode_texts(splits, vectors, max_tokens=recipe.max_tokens)
        return datasets, lambda recipe, config: text_network(recipe, table, len(self.names))


def _read_texts(table: Table, names: tuple[str, ...], rows: np.ndarray) -> tuple[list[str], ...]:
    """Return the texts of the columns in these rows; raise DataError for an empty one."""
    texts = []
    for name in names:
        values = table.column(name)
        table.raise_for_rows(
            [row for row in rows if not (isinstance(values[row], str) and values[row].strip())],
            f"column {name!r} has no text",
            "fill it in or remove these rows",
        )
        texts.append([values[row] for row in rows])
    return tuple(texts)
