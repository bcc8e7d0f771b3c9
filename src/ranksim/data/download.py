"""Downloads that are verified, go on where they stopped, and appear whole or not at all."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from pathlib import Path

from ranksim.data.cache import sha256
from ranksim.errors import DataError, needs

_CHUNK = 1 << 20


def fetch(url: str, path: Path, checksum: str, *, timeout: float = 30.0) -> Path:
    """Download ``url`` to ``path`` unless the right file is there already.

    What arrives is kept in ``path`` + ``.part``; a later call asks the server for the rest. The
    file gets its name only once its SHA-256 is ``checksum``.

    Raises:
        DataError: no connection, an answer other than success, or a wrong checksum (what came is
            removed, so that the next call starts afresh).
    """
    if path.is_file() and sha256(path) == checksum:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with needs("filelock", "bench").FileLock(path.with_name(f".{path.name}.lock")):
        return _fetch_alone(url, path, checksum, timeout)


def _fetch_alone(url: str, path: Path, checksum: str, timeout: float) -> Path:
    if path.is_file() and sha256(path) == checksum:
        return path  # another process fetched it while this one waited
    part = path.with_name(path.name + ".part")
    if not (part.is_file() and sha256(part) == checksum):
        _receive(url, part, timeout)
    got = sha256(part)
    if got != checksum:
        part.unlink()
        raise DataError(
            f"{url} has SHA-256 {got[:16]}… where {checksum[:16]}… was expected: it was damaged "
            "on the way or changed at its origin; try again, or give the file with --data-dir."
        )
    part.replace(path)
    return path


def _receive(url: str, part: Path, timeout: float) -> None:
    """Append what is missing to ``part``; start over where the server cannot go on."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url)
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            goes_on = answer.status == http.client.PARTIAL_CONTENT
            promised = int(answer.headers.get("Content-Length") or 0)
            with part.open("ab" if goes_on else "wb") as file:
                while chunk := answer.read(_CHUNK):
                    promised -= file.write(chunk)
            if promised > 0:  # a read in chunks ends without an error where the line breaks
                raise ConnectionError(f"{promised} bytes are missing")
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            part.unlink()
            _receive(url, part, timeout)
            return
        raise DataError(
            f"{url} answered {error.code} {error.reason}; give the file with --data-dir."
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise DataError(
            f"{url} could not be read ({error}); try again, the download goes on where it stopped, "
            "or give the file with --data-dir."
        ) from error
