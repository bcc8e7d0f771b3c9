"""Sizes and pixel values of image files, for the range of deep images and the data report."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from ranksim._utils.storage import cache_dir, read_arrays, write_arrays
from ranksim.data.data_report import DataReport, format_share
from ranksim.data.images.decode import (
    BrokenImageError,
    PixelFacts,
    ProgressCallback,
    ValueRange,
    examine,
    map_in_threads,
    read_file,
)
from ranksim.data.table import Floats, Ints

_MIN_FILE_AGE = 2_000_000_000  # nanoseconds: the coarsest time stamps of a file system
_DARK = 0.25  # share of a range that dark images do not exceed
_FAR = 0.5  # share of a range without pixels beside a value that marks missing pixels
_SPARSE = 0.1  # share of a range that nearly all pixels do not exceed if few pixels are brighter
_MARGIN = 0.05  # share of a range that new images may exceed
_MAX_BEYOND = 0.05  # share of new images that may exceed it by more
_NO_IMAGE = PixelFacts(0, 0)
_COLUMNS = len(astuple(_NO_IMAGE))


@dataclass(frozen=True, eq=False)
class ImageFacts:
    """Facts about N image files, as arrays; zero and NaN for files that cannot be read.

    Args:
        sizes: width and height as stored, in pixels ``(N, 2)``.
        low, high: least and greatest pixel of deep images ``(N,)``, which are grayscale of more
            than 8 bits; NaN for others.
        upper: value that 99 % of the pixels of a deep image do not exceed ``(N,)``.
        brightest: greatest value of 16-bit colors after their reduction to 8 bits; else NaN.
        second_low, second_high: the next pixel values after ``low`` and before ``high``.
        has_frames: 1 for files of several frames or pages, else 0.
    """

    sizes: Ints
    low: Floats
    high: Floats
    upper: Floats
    brightest: Floats
    second_low: Floats
    second_high: Floats
    has_frames: Floats

    def __len__(self) -> int:
        return len(self.sizes)

    def take(self, rows: Ints) -> ImageFacts:
        """Return the facts of the images at the given positions."""
        return ImageFacts(*(values[rows] for values in vars(self).values()))

    @property
    def n_deep(self) -> int:
        """Number of images with grayscale of more than 8 bits."""
        return int(np.count_nonzero(np.isfinite(self.high)))

    @property
    def value_range(self) -> ValueRange | None:
        """The least and greatest pixel of all deep images; None if there are none."""
        if not self.n_deep:
            return None
        return float(np.nanmin(self.low)), float(np.nanmax(self.high))


def examine_images(
    root: Path, paths: Sequence[str], *, on_progress: ProgressCallback | None = None
) -> ImageFacts:
    """Read sizes and pixel ranges of the images ``paths`` below ``root``.

    The result is cached until a file changes.
    """
    states = [_read_state(root / path) for path in paths]
    content = repr((_COLUMNS, str(root.resolve()), list(paths), states))
    digest = hashlib.sha256(content.encode()).hexdigest()
    path = cache_dir() / "image-facts" / f"{digest[:32]}.npz"
    arrays = read_arrays(path)
    if arrays is None:
        facts = map_in_threads(lambda name: _examine_file(root / name), paths, on_progress)
        table = np.array(list(map(astuple, facts)), dtype=np.float64).reshape(-1, _COLUMNS)
        arrays = {"facts": table}
        newest = max((max(state[2:]) for state in states if state), default=0)
        if time.time_ns() - newest > _MIN_FILE_AGE:  # else a change could leave the same times
            write_arrays(path, arrays)
    table = arrays["facts"]
    return ImageFacts(table[:, :2].astype(np.int64), *table[:, 2:].T)


def _read_state(file: Path) -> tuple[int, ...]:
    try:
        state = file.stat()
    except (OSError, ValueError):
        return ()
    return state.st_size, state.st_ino, state.st_mtime_ns, state.st_ctime_ns


def _examine_file(file: Path) -> PixelFacts:
    try:
        return examine(read_file(file))
    except BrokenImageError:  # reported when it is decoded
        return _NO_IMAGE


def describe_images(
    facts: ImageFacts, size: int, value_range: ValueRange | None = None, *, n_skipped: int = 0
) -> DataReport:
    """Report sizes of images, how deep pixels are scaled, and colors that lose their lower bits.

    ``value_range`` is the range of deep pixels that becomes 0 to 255.
    """
    usable = facts.take(np.flatnonzero(facts.sizes[:, 0] > 0))
    note, warnings = f"{len(usable):,} read at {size} × {size} pixels", []
    if len(usable):
        pixels = usable.sizes.prod(axis=1)
        first, middle, last = np.argsort(pixels, kind="stable")[[0, (len(pixels) - 1) // 2, -1]]
        stored = [f"{w:,} × {h:,}" for w, h in usable.sizes[[first, last, middle]]]
        note += f", stored with {stored[0]}"
        if len(np.unique(usable.sizes, axis=0)) > 1:
            note += f" to {stored[1]} (median {stored[2]})"
        share = size * size / int(pixels[middle])
        if share < 1:
            note += f", so that the median image keeps {100 * share:.2g} % of its pixels"
    if n_skipped:
        note += f"; {n_skipped:,} skipped"
    if n_frames := int(np.count_nonzero(usable.has_frames)):
        note += f"; {n_frames:,} have several frames or pages, of which the first is read"
    notes = {"Images": note}
    if value_range is not None and usable.n_deep:
        low, high = (f"{value:,.6g}" for value in value_range)
        note = f"{format_share(usable.n_deep, len(usable))} images have more than 8 bits; "
        notes["Pixel values"] = f"{note}{low} … {high}, the range in training, is read as 0 … 255"
        warnings += _find_no_data_values(usable)
        if n_other := len(usable) - usable.n_deep:
            warnings.append(
                f"{usable.n_deep:,} images have more than 8 bits and {n_other:,} have not, so that "
                "equal scenes differ in brightness: convert all images to one depth."
            )
        typical, (start, end) = float(np.nanmedian(usable.upper)), value_range
        if np.nanmax(usable.high) >= end and typical - start < _SPARSE * (end - start):
            warnings.append(
                f"In half of the images, 99 % of the pixels do not exceed {typical:,.6g} of "
                f"{low} … {high} and are nearly black: clip the few brighter pixels in the files."
            )
    wide = usable.brightest[np.isfinite(usable.brightest)]
    if len(wide):
        text = f"{len(wide):,} images have 16-bit colors, of which Pillow reads the upper 8 bits"
        if wide.max() <= 255 * _DARK:
            warnings.append(
                f"{text}, so that their brightest value is {wide.max():g} of 255: save them with 8 "
                "bits per channel."
            )
        else:
            notes["Colors"] = text
    return DataReport(notes=notes, warnings=warnings)


def _find_no_data_values(facts: ImageFacts) -> list[str]:
    """Return warnings for a least or greatest pixel value that lies far from all others.

    Such a value often marks pixels without data.
    """
    low, high = float(np.nanmin(facts.low)), float(np.nanmax(facts.high))
    second_low = float(np.nanmin(np.where(facts.low == low, facts.second_low, facts.low)))
    second_high = float(np.nanmax(np.where(facts.high == high, facts.second_high, facts.high)))
    far = _FAR * (high - low)
    values = []
    if second_low - low > far and second_low < high:
        values.append((low, second_low, high))
    if high - second_high > far and second_high > low:
        values.append((high, low, second_high))
    return [
        f"The pixel value {value:,.6g} lies far from all others, {start:,.6g} … {end:,.6g}, which "
        "keep little contrast: if it marks pixels without data, replace it in the files, or set it "
        "to NaN."
        for value, start, end in values
    ]


def compare_value_range(facts: ImageFacts, value_range: ValueRange | None) -> list[str]:
    """Return warnings if new images do not have the pixel range that a model was trained with."""
    present = facts.value_range
    n_other = int(np.count_nonzero(facts.sizes[:, 0])) - facts.n_deep
    if value_range is None:
        if present is None:
            return []
        return [
            f"{facts.n_deep:,} images have more than 8 bits, but the model was trained on images "
            "of 8 bits: convert them in the same way as the training images."
        ]
    low, high = value_range
    warnings = []
    if n_other and not facts.n_deep:
        warnings.append(
            f"{n_other:,} images have 8 bits, but the model was trained on pixels of {low:g} … "
            f"{high:g}: use images like those of the training."
        )
    if present is None:
        return warnings
    margin = _MARGIN * (high - low)
    beyond = int(np.count_nonzero((facts.low < low - margin) | (facts.high > high + margin)))
    if beyond > _MAX_BEYOND * facts.n_deep:
        warnings.append(
            f"{format_share(beyond, facts.n_deep)} images have pixels outside {low:g} … {high:g}, "
            f"the range of the training (here {present[0]:g} … {present[1]:g}), which are clipped: "
            "check that they have the unit of the training images."
        )
    elif present[1] - low < _DARK * (high - low):
        warnings.append(
            f"The images use {present[0]:g} … {present[1]:g} of {low:g} … {high:g}, the range of "
            "the training, and are dark: check that they have the unit of the training images."
        )
    return warnings
