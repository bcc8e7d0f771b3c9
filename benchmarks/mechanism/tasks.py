"""Data of the study: vectors, labels, and a split into training, validation and test samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.plain_trees import find_rarest
from ranksim.data.reading import load_table
from ranksim.data.table import read_labels
from ranksim.datasets import sts_b_dir
from ranksim.user_data.features import TableFeatures

# file, target, columns left out as ranksim.compare does
TABLES = {
    "abalone": ("abalone.csv", "rings", ()),
    "bike sharing": ("bike-hour.csv", "cnt", ("", "X", "instant", "casual", "registered")),
}
TEXTS = "STS-B-DIR, frozen MiniLM"
MAX_ROWS = 6_000  # of a table
_SHARES = (0.6, 0.2, 0.2)


@dataclass(frozen=True)
class Part:
    """Inputs ``(N, F)`` float32 and labels ``(N,)`` float64."""

    inputs: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Task:
    """A regression task; ``scale`` is the deviation of the training labels, ``loss`` its loss."""

    name: str
    train: Part
    val: Part
    test: Part
    rare: Tensor  # mask of the test samples in the tenth with the fewest training labels nearby
    loss: str  # "l1" or "mse"

    @property
    def scale(self) -> float:
        return float(self.train.labels.std())


def load_table_task(name: str, folder: Path) -> Task:
    """Load a table, with at most ``MAX_ROWS`` rows drawn at random, and split it at random."""
    file, target, excluded = TABLES[name]
    table = load_table(str(folder / file))
    labels = read_labels(table, target, missing="nan")
    order = np.random.default_rng(0).permutation(len(labels))[:MAX_ROWS]
    ends = np.cumsum(np.multiply(_SHARES, len(order))).astype(int)
    parts = np.split(order, ends[:-1])
    columns = [column for column in table.names if column not in (target, *excluded)]
    inputs = TableFeatures.fit(table, columns, parts[0])(table)
    return _make_task(name, [(inputs[rows], labels[rows]) for rows in parts], "l1")


def load_text_task(data_dir: Path, encoder: Path) -> Task:
    """Load STS-B-DIR with [|u − v|, u · v] of a frozen sentence encoder."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(encoder), AutoModel.from_pretrained(encoder)

    @torch.inference_mode()
    def encode(texts: list[str]) -> Tensor:
        chunks = []
        for start in range(0, len(texts), 64):
            batch = tokenizer(
                texts[start : start + 64], padding=True, truncation=True, return_tensors="pt"
            )
            mask = batch["attention_mask"].unsqueeze(-1)
            states = model(**batch).last_hidden_state
            chunks.append((states * mask).sum(1) / mask.sum(1))
        return torch.nn.functional.normalize(torch.cat(chunks))

    benchmark = sts_b_dir.load(data_dir=data_dir)
    parts = []
    for part in (benchmark.train, benchmark.val, benchmark.test):
        u, v = (encode(list(column)) for column in part.texts)
        parts.append((torch.cat([(u - v).abs(), u * v], dim=1).numpy(), part.labels))
    return _make_task(TEXTS, parts, "mse")


def _make_task(name: str, parts: list[tuple[np.ndarray, np.ndarray]], loss: str) -> Task:
    train, val, test = (
        Part(torch.from_numpy(np.asarray(x, np.float32)), torch.from_numpy(np.asarray(y, float)))
        for x, y in parts
    )
    rare = find_rarest(test.labels.numpy(), train.labels.numpy())
    return Task(name, train, val, test, torch.from_numpy(rare), loss)
