"""Texts to word indices, once, and batches cut to their longest text."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ranksim._utils.storage import cache_dir, read_arrays, write_arrays
from ranksim.data.batch import Batch
from ranksim.data.word_vectors import WordVectors
from ranksim.exceptions import require_optional

TOKENIZER = "nltk.NLTKWordTokenizer"


@dataclass(frozen=True)
class TextSamples:
    """Samples of one or two texts each and a real label.

    Args:
        texts: one or two equally long columns of texts.
        labels: float64 ``(N,)``, in the unit of the data.
    """

    texts: tuple[Sequence[str], ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> TextSamples:
        """The samples at these positions."""
        return TextSamples(
            tuple([column[row] for row in rows] for column in self.texts), self.labels[rows]
        )


class TokenDataset(Dataset[Batch]):
    """Word indices in one array; a batch is gathered at once and cut to its longest text.

    A batch's inputs are indices ``(texts, N, T)`` and lengths ``(texts, N)``.
    """

    def __init__(self, tokens: np.ndarray, lengths: np.ndarray, labels: np.ndarray) -> None:
        self.tokens = torch.from_numpy(tokens)  # (texts, N, T), int32
        self.lengths = torch.from_numpy(lengths).long()  # (texts, N)
        self.labels = torch.from_numpy(labels)  # (N,), float64

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> Batch:
        return self.__getitems__([row])

    def __getitems__(self, rows: list[int]) -> Batch:
        index = torch.as_tensor(rows)
        lengths = self.lengths[:, index]
        tokens = self.tokens[:, index, : int(lengths.max())].long()
        return {"inputs": (tokens, lengths), "label": self.labels[index], "index": index}

    def length_order(self) -> Tensor:
        """All positions, short samples first: batches in this order hold little padding."""
        return self.lengths.amax(dim=0).argsort(stable=True)


def encode_texts(
    parts: Sequence[TextSamples], vectors: WordVectors, *, max_tokens: int
) -> tuple[list[TokenDataset], Tensor]:
    """Tokenise and index all parts of a data set once; later calls read the cache.

    Tokens are those of NLTK's ``NLTKWordTokenizer``: the Penn Treebank convention, in which GloVe
    was trained (``do n't``), kept up by others and free of model files. A text keeps its first
    ``max_tokens`` tokens, an empty one is one unknown word. Word 0 is padding, word 1 stands for
    all words without a vector.

    Returns:
        One data set a part, and the vectors of the words that occur, ``(V, E)`` float32.
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
        arrays = _index(parts, vectors, max_tokens)
        write_arrays(path, arrays)
    datasets = [
        TokenDataset(arrays[f"tokens{i}"], arrays[f"lengths{i}"], part.labels)
        for i, part in enumerate(parts)
    ]
    return datasets, torch.from_numpy(arrays["vectors"])


def _index(
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
    number = {word: i + 2 for i, word in enumerate(known)}
    padding = np.zeros((1, rows.shape[1]), dtype=np.float32)
    unknown = rows.mean(axis=0, keepdims=True) if len(rows) else padding
    arrays = {"vectors": np.concatenate([padding, unknown, rows]).astype(np.float32)}
    for i, part in enumerate(tokenized):
        lengths = np.array([[max(len(text), 1) for text in column] for column in part])
        tokens = np.zeros((*lengths.shape, lengths.max(initial=1)), dtype=np.int32)
        for (c, column), r in itertools.product(enumerate(part), range(lengths.shape[1])):
            tokens[c, r, : lengths[c, r]] = [number.get(word, 1) for word in column[r]] or 1
        arrays[f"tokens{i}"], arrays[f"lengths{i}"] = tokens, lengths
    return arrays


def _tokenizer_version() -> str:
    return str(require_optional("nltk", "train").__version__)
