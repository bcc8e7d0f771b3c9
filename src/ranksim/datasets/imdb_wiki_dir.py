"""The IMDB-WIKI-DIR benchmark: download the archives and find the 213,553 face images."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.download import download
from ranksim._utils.formatting import format_value
from ranksim.data.images.table import OUTSIDE, ImageListing, ImageTable
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
MAX_PER_BIN = 150  # images per age in validation and test
SEED = 666
MAX_AGE = 200  # years; higher ages come from wrong dates
_NUMBERS = ("dob", "photo_taken", "face_score", "second_face_score")
_LAST_DAY = 3_652_059  # 31 December 9999, as a proleptic ordinal


def download_archives(root: Path) -> list[Path]:
    """Download both archives (8 GB) into ``root``; resume interrupted downloads.

    Their origin publishes no checksum: the length is verified, and the SHA-256 is stored beside.
    """
    paths = [root / url.rpartition("/")[2] for url in ORIGINS.values()]
    for url, path in zip(ORIGINS.values(), paths, strict=True):
        download(url, path)
    return paths


def find_images(root: Path) -> ImageListing:
    """Find the usable images listed in ``imdb.mat`` and ``wiki.mat``, sorted by path.

    Usable: a face was detected (``face_score`` at least 1) but no second one
    (``second_face_score`` NaN or at most 0), and the age is in 0..200. Photographs count as taken
    in the middle of their year: age = ``photo_taken`` − year of birth, minus one for births in
    July or later.

    References:
        Rothe, Timofte and Van Gool, "DEX" (ICCV Workshops 2015).
    """
    lists = {part: _find_list(root, part) for part in ORIGINS}
    ages: dict[str, float] = {}
    excluded: Counter[str] = Counter()
    for part, path in lists.items():
        names, numbers = _read_list(path, part)
        years = _compute_ages(numbers["dob"], numbers["photo_taken"])
        with np.errstate(invalid="ignore"):  # NaN compares as False
            rules = {
                "no date of birth or year of the photograph": np.isfinite(years),
                "no face": numbers["face_score"] >= 1,
                "a second face": ~(numbers["second_face_score"] > 0),
                f"an age outside 0..{MAX_AGE}": (years >= 0) & (years <= MAX_AGE),
            }
        usable = np.ones(len(names), dtype=bool)
        for reason, passes in rules.items():
            excluded[reason] += int(np.count_nonzero(usable & ~passes))
            usable &= passes
        rows = np.flatnonzero(usable)
        # the first entry of an image counts
        unique = {f"{part}_crop/{names[row]}": float(years[row]) for row in rows[::-1]}
        excluded["listed before"] += len(rows) - len(unique)
        ages |= unique
    if not ages:
        raise DataError(
            f"The MATLAB lists in {root} contain no usable image: download both archives again."
        )
    paths = tuple(sorted(ages))
    table = ImageTable(paths, np.array([ages[path] for path in paths]))
    return ImageListing(table, excluded={k: count for k, count in excluded.items() if count})


def _compute_ages(
    birth_dates: NDArray[np.float64], photo_years: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute ages in years ``(N,)``; NaN if a date is not finite."""
    known = np.isfinite(birth_dates) & np.isfinite(photo_years)
    # MATLAB counts days from year 0, which has 366
    days = np.clip(np.floor(np.where(known, birth_dates, 0.0)) - 366, 1, _LAST_DAY)
    dates = np.datetime64("0001-01-01") + (days.astype(np.int64) - 1)
    months = dates.astype("datetime64[M]").astype(np.int64)
    year, month = 1970 + months // 12, 1 + months % 12
    ages: NDArray[np.float64] = np.where(known, photo_years, np.nan) - year - (month >= 7)
    return ages


def _find_list(root: Path, part: str) -> Path:
    for path in (root / f"{part}_crop" / f"{part}.mat", root / f"{part}.mat"):
        if path.is_file():
            return path
    raise DataError(
        f"{root} does not contain {part}_crop/{part}.mat: unpack {part}_crop.tar there, or "
        f"download both archives with `ranksim data prepare {NAME} --download`."
    )


def _read_list(path: Path, part: str) -> tuple[list[str], dict[str, NDArray[np.float64]]]:
    """Read the image paths and numeric fields of a MATLAB list; raise a DataError if invalid."""
    remedy = f"unpack {part}_crop.tar again"
    fields = (*_NUMBERS, "full_path")
    try:
        record = read_struct(path, part, fields)
    except (ValueError, struct.error, zlib.error) as error:
        raise DataError(f"{path} is damaged or not a MATLAB file: {remedy}.") from error
    if record is None:
        raise DataError(f"{path} has no MATLAB struct {part!r}: {remedy}.")
    for name in fields:
        if name not in record:
            raise DataError(f"{path} has no field {name!r} in {part!r}: {remedy}.")
    names = record.pop("full_path")
    are_arrays = [isinstance(values, np.ndarray) for values in record.values()]
    if not isinstance(names, list) or None in names or not all(are_arrays):
        raise DataError(f"{path} contains values of unexpected types: {remedy}.")
    lengths = {name: len(values) for name, values in record.items()} | {"full_path": len(names)}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
        raise DataError(f"{path} contains fields of unequal length ({counts}): {remedy}.")
    for name in names:
        if OUTSIDE.match(name):
            raise DataError(
                f"{path} lists the image {format_value(name)} outside its folder: {remedy}."
            )
    return names, record
