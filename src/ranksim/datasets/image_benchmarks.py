"""Images ready to be trained on: the two benchmarks of ages, and anyone's own."""

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
from ranksim.data.splitting import PARTS, balanced_split
from ranksim.datasets import agedb_dir
from ranksim.datasets.base import Benchmark, data_folders
from ranksim.datasets.prepare import BENCHMARKS, file_name, refuse_another
from ranksim.datasets.zero_shot import PER_BIN, zero_shot_split
from ranksim.exceptions import DataError, UsageError
from ranksim.imbalance import LabelBins

IMAGES = "images"
CAP, SEED = 30, 666  # of a split that is drawn here
_OWN_BINS = 50  # of real labels
_WHOLE = 1_000  # so many whole labels have a bin each


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


def plan_own(
    *,
    table: Path,
    image_root: Path,
    target: str,
    image: str | None = None,
    split: str | None = None,
    bin_width: float | None = None,
    cap: int | None = None,
    split_seed: int | None = None,
    protocol: str | None = None,
    per_bin: int | None = None,
) -> ImagePlan:
    """Anyone's images, split by a column or by the published rule.

    Args:
        table: CSV, TSV or Parquet with a row an image.
        image_root: folder that the paths in it are relative to.
        target: column of the label.
        image: column of the path (see :func:`read_table`).
        split: column of the part.
        bin_width: of the label bins; without it whole labels have one each, and others 50 in all.
        cap: most images of a bin in validation, and in test, where the split is drawn (30).
        split_seed: fixes that draw (666).
        protocol: a zero-shot protocol, which is drawn in place of the split.
        per_bin: test images of a bin under a protocol (50).

    Raises:
        UsageError: of a split that is drawn, something is asked for that has no part in it.
        DataError: the table cannot be used, or there is no such folder.
    """
    found = read_table(require_file(table, "--table"), target=target, image=image, split=split)
    if not image_root.is_dir():
        raise DataError(f"{image_root} is not a folder: name that of the images with --image-root.")
    try:
        bins = _bins(found.labels, bin_width)
    except ValueError as error:
        what = "No bins suit" if bin_width is None else f"--bin-width {bin_width:g} does not suit"
        raise DataError(f"{what} column {target!r} of {table}: {error}.") from error
    facts: dict[str, Any] = {"sha256": sha256(table), "bins": len(bins)}
    drawn_by = "column" if protocol is None and found.parts is not None else protocol or "rule"
    _refuse_idle(drawn_by, split=split, cap=cap, split_seed=split_seed, per_bin=per_bin)
    cap, per_bin = cap or CAP, per_bin or PER_BIN
    split_seed = SEED if split_seed is None else split_seed
    if protocol is not None or found.parts is None:
        found = found.take(np.argsort(np.array(found.paths), kind="stable"))
        groups = bins.index(found.labels)
        drawn = (
            balanced_split(groups, max_per_bin=cap, seed=split_seed)
            if protocol is None
            else zero_shot_split(groups, protocol, seed=split_seed, per_bin=per_bin)
        )
        if not all(map(len, drawn)):
            raise DataError(
                f"{table} has too few images for a split by the published rule, which needs "
                "three of one label: give more, or a column with train, val and test."
            )
        found = found.dealt(drawn)
        facts |= {"split_seed": split_seed}
        facts |= {"per_bin": per_bin} if protocol else {"cap": cap}
    return ImagePlan(IMAGES, image_root, found, bins, facts, quantity=target, unit=None)


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


def _refuse_idle(drawn_by: str, **given: object) -> None:
    """Refuse what would silently do nothing."""
    idle = {
        "column": ("cap", "split_seed", "per_bin"),
        "rule": ("per_bin",),
    }.get(drawn_by, ("split", "cap"))
    for name in idle:
        if given[name] is not None:
            raise UsageError(
                f"--{name.replace('_', '-')} does nothing where the split is that of "
                + {"column": "a column", "rule": "the published rule"}.get(
                    drawn_by, f"the protocol {drawn_by}"
                )
                + ": leave one of the two out."
            )


def require_file(path: Path, option: str) -> Path:
    """The path, if it is a file."""
    if not path.is_file():
        raise DataError(f"{path} is not a file: name one with {option}.")
    return path


def _bins(labels: np.ndarray, width: float | None) -> LabelBins:
    if width is not None:
        return LabelBins.of_width(labels, width)
    low, high = float(labels.min()), float(labels.max())
    if high - low < _WHOLE and (labels == np.rint(labels)).all():
        return LabelBins.integers(int(low), int(high))
    return LabelBins.of_count(labels, _OWN_BINS)
