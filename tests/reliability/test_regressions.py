"""Test one small case of each defect that fuzzing or properties revealed."""

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
from ranksim.data.images.table import read_split_file
from ranksim.data.reading import read_delimited
from ranksim.data.table import Table, parse_numbers
from ranksim.data.text import GloveFile
from ranksim.datasets import sts_b_dir
from ranksim.datasets.archives import extract, read_member
from ranksim.evaluation.record import read_results
from ranksim.evaluation.report.results_page import write_report
from ranksim.exceptions import DataError, UsageError
from ranksim.experiments.sweep_settings import parse_seeds
from ranksim.imbalance import DensityWeights, LabelBins, density_weights
from ranksim.inference.saved_model import read_json
from ranksim.integrations.lightning import WeightsCallback
from ranksim.integrations.sklearn import RankSimRegressor
from ranksim.metrics.scores import regression_scores
from ranksim.training.presets import preset_table
from ranksim.training.recipe import TableRecipe
from ranksim.user_data.features import TableFeatures

NESTED_LISTS = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize("line", ["1\tx", "1\ta\tb\tx", "1\ta\tb\tnan", "1\ta\tb\t\n1"])
def test_malformed_line_of_sts_b_is_rejected(tmp_path, line):
    path = tmp_path / "t.tsv"
    path.write_text(f"id\tsentence1\tsentence2\tscore\n{line}\n")
    with pytest.raises(DataError, match=r"t\.tsv.*(line 2|finite)"):
        sts_b_dir._read_pairs(path)


@pytest.mark.parametrize("value", ["nan", "inf", "1e39", "1e999"])
def test_word_vector_must_be_finite(tmp_path, value):
    path = tmp_path / "g.txt"
    path.write_text(f"cat 1 {value}\n")
    with pytest.raises(DataError, match="line 1.*finite"):
        GloveFile(path, 2, lower=False).look_up(["cat"])


@pytest.mark.parametrize(
    ("name", "message"), [("x" * 256, "too long"), ("a/" * 1100 + "b", "name .* not allowed")]
)
def test_archive_member_with_too_long_name_is_rejected(tmp_path, name, message):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(DataError, match=message):
        extract(tmp_path / "a.tar", tmp_path / "root", limit_bytes=9)


def test_archive_member_of_impossible_size_is_rejected():
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz", format=tarfile.GNU_FORMAT) as tar:
        info = tarfile.TarInfo("big")
        info.size = 2**70
        tar.fileobj.write(info.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(DataError, match="archive.tar.*damaged"):
        read_member(archive.getvalue(), "other", limit=9, origin="archive.tar")


def test_compressed_table_over_the_limit_is_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_UNPACKED", 1000)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a\n" + b"1\n" * 10_000))
    with pytest.raises(DataError, match="1,000 bytes"):
        read_delimited(tmp_path / "t.csv.gz")


def test_column_names_are_escaped_in_messages(tmp_path):
    (tmp_path / "t.csv").write_text('"two\nlines",\x1b[31m\n1,2\n')
    with pytest.raises(DataError, match=re.escape(r"'two\nlines' and '\x1b[31m'")):
        read_delimited(tmp_path / "t.csv").column("age")


@pytest.mark.parametrize("age", ["1_000", "True"])
def test_labels_of_images_must_be_numbers(tmp_path, age):
    (tmp_path / "t.csv").write_text(f"path,age,split\na.jpg,{age},train\n")
    with pytest.raises(DataError, match="finite number"):
        read_split_file(tmp_path / "t.csv")


@pytest.mark.parametrize("read", [read_results, read_json])
def test_deeply_nested_json_is_rejected(tmp_path, read):
    path = tmp_path / "a.json"
    path.write_text(NESTED_LISTS)
    with pytest.raises(DataError):
        read(path)


def test_number_beyond_float_range_is_rejected():
    with pytest.raises(UsageError, match="lr .*finite"):
        TableRecipe.from_table(preset_table("table", "small") | {"lr": 10**400})


@pytest.mark.parametrize("text", ["10001", "4000000000", "9" * 5000])
def test_number_of_seeds_is_limited(text):
    with pytest.raises(UsageError, match="10,000"):
        parse_seeds(text)


def test_missing_values_of_pandas_are_recognized():
    numbers = parse_numbers(list(pd.array([1, None], dtype="Int64")))
    assert numbers.missing.tolist() == [False, True]
    assert numbers.values[0] == 1


@pytest.mark.parametrize("changes", [{"median": "x"}, {"mean": float("inf")}, {"dates": 1}])
def test_types_of_stored_columns_are_validated(changes):
    table = Table.from_columns("t", {"x": ["1", "2", ""]})
    features = TableFeatures.fit(table, ["x"], np.arange(3))
    stored = json.loads(json.dumps(features.to_dict()))
    assert TableFeatures.from_dict(stored) == features
    stored["columns"][0] |= changes
    with pytest.raises(TypeError, match=next(iter(changes))):
        TableFeatures.from_dict(stored)


def test_scores_and_weights_do_not_overflow():
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
def test_estimator_rejects_values_that_overflow(name, x, y, weight):
    rows = np.arange(8.0)
    with pytest.raises(ValueError, match=f"^{name} must lie within"):
        RankSimRegressor().fit(rows[:, None] * x, rows * y, rows * weight)


def test_positions_without_label_have_zero_weight():
    weights = DensityWeights.fit([1, 1, 2], bins=LabelBins.integers(1, 2))
    labels = torch.tensor([1.0, float("nan"), 2.0]).reshape(1, 1, 3)
    batch = {"label": labels}
    callback = WeightsCallback(weights, labels_fn=lambda batch: batch["label"])
    callback.on_train_batch_start(None, None, batch, 0)
    assert batch["weight"].flatten().tolist() == pytest.approx([0.75, 0.0, 1.5])
    with pytest.raises(ValueError, match="finite.*1 NaN"):
        callback.on_train_batch_start(None, None, {"label": labels.flatten()}, 0)


@pytest.mark.parametrize(
    ("runs", "summary"), [([1], [2]), ([{}], [{}]), ([], [{"method": "vanilla"}]), ([None], [])]
)
def test_page_of_malformed_results_is_not_written(tmp_path, runs, summary):
    results = {"format": 3, "benchmark": "x", "runs": runs, "summary": summary}
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(DataError, match="results.json"):
        write_report([tmp_path], None)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
