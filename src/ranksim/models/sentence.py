"""Pretrained text encoders."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ranksim.exceptions import UsageError
from ranksim.models.bilstm import combine_texts, width_factor
from ranksim.models.hub import HubModel


class SentenceEncoder(nn.Module):
    """Pretrained text encoder with mean pooling over tokens.

    Two texts u, v share the encoder and give [u, v, |u − v|, u · v], as in
    :class:`ranksim.models.TextEncoder`. Wrap it in :class:`ranksim.models.FrozenEncoder` to keep
    its weights.

    Args:
        source: a local folder, or a model of the Hugging Face hub, with weights in safetensors
            format. No code of the model is run.
        texts: number of texts per sample, 1 or 2.

    Raises:
        UsageError: the model does not exist, cannot be reached, or does not encode texts.

    References:
        Reimers, Gurevych, "Sentence-BERT" (EMNLP 2019), with the product added to the pair feature.
    """

    may_have_unused = True  # weights that the features do not depend on

    def __init__(self, source: str, *, texts: int) -> None:
        super().__init__()
        factor = width_factor(texts)
        self.texts = texts
        hub = _make_hub(source)
        with hub.quiet():
            with hub.read_errors():
                config = hub.load_config()
            decodes = getattr(config, "is_encoder_decoder", False)
            if hub.main_input(config) != "input_ids" or decodes:  # before downloading the weights
                raise _not_for_texts(source)
            self.backbone = hub.load(config)
        self.width = self._measure_width(source) * factor

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Map token ids ``(texts, N, T)`` and lengths ``(texts, N)`` to features ``(N, width)``."""
        return combine_texts(self._pool(tokens.flatten(0, 1), lengths.flatten()), self.texts)

    def _pool(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the mean of the last hidden state over the tokens of each text."""
        mask = torch.arange(tokens.shape[1], device=tokens.device) < lengths.unsqueeze(1)
        outputs = self.backbone(input_ids=tokens, attention_mask=mask.long())
        hidden: Tensor = outputs.last_hidden_state
        return hidden.masked_fill(~mask.unsqueeze(-1), 0.0).sum(dim=1) / lengths.unsqueeze(1)

    def _measure_width(self, source: str) -> int:
        """Return the width of the features of a text with one token."""
        self.eval()
        try:
            with torch.no_grad():
                one = torch.ones(1, 1, dtype=torch.long)
                _, width = self._pool(one, one[0]).shape
        except (AttributeError, ValueError, RuntimeError, TypeError, IndexError) as error:
            raise _not_for_texts(source) from error
        self.train()  # the mode of new modules
        return int(width)


def load_tokenizer(source: str) -> Any:
    """Load the tokenizer of a pretrained model, for :func:`ranksim.data.text.tokenize`.

    Args:
        source: a local folder, or a model of the Hugging Face hub.
    """
    hub = _make_hub(source)
    with hub.quiet(), hub.read_errors():
        return hub.transformers.AutoTokenizer.from_pretrained(hub.source, trust_remote_code=False)


def _make_hub(source: str) -> HubModel:
    alternatives = "a local folder or a model of the Hugging Face hub that includes a tokenizer"
    return HubModel(source, "text model", alternatives, "sentences")


def _not_for_texts(source: str) -> UsageError:
    return UsageError(
        f"{source} is not an encoder of texts: name one, such as BERT or a sentence transformer."
    )
