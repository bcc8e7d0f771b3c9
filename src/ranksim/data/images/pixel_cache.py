"""Decoded images on disk, each content once, in one file that is mapped into memory."""

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
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranksim._utils.storage import cache_dir
from ranksim.data.images.decode import (
    BrokenImageError,
    ProgressCallback,
    decode,
    describe_read_error,
    map_in_threads,
    read_file,
    resize,
)
from ranksim.exceptions import DataError, require_optional

_VERSION = 1  # of decoding and resizing: another one never reads this one's pixels
_CHUNK, _BYTES = 256, 32 << 20  # images, and bytes of them, between two commits
_YOUNG = 2_000_000_000  # nanoseconds: the coarsest time of change that a file system keeps
_TABLES = """
CREATE TABLE IF NOT EXISTS file (path BLOB PRIMARY KEY, digest BLOB, mark BLOB);
CREATE TABLE IF NOT EXISTS pixels (digest BLOB PRIMARY KEY, row INT, crc INT);
"""
_Filled = tuple[NDArray[np.int64], dict[str, str]]


@dataclass(frozen=True)
class PixelCache:
    """The images of one size that were ever asked for, a row each, found again by their content.

    Rows are written before the index knows of them, so that a store whose filling was killed is
    whole; each has a CRC-32 that is checked before it is used, and a damaged one is made again. A
    damaged index is begun anew, and so are the pixels.

    A file is taken for unchanged while its size, inode and times of modification and change are,
    all of which a file system keeps. One that was changed less than two seconds before it was read
    is read again the next time, because another change could have given it the same times.

    Args:
        size: side of the square images, in pixels.
        place: its folder; ``None`` is the one in the cache.
    """

    size: int
    place: Path | None = None

    @property
    def folder(self) -> Path:
        return self.place or cache_dir() / "images" / f"{self.size}px-v{_VERSION}"

    @property
    def path(self) -> Path:
        return self.folder / "pixels.u8"

    @property
    def row_bytes(self) -> int:
        return self.size * self.size * 3

    def fill(
        self, root: Path, paths: Sequence[str], *, told: ProgressCallback | None = None
    ) -> _Filled:
        """See to it that all images are in the store, decoding those that are new.

        Args:
            root: folder that the paths are relative to.
            paths: the images; one may stand there several times.
            told: called with the number of images decoded, now and then.

        Returns:
            The row of each image, −1 for broken ones; and why these are broken, in their order.

        Raises:
            DataError: the disk is full or the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with require_optional("filelock", "train").FileLock(self.folder / ".lock"):
                return self._filled(root.resolve(), list(paths), told)
        except (OSError, sqlite3.DatabaseError) as error:
            if _is_full(error):
                raise self._full(len(set(paths))) from error
            why = getattr(error, "strerror", None) or error
            raise DataError(
                f"The image cache {self.folder} cannot be written ({why}): mend that, or name "
                "another folder with --cache-dir."
            ) from error

    def images(self) -> Tensor:
        """All rows, uint8 ``(R, size, size, 3)``, mapped: nothing is read before it is used."""
        if not self.path.is_file():
            return torch.empty(0, self.size, self.size, 3, dtype=torch.uint8)
        rows = self.path.stat().st_size // self.row_bytes
        # a map that is not shared must fit into the memory, as if all of it were changed
        flat = torch.from_file(
            str(self.path), shared=True, size=rows * self.row_bytes, dtype=torch.uint8
        )
        return flat.view(rows, self.size, self.size, 3)

    def _filled(self, root: Path, paths: list[str], told: ProgressCallback | None) -> _Filled:
        """By the index that is there, or else by a new one."""
        try:
            return self._by_index(root, paths, told)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # its sentence may be damaged
            if _is_full(error) or getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_BUSY:
                raise
        for path in (*self.folder.glob("index.sqlite*"), self.path):
            path.unlink(missing_ok=True)
        return self._by_index(root, paths, told)

    def _by_index(self, root: Path, paths: list[str], told: ProgressCallback | None) -> _Filled:
        with closing(sqlite3.connect(self.folder / "index.sqlite")) as index:
            index.executescript(_TABLES)
            digests, broken = self._digests(index, root, paths)
            known = self._whole(index, set(digests))
            # one path for each content that is not there yet
            new = {
                digest: path
                for path, digest in zip(paths, digests, strict=True)
                if digest and digest not in known
            }
            self._refuse_without_space(len(new))
            damaged = self._add(index, root, new, known, told)
        for path, digest in zip(paths, digests, strict=True):
            if digest in damaged:
                broken[path] = damaged[digest]
        rows = np.array([known.get(digest, -1) for digest in digests], dtype=np.int64)
        return rows, {path: broken[path] for path in paths if path in broken}

    def _digests(
        self, index: sqlite3.Connection, root: Path, paths: list[str]
    ) -> tuple[list[bytes], dict[str, str]]:
        """SHA-256 of each file, read anew where its state differs; empty for unreadable ones."""
        seen: dict[bytes, tuple[bytes, bytes]] = {
            path: (digest, mark)
            for path, digest, mark in index.execute("SELECT path, digest, mark FROM file")
        }
        fresh: dict[bytes, tuple[bytes, bytes]] = {}
        broken: dict[str, str] = {}

        def look(path: str) -> bytes:
            file = root / path
            try:
                state, name = file.stat(), os.fsencode(file)
                digest, mark = seen.get(name, (b"", b""))
                if mark == _mark(state, digest):
                    return digest
                digest = hashlib.sha256(read_file(file)).digest()
            except FileNotFoundError:
                broken[path] = "is missing"
            except BrokenImageError as error:
                broken[path] = str(error)
            except (OSError, ValueError) as error:
                broken[path] = describe_read_error(error)
            else:
                if time.time_ns() - max(state.st_mtime_ns, state.st_ctime_ns) > _YOUNG:
                    fresh[name] = digest, _mark(state, digest)
                return digest
            return b""

        digests = map_in_threads(look, paths, None)
        with index:
            index.executemany(
                "INSERT OR REPLACE INTO file VALUES (?, ?, ?)",
                [(name, *known) for name, known in fresh.items()],
            )
        return digests, broken

    def _whole(self, index: sqlite3.Connection, wanted: set[bytes]) -> dict[bytes, int]:
        """Where the wanted pixels are, of those that are what was written."""
        images = self.images().numpy()
        entries = [
            e for e in index.execute("SELECT digest, row, crc FROM pixels") if e[0] in wanted
        ]

        def is_whole(entry: tuple[bytes, int, int]) -> bool:
            _, row, crc = entry
            return (
                isinstance(row, int) and 0 <= row < len(images) and zlib.crc32(images[row]) == crc
            )

        good = map_in_threads(is_whole, entries, None)
        return {digest: row for (digest, row, _), whole in zip(entries, good, strict=True) if whole}

    def _add(
        self,
        index: sqlite3.Connection,
        root: Path,
        new: dict[bytes, str],
        known: dict[bytes, int],
        told: ProgressCallback | None,
    ) -> dict[bytes, str]:
        """Decode and write new images, enter them in ``known``; why others cannot be."""

        def pixels(item: tuple[bytes, str]) -> NDArray[np.uint8] | str:
            digest, path = item
            try:
                content = read_file(root / path)
                if hashlib.sha256(content).digest() != digest:
                    return "was changed while it was read"
                return resize(decode(content), self.size)
            except BrokenImageError as error:
                return str(error)

        self.path.touch()
        (end,) = index.execute(
            "SELECT COALESCE(MAX(CAST(row AS INT)), -1) + 1 FROM pixels WHERE row >= 0"
        ).fetchone()
        # over what a killed filling left, and without a hole where the file lost its end
        row = min(end, self.path.stat().st_size // self.row_bytes)
        items, damaged = list(new.items()), {}
        with self.path.open("r+b") as file:
            count = max(min(_CHUNK, _BYTES // self.row_bytes), 1)
            for start in range(0, len(items), count):
                chunk = items[start : start + count]
                entries = []
                file.seek(row * self.row_bytes)
                for (digest, _), made in zip(
                    chunk, map_in_threads(pixels, chunk, None), strict=True
                ):
                    if isinstance(made, str):
                        damaged[digest] = made
                        continue
                    file.write(made.tobytes())
                    entries.append((digest, row, zlib.crc32(made)))
                    row += 1
                file.flush()
                with index:
                    index.executemany("INSERT OR REPLACE INTO pixels VALUES (?, ?, ?)", entries)
                known.update((digest, number) for digest, number, _ in entries)
                if told is not None:
                    told(start + len(chunk))
        return damaged

    def _refuse_without_space(self, count: int) -> None:
        if count * self.row_bytes > shutil.disk_usage(self.folder).free:
            raise self._full(count)

    def _full(self, count: int) -> DataError:
        need, free = count * self.row_bytes, shutil.disk_usage(self.folder).free
        return DataError(
            f"{count:,} images at {self.size} pixels take {_size(need)} in the image cache "
            f"{self.folder}, where {_size(free)} are free: free some, or name another folder with "
            "--cache-dir."
        )


def _mark(state: os.stat_result, digest: bytes) -> bytes:
    """Ties a digest to the state of a file; a damaged one of either is seen."""
    parts = (digest, state.st_size, state.st_ino, state.st_mtime_ns, state.st_ctime_ns)
    return hashlib.sha256(repr(parts).encode()).digest()


def _is_full(error: Exception) -> bool:
    return (
        getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        or getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
