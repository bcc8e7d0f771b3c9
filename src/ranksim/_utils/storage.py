"""Where things that can be made again are kept; files written whole, and known to be so."""

from __future__ import annotations

import contextlib
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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim.exceptions import disk_error

if sys.platform != "win32":
    import fcntl

_NUMBER = r"(?:-?\d[\d.eE+-]*|null)"
# no string holds a line break, so that nothing in one looks like this
_NUMBERS = re.compile(rf"\[\s+{_NUMBER}(?:,\s+{_NUMBER})*\s+\]")

_ASIDE = ".part"
_DIGEST, _SHA256 = "digest", "sha256:"
_LOCKS = sys.platform != "win32"


def cache_dir() -> Path:
    """``RANKSIM_CACHE``, or the user's cache folder."""
    named = os.environ.get("RANKSIM_CACHE")
    if named:
        return Path(named).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("ranksim"))


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, renamed onto it when the block ends without an error.

    What a killed process left of an earlier one is removed.

    Raises:
        DataError: the disk refuses it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_left(path)
        handle, aside = _begun(path)
        try:
            yield aside
            umask = os.umask(0)
            os.umask(umask)
            aside.chmod(0o666 & ~umask)  # mkstemp makes files that only their owner reads
            if not _LOCKS:
                os.close(handle)  # before it is renamed, as Windows wants it
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
            if _LOCKS:
                os.close(handle)
    except OSError as error:
        named = Path(error.filename or path)
        if named.parent == path.parent or path.is_relative_to(named):
            raise disk_error(error, path) from error
        raise  # of a file that was read meanwhile


def _begun(path: Path) -> tuple[int, Path]:
    """A new file beside ``path``, locked for as long as its process lives."""
    while True:
        prefix, suffix = f".{path.name}.", f"{_ASIDE}{path.suffix}"
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=path.parent)
        held = _locked(handle)
        if held is None or (held and os.fstat(handle).st_nlink):
            return handle, Path(name)
        os.close(handle)  # another process took it for one that was left


def _remove_left(path: Path) -> None:
    """Remove what processes that were killed left beside ``path``."""
    for left in path.parent.iterdir() if _LOCKS else ():
        if left.name.startswith(f".{path.name}.") and left.name.endswith(_ASIDE + path.suffix):
            with contextlib.suppress(OSError), _opened(left) as handle:
                if _locked(handle):
                    shutil.rmtree(left) if left.is_dir() else left.unlink()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A file or a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


@contextlib.contextmanager
def temporary_sibling(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path``; what a killed process left of an earlier one goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left(path)
    prefix, suffix = f".{path.name}.", f"{_ASIDE}{path.suffix}"
    with (
        tempfile.TemporaryDirectory(prefix=prefix, suffix=suffix, dir=path.parent) as name,
        _opened(Path(name)) if _LOCKS else contextlib.nullcontext(0) as handle,
    ):
        _locked(handle)
        yield Path(name)


def _locked(handle: int) -> bool | None:
    """Lock an open file; whether no one else had, and ``None`` where there are no locks."""
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # of some file systems of clusters
        return None
    return True


def is_transient_io_error(error: Exception) -> bool:
    """Whether reading failed for a reason of the disk's, whatever the file holds.

    Damage has wrong offsets, invalid arguments to the system, and wrong sizes, too large for any
    memory: those say what the file holds.
    """
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)


def digest_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 of arrays with their names, shapes and dtypes, in hexadecimal.

    Example:
        >>> digest_arrays({"a": np.zeros(2)}) == digest_arrays({"a": np.zeros(3)})
        False
    """
    known = hashlib.sha256()
    for name, array in arrays.items():
        known.update(repr((name, array.shape, array.dtype.str)).encode())
        known.update(array.tobytes())
    return known.hexdigest()


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays to a ``.npz`` file with their :func:`digest_arrays`, whole."""
    with atomic_write(path) as aside, aside.open("wb") as file:
        np.savez(file, **{**arrays, _DIGEST: np.array(digest_arrays(arrays))})  # type: ignore[arg-type]


def read_arrays(path: Path) -> dict[str, NDArray[Any]] | None:
    """What :func:`write_arrays` wrote; ``None`` where it is not there, or not as it was written."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = dict(stored)
        whole = arrays.pop(_DIGEST) == digest_arrays(arrays)
    except Exception:  # NumPy and zip promise no list of what damage makes them raise
        return None
    return arrays if whole else None


def with_digest(content: Mapping[str, Any]) -> dict[str, Any]:
    """Content for JSON with a digest of itself as the last entry.

    Example:
        >>> with_digest({"a": 1})["digest"][:14]
        'sha256:f9d8602'
    """
    return {**content, _DIGEST: _SHA256 + _digest_of(content)}


def read_verified_json(path: Path) -> dict[str, Any]:
    """JSON that was written :func:`with_digest`, without its digest; or older JSON, that has none.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no table")
    if content:
        key, value = content.popitem()
        # one flipped byte spoils only one of the two by which a seal is known
        if key != _DIGEST and not str(value).startswith(_SHA256):
            content[key] = value
        elif (key, value) != (_DIGEST, _SHA256 + _digest_of(content)):
            raise ValueError(f"{path} is not as it was written")
    return content


def _digest_of(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole, for people too: indented, a list of numbers on one line."""
    text = json.dumps(content, indent=1)
    text = _NUMBERS.sub(lambda found: f"[{' '.join(found[0][1:-1].split())}]", text)
    with atomic_write(path) as aside:
        aside.write_text(text, encoding="utf-8")
