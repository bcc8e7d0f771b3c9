"""Texts as word indices, computed once, and batches cut to their longest text."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ranksim._utils.storage import cache_dir, read_arrays, write_arrays
from ranksim.data.batch import BatchDataset
from ranksim.data.word_vectors import WordVectors
from ranksim.exceptions import require_optional

TOKENIZER = "nltk.NLTKWordTokenizer"


@dataclass(frozen=True)
class TextSamples:
    """Samples of one or two texts each, with a real label.

    Args:
        texts: one or two columns of N texts.
        labels: float64 ``(N,)``, in the unit of the data.
    """

    texts: tuple[Sequence[str], ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> TextSamples:
        """Return the samples at these positions."""
        return TextSamples(
            tuple([column[row] for row in rows] for column in self.texts), self.labels[rows]
        )


class TokenDataset(BatchDataset):
    """Token indices ``(texts, N, T)`` and lengths; batches are cut to their longest text."""

    def __init__(self, tokens: np.ndarray, lengths: np.ndarray, labels: np.ndarray) -> None:
        self.tokens = torch.from_numpy(tokens)  # int32
        self.lengths = torch.from_numpy(lengths).long()
        self.labels = torch.from_numpy(labels)  # float64

    def get_inputs(self, index: Tensor) -> tuple[Tensor, ...]:
        lengths = self.lengths[:, index]
        return self.tokens[:, index, : int(lengths.max())].long(), lengths

    def length_order(self) -> Tensor:
        """Return all positions, shortest text first, which minimizes padding within batches."""
        return self.lengths.amax(dim=0).argsort(stable=True)


def encode_texts(
    parts: Sequence[TextSamples], vectors: WordVectors, *, max_tokens: int
) -> tuple[list[TokenDataset], Tensor]:
    """Tokenize and index the parts of a data set, or read the result from the cache.

    Texts are tokenized by NLTK's ``NLTKWordTokenizer``, which follows the Penn Treebank convention
    used for GloVe (``do n't``) and needs no model files. Index 0 is padding; index 1 stands for
    all words without a vector. An empty text is one unknown word.

    Returns:
        One data set per part, and the vectors of the words that occur, float32 ``(V, E)``.
    """
    content = hashlib.sha256(
        json.dumps(
            [TOKENIZER, _tokenizer_version(), vectors.identity, max_tokens]
            + [list(column) for part in parts for column in part.texts]
        ).encode()
    ).hexdigest()
    path = cache_dir() / "tokens" / f"{content[:32]}.npz"
    arrays = read_arrays(path)
    if arrays is None:
        arrays = _index_words(parts, vectors, max_tokens)
        write_arrays(path, arrays)
    datasets = [
        TokenDataset(arrays[f"tokens{i}"], arrays[f"lengths{i}"], part.labels)
        for i, part in enumerate(parts)
    ]
    return datasets, torch.from_numpy(arrays["vectors"])


def _index_words(
    parts: Sequence[TextSamples], vectors: WordVectors, max_tokens: int
) -> dict[str, np.ndarray]:
    tokenize = require_optional("nltk.tokenize", "train").NLTKWordTokenizer().tokenize
    prepare = str.lower if vectors.lower else str
    tokenized = [
        [[tokenize(prepare(text))[:max_tokens] for text in column] for column in part.texts]
        for part in parts
    ]
    words = {word for part in tokenized for column in part for text in column for word in text}
    known, rows = vectors.look_up(sorted(words))
    index = {word: i + 2 for i, word in enumerate(known)}
    padding = np.zeros((1, rows.shape[1]), dtype=np.float32)
    unknown = rows.mean(axis=0, keepdims=True) if len(rows) else padding
    arrays = {"vectors": np.concatenate([padding, unknown, rows]).astype(np.float32)}
    for i, part in enumerate(tokenized):
        lengths = np.array([[max(len(text), 1) for text in column] for column in part])
        tokens = np.zeros((*lengths.shape, lengths.max(initial=1)), dtype=np.int32)
        for (c, column), r in itertools.product(enumerate(part), range(lengths.shape[1])):
            tokens[c, r, : lengths[c, r]] = [index.get(word, 1) for word in column[r]] or 1
        arrays[f"tokens{i}"], arrays[f"lengths{i}"] = tokens, lengths
    return arrays


def _tokenizer_version() -> str:
    return str(require_optional("nltk", "train").__version__)
