"""Verified downloads that resume after an interruption and leave no incomplete file.

Hand-written because pooch cannot resume, and the image archives have several gigabytes.
"""

from __future__ import annotations

import errno
import http.client
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from ranksim._utils.storage import atomic_write, sha256
from ranksim.exceptions import DataError, disk_error, require_optional

_CHUNK = 1 << 20
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def download(url: str, path: Path, checksum: str | None = None, *, timeout: float = 30.0) -> str:
    """Download a file unless it exists, verify it, and return its SHA-256.

    Received bytes are stored in ``path`` + ``.part``; a later call requests only the rest.

    Without ``checksum``, the length is verified and the SHA-256 is written to ``path`` +
    ``.sha256``, in the format of ``sha256sum --check``; later calls verify the file with it. A file
    without this note was placed there by the user and is accepted. Such a download resumes only if
    the server still has the same version of the file.

    Raises:
        DataError: the server cannot be reached, reports an error or sends no length, or the
            checksum is wrong, in which case the file is removed.
    """
    if checksum is not None and _has_checksum(path, checksum):
        return checksum
    note, part, tag = (path.with_name(path.name + s) for s in (".sha256", ".part", ".part.tag"))
    path.parent.mkdir(parents=True, exist_ok=True)
    with require_optional("filelock", "train").FileLock(path.with_name(f".{path.name}.lock")):
        noted = note.read_text(encoding="utf-8")[:64] if note.is_file() else None
        actual = sha256(path) if path.is_file() else ""
        is_complete = actual != "" and actual == (checksum or noted or actual)
        if not is_complete:
            if checksum is None or not _has_checksum(part, checksum):
                _receive(url, part, timeout, tag if checksum is None else None)
            actual = sha256(part)
            if checksum not in (None, actual):
                part.unlink()
                raise DataError(
                    f"{url} has SHA-256 {actual[:16]}… instead of {str(checksum)[:16]}…, so it was "
                    "damaged or changed; try again, or pass the file with --data-dir."
                )
        if checksum is None:
            _write_note(note, f"{actual}  {path.name}\n")  # first, so our files always have one
        if not is_complete:
            part.replace(path)
            tag.unlink(missing_ok=True)
    return actual


def _has_checksum(path: Path, checksum: str) -> bool:
    return path.is_file() and sha256(path) == checksum


def _write_note(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")


class _Version(NamedTuple):
    """Identity of the file on the server."""

    validator: str = ""  # for If-Range: a strong ETag, or the time of the last change
    length: int = -1

    @classmethod
    def from_response(cls, response: http.client.HTTPResponse, offset: int) -> _Version:
        """Read the headers of a response that starts at byte ``offset``."""
        tag = response.headers.get("ETag", "")
        if not tag or tag.startswith("W/"):
            tag = response.headers.get("Last-Modified", "")
        rest = response.headers.get("Content-Length")
        return cls(tag, -1 if rest is None else offset + int(rest))

    @classmethod
    def from_note(cls, path: Path) -> _Version:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        return cls(lines[0], int(lines[1])) if len(lines) == 2 else cls()

    def continues(self, earlier: _Version) -> bool:
        """Return True if a partial response has the version of the earlier one."""
        return earlier == _Version() or (
            self.length == earlier.length and self.validator in ("", earlier.validator)
        )


def _receive(url: str, part: Path, timeout: float, tag: Path | None = None) -> None:
    """Append the missing bytes to ``part``, or start again if the server cannot resume.

    ``tag`` stores the version of ``part``; with it, only the same version is resumed.
    """
    offset = part.stat().st_size if part.exists() else 0
    earlier = _Version() if tag is None else _Version.from_note(tag)
    if offset and tag is not None:
        if offset == earlier.length:
            return  # complete, interrupted before the checksum
        if not earlier.validator or offset > earlier.length:
            offset = 0  # the version is unknown
    request = urllib.request.Request(url)  # noqa: S310  the URLs are constants
    if offset:
        request.add_header("Range", f"bytes={offset}-")
        if earlier.validator:
            request.add_header("If-Range", earlier.validator)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:  # noqa: S310
            if not _append(response, part, offset, earlier, tag):
                part.unlink()
        if not part.exists():
            _receive(url, part, timeout, tag)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
            part.unlink()
            _receive(url, part, timeout, tag)
            return
        raise DataError(
            f"{url} answered {error.code} {error.reason}; pass the file with --data-dir."
        ) from error
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, OSError) and (error.filename or error.errno in _DISK_ERRORS):
            raise disk_error(error, part) from error
        raise DataError(
            f"{url} could not be read ({error}); try again to resume the download, or pass the "
            "file with --data-dir."
        ) from error


def _append(
    response: http.client.HTTPResponse,
    part: Path,
    offset: int,
    earlier: _Version,
    tag: Path | None,
) -> bool:
    """Write a response to ``part``; return False if it does not continue the existing bytes."""
    resumes = offset > 0 and response.status == http.client.PARTIAL_CONTENT
    version = _Version.from_response(response, offset if resumes else 0)
    if tag is not None and version.length < 0 and not response.chunked:
        raise ConnectionError("the server sends no length, so an incomplete file could not be seen")
    start = response.headers.get("Content-Range", "")
    if resumes and not (
        version.continues(earlier) and (not start or start.startswith(f"bytes {offset}-"))
    ):
        return False
    with part.open("ab" if resumes else "wb") as file:
        if tag is not None and not resumes:
            _write_note(tag, f"{version.validator}\n{version.length}\n")
        while chunk := response.read(_CHUNK):
            file.write(chunk)
        missing = version.length - file.tell()
    if missing > 0:  # reading in chunks raises no error if the connection breaks
        raise ConnectionError(f"{missing} bytes are missing")
    return True
