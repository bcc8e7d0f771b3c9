"""Prepare, plan and load the image benchmarks AgeDB-DIR and IMDB-WIKI-DIR."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ranksim._utils.formatting import join_names
from ranksim._utils.storage import sha256
from ranksim.data.data_report import DataReport
from ranksim.data.images.decode import (
    ProgressCallback,
    ValueRange,
    check_images,
    describe_broken,
)
from ranksim.data.images.pixel_cache import ImageDataset, PixelCache
from ranksim.data.images.table import ImageListing, ImageTable, read_split_file, write_split_file
from ranksim.data.splitting import (
    PARTS,
    PROTOCOLS,
    TEST_PER_BIN,
    Split,
    balanced_split,
    factorize,
    require_nonempty_parts,
    zero_shot_split,
)
from ranksim.datasets import agedb_dir, imdb_wiki_dir
from ranksim.datasets.base import Benchmark, data_folder, find_data_file
from ranksim.exceptions import DataError, UsageError
from ranksim.imbalance import LabelBins

BENCHMARKS: dict[str, ModuleType] = {module.NAME: module for module in (agedb_dir, imdb_wiki_dir)}
_MAX_LISTED = 5  # names in a message


@dataclass(frozen=True)
class PreparedSplit:
    """The result of :func:`prepare_split`: the split file and a comparison with the published one.

    ``images`` counts the different images of the rows. ``drawn`` is True if the split was drawn
    here by the published rule, and ``published`` if the rows are exactly those of a published
    file. ``broken`` contains skipped images with reasons, ``skipped`` misnamed image files, and
    ``excluded`` the number of entries that the benchmark's rules exclude, by reason.
    """

    path: Path
    counts: tuple[int, int, int]
    images: int
    expected: tuple[int, int, int] | None
    published: bool
    drawn: bool
    seed: int
    broken: dict[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    excluded: dict[str, int] = field(default_factory=dict)

    @property
    def matches(self) -> bool:
        """True if the numbers of rows per part equal the published ones."""
        return self.counts == self.expected

    def to_dict(self) -> dict[str, Any]:
        """Return all fields for JSON."""
        return {**vars(self), "path": str(self.path), "matches": self.matches}


def prepare_split(
    benchmark: str,
    root: Path,
    *,
    split_file: Path | None = None,
    protocol: str | None = None,
    skip_broken: bool = False,
    seed: int = agedb_dir.SEED,
    test_per_bin: int = TEST_PER_BIN,
    check: Callable[[Path, Sequence[str]], dict[str, str]] = check_images,
) -> PreparedSplit:
    """Read or draw a split, check that every image can be decoded, and write the split file.

    A split is drawn by the published rule unless ``split_file`` is given, a table
    ``age,path,split``. A ``protocol`` is a zero-shot split with ``test_per_bin`` test images per
    age. ``check`` returns the images below a folder that cannot be used, with reasons.

    Raises:
        DataError: the split or an image cannot be used, or a part has no rows; nothing is written.
        UsageError: the benchmark or protocol is unknown, or has too few images.
    """
    if benchmark not in BENCHMARKS:
        raise UsageError(
            f"Benchmark {benchmark!r} does not consist of images: choose {' or '.join(BENCHMARKS)}."
        )
    if protocol not in (None, *PROTOCOLS):
        raise UsageError(f"Unknown protocol {protocol!r}: choose one of {', '.join(PROTOCOLS)}.")
    module, name = BENCHMARKS[benchmark], _split_file_name(benchmark, protocol)
    if split_file is None:
        listing = module.find_images(root)
        ages = listing.table.labels.astype(np.int64)
        if protocol is None:
            split = balanced_split(ages, max_per_bin=module.MAX_PER_BIN, seed=seed)
        else:
            bins = module.BINS.digitize(ages)
            split = zero_shot_split(bins, protocol, seed=seed, per_bin=test_per_bin)
        table = listing.table.with_split(split)
    else:
        _require_file(split_file)
        names = {checksum: file for file, checksum in agedb_dir.CHECKSUMS.items()}
        _reject_other_split(split_file, names.get(sha256(split_file)), name)
        # the published protocols draw with replacement
        table = read_split_file(split_file, allow_repeats=protocol is not None)
        if module is agedb_dir:
            table = agedb_dir.use_names_on_disk(table, root)
        listing = ImageListing(table)
    broken = check(root, list(dict.fromkeys(table.paths)))
    if broken and not skip_broken:
        note = describe_broken(broken, len(set(table.paths)))
        raise DataError(f"{note}; replace them, or skip them with --skip-broken.")
    table = table.take(np.flatnonzero([path not in broken for path in table.paths]))
    require_nonempty_parts(table.split, f"no usable image in {root} is left for it")
    _protect_existing(root / name, table, split_file)
    write_split_file(root / name, table)
    protocol_counts = agedb_dir.PROTOCOL_COUNTS if module is agedb_dir else {}
    return PreparedSplit(
        path=root / name,
        counts=table.counts,
        images=len(set(table.paths)),
        expected=protocol_counts.get(protocol) if protocol else module.COUNTS,
        published=module is agedb_dir and agedb_dir.published_name(table) == name,
        drawn=split_file is None,
        seed=seed,
        broken=broken,
        skipped=listing.skipped,
        excluded=listing.excluded,
    )


def describe(prepared: PreparedSplit) -> list[str]:
    """Describe in sentences what was written and skipped, and whether the split is published."""
    train, val, test = prepared.counts
    rows = f"{train:,} training, {val:,} validation and {test:,} test rows"
    lines = [f"{prepared.path} lists {rows} of {prepared.images:,} images."]
    origin = f"drawn here with seed {prepared.seed}" if prepared.drawn else "that of the given file"
    if prepared.published:
        lines.append("This is the published split.")
    elif prepared.expected is None:
        lines.append(f"The split is {origin}; no published counts are known for it.")
    elif not prepared.matches:
        published = "{:,}, {:,} and {:,}".format(*prepared.expected)
        lines.append(
            f"The split is {origin}; the published one has {published} rows, so results are not "
            "comparable with published tables."
        )
    elif prepared.drawn:
        lines.append(
            f"The split is {origin} by the published rule and has the published counts, but is "
            "another draw: compare with published tables with care."
        )
    else:
        lines.append(
            f"The split is {origin} and has the published counts; whether its rows are the "
            "published ones cannot be verified."
        )
    if prepared.broken:
        total = prepared.images + len(prepared.broken)
        lines.append(f"{describe_broken(prepared.broken, total)}; they were skipped.")
    for reason, count in prepared.excluded.items():
        lines.append(f"Excluded {count:,} entries: {reason}.")
    if prepared.skipped:
        names = join_names(map(ascii, prepared.skipped), _MAX_LISTED)
        lines.append(
            f"Skipped {len(prepared.skipped):,} files that are not named {agedb_dir.FORM}: {names}."
        )
    return lines


@dataclass(frozen=True)
class ImagePlan:
    """A benchmark's image table and label bins, before any image is opened.

    ``facts`` identify the data in results; ``comparable`` is True for the published data.
    ``identities`` are the persons of the images, if known, and ``origin`` says whose split it is.
    """

    name: str
    root: Path
    table: ImageTable
    bins: LabelBins
    facts: dict[str, Any] = field(default_factory=dict)
    comparable: bool = False
    identities: Sequence[str] | None = None
    origin: str = "the split file"


def find_split_file(
    name: str, *, data_dir: Path | None, split_file: Path | None, protocol: str | None
) -> Path:
    """Find the split file of an age benchmark; raise a DataError if it is missing."""
    if split_file is not None:
        return _require_file(split_file)
    file_name = _split_file_name(name, protocol)
    if path := find_data_file(name, file_name, data_dir):
        return path
    command = f"ranksim data prepare {name} --root DIR"
    command += f" --protocol {protocol}" if protocol else ""
    folder = data_folder(data_dir)
    problem = f"{folder} does not contain" if folder else "--data-dir is required to find"
    raise DataError(f"{problem} {file_name}: create it with `{command}`, then pass --data-dir DIR.")


def plan_ages(
    name: str,
    *,
    data_dir: Path | None = None,
    split_file: Path | None = None,
    protocol: str | None = None,
    split_by: str | None = None,
) -> ImagePlan:
    """Create the plan of an age benchmark from a prepared split file, without opening images.

    With ``split_by`` "identity", the images of the file are split anew, by person.

    Raises:
        DataError: the folder or file is missing, or the file cannot be used.
    """
    benchmark = BENCHMARKS[name]
    path = find_split_file(name, data_dir=data_dir, split_file=split_file, protocol=protocol)
    table = read_split_file(path, allow_repeats=True)
    published = agedb_dir.published_name(table)
    _reject_other_split(path, published, _split_file_name(name, protocol))
    top = table.paths[0].partition("/")[0]
    folders = [folder for folder in (data_folder(data_dir), path.parent) if folder]
    root = next((folder for folder in folders if (folder / top).exists()), folders[0])
    facts: dict[str, Any] = {"sha256": sha256(path)}
    if benchmark is not agedb_dir:
        comparable = protocol is None and table.counts == benchmark.COUNTS
        return ImagePlan(name, root, table, benchmark.BINS, facts, comparable)
    comparable, origin = published == benchmark.FILE, "the split file"
    if split_by == "identity":
        table, comparable = agedb_dir.split_by_identity(table), False
        facts |= {"split_by": split_by, "split_seed": agedb_dir.SEED}
        origin = "whole persons"
    elif published is not None:
        origin = "as published"
    identities = agedb_dir.read_identities(table)
    table = agedb_dir.use_names_on_disk(table, root)
    return ImagePlan(
        name, root, table, benchmark.BINS, facts, comparable, identities=identities, origin=origin
    )


def load_images(
    plan: ImagePlan,
    size: int,
    *,
    skip_broken: bool = False,
    value_range: ValueRange | None = None,
    on_progress: ProgressCallback | None = None,
) -> tuple[Benchmark[ImageTable], list[ImageDataset]]:
    """Decode all images into the pixel cache; return the benchmark and its three data sets.

    With ``skip_broken``, broken images are skipped and recorded in the facts of the benchmark.
    ``size`` is the side of the resized images, in pixels, and ``value_range`` the range of pixels
    of more than 8 bits.

    Raises:
        DataError: images are broken, a part has no image left, or the disk is full.
    """
    cache, table = PixelCache(size, value_range=value_range), plan.table
    rows, broken = cache.add_images(plan.root, table.paths, on_progress=on_progress)
    note = describe_broken(broken, len(set(table.paths)))
    if broken and not skip_broken:
        raise DataError(f"{note}: replace them, or skip them with --skip-broken.")
    usable = Split(*(part[rows[part] >= 0] for part in table.split))
    require_nonempty_parts(usable, "no usable image is left for it")
    train, val, test = (table.take(part) for part in usable)
    datasets = [ImageDataset(cache, rows[part], table.labels[part]) for part in usable]
    facts = plan.facts | {"counts": list(map(len, usable))}
    if broken:
        facts |= {"n_skipped": len(broken), "skipped_note": note}
    groups = None
    if plan.identities is not None and "split_by" in plan.facts:
        groups = factorize([plan.identities[row] for row in usable.test])
    benchmark = Benchmark(
        plan.name,
        *(train, val, test, plan.bins),
        facts=facts,
        comparable=plan.comparable and not broken,
        quantity="age",
        unit="years",
        groups=groups,
        report=_describe_plan(plan, usable, size, len(broken), note),
        origin={"image": test.paths},
        test_set="balanced" if plan.comparable or "split_by" in plan.facts else "given",
    )
    return benchmark, datasets


def _describe_plan(
    plan: ImagePlan, usable: Split, size: int, n_broken: int, broken: str
) -> DataReport:
    """Report rows, split, skipped images, and persons in two parts."""
    counts = dict(zip(PARTS, map(len, usable), strict=True))
    rows: dict[str, Any] = {"used": sum(counts.values())}
    if rows["used"] < len(plan.table):
        rows["left_out"] = {"the image cannot be read": len(plan.table) - rows["used"]}
    n_images = len(set(plan.table.paths)) - n_broken
    notes = {"Images": f"{n_images:,} read at {size} × {size} pixels; {n_broken:,} skipped"}
    if n_broken:
        notes["Skipped"] = broken
    if plan.identities is not None:
        notes["Persons"] = describe_persons(plan.identities, usable)
    split = {"method": plan.origin, "seed": plan.facts.get("split_seed"), **counts}
    return DataReport(rows=rows, split=split, notes=notes)


def describe_persons(identities: Sequence[str], split: Split) -> str:
    """Describe how many persons of the test set, and their images, are also in training."""
    train = {identities[row] for row in split.train}
    test = [identities[row] for row in split.test]
    shared, n_images = set(test) & train, sum(name in train for name in test)
    if not shared:
        return f"{len(set(test)):,} in the test set, none of them in training"
    return (
        f"{len(shared):,} of the {len(set(test)):,} in the test set, with {n_images:,} of its "
        f"{len(test):,} images, have other images in training; --split-by identity keeps them apart"
    )


def _split_file_name(benchmark: str, protocol: str | None) -> str:
    """Return the name of a split file, as in ``agedb.csv`` or ``imdb_wiki_blindspot.csv``."""
    file = Path(BENCHMARKS[benchmark].FILE)
    return file.name if protocol is None else f"{file.stem}_{protocol}{file.suffix}"


def _require_file(split_file: Path) -> Path:
    if not split_file.is_file():
        raise DataError(f"{split_file} is not a file: pass an existing file with --split-file.")
    return split_file


def _reject_other_split(path: Path, published: str | None, name: str) -> None:
    """Raise a DataError if the file is a published split other than the expected one."""
    if published not in (None, name):
        raise DataError(
            f"{path} is the published {published}, not {name}: use the file {name}, or "
            f"the benchmark and --protocol of {published}."
        )


def _protect_existing(path: Path, table: ImageTable, split_file: Path | None) -> None:
    """Raise a DataError if writing would overwrite a published or given split with other rows."""
    if not path.is_file():
        return
    is_given = split_file is not None and path.samefile(split_file)
    if not is_given and sha256(path) not in agedb_dir.CHECKSUMS.values():
        return
    existing = read_split_file(path, allow_repeats=True)
    if agedb_dir.fingerprint(existing) != agedb_dir.fingerprint(table):
        name = "the given split file" if is_given else "the published split"
        raise DataError(
            f"{path} is {name} and would be overwritten with other rows: move it elsewhere, "
            "then pass it with --split-file."
        )
