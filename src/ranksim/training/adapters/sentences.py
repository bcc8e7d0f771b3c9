"""One or two texts, read by a pretrained encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ranksim.data import TextSamples
from ranksim.data.batch import BatchDataset
from ranksim.data.text import embed_texts, tokenize
from ranksim.models import MLPEncoder, Regressor, SentenceEncoder, load_tokenizer
from ranksim.training.adapters.base import Network
from ranksim.training.adapters.text import TextAdapter
from ranksim.training.modality import SENTENCES
from ranksim.training.recipe import SentenceRecipe
from ranksim.training.trainer_config import TrainerConfig


@dataclass(frozen=True)
class SentenceAdapter(TextAdapter):
    """A pretrained encoder over one or two columns of texts.

    Frozen, its features are made once and an MLP reads them; else it is trained on.

    Args:
        names: of the columns.
    """

    kind: ClassVar[str] = SENTENCES

    def _made(self, parts: Sequence[TextSamples], recipe: Any) -> tuple[Sequence[BatchDataset], Network]:
        source, texts = recipe.encoder, len(self.names)
        tokens = tokenize(parts, load_tokenizer(source), max_tokens=recipe.max_tokens)
        if not recipe.frozen:
            return (
                tokens,
                lambda own, hardware: lambda: Regressor(SentenceEncoder(source, texts=texts)),
            )
        encoder = SentenceEncoder(source, texts=texts)
        width = encoder.width

        def network(own: SentenceRecipe, hardware: TrainerConfig) -> Callable[[], Regressor]:
            shape: dict[str, Any] = {"hidden": own.hidden, "layers": own.layers}
            return lambda: Regressor(MLPEncoder(width, dropout=own.dropout, **shape))

        return embed_texts(tokens, encoder), network
