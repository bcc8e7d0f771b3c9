"""IMDB-WIKI-DIR: 213,553 faces with an age, chosen from two MATLAB lists."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.formatting import format_value
from ranksim.data.images.table import OUTSIDE, ImageTable, ListedImages
from ranksim.datasets.matlab import read_struct
from ranksim.exceptions import DataError
from ranksim.imbalance import LabelBins

NAME = "imdb-wiki-dir"
FILE = "imdb_wiki.csv"
ORIGINS = {
    "imdb": "https://data.vision.ee.ethz.ch/cvl/rrothe/imdb-wiki/static/imdb_crop.tar",
    "wiki": "https://data.vision.ee.ethz.ch/cvl/rrothe/imdb-wiki/static/wiki_crop.tar",
}
COUNTS = (191_509, 11_022, 11_022)  # training, validation, test
BINS = LabelBins.integers(0, 120)  # years
CAP = 150  # images of one age in validation, and in test
SEED = 666
OLDEST = 200  # years; what is above is a wrong date
_NUMBERS = ("dob", "photo_taken", "face_score", "second_face_score")
_LAST_DAY = 3_652_059  # 31 December 9999, as a proleptic ordinal


def find(root: Path) -> ListedImages:
    """The usable images that ``imdb.mat`` and ``wiki.mat`` list, sorted by path.

    Usable: a face was found (``face_score`` at least 1), no second one (``second_face_score`` NaN
    or at most 0), and the age lies in 0..200. Photographs are taken to be of the middle of their
    year: age = ``photo_taken`` − year of birth, one less for those born in July or later.

    Args:
        root: the folder that holds ``imdb_crop`` and ``wiki_crop``.

    Raises:
        DataError: one of the lists is missing, damaged or another file.

    Source: Rothe, Timofte and Van Gool, "DEX" (ICCV Workshops 2015).
    """
    lists = {part: _find(root, part) for part in ORIGINS}
    ages: dict[str, float] = {}
    left_out: Counter[str] = Counter()
    for part, path in lists.items():
        names, numbers = _entries(path, part)
        years = _ages(numbers["dob"], numbers["photo_taken"])
        with np.errstate(invalid="ignore"):  # NaN compares as False
            rules = {
                "no date of birth or year of the photograph": np.isfinite(years),
                "no face": numbers["face_score"] >= 1,
                "a second face": ~(numbers["second_face_score"] > 0),
                f"an age outside 0..{OLDEST}": (years >= 0) & (years <= OLDEST),
            }
        usable = np.ones(len(names), dtype=bool)
        for reason, kept in rules.items():
            left_out[reason] += int(np.count_nonzero(usable & ~kept))
            usable &= kept
        rows = np.flatnonzero(usable)
        chosen = {f"{part}_crop/{names[row]}": float(years[row]) for row in rows[::-1]}
        left_out["listed before"] += len(rows) - len(chosen)
        ages |= chosen
    if not ages:
        raise DataError(f"The lists in {root} hold no usable image: get both archives again.")
    paths = tuple(sorted(ages))
    table = ImageTable(paths, np.array([ages[path] for path in paths]))
    return ListedImages(
        table, left_out={reason: count for reason, count in left_out.items() if count}
    )


def _ages(born: NDArray[np.float64], taken: NDArray[np.float64]) -> NDArray[np.float64]:
    """Years; NaN where a date is not finite."""
    known = np.isfinite(born) & np.isfinite(taken)
    # MATLAB counts days from year 0, which has 366
    days = np.clip(np.floor(np.where(known, born, 0.0)) - 366, 1, _LAST_DAY).astype(np.int64)
    months = (np.datetime64("0001-01-01") + (days - 1)).astype("datetime64[M]").astype(np.int64)
    year, month = 1970 + months // 12, 1 + months % 12
    ages: NDArray[np.float64] = np.where(known, taken, np.nan) - year - (month >= 7)
    return ages


def _find(root: Path, part: str) -> Path:
    for path in (root / f"{part}_crop" / f"{part}.mat", root / f"{part}.mat"):
        if path.is_file():
            return path
    raise DataError(
        f"{root} holds no {part}_crop/{part}.mat: unpack {part}_crop.tar there, or let "
        f"ranksim data prepare {NAME} --download fetch both archives."
    )


def _entries(path: Path, part: str) -> tuple[list[str], dict[str, NDArray[np.float64]]]:
    """``full_path`` and the fields that the rules need, of equal lengths."""
    again = f"get {part}_crop.tar again"
    wanted = (*_NUMBERS, "full_path")
    try:
        record = read_struct(path, part, wanted)
    except (ValueError, struct.error, zlib.error) as error:
        raise DataError(f"{path} is damaged or no MATLAB file: {again}.") from error
    if record is None:
        raise DataError(f"{path} holds no MATLAB struct {part!r}: {again}.")
    for name in wanted:
        if name not in record:
            raise DataError(f"{path} has no field {name!r} in {part!r}: {again}.")
    cells = record["full_path"]
    names = [cell for cell in cells if isinstance(cell, str)] if isinstance(cells, list) else None
    read = {name: record[name] for name in _NUMBERS}
    numbers = {name: values for name, values in read.items() if isinstance(values, np.ndarray)}
    if cells is None or names is None or len(names) < len(cells) or len(numbers) < len(read):
        raise DataError(f"{path} holds other kinds of values than the published list: {again}.")
    lengths = {name: len(values) for name, values in numbers.items()} | {"full_path": len(names)}
    if len(set(lengths.values())) > 1:
        counted = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
        raise DataError(f"{path} has fields of unequal length ({counted}): {again}.")
    for name in names:
        if OUTSIDE.match(name):
            raise DataError(
                f"{path} names {format_value(name)}, which lies outside its folder: {again}."
            )
    return names, numbers
