"""Check the images of an age benchmark and write the split file that training reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ranksim._utils.storage import sha256
from ranksim.data.images.decode import check_images
from ranksim.data.images.table import ImageListing, ImageTable, read_split_file, write_split_file
from ranksim.data.splitting import (
    PART_TITLES,
    PROTOCOLS,
    TEST_PER_BIN,
    balanced_split,
    zero_shot_split,
)
from ranksim.datasets import agedb_dir, imdb_wiki_dir
from ranksim.exceptions import DataError, UsageError

BENCHMARKS: dict[str, ModuleType] = {module.NAME: module for module in (agedb_dir, imdb_wiki_dir)}
_MAX_LISTED = 5  # names in a message


@dataclass(frozen=True)
class PreparedSplit:
    """A written split file, and how it compares with the published one.

    Args:
        path: the split file.
        counts: rows of training, validation and test.
        images: number of different images in these rows.
        expected: the published counts, if known.
        published: whether the rows are exactly those of a published file.
        drawn: whether the split was drawn here, by the published rule.
        seed: seed of the draw.
        broken: skipped images that cannot be used, and why.
        skipped: image files whose names do not have the benchmark's form.
        excluded: number of entries excluded by the benchmark's rules, by reason.
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
        """True if the counts are the published ones."""
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
    """Read or draw a split, check every image, and write the split file.

    Args:
        benchmark: ``"agedb-dir"`` or ``"imdb-wiki-dir"``.
        root: folder of the images, where the split file is written.
        split_file: a table ``age,path,split``, published or the user's. Default: draw the split
            by the published rule.
        protocol: a zero-shot protocol in place of the balanced split.
        skip_broken: skip images that cannot be used, instead of an error.
        seed: seed of a drawn split; the same images and seed give the same split.
        test_per_bin: test images per age of a drawn protocol.
        check: returns the images below the root that cannot be used, and why.

    Raises:
        DataError: the split or an image cannot be used, or a part has no rows; nothing is written.
        UsageError: the benchmark or protocol is unknown, or has too few images.
    """
    module = _find_module(benchmark, protocol)
    name = split_file_name(benchmark, protocol)
    if split_file is not None:
        reject_other_split(split_file, name)
        # the published protocols draw with replacement
        table = read_split_file(split_file, allow_repeats=protocol is not None)
        if module is agedb_dir:
            table = agedb_dir.use_names_on_disk(table, root)
        listing = ImageListing(table)
    else:
        listing = module.find_images(root)
        table = _draw_split(listing.table, module, protocol, seed, test_per_bin)
    _require_parts(table, root)
    broken = check(root, list(dict.fromkeys(table.paths)))
    if broken:
        if not skip_broken:
            raise DataError(
                f"{len(broken):,} of {len(set(table.paths)):,} images cannot be used: "
                f"{_list_broken(broken)}; replace them, or skip them with --skip-broken."
            )
        table = table.take(np.flatnonzero([path not in broken for path in table.paths]))
        _require_parts(table, root)
    _protect_existing(root / name, table, split_file)
    write_split_file(root / name, table)
    return PreparedSplit(
        path=root / name,
        counts=table.counts,
        images=len(set(table.paths)),
        expected=_published_counts(module, protocol),
        published=module is agedb_dir and agedb_dir.published_name(table) == name,
        drawn=split_file is None,
        seed=seed,
        broken=broken,
        skipped=listing.skipped,
        excluded=listing.excluded,
    )


def split_file_name(benchmark: str, protocol: str | None = None) -> str:
    """Return the name of a benchmark's split file.

    Example:
        >>> split_file_name("agedb-dir"), split_file_name("imdb-wiki-dir", "blindspot")
        ('agedb.csv', 'imdb_wiki_blindspot.csv')
    """
    file = Path(BENCHMARKS[benchmark].FILE)
    return file.name if protocol is None else f"{file.stem}_{protocol}{file.suffix}"


def reject_other_split(split_file: Path, name: str) -> None:
    """Raise a DataError if the file is missing, or a published file with another name."""
    if not split_file.is_file():
        raise DataError(f"{split_file} is not a file: give the split file, or omit --split-file.")
    digest = sha256(split_file)
    for published, checksum in agedb_dir.CHECKSUMS.items():
        if digest == checksum and published != name:
            raise DataError(
                f"{split_file} is the published {published}, not {name}: use the other file, or "
                "its benchmark and --protocol."
            )


