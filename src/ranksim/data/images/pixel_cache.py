"""Cache of decoded images in a memory-mapped file, and the data set that reads from it."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sqlite3
import time
import zlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranksim._utils.storage import cache_dir
from ranksim.data.batch import BatchDataset
from ranksim.data.images.decode import (
    BrokenImageError,
    ProgressCallback,
    ValueRange,
    decode,
    describe_read_error,
    map_in_threads,
    read_file,
    resize,
)
from ranksim.exceptions import DataError, require_optional

_VERSION = 1  # of decoding and resizing; other versions use other folders
_CHUNK_IMAGES, _CHUNK_BYTES = 256, 32 << 20  # between two commits
_MIN_FILE_AGE = 2_000_000_000  # nanoseconds: the coarsest time stamps of a file system
_INDEX = "index.sqlite"
_TABLES = """
CREATE TABLE IF NOT EXISTS file (path BLOB PRIMARY KEY, digest BLOB, mark BLOB);
CREATE TABLE IF NOT EXISTS pixels (digest BLOB PRIMARY KEY, row INT, crc INT);
"""
_RowsAndBroken = tuple[NDArray[np.int64], dict[str, str]]


class PixelCache:
    """A disk cache of decoded images of one size, with one row per distinct file content.

    Rows are written before the index lists them, so a killed process leaves a consistent cache.
    The CRC-32 of each row is verified before use, and damaged rows are decoded again. A damaged
    index is discarded together with the pixels.

    A file counts as unchanged if its size, inode, and times of modification and change are the
    same. Files changed within two seconds before reading are read again the next time, because
    another change could have the same time stamps.

    Args:
        size: side of the images, in pixels.
        location: folder of the cache.
        value_range: range of pixels of more than 8 bits (see :func:`decode`). Each range has its
            own folder.
    """

    def __init__(
        self, size: int, location: Path | None = None, value_range: ValueRange | None = None
    ) -> None:
        self.size, self.row_bytes, self.value_range = size, size * size * 3, value_range
        name = f"{size}px-v{_VERSION}"
        if value_range is not None:
            name += "-" + "-".join(map(float.hex, value_range))
        self.folder = location or cache_dir() / "images" / name
        self.path = self.folder / "pixels.u8"

    def map_pixels(self) -> Tensor:
        """Memory-map all cached images, uint8 ``(R, size, size, 3)``."""
        rows = self.path.stat().st_size // self.row_bytes if self.path.is_file() else 0
        if not rows:
            return torch.empty(0, self.size, self.size, 3, dtype=torch.uint8)
        count = rows * self.row_bytes
        # a private map would have to fit into memory, as if all of it were changed
        flat = torch.from_file(str(self.path), shared=True, size=count, dtype=torch.uint8)
        return flat.view(rows, self.size, self.size, 3)

    def add_images(
        self, root: Path, paths: Sequence[str], *, on_progress: ProgressCallback | None = None
    ) -> _RowsAndBroken:
        """Decode the images that are not cached yet; return each image's row, and broken images.

        Returns:
            Rows int64 ``(N,)``, −1 for broken images; and broken images with reasons, in order.

        Raises:
            DataError: the disk is full, or the folder cannot be written.
        """
        arguments = (root.resolve(), list(paths), on_progress)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with require_optional("filelock", "train").FileLock(self.folder / ".lock"):
                try:
                    return self._add_images(*arguments)
                except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
                    # UnicodeDecodeError: SQLite quotes damaged text in its message
                    if _is_disk_full(error) or _error_code(error) == sqlite3.SQLITE_BUSY:
                        raise
                for path in (*self.folder.glob(f"{_INDEX}*"), self.path):
                    path.unlink(missing_ok=True)
                return self._add_images(*arguments)
        except (OSError, sqlite3.DatabaseError) as error:
            if _is_disk_full(error):
                raise self._make_disk_full_error(len(set(paths))) from error
            reason = getattr(error, "strerror", None) or error
            raise DataError(
                f"The image cache {self.folder} cannot be written ({reason}): make it writable, or "
                "choose another folder with --cache-dir."
            ) from error

    def _add_images(
        self, root: Path, paths: list[str], on_progress: ProgressCallback | None
    ) -> _RowsAndBroken:
        with closing(sqlite3.connect(self.folder / _INDEX)) as index:
            index.executescript(_TABLES)
            digests, broken = self._hash_files(index, root, paths)
            rows = self._find_intact_rows(index, set(digests))
            new = {
                digest: path
                for path, digest in zip(paths, digests, strict=True)
                if digest and digest not in rows
            }
            if len(new) * self.row_bytes > shutil.disk_usage(self.folder).free:
                raise self._make_disk_full_error(len(new))
            problems = self._write_rows(index, root, new, rows, on_progress)
        broken |= {p: problems[d] for p, d in zip(paths, digests, strict=True) if d in problems}
        image_rows = np.array([rows.get(digest, -1) for digest in digests], dtype=np.int64)
        return image_rows, {path: broken[path] for path in paths if path in broken}

    def _hash_files(
        self, index: sqlite3.Connection, root: Path, paths: list[str]
    ) -> tuple[list[bytes], dict[str, str]]:
        """Return the SHA-256 of each file, and ``{path: reason}`` for unreadable files."""
        indexed: dict[bytes, tuple[bytes, bytes]] = {
            path: (digest, mark)
            for path, digest, mark in index.execute("SELECT path, digest, mark FROM file")
        }
        updates: list[tuple[bytes, bytes, bytes]] = []
        broken: dict[str, str] = {}

        def hash_file(path: str) -> bytes:
            file = root / path
            try:
                state, name = file.stat(), os.fsencode(file)
                digest, mark = indexed.get(name, (b"", b""))
                if mark == _make_mark(state, digest):
                    return digest
                digest = hashlib.sha256(read_file(file)).digest()
            except (BrokenImageError, OSError, ValueError) as error:
                broken[path] = describe_read_error(error)
                return b""
            if time.time_ns() - max(state.st_mtime_ns, state.st_ctime_ns) > _MIN_FILE_AGE:
                updates.append((name, digest, _make_mark(state, digest)))
            return digest

        digests = map_in_threads(hash_file, paths)
        with index:
            index.executemany("INSERT OR REPLACE INTO file VALUES (?, ?, ?)", updates)
        return digests, broken

    def _find_intact_rows(self, index: sqlite3.Connection, digests: set[bytes]) -> dict[bytes, int]:
        """Return ``{digest: row}`` for the cached images whose pixels match their CRC-32."""
        pixels = self.map_pixels().numpy()
        entries = index.execute("SELECT digest, row, crc FROM pixels")
        candidates = [entry for entry in entries if entry[0] in digests]

        def is_intact(entry: tuple[bytes, int, int]) -> bool:
            _, row, crc = entry  # any type, if the index is damaged
            in_range = isinstance(row, int) and 0 <= row < len(pixels)
            return in_range and zlib.crc32(pixels[row]) == crc

        intact = map_in_threads(is_intact, candidates)
        return {entry[0]: entry[1] for entry, ok in zip(candidates, intact, strict=True) if ok}

    def _write_rows(
        self,
        index: sqlite3.Connection,
        root: Path,
        new: dict[bytes, str],
        rows: dict[bytes, int],
        on_progress: ProgressCallback | None,
    ) -> dict[bytes, str]:
        """Decode new images, append them to the cache; return ``{digest: reason}`` if broken."""

        def load(item: tuple[bytes, str]) -> NDArray[np.uint8] | str:
            digest, path = item
            try:
                content = read_file(root / path)
                if hashlib.sha256(content).digest() != digest:
                    return "the file was changed while it was read"
                return resize(decode(content, self.value_range), self.size)
            except BrokenImageError as error:
                return str(error)

        self.path.touch()
        query = "SELECT COALESCE(MAX(CAST(row AS INT)), -1) + 1 FROM pixels WHERE row >= 0"
        (end,) = index.execute(query).fetchone()
        # overwrite rows of a killed process, and leave no gap if the file was truncated
        row = min(end, self.path.stat().st_size // self.row_bytes)
        items, broken = list(new.items()), {}
        step = max(min(_CHUNK_IMAGES, _CHUNK_BYTES // self.row_bytes), 1)
        with self.path.open("r+b") as file:
            for start in range(0, len(items), step):
                chunk, entries = items[start : start + step], []
                file.seek(row * self.row_bytes)
                for (digest, _), pixels in zip(chunk, map_in_threads(load, chunk), strict=True):
                    if isinstance(pixels, str):
                        broken[digest] = pixels
                        continue
                    content = pixels.tobytes()
                    file.write(content)
                    entries.append((digest, row, zlib.crc32(content)))
                    row += 1
                file.flush()
                with index:
                    index.executemany("INSERT OR REPLACE INTO pixels VALUES (?, ?, ?)", entries)
                rows.update((digest, number) for digest, number, _ in entries)
                if on_progress is not None:
                    on_progress(start + len(chunk))
        return broken

    def _make_disk_full_error(self, count: int) -> DataError:
        sizes = (count * self.row_bytes, shutil.disk_usage(self.folder).free)
        needed, free = (
            f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB" for size in sizes
        )
        return DataError(
            f"{count:,} images at {self.size} pixels need {needed} in the image cache "
            f"{self.folder}, but {free} are free: free some space, or choose another folder with "
            "--cache-dir."
        )


class ImageDataset(BatchDataset):
    """A data set of cached images at cache rows ``(N,)``; batches are uint8 ``(B, S, S, 3)``."""

    on_disk = True

    def __init__(self, cache: PixelCache, rows: NDArray[np.int64], labels: np.ndarray) -> None:
        self.cache = cache
        self.rows = torch.from_numpy(rows)
        self.labels = torch.from_numpy(labels)
        self._pixels: Tensor | None = None

    def get_inputs(self, index: Tensor) -> tuple[Tensor, ...]:
        """Return the images of the samples at positions ``index`` ``(B,)``."""
        if self._pixels is None:
            self._pixels = self.cache.map_pixels()
        return (self._pixels.index_select(0, self.rows[index]),)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pixels": None}  # each process maps the file itself

    def length_order(self) -> Tensor:
        """Return the positions of all samples in the order of their cache rows."""
        return self.rows.argsort(stable=True)


def _make_mark(state: os.stat_result, digest: bytes) -> bytes:
    """Hash the SHA-256 and the stat of a file, to detect changes of the file or the index entry."""
    parts = (digest, state.st_size, state.st_ino, state.st_mtime_ns, state.st_ctime_ns)
    return hashlib.sha256(repr(parts).encode()).digest()


def _is_disk_full(error: Exception) -> bool:
    is_full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    return is_full or _error_code(error) == sqlite3.SQLITE_FULL


def _error_code(error: Exception) -> int | None:
    return getattr(error, "sqlite_errorcode", None)
