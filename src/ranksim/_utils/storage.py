"""Locate the cache folder, write files atomically, and read and write verified JSON and arrays."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.formatting import format_value
from ranksim.exceptions import disk_error

if sys.platform != "win32":
    import fcntl

T = TypeVar("T")
_NUMBER = r"(?:-?\d[\d.eE+-]*|null)"
# matches no part of a string, as JSON strings contain no line breaks
_NUMBERS = re.compile(rf"\[\s+{_NUMBER}(?:,\s+{_NUMBER})*\s+\]")
_TEMPORARY = ".part"
_DIGEST, _SHA256 = "digest", "sha256:"


def cache_dir() -> Path:
    """Return the cache folder: ``RANKSIM_CACHE`` if set, else the default of the platform."""
    if folder := os.environ.get("RANKSIM_CACHE"):
        return Path(folder).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("ranksim"))


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path; rename it to ``path`` if the block raises no error.

    Temporary files of killed processes are removed. Errors of the disk become a DataError.
    """
    folder = path.parent
    try:
        with temporary_sibling(path) as folder:
            yield folder / path.name
            (folder / path.name).replace(path)
    except OSError as error:
        cause = Path(error.filename or path)
        if cause.parent in (folder, path.parent) or path.is_relative_to(cause):
            raise disk_error(error, path) from error
        raise  # from another file that the block read


@contextlib.contextmanager
def temporary_sibling(path: Path) -> Iterator[Path]:
    """Yield a locked temporary folder beside ``path``; remove leftovers of killed processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    prefix, suffix = f".{path.name}.", f"{_TEMPORARY}{path.suffix}"
    with contextlib.ExitStack() as stack:
        is_ready = False
        while not is_ready:  # another process may remove it as stale before it is locked
            temporary = tempfile.TemporaryDirectory(prefix=prefix, suffix=suffix, dir=path.parent)
            folder = Path(stack.enter_context(temporary))
            with contextlib.suppress(FileNotFoundError):
                is_locked = stack.enter_context(_lock(folder))
                is_ready = is_locked is not False and folder.exists()
        yield folder


def _remove_stale(path: Path) -> None:
    """Remove the temporary files and folders that killed processes left beside ``path``."""
    for file in path.parent.iterdir():
        if file.name.startswith(f".{path.name}.") and file.name.endswith(_TEMPORARY + path.suffix):
            with contextlib.suppress(OSError), _lock(file) as is_locked:
                if is_locked:
                    shutil.rmtree(file) if file.is_dir() else file.unlink()


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[bool | None]:
    """Try to lock a path; yield True, False if it is in use, or None if locks are unsupported."""
    if sys.platform == "win32":
        yield None
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        is_locked: bool | None = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:  # some file systems of clusters have no locks
            is_locked = False if isinstance(error, BlockingIOError) else None
        yield is_locked
    finally:
        os.close(descriptor)


def is_transient_io_error(error: Exception) -> bool:
    """Return True if an error comes from the disk or network, not from damaged content.

    Damaged content leads to invalid offsets (EINVAL) or to errors without a number.
    """
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)


def digest_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return the hexadecimal SHA-256 of named arrays, including their shapes and dtypes."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(repr((name, array.shape, array.dtype.str)).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays and their SHA-256 to a ``.npz`` file atomically."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **{**arrays, _DIGEST: np.array(digest_arrays(arrays))})  # type: ignore[arg-type]


def read_arrays(path: Path) -> dict[str, NDArray[Any]] | None:
    """Read arrays written by :func:`write_arrays`; return None if missing or damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = dict(stored)
        is_intact = arrays.pop(_DIGEST) == digest_arrays(arrays)
    except Exception:  # NumPy and zipfile raise many types for damaged files
        return None
    return arrays if is_intact else None


def with_digest(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return JSON content with its SHA-256 appended as the last entry."""
    return {**content, _DIGEST: _SHA256 + _digest_json(content)}


def read_verified_json(path: Path) -> dict[str, Any]:
    """Read a JSON object and verify its SHA-256, if the file contains one.

    Raises a ValueError if the file is damaged, an OSError if it cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a JSON object")  # noqa: TRY004  damaged, not misused
    if content:
        key, value = content.popitem()
        # one flipped byte cannot change both the key and the prefix of the digest
        if key != _DIGEST and not str(value).startswith(_SHA256):
            content[key] = value
        elif (key, value) != (_DIGEST, _SHA256 + _digest_json(content)):
            raise ValueError(f"{path} does not match its checksum")
    return content


def _digest_json(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON atomically, with each list of numbers on one line."""
    text = json.dumps(content, indent=1)
    text = _NUMBERS.sub(lambda match: f"[{' '.join(match[0][1:-1].split())}]", text)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def validate_types(instance: T) -> T:
    """Return a dataclass instance; raise a TypeError if a field does not match its annotation."""
    kind: Any = type(instance)
    hints = get_type_hints(kind)
    for item in dataclasses.fields(kind):
        value = getattr(instance, item.name)
        if not _has_type(value, hints[item.name]):
            raise TypeError(
                f"{item.name} of {kind.__name__} must be {item.type}, got {format_value(value)}"
            )
    return instance


def _has_type(value: Any, hint: Any) -> bool:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_has_type(value, arg) for arg in args)
    if origin is tuple:
        return isinstance(value, tuple) and all(_has_type(item, args[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(_has_type(v, args[1]) for v in value.values())
    if hint in (int, float):
        is_number = isinstance(value, (int, hint)) and not isinstance(value, bool)
        return is_number and abs(value) <= sys.float_info.max  # neither NaN nor a huge int
    return isinstance(value, hint)
