"""Plan and load the image benchmarks AgeDB-DIR and IMDB-WIKI-DIR."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ranksim._utils.storage import sha256
from ranksim.data.images.dataset import ImageDataset, describe_broken
from ranksim.data.images.decode import ProgressCallback
from ranksim.data.images.pixel_cache import PixelCache
from ranksim.data.images.table import ImageTable, read_split_file
from ranksim.data.splitting import PARTS
from ranksim.datasets import agedb_dir
from ranksim.datasets.base import Benchmark, data_folders
from ranksim.datasets.prepare import BENCHMARKS, reject_other_split, split_file_name
from ranksim.exceptions import DataError
from ranksim.imbalance import LabelBins


@dataclass(frozen=True)
class ImagePlan:
    """Images to train and test on, before any of them is opened.

    Args:
        name: name of the benchmark.
        root: folder of the images.
        table: their paths, labels and parts.
        bins: label bins.
        facts: identity of the data in results.
        comparable: whether the data is that of the published table.
        quantity, unit: name and unit of the label.
    """

    name: str
    root: Path
    table: ImageTable
    bins: LabelBins
    facts: dict[str, Any] = field(default_factory=dict)
    comparable: bool = False
    quantity: str = "age"
    unit: str | None = "years"


def find_split_file(
    name: str, *, data_dir: Path | None, split_file: Path | None, protocol: str | None
) -> Path:
    """Return the path of the split file of an age benchmark.

    Raises:
        DataError: it does not exist.
    """
    file_name = split_file_name(name, protocol)
    if split_file is not None:
        if not split_file.is_file():
            raise DataError(f"{split_file} is not a file: give the split file with --split-file.")
        return split_file
    folders = list(data_folders(data_dir))
    for folder in folders:
        for path in (folder / file_name, folder / name / file_name):
            if path.is_file():
                return path
    command = f"ranksim data prepare {name} --root DIR"
    command += f" --protocol {protocol}" if protocol else ""
    problem = f"{folders[0]} does not contain" if folders else "--data-dir is needed to find"
    raise DataError(f"{problem} {file_name}: create it with `{command}`, then use --data-dir DIR.")


def plan_ages(
    name: str,
    *,
    data_dir: Path | None = None,
    split_file: Path | None = None,
    protocol: str | None = None,
) -> ImagePlan:
    """Plan an age benchmark from the split file that ``ranksim data prepare`` wrote.

    Args:
        name: ``agedb-dir`` or ``imdb-wiki-dir``.
        data_dir: folder of the images and the split file. Default: ``RANKSIM_DATA``.
        split_file: the split file, if it is elsewhere.
        protocol: a zero-shot protocol.

    Raises:
        DataError: the folder or file is missing, or the file cannot be used.
    """
    benchmark = BENCHMARKS[name]
    file_name = split_file_name(name, protocol)
    path = find_split_file(name, data_dir=data_dir, split_file=split_file, protocol=protocol)
    reject_other_split(path, file_name)
    table = read_split_file(path, allow_repeats=True)
    folders, top = [*data_folders(data_dir), path.parent], table.paths[0].partition("/")[0]
    root = next((folder for folder in folders if (folder / top).exists()), folders[0])
    comparable = protocol is None and table.counts == benchmark.COUNTS
    if benchmark is agedb_dir:
        table = agedb_dir.use_names_on_disk(table, root)
        published = agedb_dir.published_name(table)
        if published not in (None, file_name):
            raise DataError(
                f"{path} is the published {published}, not {file_name}: use the other file or its "
                "--protocol."
            )
        comparable = published == benchmark.FILE
    return ImagePlan(name, root, table, benchmark.BINS, {"sha256": sha256(path)}, comparable)


def load_images(
    plan: ImagePlan,
    size: int,
    *,
    skip_broken: bool = False,
    on_progress: ProgressCallback | None = None,
) -> tuple[Benchmark[ImageTable], list[ImageDataset]]:
    """Decode all images into the pixel cache and return the benchmark with its data sets.

    Args:
        plan: the images.
        size: side of the resized images, in pixels.
        skip_broken: skip broken images and record their number in the benchmark's facts.
        on_progress: called with the number of decoded images.

    Raises:
        DataError: images are broken, a part has no image left, or the disk is full.
    """
    cache, table = PixelCache(size), plan.table
    rows, broken = cache.add_images(plan.root, table.paths, on_progress=on_progress)
    note = describe_broken(broken, len(set(table.paths)))
    if broken and not skip_broken:
        raise DataError(f"{note}: replace them, or skip them with --skip-broken.")
    parts, datasets = [], []
    for name in PARTS:
        usable = np.flatnonzero((rows >= 0) & (table.require_parts() == name))
        if not len(usable):
            raise DataError(f"No usable image is left in part {name}: replace the broken images.")
        parts.append(table.take(usable))
        datasets.append(ImageDataset(cache, rows[usable], parts[-1].labels))
    train, val, test = parts
    facts = plan.facts | {"counts": [len(part) for part in parts]}
    if broken:
        facts |= {"n_skipped": len(broken), "skipped_note": note}
    benchmark = Benchmark(
        plan.name,
        *(train, val, test, plan.bins),
        facts=facts,
        comparable=plan.comparable and not broken,
        quantity=plan.quantity,
        unit=plan.unit,
    )
    return benchmark, datasets
