"""AgeDB-DIR: 16,488 faces with an age; its authors hand the images out, the split is public."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import numpy as np

from ranksim.data.images.table import ImageTable, ListedImages
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
# rows: these draw with replacement, so an image can stand in several rows of one part
PROTOCOL_COUNTS = {
    "extrapolation": (8_728, 1_066, 3_450),
    "interpolation": (7_423, 903, 2_800),
    "blindspot": (10_253, 1_257, 2_700),
}
BINS = LabelBins.integers(0, 120)  # years
CAP = 30  # images of one age in validation, and in test
SEED = 666
_FORM = re.compile(r"(\d+)_[^/]+_(\d{1,3})_([mf])\.jpg")


def find(root: Path) -> ListedImages:
    """The images of ``root/AgeDB/<index>_<Name>_<age>_<gender>.jpg``, sorted by path.

    Args:
        root: the folder that holds the folder ``AgeDB``.

    Raises:
        DataError: there is no such folder, or no image of that form in it.

    Source: Moschoglou et al., "AgeDB" (CVPR Workshops 2017).
    """
    ages: dict[str, int] = {}
    odd: list[str] = []
    for name in _images(root):
        form = _FORM.fullmatch(name)
        if form and int(form[2]) < len(BINS) and _is_text(name):
            ages[f"{FOLDER}/{name}"] = int(form[2])
        else:
            odd.append(name)
    if not ages:
        raise DataError(
            f"{root / FOLDER} holds no image named <index>_<Name>_<age>_<gender>.jpg: put the "
            "images of AgeDB directly into it."
        )
    paths = tuple(sorted(ages))
    labels = np.array([ages[path] for path in paths], dtype=np.float64)
    return ListedImages(ImageTable(paths, labels), tuple(sorted(odd)))


def as_on_disk(table: ImageTable, root: Path) -> ImageTable:
    """The same rows by the names that their files have here.

    The published files spell 131 accented names in another code page ("StВphane" for "Stéphane"),
    and programs that unpack the archive differ. The index is unique, so a file that is not there
    under the published name is the one with its index, age and gender.
    """
    here = [name for name in _images(root) if _is_text(name)]
    known = {f"{FOLDER}/{name}" for name in here}
    by_key: dict[tuple[str | None, ...], list[str]] = {}
    for name in here:
        if form := _FORM.fullmatch(name):
            by_key.setdefault(form.groups(), []).append(name)
    paths = []
    for path in table.paths:
        form = _FORM.fullmatch(path.removeprefix(f"{FOLDER}/"))
        same = by_key.get(form.groups(), []) if form else []
        renamed = path not in known and len(same) == 1
        paths.append(f"{FOLDER}/{same[0]}" if renamed else path)
    return ImageTable(tuple(paths), table.labels, table.parts)


def published_name(table: ImageTable) -> str | None:
    """Which published file these rows are, by index, age and part: names and order do not matter.

    A prepared table names the files as they are here, so that the checksum of the published file
    is not its own.
    """
    seen = fingerprint(table)
    return next((name for name, print_ in FINGERPRINTS.items() if print_ == seen), None)


def fingerprint(table: ImageTable) -> str:
    """SHA-256 of the sorted rows, each image by its index."""
    parts = [""] * len(table) if table.parts is None else table.parts.tolist()
    rows = []
    for path, age, part in zip(table.paths, table.labels.tolist(), parts, strict=True):
        form = _FORM.fullmatch(path.removeprefix(f"{FOLDER}/"))
        rows.append(f"{int(form[1]) if form else path},{age:g},{part}\n")
    return hashlib.sha256("".join(sorted(rows)).encode()).hexdigest()


def _images(root: Path) -> list[str]:
    """Names of the JPEG files, without hidden ones."""
    try:
        with os.scandir(root / FOLDER) as entries:
            return [
                entry.name
                for entry in entries
                if entry.name.lower().endswith((".jpg", ".jpeg")) and entry.name[0] != "."
            ]
    except OSError as error:
        nested = sorted(root.glob(f"*/{FOLDER}"))
        if nested:
            raise DataError(
                f"{root} has no readable folder {FOLDER}, but {nested[0].parent} has: give that as "
                "the folder."
            ) from error
        raise DataError(
            f"{root} has no readable folder {FOLDER}: AgeDB is given out by its authors with a "
            f"password; ask them, and then put the images there as {FOLDER}/"
            "<index>_<Name>_<age>_<gender>.jpg, or let --archive AgeDB.zip unpack them."
        ) from error


def _is_text(name: str) -> bool:
    """Whether a table in UTF-8 can hold the name; the system lets a file have any bytes."""
    return name.isprintable()
