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
from ranksim.training.adapters.base import AdaptedParts, AdaptedTable, Network, to_plain_dict
from ranksim.training.factory import text_network, word_vectors
from ranksim.training.modality import TEXT


@dataclass(frozen=True)
class TextAdapter:
    """A BiLSTM over one or two columns of texts.

    Args:
        names: of the columns.
    """

    kind: ClassVar[str] = TEXT
    names: tuple[str, ...]

    @classmethod
    def fit(cls, plan: SplitPlan, recipe: Any) -> Self:
        return cls(plan.inputs)

    def parts(self, plan: SplitPlan, recipe: Any) -> AdaptedParts:
        samples = TextSamples(texts(plan.table, self.names, plan.rows), plan.labels)
        (train, val, test), network = self._made([samples.take(p) for p in plan.split], recipe)
        return AdaptedParts((train, val, test), network)

    def read(self, columns: Table, recipe: Any) -> AdaptedTable:
        rows = np.arange(columns.n_rows)
        samples = TextSamples(texts(columns, self.names, rows), np.zeros(len(rows)))
        (found,), network = self._made([samples], recipe)
        return AdaptedTable(rows, found, network)

    def to_dict(self) -> dict[str, Any]:
        return to_plain_dict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        return cls(tuple(content["names"]))

    def _made(self, parts: Sequence[TextSamples], recipe: Any) -> tuple[Sequence[BatchDataset], Network]:
        """What a network reads of each part, and what makes it."""
        datasets, vectors = encode_texts(
            parts, word_vectors(recipe.vectors), max_tokens=recipe.max_tokens
        )
        return datasets, lambda own, hardware: text_network(own, vectors, len(self.names))


def texts(columns: Table, names: tuple[str, ...], rows: np.ndarray) -> tuple[list[str], ...]:
    """Columns of texts at these rows.

    Raises:
        DataError: a value that is no text, or an empty one.
    """
    found = []
    for name in names:
        values = columns.column(name)
        columns.raise_for_rows(
            [row for row in rows if not (isinstance(values[row], str) and values[row].strip())],
            f"column {name!r} holds no text",
            "fill it in or remove these rows",
        )
        found.append([values[row] for row in rows])
    return tuple(found)
