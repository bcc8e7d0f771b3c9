"""The raw archives of the benchmarks of ages: downloaded where that is allowed, and unpacked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ranksim._utils.download import download as download_file
from ranksim.data.images.decode import ProgressCallback
from ranksim.datasets import imdb_wiki_dir
from ranksim.datasets.extract import extract
from ranksim.exceptions import UsageError

LIMIT = 64 << 30  # bytes that an archive may unpack to; IMDB-WIKI's larger one holds 7 GB


def unpack(
    archives: Sequence[Path],
    root: Path,
    *,
    password: str | None = None,
    told: ProgressCallback | None = None,
) -> int:
    """Unpack archives below ``root``; return how many files they hold (see :func:`extract`)."""
    return sum(
        extract(archive, root, limit_bytes=LIMIT, password=password, told=told)
        for archive in archives
    )


def download(benchmark: str, root: Path) -> list[Path]:
    """Fetch the archives of IMDB-WIKI (8 GB) into ``root``, going on where an earlier call stopped.

    Their origin publishes no checksum: the length is verified, the SHA-256 kept beside.

    Raises:
        UsageError: AgeDB, which is not public.
        DataError: no connection, or an answer other than the file.
    """
    if benchmark != imdb_wiki_dir.NAME:
        raise UsageError(
            f"{benchmark} cannot be downloaded: AgeDB is given out by its authors, who also send a "
            "password; ask them, and give the archive with --archive AgeDB.zip --password."
        )
    paths = []
    for url in imdb_wiki_dir.ORIGINS.values():
        path = root / url.rpartition("/")[2]
        download_file(url, path)
        paths.append(path)
    return paths
