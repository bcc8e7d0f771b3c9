"""One or two texts, read by a pretrained encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from ranksim.bench.kinds import SENTENCES
from ranksim.bench.readers.base import Opened, Parts, tabled
from ranksim.bench.readers.text import texts
from ranksim.data import TextSamples
from ranksim.data.batch import Samples
from ranksim.data.own.plan import OwnPlan
from ranksim.data.own.sentences import embed, tokenize
from ranksim.data.table import Columns
from ranksim.models import MLPEncoder, Regressor, SentenceEncoder, load_tokenizer
from ranksim.training.hardware import Hardware
from ranksim.training.recipe import SentenceRecipe


@dataclass(frozen=True)
class SentenceReader:
    """A pretrained encoder over one or two columns of texts.

    Frozen, its features are made once and an MLP reads them; else it is trained on.

    Args:
        names: of the columns.
    """

    kind: ClassVar[str] = SENTENCES
    names: tuple[str, ...]

    @classmethod
    def fit(cls, plan: OwnPlan, recipe: SentenceRecipe) -> Self:
        return cls(plan.inputs)

    def parts(self, plan: OwnPlan, recipe: SentenceRecipe) -> Parts:
        samples = TextSamples(texts(plan.columns, self.names, plan.rows), plan.labels)
        (train, val, test), width = self._made([samples.take(p) for p in plan.split], recipe)
        return Parts((train, val, test), self._network(width))

    def read(self, columns: Columns, recipe: SentenceRecipe) -> Opened:
        rows = np.arange(columns.rows)
        samples = TextSamples(texts(columns, self.names, rows), np.zeros(len(rows)))
        (found,), width = self._made([samples], recipe)
        return Opened(rows, found, self._network(width))

    def as_dict(self) -> dict[str, Any]:
        return tabled(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        return cls(tuple(content["names"]))

    def _made(
        self, parts: Sequence[TextSamples], recipe: SentenceRecipe
    ) -> tuple[Sequence[Samples], int]:
        """What a network reads of texts; the width of features that are made already, else 0."""
        tokens = tokenize(parts, load_tokenizer(recipe.encoder), max_tokens=recipe.max_tokens)
        if not recipe.frozen:
            return tokens, 0
        encoder = SentenceEncoder(recipe.encoder, texts=len(self.names))
        return embed(tokens, encoder), encoder.width

    def _network(self, width: int) -> Callable[[SentenceRecipe, Hardware], Callable[[], Regressor]]:
        def network(recipe: SentenceRecipe, hardware: Hardware) -> Callable[[], Regressor]:
            shape: dict[str, Any] = {"hidden": recipe.hidden, "layers": recipe.layers}
            if not width:
                return lambda: Regressor(SentenceEncoder(recipe.encoder, texts=len(self.names)))
            return lambda: Regressor(MLPEncoder(width, dropout=recipe.dropout, **shape))

        return network
