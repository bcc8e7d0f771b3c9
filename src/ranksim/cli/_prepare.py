"""Run ``ranksim data prepare``: fetch, unpack, check images, write the split, print a summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ranksim._utils.progress import progress_counter
from ranksim.data.images.decode import check_images
from ranksim.datasets import agedb_dir, imdb_wiki_dir
from ranksim.datasets._fetch.archives import extract
from ranksim.datasets.image_benchmarks import PreparedSplit, describe, prepare_split
from ranksim.exceptions import UsageError

_MAX_UNPACKED = 64 << 30  # bytes per archive; the larger one of IMDB-WIKI has 7 GB


@dataclass(frozen=True)
class PrepareRequest:
    """Options of the command, as of :func:`prepare_split` and :func:`extract`."""

    benchmark: str
    root: Path
    split_file: Path | None = None
    protocol: str | None = None
    skip_broken: bool = False
    seed: int = agedb_dir.SEED
    test_per_bin: int = 50
    archives: tuple[Path, ...] = ()
    password: str | None = None
    download: bool = False


def prepare_data(request: PrepareRequest, *, as_json: bool = False) -> PreparedSplit:
    """Fetch and unpack archives, check all images, write the split, and print a summary."""
    console, root = Console(stderr=as_json), request.root
    if archives := [*request.archives, *_download(request)]:
        with progress_counter("unpacking, bytes") as on_progress:
            count = sum(
                extract(
                    archive,
                    root,
                    limit_bytes=_MAX_UNPACKED,
                    password=request.password,
                    on_progress=on_progress,
                )
                for archive in archives
            )
        console.print(f"Unpacked {count:,} files below {root}.", highlight=False)

    def check(root: Path, paths: Sequence[str]) -> dict[str, str]:
        with progress_counter("checking images") as on_progress:
            return check_images(root, paths, on_progress=on_progress)

    prepared = prepare_split(
        request.benchmark,
        root,
        split_file=request.split_file,
        protocol=request.protocol,
        skip_broken=request.skip_broken,
        seed=request.seed,
        test_per_bin=request.test_per_bin,
        check=check,
    )
    protocol = f" --protocol {request.protocol}" if request.protocol else ""
    train = f"Train: ranksim bench {request.benchmark} --data-dir {root}{protocol}"
    for line in (*describe(prepared), train):
        console.print(line, highlight=False, soft_wrap=True)
    return prepared


def _download(request: PrepareRequest) -> list[Path]:
    if not request.download:
        return []
    if request.benchmark != imdb_wiki_dir.NAME:
        raise UsageError(
            f"{request.benchmark} cannot be downloaded: ask the authors of AgeDB for the archive "
            "and its password, then use --archive AgeDB.zip --password."
        )
    return imdb_wiki_dir.download_archives(request.root)
