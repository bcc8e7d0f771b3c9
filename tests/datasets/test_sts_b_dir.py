import csv

import numpy as np
import pytest

from ranksim.datasets import sts_b_dir
from ranksim.exceptions import DataError

SPLITS = list(sts_b_dir.CHECKSUMS)


@pytest.mark.parametrize(
    ("split", "shots", "few"),
    [("yang", "published", 74), ("yang", "rule", 37), ("borealis", "published", 50),
     ("borealis", "rule", 23)],
)  # fmt: skip
def test_published_splits_and_their_few_shot_regions(shared_data, split, shots, few):
    benchmark = sts_b_dir.load(split, shared_data)
    assert [len(part) for part in benchmark.parts] == [5249, 1000, 1000]
    assert all(len(part.texts) == 2 for part in benchmark.parts)
    masks = benchmark.regions(shots).masks(benchmark.test.labels)
    assert masks["few"].sum() == few
    assert sum(masks[name].sum() for name in ("many", "medium", "few")) == 1000


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("part", sts_b_dir.PARTS)
def test_pandas_reads_the_files_without_quoting(shared_data, split, part):
    """The call that docs/sts-b-dir.md gives."""
    pandas = pytest.importorskip("pandas")
    path = shared_data / "sts-b-dir" / split / f"{part}_new.tsv"
    frame = pandas.read_csv(path, sep="\t", quoting=csv.QUOTE_NONE, keep_default_na=False)
    benchmark = sts_b_dir.load(split, shared_data)
    samples = benchmark.parts[sts_b_dir.PARTS.index(part)]
    assert (list(frame.sentence1), list(frame.sentence2)) == samples.texts
    np.testing.assert_array_equal(frame.score, samples.labels)
    if (split, part) == ("borealis", "test"):  # the defaults do not
        with pytest.raises(pandas.errors.ParserError):
            pandas.read_csv(path, sep="\t")
        assert len(pandas.read_csv(path, sep="\t", on_bad_lines="skip")) == 962


def test_report_of_rows_and_split(small_sts):
    report = sts_b_dir.load("yang", small_sts).report
    assert report.rows == {"used": 240}
    assert report.split == {"method": "as published: yang", "train": 120, "val": 60, "test": 60}


def test_bins_use_float32_edges(shared_data):
    """With float64 edges, 1,587 of the first split's 6,249 training and test labels move."""
    benchmark = sts_b_dir.load("yang", shared_data)
    labels = np.concatenate([benchmark.train.labels, benchmark.test.labels]).astype(np.float32)
    edges = np.linspace(0, 5, 51)
    moved = np.clip(np.searchsorted(edges, labels, side="right") - 1, 0, 49)
    assert len(labels) == 6249
    assert (moved != benchmark.bins.digitize(labels)).sum() == 1587


def test_reads_every_row_and_keeps_quotes(small_sts):
    benchmark = sts_b_dir.load("borealis", small_sts)
    assert [len(part) for part in benchmark.parts] == [120, 60, 60]
    assert benchmark.train.labels.dtype == np.float64
    assert benchmark.facts["split"] == "borealis"


@pytest.mark.parametrize("layout", ["root", "split", "files"])
def test_finds_files_in_three_layouts(small_sts, layout):
    folder = {
        "root": small_sts,
        "split": small_sts / "sts-b-dir",
        "files": small_sts / "sts-b-dir" / "yang",
    }[layout]
    assert len(sts_b_dir.load("yang", folder).train) == 120


def test_reads_the_folder_of_ranksim_data(small_sts, monkeypatch):
    monkeypatch.setenv("RANKSIM_DATA", str(small_sts))
    assert len(sts_b_dir.load("yang").train) == 120


def test_rejects_a_mixture_of_splits(small_sts):
    folder = small_sts / "sts-b-dir"
    (folder / "borealis" / "test_new.tsv").write_bytes(
        (folder / "yang" / "test_new.tsv").read_bytes()
    )
    with pytest.raises(DataError, match="belongs to the yang split, not to borealis"):
        sts_b_dir.load("borealis", small_sts)


def test_rejects_swapped_files_of_one_split(small_sts):
    folder = small_sts / "sts-b-dir" / "borealis"
    (folder / "test_new.tsv").write_bytes((folder / "train_new.tsv").read_bytes())
    with pytest.raises(DataError, match="test_new.tsv"):
        sts_b_dir.load("borealis", small_sts)


def test_rejects_a_changed_file(small_sts):
    path = small_sts / "sts-b-dir" / "borealis" / "dev_new.tsv"
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
    with pytest.raises(DataError, match=r"dev_new.tsv has SHA-256 .* instead of"):
        sts_b_dir.load("borealis", small_sts)


def test_names_a_missing_file_or_folder(small_sts, tmp_path):
    (small_sts / "sts-b-dir" / "borealis" / "dev_new.tsv").unlink()
    with pytest.raises(DataError, match=r"dev_new.tsv is missing"):
        sts_b_dir.load("borealis", small_sts)
    with pytest.raises(DataError, match=r"does not contain sts-b-dir/yang/train_new.tsv"):
        sts_b_dir.load("yang", tmp_path / "nowhere")


def test_rejects_an_unknown_split():
    with pytest.raises(DataError, match=r"'glue': choose borealis or yang\."):
        sts_b_dir.load("glue")
