"""The AgeDB-DIR benchmark: find its 16,488 face images and identify the published splits."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import numpy as np

from ranksim.data.images.table import ImageListing, ImageTable
from ranksim.data.splitting import split_rows
from ranksim.exceptions import DataError
from ranksim.imbalance import LabelBins

NAME = "agedb-dir"
FOLDER = "AgeDB"
FILE = "agedb.csv"
CHECKSUMS = {
    "agedb.csv": "ab9f8d4c7099a9d74ec5094c42b6fe9f1927a166a48d2ab800a88b2fd6081252",
    "agedb_extrapolation.csv": "fa3ebf9e1c47ba7b28f3227d9a3a040c256d60f73133c7eef707493ce7be601a",
    "agedb_interpolation.csv": "a50949bcec3ac3a8f26d2bce2e675257f1228f27468d8be8aea37c845a734976",
    "agedb_blindspot.csv": "3d08e426b3ad4a0b79e22fa81739a4c5492c943c2648eae5ac2614c18378fae6",
}
FINGERPRINTS = {
    "agedb.csv": "02d1e76738d68c7d483d43f846bffe8cf891a6bfc47cc67b17cacf64f4137f41",
    "agedb_extrapolation.csv": "0474cbfc6652fae67863607b66e84367310bd3558b5f3fae75f7a23fed19ffe6",
    "agedb_interpolation.csv": "ee6c57fdc05bb0910884d71716efe327ab6134c30afef12f90c8b32186d00328",
    "agedb_blindspot.csv": "1a8b5f1cd7fa6a6e0f4823d32b5ab74e8e531d74dfe3bea4dd2cfe3e4b79fe07",
}
COUNTS = (12_208, 2_140, 2_140)  # training, validation, test
# rows: the protocols draw with replacement, so an image can be in several rows of one part
PROTOCOL_COUNTS = {
    "extrapolation": (8_728, 1_066, 3_450),
    "interpolation": (7_423, 903, 2_800),
    "blindspot": (10_253, 1_257, 2_700),
}
BINS = LabelBins.integers(0, 120)  # years
MAX_PER_BIN = 30  # images per age in validation and test
SEED = 666
FORM = "<index>_<Name>_<age>_<gender>.jpg"
_NAME = re.compile(r"(\d+)_[^/]+_(\d{1,3})_([mf])\.jpg")


def find_images(root: Path) -> ImageListing:
    """Find the images ``root/AgeDB/<index>_<Name>_<age>_<gender>.jpg``, sorted by path.

    References:
        Moschoglou et al., "AgeDB" (CVPR Workshops 2017).
    """
    names = _list_names(root)
    # other names cannot be stored in a UTF-8 table
    matches = {name: _NAME.fullmatch(name) for name in names if name.isprintable()}
    ages = {name: int(match[2]) for name, match in matches.items() if match}
    ages = {f"{FOLDER}/{name}": age for name, age in ages.items() if age < len(BINS)}
    skipped = sorted(name for name in names if f"{FOLDER}/{name}" not in ages)
    if not ages:
        raise DataError(
            f"{root / FOLDER} contains no image named {FORM}: put the images of AgeDB directly "
            "into this folder."
        )
    paths = tuple(sorted(ages))
    labels = np.array([ages[path] for path in paths], dtype=np.float64)
    return ImageListing(ImageTable(paths, labels), tuple(skipped))


def use_names_on_disk(table: ImageTable, root: Path) -> ImageTable:
    """Return the table with published file names replaced by the names of the files on disk.

    The published files spell 131 accented names in another code page ("StВphane" for "Stéphane"),
    and unpacking programs differ. The index is unique, so an image that does not exist under its
    published name is the one file with its index, age and gender.
    """
    names = [name for name in _list_names(root) if name.isprintable()]
    existing = {f"{FOLDER}/{name}" for name in names}
    by_key: dict[tuple[str | None, ...], list[str]] = {}
    for name in names:
        if match := _NAME.fullmatch(name):
            by_key.setdefault(match.groups(), []).append(name)
    paths = []
    for path in table.paths:
        match = _NAME.fullmatch(path.removeprefix(f"{FOLDER}/"))
        candidates = by_key.get(match.groups(), []) if match else []
        is_renamed = path not in existing and len(candidates) == 1
        paths.append(f"{FOLDER}/{candidates[0]}" if is_renamed else path)
    return ImageTable(tuple(paths), table.labels, table.parts)


def read_identities(table: ImageTable) -> list[str]:
    """Return the name of the person in each image, from its file name; else the path."""
    matches = [_NAME.fullmatch(path.removeprefix(f"{FOLDER}/")) for path in table.paths]
    return [
        path if match is None else match[0].split("_", 1)[1].rsplit("_", 2)[0].strip()
        for path, match in zip(table.paths, matches, strict=True)
    ]


def split_by_identity(table: ImageTable) -> ImageTable:
    """Return the distinct images of a table, split so that no person is in two parts.

    Whole persons are drawn with a fixed seed: about 15 % of the images for validation, and as many
    for test, of which at most 30 of each age are used.
    """
    numbers = [_NAME.fullmatch(path.removeprefix(f"{FOLDER}/")) for path in table.paths]
    # the index of an image is the same however its name is spelled on disk
    keys = [(int(match[1]) if match else -1, path)
            for match, path in zip(numbers, table.paths, strict=True)]  # fmt: skip
    first = {key: row for row, key in reversed(list(enumerate(keys)))}
    images = table.take(np.array([first[key] for key in sorted(first)], dtype=np.int64))
    split = split_rows(
        BINS.digitize(images.labels),
        by="group",
        balanced=True,
        max_per_bin=MAX_PER_BIN,
        seed=SEED,
        groups=read_identities(images),
    )
    return ImageTable(images.paths, images.labels).with_split(split)


def published_name(table: ImageTable) -> str | None:
    """Return the name of the published split file with the same rows in any order, or None.

    A prepared table names files as on disk, so its checksum differs from the published one.
    """
    digest = fingerprint(table)
    return next((name for name, known in FINGERPRINTS.items() if known == digest), None)


def fingerprint(table: ImageTable) -> str:
    """Return the SHA-256 of a split, independent of row order and the spelling of paths."""
    parts = [""] * len(table) if table.parts is None else table.parts.tolist()
    rows = []
    for path, age, part in zip(table.paths, table.labels.tolist(), parts, strict=True):
        match = _NAME.fullmatch(path.removeprefix(f"{FOLDER}/"))
        rows.append(f"{int(match[1]) if match else path},{age:g},{part}\n")
    return hashlib.sha256("".join(sorted(rows)).encode()).hexdigest()


def _list_names(root: Path) -> list[str]:
    """Return the names of the visible JPEG files in ``root/AgeDB``."""
    try:
        with os.scandir(root / FOLDER) as entries:
            names = [entry.name for entry in entries]
    except OSError as error:
        nested = sorted(root.glob(f"*/{FOLDER}"))
        remedy = (
            f"use {nested[0].parent}, which has one"
            if nested
            else "ask the authors of AgeDB for the archive and its password, then put the images "
            f"there as {FOLDER}/{FORM}, or unpack them with --archive AgeDB.zip"
        )
        raise DataError(f"{root} has no readable folder {FOLDER}: {remedy}.") from error
    return [name for name in names if name.lower().endswith((".jpg", ".jpeg")) and name[0] != "."]
