"""Texts to features by a pretrained text encoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ranksim.exceptions import UsageError
from ranksim.models.hub import HubModel


class SentenceEncoder(nn.Module):
    """A pretrained text encoder, mean over a text's tokens; pair feature for two texts.

    Two texts u, v share the encoder and give [u, v, |u − v|, u · v], as in
    :class:`ranksim.models.TextEncoder`. :class:`ranksim.models.FrozenEncoder` keeps it as it is.

    Args:
        source: a local folder, or a model of the Hugging Face hub. Its weights must be in
            safetensors format; no code that comes with it is run.
        texts: number of texts a sample has, 1 or 2.

    Raises:
        UsageError: no such model, no connection, or a model that does not read texts alone.

    Source: Reimers and Gurevych, "Sentence-BERT" (EMNLP 2019): mean pooling and pair feature, with
    the product added.
    """

    may_have_unused = True  # weights that its features do not come from

    def __init__(self, source: str, *, texts: int) -> None:
        super().__init__()
        if texts not in (1, 2):
            raise ValueError(f"texts must be 1 or 2, got {texts}")
        self.texts = texts
        hub = _hub(source)
        with hub.quiet():
            with hub.reading():
                config = hub.config()
            if hub.takes(config) != "input_ids" or getattr(config, "is_encoder_decoder", False):
                raise _not_for_texts(source)  # before its weights are fetched
            self.backbone = hub.load(config)
        self.width = self._measured(source) * (1 if texts == 1 else 4)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Token ids ``(texts, N, T)`` and lengths ``(texts, N)`` to features ``(N, width)``."""
        pooled = self._pooled(tokens.flatten(0, 1), lengths.flatten())
        if self.texts == 1:
            return pooled
        u, v = pooled.chunk(2)
        return torch.cat([u, v, (u - v).abs(), u * v], dim=-1)

    def _pooled(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        mask = torch.arange(tokens.shape[1], device=tokens.device) < lengths.unsqueeze(1)
        outputs = self.backbone(input_ids=tokens, attention_mask=mask.long())
        hidden: Tensor = outputs.last_hidden_state
        summed = hidden.masked_fill(~mask.unsqueeze(-1), 0.0).sum(dim=1)
        return summed / lengths.unsqueeze(1)

    def _measured(self, source: str) -> int:
        """The width of the features of a text of one token."""
        self.eval()
        try:
            with torch.no_grad():
                one = torch.ones(1, 1, dtype=torch.long)
                _, width = self._pooled(one, one[0]).shape
        except (AttributeError, ValueError, RuntimeError, TypeError, IndexError) as error:
            raise _not_for_texts(source) from error
        self.train()  # as every new module
        return int(width)


def load_tokenizer(source: str) -> Any:
    """The tokenizer of a pretrained text model, for :func:`ranksim.data.text.tokenize`.

    Args:
        source: as :class:`SentenceEncoder` takes it.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    hub = _hub(source)
    with hub.quiet(), hub.reading():
        return hub.transformers.AutoTokenizer.from_pretrained(hub.source, trust_remote_code=False)


def _hub(source: str) -> HubModel:
    instead = "a local folder or a model of the Hugging Face hub that holds a tokenizer too"
    return HubModel(source, "text model", instead, "sentences")


def _not_for_texts(source: str) -> UsageError:
    return UsageError(
        f"{source} does not turn texts alone into features; name an encoder of texts, such as a "
        "BERT or a sentence transformer."
    )
