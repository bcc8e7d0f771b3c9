"""Downloads that are verified, go on where they stopped, and appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ranksim._utils.storage import atomic_write, sha256
from ranksim.exceptions import DataError, disk_error, require_optional

_CHUNK = 1 << 20
_OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def download(url: str, path: Path, checksum: str, *, timeout: float = 30.0) -> Path:
    """Download ``url`` to ``path`` unless the right file is there already.

    What arrives is kept in ``path`` + ``.part``; a later call asks the server for the rest. The
    file gets its name only once its SHA-256 is ``checksum``.

    Raises:
        DataError: no connection, an answer other than success, or a wrong checksum (what came is
            removed, so that the next call starts afresh).
    """
    if _is(path, checksum):
        return path
    with _alone(path) as part:
        if _is(path, checksum):
            return path  # another process fetched it while this one waited
        if not _is(part, checksum):
            _receive(url, part, timeout)
        got = sha256(part)
        if got != checksum:
            part.unlink()
            raise DataError(
                f"{url} has SHA-256 {got[:16]}… where {checksum[:16]}… was expected: it was "
                "damaged on the way or changed at its origin; try again, or give the file with "
                "--data-dir."
            )
        part.replace(path)
    return path


def download_unpinned(url: str, path: Path, *, timeout: float = 30.0) -> str:
    """Download a file whose origin publishes no checksum; return its SHA-256.

    Goes on where it stopped like :func:`download`, but only with the version of the file that it began
    with; of another one it starts over. The length is verified, and the SHA-256 is kept in ``path``
    + ``.sha256``, in the form that ``sha256sum --check`` reads: a file that is there is verified
    against it and, where damaged, fetched again. A file without that note was put there by its user
    and is taken as it is.

    Raises:
        DataError: no connection, an answer other than success, or one that tells no length.
    """
    note = path.with_name(path.name + ".sha256")
    with _alone(path) as part:
        noted = note.read_text(encoding="utf-8")[:64] if note.is_file() else None
        got = sha256(path) if path.is_file() else None
        if got is not None and got == (noted or got):
            _note(note, f"{got}  {path.name}\n")
            return got
        origin = part.with_name(part.name + ".tag")
        _receive(url, part, timeout, origin)
        got = sha256(part)
        _note(note, f"{got}  {path.name}\n")  # first: a file of ours without one never appears
        part.replace(path)
        origin.unlink()
        return got


def _is(path: Path, checksum: str) -> bool:
    return path.is_file() and sha256(path) == checksum


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[Path]:
    """The place for the parts of ``path``, for one process at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with require_optional("filelock", "train").FileLock(path.with_name(f".{path.name}.lock")):
        yield path.with_name(path.name + ".part")


def _note(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        with atomic_write(path) as aside:
            aside.write_text(text, encoding="utf-8", newline="")


@dataclass(frozen=True)
class _Version:
    """What tells one version of a file at its origin from another."""

    validator: str = ""  # what If-Range takes: a strong ETag, or the time of the last change
    length: int = -1

    @classmethod
    def of(cls, answer: http.client.HTTPResponse, have: int) -> _Version:
        """As an answer tells it that leaves out the first ``have`` bytes."""
        tag = answer.headers.get("ETag", "")
        if not tag or tag.startswith("W/"):
            tag = answer.headers.get("Last-Modified", "")
        rest = answer.headers.get("Content-Length")
        return cls(tag, -1 if rest is None else have + int(rest))

    @classmethod
    def noted(cls, path: Path) -> _Version:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        return cls(lines[0], int(lines[1])) if len(lines) == 2 else cls()

    def fits(self, first: _Version) -> bool:
        """Whether a partial answer, which may leave things out, goes on with what was begun."""
        return first == _Version() or (
            self.length == first.length and self.validator in ("", first.validator)
        )

    def __str__(self) -> str:
        return f"{self.validator}\n{self.length}\n"


def _begins_at(have: int, answer: http.client.HTTPResponse) -> bool:
    told = answer.headers.get("Content-Range", "")
    return not told or told.startswith(f"bytes {have}-")


def _receive(url: str, part: Path, timeout: float, origin: Path | None = None) -> None:
    """Append what is missing to ``part``; start over where the server cannot go on.

    With ``origin``, a note of the version that ``part`` is of, it goes on with that one alone.
    """
    have = part.stat().st_size if part.exists() else 0
    first = _Version() if origin is None else _Version.noted(origin)
    if have and origin is not None:
        if have == first.length:
            return  # it was stopped between the last byte and the checksum
        if not first.validator or have > first.length:
            have = 0  # nothing tells whether the rest belongs to it
    request = urllib.request.Request(url)
    if have:
        request.add_header("Range", f"bytes={have}-")
        if first.validator:
            request.add_header("If-Range", first.validator)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            goes_on = have > 0 and answer.status == http.client.PARTIAL_CONTENT
            version = _Version.of(answer, have if goes_on else 0)
            if origin is not None and version.length < 0 and not answer.chunked:
                raise ConnectionError("it tells no length, so that a broken line would go unseen")
            fits = not goes_on or (version.fits(first) and _begins_at(have, answer))
            if fits:
                with part.open("ab" if goes_on else "wb") as file:
                    if origin is not None and not goes_on:
                        _note(origin, str(version))  # now that what it does not fit is gone
                    while chunk := answer.read(_CHUNK):
                        file.write(chunk)
                    missing = version.length - file.tell()
                if missing > 0:  # a read in chunks ends without an error where the line breaks
                    raise ConnectionError(f"{missing} bytes are missing")
        if not fits:
            part.unlink()
            _receive(url, part, timeout, origin)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            part.unlink()
            _receive(url, part, timeout, origin)
            return
        raise DataError(
            f"{url} answered {error.code} {error.reason}; give the file with --data-dir."
        ) from error
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, OSError) and (error.filename or error.errno in _OF_DISKS):
            raise disk_error(error, part) from error
        raise DataError(
            f"{url} could not be read ({error}); try again, the download goes on where it stopped, "
            "or give the file with --data-dir."
        ) from error
