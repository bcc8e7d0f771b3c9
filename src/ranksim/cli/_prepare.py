"""What ``ranksim data prepare`` does with what it was given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ranksim._utils.progress import progress_counter
from ranksim.data.images.decode import check_images
from ranksim.datasets.archives import download, unpack
from ranksim.datasets.prepare import Prepared, describe, prepare


@dataclass(frozen=True)
class PrepareRequest:
    """A prepare command as it was given; arguments are those of :func:`prepare` and `unpack`."""

    benchmark: str
    root: Path
    split_file: Path | None = None
    protocol: str | None = None
    skip_broken: bool = False
    seed: int = 666
    per_bin: int = 50
    archives: tuple[Path, ...] = ()
    password: str | None = None
    download: bool = False


def prepare_data(request: PrepareRequest, *, as_json: bool = False) -> Prepared:
    """Fetch, unpack, check all images, write the split, and say what was found."""
    console, archives = Console(stderr=as_json), list(request.archives)
    if request.download:
        archives += download(request.benchmark, request.root)
    if archives:
        with progress_counter("unpacking, bytes") as told:
            count = unpack(archives, request.root, password=request.password, told=told)
        console.print(f"Unpacked {count:,} files below {request.root}.", highlight=False)

    def check(root: Path, paths: Sequence[str]) -> dict[str, str]:
        with progress_counter("checking images") as told:
            return check_images(root, paths, told=told)

    prepared = prepare(
        request.benchmark,
        request.root,
        split_file=request.split_file,
        protocol=request.protocol,
        skip_broken=request.skip_broken,
        seed=request.seed,
        per_bin=request.per_bin,
        check=check,
    )
    for line in describe(prepared):
        console.print(line, highlight=False, soft_wrap=True)
    protocol = f" --protocol {request.protocol}" if request.protocol else ""
    console.print(
        f"Train: ranksim bench {request.benchmark} --data-dir {request.root}{protocol}",
        highlight=False,
        soft_wrap=True,
    )
    return prepared
