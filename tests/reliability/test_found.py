"""What fuzzing and properties found, one small case each."""

import gzip
import io
import json
import re
import tarfile

import numpy as np
import pandas as pd
import pytest
import torch

from ranksim.data import reading
from ranksim.data.features import TableFeatures
from ranksim.data.images.table import read_split_file
from ranksim.data.reading import read_delimited
from ranksim.data.table import Table, parse_numbers
from ranksim.data.text import GloveFile
from ranksim.datasets import sts_b_dir
from ranksim.datasets.archives import extract, read_member
from ranksim.evaluation.record import read_results
from ranksim.evaluation.report.results_page import write_report
from ranksim.exceptions import DataError, UsageError
from ranksim.experiments.sweep_request import parse_seeds
from ranksim.imbalance import DensityWeights, LabelBins, density_weights
from ranksim.inference.saved_model import read_json
from ranksim.integrations.lightning import WeightsCallback
from ranksim.integrations.sklearn import RankSimRegressor
from ranksim.metrics.scores import regression_scores
from ranksim.training.presets import preset_table
from ranksim.training.recipe import TableRecipe

DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize("line", ["1\tx", "1\ta\tb\tx", "1\ta\tb\tnan", "1\ta\tb\t\n1"])
def test_a_line_of_sts_b_that_is_none(tmp_path, line):
    path = tmp_path / "t.tsv"
    path.write_text(f"id\tsentence1\tsentence2\tscore\n{line}\n")
    with pytest.raises(DataError, match=r"put the published file there\.$"):
        sts_b_dir._read(path)


@pytest.mark.parametrize("value", ["nan", "inf", "1e39", "1e999"])
def test_a_word_vector_is_finite(tmp_path, value):
    path = tmp_path / "g.txt"
    path.write_text(f"cat 1 {value}\n")
    with pytest.raises(DataError, match="line 1: a value is not a finite number"):
        GloveFile(path, 2, lower=False).look_up(["cat"])


@pytest.mark.parametrize("name", ["x" * 256, "a/" * 600 + "b"])
def test_a_member_with_a_name_too_long(tmp_path, name):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(DataError, match="has too long a name; get"):
        extract(tmp_path / "a.tar", tmp_path / "root", limit_bytes=9)


def test_a_member_beyond_any_file():
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz", format=tarfile.GNU_FORMAT) as tar:
        info = tarfile.TarInfo("big")
        info.size = 2**70
        tar.fileobj.write(info.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(DataError, match="is damaged"):
        read_member(made.getvalue(), "other", limit=9, origin="it")


def test_a_packed_table_that_would_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_UNPACKED", 1000)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a\n" + b"1\n" * 10_000))
    with pytest.raises(DataError, match="decompresses to more than 1,000 bytes"):
        read_delimited(tmp_path / "t.csv.gz")


def test_names_of_columns_stand_on_one_line(tmp_path):
    (tmp_path / "t.csv").write_text('"two\nlines",\x1b[31m\n1,2\n')
    with pytest.raises(DataError, match=re.escape(r"choose one of 'two\nlines' and '\x1b[31m'.")):
        read_delimited(tmp_path / "t.csv").column("age")


@pytest.mark.parametrize("age", ["1_000", "True"])
def test_labels_of_images_are_numbers_as_all_others(tmp_path, age):
    (tmp_path / "t.csv").write_text(f"path,age,split\na.jpg,{age},train\n")
    with pytest.raises(DataError, match="is not a finite number"):
        read_split_file(tmp_path / "t.csv")


@pytest.mark.parametrize("read", [read_results, read_json])
def test_json_nested_too_deep(tmp_path, read):
    path = tmp_path / "a.json"
    path.write_text(DEEP)
    with pytest.raises(DataError):
        read(path)


def test_a_number_no_float_can_hold():
    with pytest.raises(UsageError, match="lr must be a finite number"):
        TableRecipe.from_table(preset_table("table", "small") | {"lr": 10**400})


@pytest.mark.parametrize("text", ["10001", "4000000000", "9" * 5000])
def test_more_seeds_than_anyone_has_time_for(text):
    with pytest.raises(UsageError, match="at most 10,000"):
        parse_seeds(text)


def test_missing_values_of_pandas():
    read = parse_numbers(list(pd.array([1, None], dtype="Int64")))
    assert read.missing.tolist() == [False, True]
    assert read.values[0] == 1


@pytest.mark.parametrize("changed", [{"median": "x"}, {"mean": float("inf")}, {"dates": 1}])
def test_a_stored_column_has_the_types_of_its_fields(changed):
    table = Table.from_columns("t", {"x": ["1", "2", ""]})
    features = TableFeatures.fit(table, ["x"], np.arange(3))
    stored = json.loads(json.dumps(features.to_dict()))
    assert TableFeatures.from_dict(stored) == features
    stored["columns"][0] |= changed
    with pytest.raises(TypeError, match=next(iter(changed))):
        TableFeatures.from_dict(stored)


def test_huge_and_tiny_numbers():
    labels = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    for unit in (1e-310, 1e-200, 1e160, 1e307):
        scores = regression_scores(labels * unit, labels.flip(0) * unit)
        assert scores["pearson"] == pytest.approx(
            regression_scores(labels, labels.flip(0))["pearson"]
        )
    weights = density_weights(labels.numpy() * 1e300)
    np.testing.assert_allclose(weights, density_weights(labels.numpy()), rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "x", "y", "weight"),
    [("X", 1e200, 1.0, 1.0), ("y", 1.0, 1e150, 1.0), ("sample_weight", 1.0, 1.0, 1e300)],
)
def test_an_estimator_refuses_what_overflows(name, x, y, weight):
    rows = np.arange(8.0)
    with pytest.raises(ValueError, match=f"^{name} must lie within"):
        RankSimRegressor().fit(rows[:, None] * x, rows * y, rows * weight)


def test_positions_without_a_label_weigh_nothing():
    weights = DensityWeights.fit([1, 1, 2], bins=LabelBins.integers(1, 2))
    labels = torch.tensor([1.0, float("nan"), 2.0]).reshape(1, 1, 3)
    batch = {"label": labels}
    callback = WeightsCallback(weights, labels_fn=lambda given: given["label"])
    callback.on_train_batch_start(None, None, batch, 0)
    assert batch["weight"].flatten().tolist() == pytest.approx([0.75, 0.0, 1.5])
    with pytest.raises(ValueError, match="labels must be finite, got 1 NaN"):
        callback.on_train_batch_start(None, None, {"label": labels.flatten()}, 0)


@pytest.mark.parametrize(
    ("runs", "summary"), [([1], [2]), ([{}], [{}]), ([], [{"method": "vanilla"}]), ([None], [])]
)
def test_a_page_of_results_that_hold_something_else(tmp_path, runs, summary):
    results = {"format": 3, "benchmark": "x", "runs": runs, "summary": summary}
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(DataError, match="does not hold what a page shows"):
        write_report([tmp_path], None)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
