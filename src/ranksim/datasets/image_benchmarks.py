"""Plan and load the image benchmarks AgeDB-DIR and IMDB-WIKI-DIR."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ranksim._utils.storage import sha256
from ranksim.data.images.dataset import ImageDataset, ImageSamples, describe_broken
from ranksim.data.images.decode import ProgressCallback
from ranksim.data.images.pixel_cache import PixelCache
from ranksim.data.images.table import ImageTable, read_table
from ranksim.data.splitting import PARTS
from ranksim.datasets import agedb_dir
from ranksim.datasets.base import Benchmark, data_folders
from ranksim.datasets.prepare import BENCHMARKS, file_name, refuse_another
from ranksim.exceptions import DataError
from ranksim.imbalance import LabelBins


@dataclass(frozen=True)
class ImagePlan:
    """Which images are trained on and which are tested, before any is opened.

    Args:
        name: of the benchmark.
        root: folder of the images.
        table: their paths, labels and parts.
        bins: label bins.
        facts: what identifies the data in results.
        comparable: whether it is the data of the published table.
        quantity, unit: what the label is.
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
    """The split file of a benchmark of ages.

    Raises:
        DataError: there is none.
    """
    wanted = file_name(name, protocol)
    if split_file is not None:
        return require_file(split_file, "--split-file")
    folders = list(data_folders(data_dir))
    for folder in folders:
        for place in (folder / wanted, folder / name / wanted):
            if place.is_file():
                return place
    words = f"ranksim data prepare {name} --root DIR" + (
        f" --protocol {protocol}" if protocol else ""
    )
    where = f"{folders[0]} holds no {wanted}" if folders else f"No folder with {wanted} was named"
    raise DataError(f"{where}: {words} makes it, and --data-dir DIR names it.")


def plan_ages(
    name: str,
    *,
    data_dir: Path | None = None,
    split_file: Path | None = None,
    protocol: str | None = None,
) -> ImagePlan:
    """A benchmark of ages, by the split file that ``ranksim data prepare`` made.

    Args:
        name: ``agedb-dir`` or ``imdb-wiki-dir``.
        data_dir: folder of the images and of the split file; without it ``RANKSIM_DATA``.
        split_file: the split file, where it lies elsewhere.
        protocol: one of the zero-shot protocols.

    Raises:
        DataError: the folder or the file is missing, or the file cannot be used.
    """
    benchmark = BENCHMARKS[name]
    wanted = file_name(name, protocol)
    path = find_split_file(name, data_dir=data_dir, split_file=split_file, protocol=protocol)
    refuse_another(path, wanted)
    table = read_table(path, target="age", image="path", split="split", repeats=True)
    folders, top = [*data_folders(data_dir), path.parent], table.paths[0].partition("/")[0]
    root = next((folder for folder in folders if (folder / top).exists()), folders[0])
    comparable = protocol is None and table.counts == benchmark.COUNTS
    if benchmark is agedb_dir:
        table = agedb_dir.as_on_disk(table, root)
        known = agedb_dir.published_name(table)
        if known not in (None, wanted):
            raise DataError(
                f"{path} is the published {known}, where the split of {wanted} was expected: name "
                "that one, or ask for the protocol of this one."
            )
        comparable = known == benchmark.FILE
    return ImagePlan(name, root, table, benchmark.BINS, {"sha256": sha256(path)}, comparable)


def load_images(
    plan: ImagePlan, size: int, *, skip_broken: bool = False, told: ProgressCallback | None = None
) -> tuple[Benchmark[ImageSamples], list[ImageDataset]]:
    """Decode all images into the cache, unless they are there, and make data sets of them.

    Args:
        plan: which.
        size: side in pixels that they are resized to.
        skip_broken: leave broken images out, and say so in the benchmark's facts.
        told: called with the number of images decoded.

    Raises:
        DataError: images are broken, no part of the split is left, or the disk is full.
    """
    store = PixelCache(size)
    rows, broken = store.fill(plan.root, plan.table.paths, told=told)
    if broken and not skip_broken:
        found = describe_broken(broken, len(set(plan.table.paths)))
        raise DataError(f"{found}; mend them, or leave them out with --skip-broken.")
    table, good = plan.table, np.flatnonzero(rows >= 0)
    parts: dict[str, ImageSamples] = {}
    datasets = []
    for name in PARTS:
        own = good[table.parts[good] == name] if table.parts is not None else good[:0]
        if not len(own):
            raise DataError(f"No usable image is left for {name}: mend the broken ones.")
        paths = tuple(table.paths[k] for k in own)
        parts[name] = ImageSamples(plan.root, paths, table.labels[own])
        datasets.append(ImageDataset(store, rows[own], table.labels[own]))
    facts = plan.facts | {"counts": [len(part) for part in parts.values()]}
    if broken:
        total = len(set(table.paths))
        facts |= {"left_out": len(broken), "left_out_note": describe_broken(broken, total)}
    benchmark = Benchmark(
        plan.name,
        train=parts["train"],
        val=parts["val"],
        test=parts["test"],
        bins=plan.bins,
        facts=facts,
        comparable=plan.comparable and not broken,
        quantity=plan.quantity,
        unit=plan.unit,
    )
    return benchmark, datasets


def require_file(path: Path, option: str) -> Path:
    """The path, if it is a file."""
    if not path.is_file():
        raise DataError(f"{path} is not a file: name one with {option}.")
    return path
