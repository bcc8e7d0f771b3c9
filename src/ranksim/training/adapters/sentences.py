"""One or two texts, read by a pretrained encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ranksim.data import TextSamples
from ranksim.data.batch import BatchDataset
from ranksim.data.text import embed_texts, tokenize
from ranksim.models import Regressor, SentenceEncoder, load_tokenizer
from ranksim.training.adapters.base import NetworkFactory
from ranksim.training.adapters.text import TextAdapter
from ranksim.training.factory import table_network
from ranksim.training.modality import SENTENCES


@dataclass(frozen=True)
class SentenceAdapter(TextAdapter):
    """A pretrained encoder over one or two text columns.

    If the recipe freezes the encoder, its features are computed once and the network is an MLP;
    otherwise the encoder is fine-tuned.

    Args:
        names: the columns.
    """

    kind: ClassVar[str] = SENTENCES

    def _encode(
        self, splits: Sequence[TextSamples], recipe: Any
    ) -> tuple[Sequence[BatchDataset], NetworkFactory]:
        name, texts = recipe.encoder, len(self.names)
        tokens = tokenize(splits, load_tokenizer(name), max_tokens=recipe.max_tokens)
        if not recipe.frozen:
            return tokens, lambda *_: lambda: Regressor(SentenceEncoder(name, texts=texts))
        encoder = SentenceEncoder(name, texts=texts)
        width = encoder.width
        return embed_texts(tokens, encoder), lambda recipe, config: table_network(recipe, width)
