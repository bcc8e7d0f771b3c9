import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest

from ranksim.data import TextSamples
from ranksim.datasets.base import Benchmark
from ranksim.evaluation.predictions import (
    Predictions,
    are_damaged,
    read_predictions,
    write_predictions,
)
from ranksim.evaluation.record import read_record
from ranksim.exceptions import DataError, UsageError
from ranksim.imbalance import LabelBins
from ranksim.imbalance.bins import LabelRange
from ranksim.metrics.distributions import Distribution

N = 40
LABELS = np.random.default_rng(0).uniform(0, 3, N)


@pytest.fixture
def benchmark():
    parts = [TextSamples(([""] * len(y),), y) for y in (LABELS[LABELS < 2], LABELS[:3], LABELS)]
    return Benchmark(
        "toy", *parts, LabelBins.uniform(0, 3, 3), many=9, few=5,
        named_regions={"low": LabelRange(None, 0.5, strict=True), "label": LabelRange(1.0, 2.0)},
        groups=np.arange(N)[::-1] // 3,
    )  # fmt: skip


def test_predictions_round_trip(benchmark, tmp_path):
    for groups in (None, benchmark.groups):
        data = dataclasses.replace(benchmark, groups=groups)
        write_predictions(tmp_path / "a.parquet", data, "rule", np.arange(N), LABELS + 1)
        preds = read_predictions(tmp_path / "a.parquet")
        assert np.array_equal(preds.labels, LABELS)
        assert np.array_equal(preds.preds, LABELS + 1)
        assert preds.groups is None if groups is None else np.array_equal(preds.groups, groups)
        expected = benchmark.regions("rule").masks(LABELS)
        assert list(preds.regions) == list(expected)
        for name, mask in expected.items():
            assert np.array_equal(preds.regions[name], mask)
        assert preds.regions["zero"].any()
    assert read_predictions(tmp_path / "b.parquet") is None
    assert not are_damaged(tmp_path / "b.parquet")


DISTRIBUTIONS = [
    Distribution("gaussian", np.linspace(0.1, 3, N)),
    Distribution("laplace", np.linspace(0.1, 3, N)),
    Distribution("quantiles", quantiles=np.arange(2.0 * N).reshape(N, 2), levels=(0.05, 0.5)),
]


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=lambda each: each.family)
def test_distributions_round_trip(distribution, benchmark, tmp_path):
    path = tmp_path / "a.parquet"
    write_predictions(path, benchmark, "rule", np.arange(N), LABELS, distribution)
    preds = read_predictions(path)
    assert preds.distribution.family == distribution.family
    assert preds.levels == distribution.levels
    for name in ("scale", "quantiles"):
        assert np.array_equal(getattr(preds, name), getattr(distribution, name))
    table = preds.columns()
    assert {name: table[name] for name in distribution.columns()} == {
        name: values.tolist() for name, values in distribution.columns().items()
    }
    preds.write(tmp_path / "a.csv")
    header = (tmp_path / "a.csv").read_text().splitlines()[0].split(",")
    assert header[1:4] == ["prediction", *distribution.columns(), "region"][:3]
    table = parquet.read_table(path)
    metadata = table.schema.metadata | {b"family": b"laplace"}
    parquet.write_table(table.replace_schema_metadata(metadata), path)
    assert are_damaged(path) == (distribution.family != "laplace")
    write_predictions(path, benchmark, "rule", np.arange(N), LABELS)
    preds = read_predictions(path)
    assert preds.scale is None is preds.quantiles is preds.distribution
    assert preds.levels == ()


def test_origin_of_the_samples_is_written(benchmark, tmp_path):
    origin = {
        "row": list(range(101, 101 + N)),
        "image": [f"{k}.png" for k in range(N)],
        "group": [f"patient {k % 4}" for k in range(N)],
    }
    path, rows = tmp_path / "a.parquet", np.arange(N)[::-1].copy()
    for groups in (None, benchmark.groups):
        data = dataclasses.replace(benchmark, origin=origin, groups=groups)
        write_predictions(path, data, "rule", rows, LABELS[rows] + 1)
        table = parquet.read_table(path).to_pydict()
        for name, values in origin.items():
            assert table[name] == values[::-1]
        clusters = read_predictions(path).groups
        assert (clusters is None) == (groups is None)
        assert groups is None or np.array_equal(clusters, groups[rows])


def test_clusters_of_older_files_are_read(benchmark, tmp_path):
    path = tmp_path / "a.parquet"
    write_predictions(path, benchmark, "rule", np.arange(N), LABELS)
    table = parquet.read_table(path)
    names = ["group" if name == "cluster" else name for name in table.column_names]
    parquet.write_table(table.rename_columns(names).replace_schema_metadata(None), path)
    assert np.array_equal(read_predictions(path).groups, benchmark.groups)


def test_damage_is_detected_or_harmless(benchmark, tmp_path):
    path = tmp_path / "a.parquet"
    write_predictions(path, benchmark, "rule", np.arange(N), LABELS + 1)
    original, content = read_predictions(path), path.read_bytes()
    generator = np.random.default_rng(0)
    for place in generator.choice(len(content), 60, replace=False):
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(generator.integers(8))
        path.write_bytes(flipped)
        if not are_damaged(path):
            preds = read_predictions(path)
            assert np.array_equal(preds.preds, LABELS + 1)
            assert np.array_equal(preds.labels, original.labels)
            for name, mask in original.regions.items():
                assert np.array_equal(preds.regions[name], mask)
    path.write_bytes(content[:200])
    with pytest.raises(DataError, match=r"a\.parquet is damaged"):
        read_predictions(path)


def test_transient_error_is_not_damage(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").touch()

    def fail(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("pyarrow.parquet.read_table", fail)
    with pytest.raises(OSError, match="Input/output error"):
        are_damaged(tmp_path / "a.parquet")


def test_unreadable_record_is_not_missing(tmp_path, monkeypatch):
    def fail(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("ranksim.evaluation.record.read_verified_json", fail)
    with pytest.raises(PermissionError):
        read_record(tmp_path)


def test_table_of_predictions(tmp_path):
    masks = {"many": [False, False], "medium": [True, False], "few": [False, True]}
    masks |= {"zero": [False, True], "high": [False, True]}
    predictions = Predictions(
        np.array([0, 2]), np.array([0.1, 1.75]), {k: np.array(v) for k, v in masks.items()},
        np.array([np.nan, 1.5]), times=["a", "b, c"],
    )  # fmt: skip
    predictions.write(tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_text() == (
        "row,time,prediction,region,zero_shot,in_high,label,error\n"
        "1,a,0.1,medium,false,false,,\n"
        '3,"b, c",1.75,few,true,true,1.5,0.25\n'
    )
    predictions.write(tmp_path / "p.parquet")
    assert parquet.read_table(tmp_path / "p.parquet").to_pydict() == predictions.columns()
    assert predictions.counts() == {"many": 0, "medium": 1, "few": 1, "zero": 1, "high": 1}
    with pytest.raises(UsageError, match=r"p\.txt"):
        predictions.write(Path("p.txt"))
