"""Download files with checksums and resume interrupted downloads.

Hand-written because pooch cannot resume, and the image archives have several gigabytes.
"""

from __future__ import annotations

import errno
import http.client
import urllib.error
import urllib.request
from pathlib import Path

from ranksim._utils.storage import atomic_write, sha256
from ranksim.exceptions import DataError, disk_error, require_optional

_CHUNK = 1 << 20
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def download(url: str, path: Path, checksum: str | None = None, *, timeout: float = 30.0) -> str:
    """Download a file unless it exists, verify the checksum, and return the SHA-256.

    Received bytes are stored in ``path`` + ``.part``; a later call requests only the rest. A file
    with a wrong checksum is removed, with a DataError. Without ``checksum``, the length is verified
    and the SHA-256 is written to ``path`` + ``.sha256``, as for ``sha256sum --check``; later calls
    verify the file with it. A file without this note was placed there by the user and is accepted.
    Such a download resumes only if the server still has the same version of the file.
    """
    if checksum is not None and _hash(path) == checksum:
        return checksum
    note, part, tag = (path.with_name(path.name + s) for s in (".sha256", ".part", ".part.tag"))
    path.parent.mkdir(parents=True, exist_ok=True)
    with require_optional("filelock", "train").FileLock(path.with_name(f".{path.name}.lock")):
        expected = checksum or (note.read_text(encoding="utf-8")[:64] if note.is_file() else None)
        actual = _hash(path)
        is_complete = actual is not None and expected in (None, actual)
        if not is_complete:
            if checksum is None or _hash(part) != checksum:
                _receive(url, part, timeout, tag if checksum is None else None)
            actual = sha256(part)
            if checksum not in (None, actual):
                part.unlink()
                raise DataError(
                    f"{url} has SHA-256 {actual[:16]}… instead of {str(checksum)[:16]}…, so it was "
                    "damaged or changed; run the command again, or download the file by hand and "
                    "pass its folder with --data-dir."
                )
        if checksum is None:
            _write_note(note, f"{actual}  {path.name}\n")  # first, so our files always have one
        if not is_complete:
            part.replace(path)
            tag.unlink(missing_ok=True)
    return str(actual)


def _hash(path: Path) -> str | None:
    return sha256(path) if path.is_file() else None


def _write_note(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")


def _receive(url: str, part: Path, timeout: float, tag: Path | None) -> None:
    """Download the missing bytes of ``part``, or all bytes if the server cannot resume.

    ``tag`` stores the version of ``part`` on the server; with it, only that version is resumed.
    """
    offset = part.stat().st_size if part.is_file() else 0
    validator, length = _read_tag(tag)
    if offset and tag is not None:
        if offset == length:
            return  # complete, interrupted before the checksum
        if not validator or offset > length:
            offset = 0  # the version is unknown
    request = urllib.request.Request(url)  # noqa: S310  the URLs are constants
    if offset:
        request.add_header("Range", f"bytes={offset}-")
        if validator:
            request.add_header("If-Range", validator)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:  # noqa: S310
            is_received = _append(response, part, offset, tag)
    except urllib.error.HTTPError as error:
        is_received = error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE or not offset
        if is_received:
            raise DataError(
                f"{url} could not be downloaded ({error.code} {error.reason}); download it by "
                "hand and pass its folder with --data-dir."
            ) from error
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, OSError) and (error.filename or error.errno in _DISK_ERRORS):
            raise disk_error(error, part) from error
        raise DataError(
            f"{url} could not be downloaded ({error}); run the command again to resume, or "
            "download it by hand and pass its folder with --data-dir."
        ) from error
    if not is_received:
        part.unlink()
        _receive(url, part, timeout, tag)


def _read_tag(tag: Path | None) -> tuple[str, int]:
    """Return the ETag or modification time, and the length, of the partly downloaded file."""
    lines = tag.read_text(encoding="utf-8").splitlines() if tag and tag.is_file() else []
    return (lines[0], int(lines[1])) if len(lines) == 2 else ("", -1)


def _append(response: http.client.HTTPResponse, part: Path, offset: int, tag: Path | None) -> bool:
    """Write a response to ``part``; return False if it does not continue the partial file."""
    resumes = offset > 0 and response.status == http.client.PARTIAL_CONTENT
    headers = response.headers
    validator = headers.get("ETag", "")
    if not validator or validator.startswith("W/"):
        validator = headers.get("Last-Modified", "")
    rest = headers.get("Content-Length")
    length = -1 if rest is None else offset * resumes + int(rest)
    if tag is not None and length < 0 and not response.chunked:
        raise ConnectionError(
            "the server sent no length, so an incomplete file could not be detected"
        )
    if resumes:
        start, (earlier, total) = f"bytes {offset}-", _read_tag(tag)
        changed = tag is not None and (length != total or validator not in ("", earlier))
        if changed or not headers.get("Content-Range", start).startswith(start):
            return False
    with part.open("ab" if resumes else "wb") as file:
        if tag is not None and not resumes:
            _write_note(tag, f"{validator}\n{length}\n")
        while chunk := response.read(_CHUNK):
            file.write(chunk)
        missing = length - file.tell()
    if missing > 0:  # reading in chunks raises no error if the connection breaks
        raise ConnectionError(f"the response ended {missing} bytes too early")
    return True
