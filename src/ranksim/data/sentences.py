"""Texts for a pretrained encoder: its tokens, and features that are made once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ranksim._utils.storage import cache_dir, digest_arrays, read_arrays, write_arrays
from ranksim.data.features import VectorDataset
from ranksim.data.text import TextSamples, TokenDataset

_BATCH = 64  # samples that an encoder reads at once, where nothing is learned


def tokenize(
    parts: Sequence[TextSamples], tokenizer: Any, *, max_tokens: int
) -> list[TokenDataset]:
    """Texts to the token ids of a pretrained model, special ones included.

    A text keeps its first tokens, ``max_tokens`` at most and as many as the model reads; an empty
    one without special tokens is one token of padding. Not cached: a second reads 10,000 texts.

    Args:
        parts: texts and labels.
        tokenizer: of the model (see :func:`ranksim.models.load_tokenizer`).
        max_tokens: of a text.

    Returns:
        One data set a part, whose batches are padded to their longest text.
    """
    longest = min(max_tokens, int(tokenizer.model_max_length))
    padding = tokenizer.pad_token_id or 0
    return [_tokens(part, tokenizer, longest, padding) for part in parts]


def embed_texts(
    parts: Sequence[TokenDataset], encoder: nn.Module, *, device: torch.device | str = "cpu"
) -> list[VectorDataset]:
    """Features of an encoder that stays as it is: made once, read from the cache ever after.

    Args:
        parts: token ids and labels.
        encoder: maps their inputs to features ``(N, D)``; it is put into evaluation mode.
        device: where it computes.

    Returns:
        One data set a part, whose input is float32 ``(N, D)``.
    """
    weights = digest_arrays(
        {name: value.numpy(force=True) for name, value in encoder.state_dict().items()}
    )
    made = []
    for part in parts:
        read = {"tokens": part.tokens.numpy(), "lengths": part.lengths.numpy()}
        known = digest_arrays({weights: np.empty(0), **read})
        path = cache_dir() / "sentences" / f"{known[:32]}.npz"
        arrays = read_arrays(path)
        if arrays is None:
            arrays = {"features": _features(part, encoder, device)}
            write_arrays(path, arrays)
        features = arrays["features"]
        made.append(VectorDataset(features, part.labels.numpy()))
    return made


def _tokens(part: TextSamples, tokenizer: Any, longest: int, padding: int) -> TokenDataset:
    options = {"truncation": True, "max_length": longest, "return_attention_mask": False}
    columns = [
        # a tokenizer cannot be given no text at all
        [ids or [padding] for ids in tokenizer([*column, ""], **options)["input_ids"][:-1]]
        for column in part.texts
    ]
    lengths = np.array([[len(ids) for ids in column] for column in columns], dtype=np.int64)
    tokens = np.full((*lengths.shape, lengths.max(initial=1)), padding, dtype=np.int32)
    for column, rows in zip(columns, tokens, strict=True):
        for ids, row in zip(column, rows, strict=True):
            row[: len(ids)] = ids
    return TokenDataset(tokens, lengths, part.labels)


def _features(
    part: TokenDataset, encoder: nn.Module, device: torch.device | str
) -> NDArray[np.float32]:
    encoder = encoder.to(device).eval()
    batches = []
    order = part.length_order()
    with torch.no_grad():
        for first in range(0, len(order), _BATCH):
            inputs = part.__getitems__(order[first : first + _BATCH].tolist())["inputs"]
            batches.append(encoder(*(value.to(device) for value in inputs)).float().cpu())
    features = torch.cat(batches) if batches else torch.empty(0, int(encoder.width))  # type: ignore[arg-type]
    made: NDArray[np.float32] = features[order.argsort()].numpy()
    return made
