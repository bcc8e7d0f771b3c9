"""Tables of image paths with labels and split; reading and writing of split files."""

from __future__ import annotations

import csv
import posixpath
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.formatting import format_value
from ranksim._utils.storage import atomic_write
from ranksim.data.reading import read_delimited
from ranksim.data.splitting import PARTS, Split, split_by_column
from ranksim.data.table import Table, read_numbers
from ranksim.exceptions import DataError

_MAX_NAME = 255  # bytes of a file name
IMAGE_COLUMNS = ("path", "image", "file", "filename", "file_name")
# absolute paths of any system, paths with "..", and NUL, which no system can open
OUTSIDE = re.compile(r"[/\\]|[A-Za-z]:|(?:.*[/\\])?\.\.(?:[/\\]|$)|.*\0", re.DOTALL)


@dataclass(frozen=True, eq=False)
class ImageTable:
    """A table of image paths below a root folder, with labels and optionally a split.

    ``paths`` are N relative POSIX paths, ``labels`` float64 ``(N,)``, and ``parts`` ``"train"``,
    ``"val"`` or ``"test"`` of each image.
    """

    paths: tuple[str, ...]
    labels: NDArray[np.float64]
    parts: NDArray[np.str_] | None = None

    def __post_init__(self) -> None:
        labels = np.asarray(self.labels, dtype=np.float64)
        object.__setattr__(self, "labels", labels)
        columns = [self.paths, labels, *(() if self.parts is None else (self.parts,))]
        lengths = {len(column) for column in columns}
        if len(lengths) != 1:
            raise ValueError(f"paths, labels and parts must be equally long, got {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, rows: NDArray[np.int64]) -> ImageTable:
        """Return a table of the rows at these positions."""
        parts = None if self.parts is None else self.parts[rows]
        return ImageTable(tuple(self.paths[row] for row in rows), self.labels[rows], parts)

    def with_split(self, split: Split) -> ImageTable:
        """Return a table of the rows that the split assigns to training, validation or test.

        A row that belongs to two parts is repeated.
        """
        rows = np.concatenate(split)
        parts = np.repeat(np.array(PARTS, dtype="<U5"), [len(part) for part in split])
        order = np.argsort(rows, kind="stable")
        selected = self.take(rows[order])
        return ImageTable(selected.paths, selected.labels, parts[order])

    @property
    def split(self) -> Split:
        """Positions of the training, validation and test rows."""
        if self.parts is None:
            raise ValueError("the image table has no split; assign one with with_split")
        return Split(*(np.flatnonzero(self.parts == name) for name in PARTS))

    def part(self, name: str) -> ImageTable:
        """Return the rows of the training, validation or test set."""
        return self.take(self.split[PARTS.index(name)])

    @property
    def counts(self) -> tuple[int, int, int]:
        """Number of training, validation and test rows."""
        train, val, test = map(len, self.split)
        return train, val, test


@dataclass(frozen=True)
class ImageListing:
    """The images found on disk: usable ones, misnamed files, and exclusion counts by reason."""

    table: ImageTable
    skipped: tuple[str, ...] = ()
    excluded: dict[str, int] = field(default_factory=dict)


def read_split_file(path: Path, *, allow_repeats: bool = False) -> ImageTable:
    """Read a split file: CSV or TSV with the columns ``age``, ``path`` and ``split``.

    The published zero-shot protocols draw with replacement: with ``allow_repeats``, an image can
    occur in several rows of one part with one label.

    Raises:
        DataError: the file is missing, damaged or empty, or a row cannot be used.
    """
    if not path.is_file():
        raise DataError(f"{path} is not a file: give an existing split file.")
    table = read_delimited(path, row="image")
    for name in ("age", "path", "split"):
        table.column(name)  # raises for a missing column
    labels = read_numbers(table, "age")
    if not len(labels):
        raise DataError(f"{path} has a header but no rows: add one row per image.")
    paths = image_paths(table, "path")
    images = ImageTable(paths, labels).with_split(split_by_column(table, "split"))
    if len(set(paths)) < len(paths):
        _check_repeats(table, images, allow_repeats)
    return images


def image_paths(table: Table, column: str) -> tuple[str, ...]:
    """Return a column of relative image paths, normalized (without ``./`` and ``//``).

    Raises:
        DataError: the column does not exist, or contains an empty path or one outside the root.
    """
    images = table.column(column)

    def reject(is_wrong: Callable[[Any], Any], problem: str, remedy: str) -> None:
        rows = [row for row, path in enumerate(images) if is_wrong(path)]
        if rows:
            path = format_value(images[rows[0]])
            problem = f"the image path {path} in column {column!r} {problem}"
            table.raise_for_rows(rows, problem, remedy)

    reject(
        lambda path: not isinstance(path, str) or not path.strip(),
        "is empty",
        "fill it in or remove these rows",
    )
    reject(
        OUTSIDE.match,
        "is absolute or contains '..' or NUL",
        "write it relative to the image folder",
    )
    reject(_has_long_name, f"has a name of more than {_MAX_NAME} bytes", "correct the path")
    return tuple(
        posixpath.normpath(path) if "./" in path or "//" in path else path for path in images
    )


def write_split_file(path: Path, table: ImageTable) -> None:
    """Write ``age,path,split`` atomically; whole ages are written as integers."""
    columns: list[Iterable[str]] = [map(_format_label, table.labels.tolist()), table.paths]
    if table.parts is not None:
        columns.append(table.parts.tolist())
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("age", "path", "split")[: len(columns)])
        writer.writerows(zip(*columns, strict=True))


def _has_long_name(path: str) -> bool:
    names = path.encode(errors="surrogatepass").split(b"/")
    return max(map(len, names)) > _MAX_NAME


def _format_label(label: float) -> str:
    return str(int(label)) if label.is_integer() and abs(label) < 2**53 else repr(label)


def _check_repeats(table: Table, images: ImageTable, allow_repeats: bool) -> None:
    """Raise a DataError if images repeat without ``allow_repeats``, or differ in label or split."""
    paths = images.paths
    first: dict[str, int] = {}
    repeats = [row for row, path in enumerate(paths) if first.setdefault(path, row) != row]
    if not allow_repeats:
        table.raise_for_rows(repeats, "an image occurs a second time", "keep one row per image")
    firsts = [first[paths[row]] for row in repeats]
    for values, name in ((images.labels, "label"), (np.array(images.parts), "part")):
        table.raise_for_rows(
            np.array(repeats)[values[repeats] != values[firsts]],
            f"an image occurs a second time with another {name}",
            f"keep one {name} per image",
        )