def describe(prepared: PreparedSplit) -> list[str]:
    """Describe in sentences what was written and skipped, and how the split compares."""
    train, val, test = prepared.counts
    rows = f"{train:,} training, {val:,} validation and {test:,} test rows"
    lines = [f"{prepared.path} lists {rows} of {prepared.images:,} images."]
    origin = f"drawn here with seed {prepared.seed}" if prepared.drawn else "that of the given file"
    if prepared.published:
        lines.append("This is the published split.")
    elif prepared.expected is None:
        lines.append(f"The split is {origin}; no published counts are known for it.")
    elif prepared.matches and prepared.drawn:
        lines.append(
            f"The split is {origin} by the published rule and has the published counts, but is "
            "another draw: compare with published tables with care."
        )
    elif prepared.matches:
        lines.append(
            f"The split is {origin} and has the published counts; whether its rows are the "
            "published ones cannot be verified."
        )
    else:
        published = "{:,}, {:,} and {:,}".format(*prepared.expected)
        lines.append(
            f"The split is {origin}; the published one has {published} rows, so results are not "
            "comparable with published tables."
        )
    if prepared.broken:
        names = _list_broken(prepared.broken)
        lines.append(f"Skipped {len(prepared.broken):,} images that cannot be used: {names}.")
    for reason, count in prepared.excluded.items():
        lines.append(f"Excluded {count:,} entries: {reason}.")
    if prepared.skipped:
        lines.append(
            f"Skipped {len(prepared.skipped):,} files that are not named "
            f"<index>_<Name>_<age>_<gender>.jpg: {_list_first(map(ascii, prepared.skipped))}."
        )
    return lines


def _find_module(benchmark: str, protocol: str | None) -> ModuleType:
    if benchmark not in BENCHMARKS:
        raise UsageError(
            f"Benchmark {benchmark!r} has no images to prepare: choose {' or '.join(BENCHMARKS)}."
        )
    if protocol is not None and protocol not in PROTOCOLS:
        raise UsageError(f"Unknown protocol {protocol!r}: choose {', '.join(PROTOCOLS)}.")
    return BENCHMARKS[benchmark]


def _published_counts(module: ModuleType, protocol: str | None) -> tuple[int, int, int] | None:
    if protocol is not None:
        return agedb_dir.PROTOCOL_COUNTS[protocol] if module is agedb_dir else None
    counts: tuple[int, int, int] = module.COUNTS
    return counts


def _draw_split(
    table: ImageTable, module: ModuleType, protocol: str | None, seed: int, test_per_bin: int
) -> ImageTable:
    ages = table.labels.astype(np.int64)
    if protocol is None:
        return table.with_split(balanced_split(ages, max_per_bin=module.MAX_PER_BIN, seed=seed))
    bins = module.BINS.digitize(ages)
    return table.with_split(zero_shot_split(bins, protocol, seed=seed, per_bin=test_per_bin))


def _protect_existing(path: Path, table: ImageTable, split_file: Path | None) -> None:
    """Raise a DataError before other rows replace a published file or the user's split file."""
    if not path.is_file():
        return
    is_given = split_file is not None and split_file.exists() and path.samefile(split_file)
    if not is_given and sha256(path) not in agedb_dir.CHECKSUMS.values():
        return
    existing = read_split_file(path, allow_repeats=True)
    if agedb_dir.fingerprint(existing) != agedb_dir.fingerprint(table):
        name = "the given split file" if is_given else "the published split"
        raise DataError(
            f"{path} is {name} and would be replaced by other rows: move it elsewhere and use it "
            "with --split-file."
        )


def _require_parts(table: ImageTable, root: Path) -> None:
    for title, count in zip(PART_TITLES.values(), table.counts, strict=True):
        if count == 0:
            raise DataError(
                f"The images in {root} leave no {title} row: add images, or replace those that "
                "cannot be used."
            )


def _list_broken(broken: dict[str, str]) -> str:
    return _list_first(f"{path} ({reason})" for path, reason in broken.items())


def _list_first(values: Iterable[str]) -> str:
    """Join the first five values, with the number of the others."""
    names = list(values)
    others = f" and {len(names) - _MAX_LISTED:,} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(names[:_MAX_LISTED]) + others
