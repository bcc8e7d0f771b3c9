"""Texts for a pretrained encoder: token ids, and features that are computed once."""

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

_BATCH_SIZE = 64  # for computing features


def tokenize(
    parts: Sequence[TextSamples], tokenizer: Any, *, max_tokens: int
) -> list[TokenDataset]:
    """Convert texts to the token ids of a pretrained model, including special tokens.

    Texts are truncated to ``max_tokens`` or the model's maximum; an empty text without special
    tokens becomes one padding token. Not cached, as 10,000 texts take about a second.
    """
    max_length = min(max_tokens, int(tokenizer.model_max_length))
    padding = tokenizer.pad_token_id or 0
    return [_tokenize_part(part, tokenizer, max_length, padding) for part in parts]


def embed_texts(
    parts: Sequence[TokenDataset], encoder: nn.Module, *, device: torch.device | str = "cpu"
) -> list[VectorDataset]:
    """Compute the features ``(N, D)`` of a frozen encoder, or read them from the cache."""
    weights = digest_arrays(
        {name: value.numpy(force=True) for name, value in encoder.state_dict().items()}
    )
    datasets = []
    for part in parts:
        inputs = {"tokens": part.tokens.numpy(), "lengths": part.lengths.numpy()}
        digest = digest_arrays({weights: np.empty(0), **inputs})
        path = cache_dir() / "sentences" / f"{digest[:32]}.npz"
        arrays = read_arrays(path)
        if arrays is None:
            arrays = {"features": _compute_features(part, encoder, device)}
            write_arrays(path, arrays)
        datasets.append(VectorDataset(arrays["features"], part.labels.numpy()))
    return datasets


def _tokenize_part(
    part: TextSamples, tokenizer: Any, max_length: int, padding: int
) -> TokenDataset:
    options = {"truncation": True, "max_length": max_length, "return_attention_mask": False}
    columns = [
        # with an extra text, as a tokenizer does not accept an empty list
        [ids or [padding] for ids in tokenizer([*column, ""], **options)["input_ids"][:-1]]
        for column in part.texts
    ]
    lengths = np.array([[len(ids) for ids in column] for column in columns], dtype=np.int64)
    tokens = np.full((*lengths.shape, lengths.max(initial=1)), padding, dtype=np.int32)
    for column, rows in zip(columns, tokens, strict=True):
        for ids, row in zip(column, rows, strict=True):
            row[: len(ids)] = ids
    return TokenDataset(tokens, lengths, part.labels)


def _compute_features(
    part: TokenDataset, encoder: nn.Module, device: torch.device | str
) -> NDArray[np.float32]:
    encoder = encoder.to(device).eval()
    batches = []
    order = part.length_order()
    with torch.no_grad():
        for first in range(0, len(order), _BATCH_SIZE):
            inputs = part.__getitems__(order[first : first + _BATCH_SIZE].tolist())["inputs"]
            batches.append(encoder(*(value.to(device) for value in inputs)).float().cpu())
    features = torch.cat(batches) if batches else torch.empty(0, int(encoder.width))  # type: ignore[arg-type]
    in_order: NDArray[np.float32] = features[order.argsort()].numpy()
    return in_order
