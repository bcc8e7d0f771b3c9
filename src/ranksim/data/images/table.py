"""Tables of images and labels: read strictly, every fault named by its line; written whole."""

from __future__ import annotations

import csv
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.formatting import format_list
from ranksim._utils.storage import atomic_write
from ranksim.data.cells import parse_numbers
from ranksim.data.reading import read_delimited, read_parquet
from ranksim.data.splitting import PART_NAMES, PART_TITLES, PARTS, Split
from ranksim.data.table import Table
from ranksim.exceptions import DataError

_LONGEST = 255  # bytes of a file's name, as file systems take them
IMAGE_COLUMNS = ("path", "image", "file", "filename", "file_name")
# what is absolute, on any system, or climbs; and what no system opens
OUTSIDE = re.compile(r"[/\\]|[A-Za-z]:|(?:.*[/\\])?\.\.(?:[/\\]|$)|.*\0", re.DOTALL)


@dataclass(frozen=True, eq=False)
class ImageTable:
    """Images by their path below a root folder, each with a label.

    Args:
        paths: relative POSIX paths, N of them.
        labels: float64 ``(N,)``, in the unit of the data.
        parts: ``"train"``, ``"val"`` or ``"test"`` of each, or None where there is no split.

    Example:
        >>> table = ImageTable(("a.jpg", "b.jpg"), [31, 47], np.array(["train", "test"]))
        >>> len(table), table.part("test").paths, table.counts
        (2, ('b.jpg',), (1, 0, 1))
    """

    paths: tuple[str, ...]
    labels: NDArray[np.float64]
    parts: NDArray[np.str_] | None = None

    def __post_init__(self) -> None:
        labels = np.asarray(self.labels, dtype=np.float64)
        object.__setattr__(self, "labels", labels)
        lengths = {
            len(self.paths),
            *labels.shape,
            *(() if self.parts is None else self.parts.shape),
        }
        if labels.ndim != 1 or len(lengths) != 1:
            raise ValueError(f"paths, labels and parts must be equally long, got {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, rows: NDArray[np.int64]) -> ImageTable:
        """The rows at these positions."""
        parts = None if self.parts is None else self.parts[rows]
        return ImageTable(tuple(self.paths[row] for row in rows), self.labels[rows], parts)

    def dealt(self, split: Split) -> ImageTable:
        """The rows of a split, each with its part; a protocol leaves rows unused."""
        parts = np.full(len(self), "", dtype="<U5")
        for name, rows in zip(PARTS, split, strict=True):
            parts[rows] = name
        return ImageTable(self.paths, self.labels, parts).take(np.flatnonzero(parts != ""))

    def part(self, name: str) -> ImageTable:
        """The rows of one part."""
        if self.parts is None or name not in PARTS:
            raise ValueError(f"part must be one of {PARTS} of a table with a split, got {name!r}")
        return self.take(np.flatnonzero(self.parts == name))

    @property
    def counts(self) -> tuple[int, int, int]:
        """Rows for training, validation and test."""
        if self.parts is None:
            raise ValueError("counts are those of a split, and this table has none")
        train, val, test = (int(np.count_nonzero(self.parts == name)) for name in PARTS)
        return train, val, test


@dataclass(frozen=True)
class ListedImages:
    """What a folder holds.

    Args:
        table: its images, without a split.
        odd: names of image files that do not have the benchmark's form.
        left_out: how many entries were left out, by reason.
    """

    table: ImageTable
    odd: tuple[str, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)


def read_table(
    path: Path,
    *,
    target: str,
    image: str | None = None,
    split: str | None = None,
    repeats: bool = False,
) -> ImageTable:
    """Read a CSV, TSV or Parquet table; the suffix says which.

    Args:
        path: the table.
        target: column of the label.
        image: column of the image's path below the image root. Without it: the first of ``path``,
            ``image``, ``file``, ``filename``, ``file_name`` that is there.
        split: column of the part: train, val (or valid, validation, dev), test. Without it: a
            column named ``split``, unless none of its values is a part.
        repeats: whether an image may stand in several rows of one part with one label, as in the
            published zero-shot protocols, which draw with replacement.

    Raises:
        DataError: the table is missing, damaged, empty, or a row of it cannot be used.
    """
    if not path.is_file():
        raise DataError(f"{path} is not a file: name a CSV, TSV or Parquet table that exists.")
    parquet = path.suffix.lower() == ".parquet"
    source = read_parquet(path) if parquet else read_delimited(path, row="image")
    source.column(image or _image_column(source))
    labels = parse_numbers(source.column(target)).values
    if not len(labels):
        raise DataError(f"{path} has no row below its header: put one row an image into it.")
    source.raise_for_rows(
        np.flatnonzero(~np.isfinite(labels)),
        f"column {target!r} holds no finite number",
        "correct these values or remove these rows",
    )
    paths = image_paths(source, image or _image_column(source))
    parts = _parts(source, split)
    if len(set(paths)) < len(paths):
        _refuse_repeats(source, paths, labels, parts, repeats)
    return ImageTable(paths, labels, parts)


def image_paths(columns: Table, name: str) -> tuple[str, ...]:
    """A column of images' paths below a root folder, each one written in one way.

    Raises:
        DataError: the column is not there, or holds a path that is empty or leads outside.
    """
    images = columns.column(name)
    columns.raise_for_rows(
        [
            row
            for row, value in enumerate(images)
            if not isinstance(value, str) or not value.strip()
        ],
        "the path of the image is empty",
        "fill it in or remove these rows",
    )
    columns.raise_for_rows(
        [row for row, value in enumerate(images) if OUTSIDE.match(value)],
        "the path of the image is absolute or holds '..' or a NUL",
        "write it relative to the image folder, below which every image must lie",
    )
    columns.raise_for_rows(
        [row for row, value in enumerate(images) if max(map(len, _parts_of(value))) > _LONGEST],
        f"the path of the image has a name of more than {_LONGEST} bytes",
        "name the image as its file is named",
    )
    return tuple(map(_plain, images))


def write_table(path: Path, table: ImageTable) -> None:
    """Write ``age,path,split``, whole or not at all; whole ages are written as integers."""
    columns: list[Iterable[str]] = [map(_text, table.labels.tolist()), table.paths]
    if table.parts is not None:
        columns.append(table.parts.tolist())
    with atomic_write(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("age", "path", "split")[: len(columns)])
        writer.writerows(zip(*columns, strict=True))


def _parts_of(path: str) -> list[bytes]:
    return path.encode(errors="surrogatepass").split(b"/")


def _plain(path: str) -> str:
    """Without ``./`` and ``//``, so that one image has one path."""
    return posixpath.normpath(path) if "./" in path or "//" in path else path


def _text(label: float) -> str:
    return str(int(label)) if label.is_integer() and abs(label) < 2**53 else repr(label)


def _image_column(source: Table) -> str:
    for name in IMAGE_COLUMNS:
        if name in source.names:
            return name
    raise DataError(
        f"{source.name} has no column named {', '.join(IMAGE_COLUMNS[:-1])} or "
        f"{IMAGE_COLUMNS[-1]}: say which one holds the image's path, among {format_list(source.names)}."
    )


def _parts(source: Table, split: str | None) -> NDArray[np.str_] | None:
    if split is None and "split" not in source.names:
        return None
    values = source.column(split or "split")
    parts = [PART_NAMES.get(str(value).strip().lower()) for value in values]
    if split is None and not any(parts):
        return None  # a column of another meaning
    source.raise_for_rows(
        [row for row, part in enumerate(parts) if part is None],
        f"column {split or 'split'!r} holds none of train, val and test",
        "correct these values",
    )
    for name, title in PART_TITLES.items():
        if name not in parts:
            raise DataError(
                f"{source.name} has no {title} row: give some rows {name!r} in column "
                f"{split or 'split'!r}."
            )
    return np.array(parts)


def _refuse_repeats(
    source: Table,
    paths: tuple[str, ...],
    labels: NDArray[np.float64],
    parts: NDArray[np.str_] | None,
    allowed: bool,
) -> None:
    first: dict[str, int] = {}
    again = [row for row, name in enumerate(paths) if first.setdefault(name, row) != row]
    if not allowed:
        source.raise_for_rows(again, "an image stands a second time", "keep one row an image")
    source.raise_for_rows(
        [row for row in again if labels[row] != labels[first[paths[row]]]],
        "an image stands a second time with another label",
        "keep one label an image",
    )
    if parts is not None:
        source.raise_for_rows(
            [row for row in again if parts[row] != parts[first[paths[row]]]],
            "an image stands a second time in another part",
            "keep every image in one part, so that no test image is trained on",
        )
