"""From a folder of images and a split to the one table that training reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ranksim._utils.storage import sha256
from ranksim.data.images.table import ImageTable, ListedImages, read_table, write_table
from ranksim.data.splitting import PARTS, balanced_split
from ranksim.data.zero_shot import PROTOCOLS, TEST_PER_BIN, zero_shot_split
from ranksim.datasets import agedb_dir, imdb_wiki_dir
from ranksim.exceptions import DataError, UsageError

BENCHMARKS: dict[str, ModuleType] = {module.NAME: module for module in (agedb_dir, imdb_wiki_dir)}
_TITLES = dict(zip(PARTS, ("training", "validation", "test"), strict=True))


@dataclass(frozen=True)
class Prepared:
    """What was written, and how it compares with what was published.

    Args:
        path: the table.
        counts: its rows for training, validation and test.
        images: how many different images these rows name.
        expected: the published counts, where they are known.
        published: whether the rows are those of a published file, none left out.
        drawn: whether the split was drawn here, by the rule.
        seed: of that draw.
        broken: the images left out because they cannot be used, and why.
        odd: image files that do not have the benchmark's form.
        left_out: entries left out by the benchmark's rules, by reason.
    """

    path: Path
    counts: tuple[int, int, int]
    images: int
    expected: tuple[int, int, int] | None
    published: bool
    drawn: bool
    seed: int
    broken: dict[str, str] = field(default_factory=dict)
    odd: tuple[str, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def matches(self) -> bool:
        """Whether the counts are the published ones."""
        return self.counts == self.expected

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**vars(self), "path": str(self.path), "matches": self.matches}


def prepare(
    benchmark: str,
    root: Path,
    *,
    split_file: Path | None = None,
    protocol: str | None = None,
    skip_broken: bool = False,
    seed: int = agedb_dir.SEED,
    per_bin: int = TEST_PER_BIN,
    check: Callable[[Path, Sequence[str]], dict[str, str]] | None = None,
) -> Prepared:
    """Take or draw a split, check every image, and write the table that training reads.

    Args:
        benchmark: ``"agedb-dir"`` or ``"imdb-wiki-dir"``.
        root: the folder with the images, where the table is written too.
        split_file: a table ``age,path,split``, the published one or one's own. Without it the
            split is drawn by the published rule.
        protocol: one of the zero-shot protocols, in place of the balanced split.
        skip_broken: leave out images that cannot be used, instead of an error.
        seed: of the draw; the same images and seed give the same split.
        per_bin: test images of an age, of a protocol that is drawn.
        check: which images below the root cannot be used, and why. Every image is checked by
            default.

    Raises:
        DataError: the split or an image cannot be used, or no row of a part is left. Nothing is
            written then.
        UsageError: an unknown benchmark or protocol, or too few images for the protocol.
    """
    module = _module(benchmark, protocol)
    name = file_name(benchmark, protocol)
    if split_file is not None:
        refuse_another(split_file, name)
        repeats = protocol is not None  # these draw with replacement
        table = read_table(split_file, target="age", image="path", split="split", repeats=repeats)
        if module is agedb_dir:
            table = agedb_dir.as_on_disk(table, root)
        found = ListedImages(table)
    else:
        found = module.find(root)
        table = _draw(found.table, module, protocol, seed, per_bin)
    _refuse_empty(table, root)
    broken = (check or _check)(root, list(dict.fromkeys(table.paths)))
    if broken:
        if not skip_broken:
            raise DataError(
                f"{len(broken):,} of {len(set(table.paths)):,} images cannot be used, first "
                f"{_first(f'{path} ({reason})' for path, reason in broken.items())}; mend them, "
                "or leave them out with --skip-broken."
            )
        table = table.take(np.flatnonzero([path not in broken for path in table.paths]))
        _refuse_empty(table, root)
    _refuse_to_spoil(root / name, table, split_file)
    write_table(root / name, table)
    return Prepared(
        path=root / name,
        counts=table.counts,
        images=len(set(table.paths)),
        expected=_expected(module, protocol),
        published=module is agedb_dir and agedb_dir.published_name(table) == name,
        drawn=split_file is None,
        seed=seed,
        broken=broken,
        odd=found.odd,
        left_out=found.left_out,
    )


def file_name(benchmark: str, protocol: str | None = None) -> str:
    """What a split file is called.

    Example:
        >>> file_name("agedb-dir"), file_name("imdb-wiki-dir", "blindspot")
        ('agedb.csv', 'imdb_wiki_blindspot.csv')
    """
    file = Path(BENCHMARKS[benchmark].FILE)
    return file.name if protocol is None else f"{file.stem}_{protocol}{file.suffix}"


def describe(prepared: Prepared) -> list[str]:
    """The lines that tell a user what was written, what was left out, and what it compares with."""
    train, val, test = prepared.counts
    rows = f"{train:,} training, {val:,} validation and {test:,} test rows"
    lines = [f"{prepared.path} lists {rows} of {prepared.images:,} images."]
    how = f"drawn here with seed {prepared.seed}" if prepared.drawn else "the one of the file given"
    if prepared.published:
        lines.append("This is the published split.")
    elif prepared.expected is None:
        lines.append(f"The split is {how}; no published counts are known for it.")
    elif prepared.matches and prepared.drawn:
        lines.append(
            f"The split is {how}: the rule and the counts are the published ones, the draw is not, "
            "so results compare with published tables only up to the luck of the split."
        )
    elif prepared.matches:
        lines.append(
            f"The split is {how}: its counts are the published ones; whether its rows are could "
            "not be verified."
        )
    else:
        published = "{:,}, {:,} and {:,}".format(*prepared.expected)
        lines.append(
            f"The split is {how}: the published one has {published} rows, so results on it do not "
            "compare with published tables."
        )
    if prepared.broken:
        first = _first(f"{path} ({reason})" for path, reason in prepared.broken.items())
        lines.append(f"Left out {len(prepared.broken):,} images that cannot be used: {first}.")
    for reason, count in prepared.left_out.items():
        lines.append(f"Left out {count:,} entries: {reason}.")
    if prepared.odd:
        lines.append(
            f"Left out {len(prepared.odd):,} files whose names do not have the form "
            f"<index>_<Name>_<age>_<gender>.jpg: {_first(map(ascii, prepared.odd))}."
        )
    return lines


def _module(benchmark: str, protocol: str | None) -> ModuleType:
    if benchmark not in BENCHMARKS:
        raise UsageError(
            f"Benchmark {benchmark!r} has no images to prepare: choose {' or '.join(BENCHMARKS)}."
        )
    if protocol is not None and protocol not in PROTOCOLS:
        raise UsageError(f"Protocol {protocol!r} does not exist: choose {', '.join(PROTOCOLS)}.")
    return BENCHMARKS[benchmark]


def _expected(module: ModuleType, protocol: str | None) -> tuple[int, int, int] | None:
    counts: tuple[int, int, int]
    if protocol is None:
        counts = module.COUNTS
        return counts
    return agedb_dir.PROTOCOL_COUNTS[protocol] if module is agedb_dir else None


def refuse_another(split_file: Path, name: str) -> None:
    """Refuse a published file other than the one of that name."""
    if not split_file.is_file():
        raise DataError(f"{split_file} is not a file: name the split file, or leave it out.")
    got = sha256(split_file)
    for known, checksum in agedb_dir.CHECKSUMS.items():
        if got == checksum and known != name:
            raise DataError(
                f"{split_file} is the published {known}, where the split of {name} was expected: "
                "name that one, or ask for the benchmark and protocol of this one."
            )


def _draw(
    table: ImageTable, module: ModuleType, protocol: str | None, seed: int, per_bin: int
) -> ImageTable:
    ages = table.labels.astype(np.int64)
    if protocol is None:
        split = balanced_split(ages, max_per_bin=module.CAP, seed=seed)
    else:
        split = zero_shot_split(module.BINS.digitize(ages), protocol, seed=seed, per_bin=per_bin)
    return table.dealt(split)


def _refuse_to_spoil(path: Path, table: ImageTable, split_file: Path | None) -> None:
    """Refuse to put other rows in place of a published file, or of the file that was given."""
    if not path.is_file():
        return
    given = split_file is not None and split_file.exists() and path.samefile(split_file)
    if not given and sha256(path) not in agedb_dir.CHECKSUMS.values():
        return
    there = read_table(path, target="age", image="path", split="split", repeats=True)
    if len(there) != len(table) or agedb_dir.fingerprint(there) != agedb_dir.fingerprint(table):
        what = "the file given" if given else "the published split"
        raise DataError(
            f"{path} is {what} and would be replaced by other rows: move it elsewhere and give it "
            "with --split-file."
        )


def _refuse_empty(table: ImageTable, root: Path) -> None:
    for part, count in zip(PARTS, table.counts, strict=True):
        if count == 0:
            raise DataError(
                f"The images in {root} leave no {_TITLES[part]} row: put more images there, or "
                "mend those that cannot be used."
            )


def _first(values: Iterable[str]) -> str:
    """Up to five of them."""
    shown = list(values)
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5:,} more" if len(shown) > 5 else "")


def _check(root: Path, paths: Sequence[str]) -> dict[str, str]:
    from ranksim.data.images.decode import check_images

    return check_images(root, paths)
