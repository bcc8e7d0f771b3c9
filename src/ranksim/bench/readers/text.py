"""One or two texts, read by a BiLSTM over word vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from torch import Tensor

from ranksim.bench.kinds import TEXT
from ranksim.bench.networks import text_network, word_vectors
from ranksim.bench.readers.base import Network, Opened, Parts, tabled
from ranksim.data import TextSamples
from ranksim.data.own.plan import OwnPlan
from ranksim.data.table import Columns
from ranksim.data.text import encode
from ranksim.training.recipe import TextRecipe


@dataclass(frozen=True)
class TextReader:
    """A BiLSTM over one or two columns of texts.

    Args:
        names: of the columns.
    """

    kind: ClassVar[str] = TEXT
    names: tuple[str, ...]

    @classmethod
    def fit(cls, plan: OwnPlan, recipe: TextRecipe) -> Self:
        return cls(plan.inputs)

    def parts(self, plan: OwnPlan, recipe: TextRecipe) -> Parts:
        samples = self._samples(plan.columns, plan.rows, plan.labels)
        parts = [samples.take(part) for part in plan.split]
        (train, val, test), vectors = encode(
            parts, word_vectors(recipe.vectors), max_tokens=recipe.max_tokens
        )
        return Parts((train, val, test), self._network(vectors))

    def read(self, columns: Columns, recipe: TextRecipe) -> Opened:
        rows = np.arange(columns.rows)
        samples = self._samples(columns, rows, np.zeros(len(rows)))
        (found,), vectors = encode(
            [samples], word_vectors(recipe.vectors), max_tokens=recipe.max_tokens
        )
        return Opened(rows, found, self._network(vectors))

    def as_dict(self) -> dict[str, Any]:
        return tabled(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        return cls(tuple(content["names"]))

    def _samples(self, columns: Columns, rows: np.ndarray, labels: np.ndarray) -> TextSamples:
        return TextSamples(texts(columns, self.names, rows), labels)

    def _network(self, vectors: Tensor) -> Network:
        return lambda recipe, hardware: text_network(recipe, vectors, len(self.names))


def texts(columns: Columns, names: tuple[str, ...], rows: np.ndarray) -> tuple[list[str], ...]:
    """Columns of texts at these rows.

    Raises:
        DataError: a value that is no text, or an empty one.
    """
    found = []
    for name in names:
        values = columns.column(name)
        columns.refuse(
            [row for row in rows if not (isinstance(values[row], str) and values[row].strip())],
            f"column {name!r} holds no text",
            "fill it in or remove these rows",
        )
        found.append([values[row] for row in rows])
    return tuple(found)
