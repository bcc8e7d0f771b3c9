import re

import numpy as np
import pytest
from PIL import Image, ImageOps

from ranksim._utils.storage import sha256
from ranksim.data.images.table import (
    ImageTable,
    image_paths,
    read_split_file,
    write_split_file,
)
from ranksim.data.reading import load_table
from ranksim.data.splitting import PART_TITLES, PARTS, balanced_split
from ranksim.data.table import read_labels
from ranksim.datasets import agedb_dir, imdb_wiki_dir
from ranksim.datasets.image_benchmarks import ImagePlan, load_images, plan_ages, prepare_split
from ranksim.exceptions import DataError
from ranksim.imbalance import LabelBins
from tests.helpers import faces

COUNTS = dict.fromkeys(range(20, 32), 4) | {25: 60, 26: 30}
TOTAL = sum(COUNTS.values())


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Faces in all three layouts."""
    root = tmp_path_factory.mktemp("faces")
    for layout in (faces.write_agedb, faces.write_imdb_wiki, faces.write_user_data):
        layout(root, COUNTS, size=8)
    return root


@pytest.fixture
def agedb(tmp_path):
    root = tmp_path / "agedb"
    faces.write_agedb(root, COUNTS, size=8)
    prepare_split("agedb-dir", root)
    return root


def user_images(root):
    """Plan the user's images as ``compare --image`` does."""
    table = load_table(str(root / "labels.csv"))
    labels = read_labels(table, "years")
    split = balanced_split(labels.astype(np.int64), max_per_bin=2, seed=666)
    images = ImageTable(image_paths(table, "file"), labels).with_split(split)
    return ImagePlan("images", root, images, LabelBins.integers(20, 31))


def test_plan_reads_prepared_split_file(agedb):
    plan = plan_ages("agedb-dir", data_dir=agedb)
    prepared = read_split_file(agedb / "agedb.csv")
    assert (plan.name, plan.root, plan.bins) == ("agedb-dir", agedb, agedb_dir.BINS)
    assert plan.table.paths == prepared.paths
    assert plan.table.parts.tolist() == prepared.parts.tolist()
    np.testing.assert_array_equal(plan.table.labels, prepared.labels)
    assert plan.facts == {"sha256": sha256(agedb / "agedb.csv")}
    assert not plan.comparable  # drawn here


def test_split_by_identity_keeps_persons_apart(agedb):
    plan = plan_ages("agedb-dir", data_dir=agedb, split_by="identity")
    benchmark, datasets = load_images(plan, 4)
    persons = [{path.split("_")[1] for path in part.paths} for part in benchmark.parts]
    assert not persons[0] & persons[1] | persons[0] & persons[2] | persons[1] & persons[2]
    assert benchmark.facts["split_by"] == "identity"
    assert benchmark.facts["counts"] == [len(dataset) for dataset in datasets]
    assert not benchmark.comparable
    names = [path.split("_")[1] for path in benchmark.test.paths]
    assert len(set(benchmark.groups.tolist())) == len(set(names))
    assert len(set(zip(names, benchmark.groups.tolist(), strict=True))) == len(set(names))
    report = benchmark.report
    assert report.notes["Persons"] == f"{len(set(names))} in the test set, none of them in training"
    assert report.split["method"] == "whole persons"
    assert [report.split[name] for name in PARTS] == benchmark.facts["counts"]


def test_report_of_an_age_benchmark(agedb):
    (agedb / read_split_file(agedb / "agedb.csv").paths[0]).write_bytes(b"none")
    plan = plan_ages("agedb-dir", data_dir=agedb)
    benchmark, _ = load_images(plan, 4, skip_broken=True)
    persons = [{path.split("_")[1] for path in part.paths} for part in benchmark.parts]
    images = [path.split("_")[1] in persons[0] for path in benchmark.test.paths]
    report = benchmark.report
    assert report.rows == {
        "used": TOTAL - 1, "left_out": {"the image cannot be read": 1}
    }  # fmt: skip
    assert report.notes["Images"] == f"{TOTAL - 1} read at 4 × 4 pixels; 1 skipped"
    assert report.notes["Persons"].startswith(
        f"{len(persons[0] & persons[2])} of the {len(persons[2])} in the test set, with "
        f"{sum(images)} of its {len(images)} images, have other images in training"
    )
    assert benchmark.groups is None


def test_finds_split_file_and_images_in_all_places(agedb, tmp_path, monkeypatch):
    def root(**given):
        return plan_ages("agedb-dir", **given).root

    other = agedb / "agedb-dir"
    other.mkdir()
    (agedb / "agedb.csv").rename(other / "agedb.csv")
    assert root(data_dir=agedb) == agedb  # images in the folder that was named
    inner = tmp_path / "data" / "agedb-dir"
    inner.parent.mkdir()
    agedb.rename(inner)
    (inner / "agedb-dir" / "agedb.csv").rename(inner / "agedb.csv")
    assert root(data_dir=tmp_path / "data") == inner  # beside the table
    assert root(data_dir=inner) == inner
    file = tmp_path / "elsewhere.csv"
    (inner / "agedb.csv").rename(file)
    assert root(data_dir=inner, split_file=file) == inner
    monkeypatch.setenv("RANKSIM_DATA", str(inner))
    assert root(split_file=file) == inner
    file.rename(inner / "agedb.csv")
    assert root() == inner
    monkeypatch.delenv("RANKSIM_DATA")
    assert root(split_file=inner / "agedb.csv") == inner
    monkeypatch.setenv("RANKSIM_DATA", str(tmp_path))  # the folder that is named comes first
    assert root(data_dir=inner) == inner


def test_missing_split_file_names_the_command(tmp_path, monkeypatch):
    command = r"`ranksim data prepare {} --root DIR{}`, then pass --data-dir DIR"
    cases = (
        ({"data_dir": tmp_path}, "agedb-dir", None),
        ({}, "imdb-wiki-dir", "blindspot"),
    )
    for options, name, protocol in cases:
        expected = command.format(name, f" --protocol {protocol}" if protocol else "")
        with pytest.raises(DataError, match=expected):
            plan_ages(name, protocol=protocol, **options)
    monkeypatch.setenv("RANKSIM_DATA", str(tmp_path / "gone"))
    with pytest.raises(DataError, match=r"gone does not contain imdb_wiki\.csv"):
        plan_ages("imdb-wiki-dir")
    with pytest.raises(DataError, match="is not a file: .* --split-file"):
        plan_ages("agedb-dir", split_file=tmp_path)


def test_agedb_without_images_names_the_folder(agedb):
    (agedb / "AgeDB").rename(agedb / "Old")
    with pytest.raises(DataError, match="has no readable folder AgeDB: .* --archive AgeDB.zip"):
        plan_ages("agedb-dir", data_dir=agedb)


def published(monkeypatch, root, name="agedb.csv"):
    """Register the rows of a split file as the published ones."""
    table = read_split_file(root / name, allow_repeats=True)
    monkeypatch.setitem(agedb_dir.FINGERPRINTS, name, agedb_dir.fingerprint(table))
    return table


@pytest.mark.parametrize("how", ["prepared", "split file", "copied"])
def test_published_split_is_comparable(agedb, tmp_path, monkeypatch, how):
    table = published(monkeypatch, agedb)
    given = {"data_dir": agedb}
    if how != "prepared":  # names as in the file that was published, before images were renamed
        file = (tmp_path if how == "split file" else agedb) / "agedb.csv"
        (agedb / "agedb.csv").rename(file)
        old = agedb / table.paths[3]
        old.rename(old.with_name(old.name.replace("Drawn", "Réal")))
        given |= {"split_file": file} if how == "split file" else {}
    plan = plan_ages("agedb-dir", **given)
    assert plan.comparable
    benchmark, _ = load_images(plan, 4)  # every image is found
    assert benchmark.comparable
    assert [len(part) for part in benchmark.parts] == list(table.counts)


@pytest.mark.parametrize("how", ["part", "label", "row", "broken"])
def test_changed_split_is_not_comparable(agedb, monkeypatch, how):
    table = published(monkeypatch, agedb)
    if how == "part":
        val, train = (np.flatnonzero(table.parts == name)[0] for name in ("val", "train"))
        table.parts[[val, train]] = table.parts[[train, val]]
    elif how == "label":
        table.labels[0] += 1
    elif how == "row":
        table = table.take(np.arange(1, len(table)))
    else:
        (agedb / table.paths[-1]).write_bytes(b"")
    write_split_file(agedb / "agedb.csv", table)
    plan = plan_ages("agedb-dir", data_dir=agedb)
    assert plan.comparable == (how == "broken")
    benchmark, _ = load_images(plan, 4, skip_broken=True)
    assert not benchmark.comparable


def test_rejects_published_split_under_another_name(agedb, monkeypatch):
    table = published(monkeypatch, agedb)
    write_split_file(agedb / "agedb_blindspot.csv", table)
    with pytest.raises(DataError, match=r"published agedb\.csv, not agedb_blindspot\.csv"):
        plan_ages("agedb-dir", data_dir=agedb, protocol="blindspot")


@pytest.mark.slow
def test_real_published_split_is_comparable_and_a_draw_is_not(shared_data, tmp_path):
    path = shared_data / "agedb-dir" / "agedb.csv"
    if not path.is_file():
        pytest.skip("the AgeDB-DIR splits are not here: put them into ../shared/data")
    (tmp_path / "AgeDB").mkdir()
    for name in read_split_file(path).paths:
        (tmp_path / name).touch()
    plan = plan_ages("agedb-dir", data_dir=tmp_path, split_file=path)
    assert plan.comparable
    assert plan.table.counts == agedb_dir.COUNTS
    prepare_split("agedb-dir", tmp_path, check=lambda root, paths: {})
    plan = plan_ages("agedb-dir", data_dir=tmp_path)
    assert plan.table.counts == agedb_dir.COUNTS
    assert not plan.comparable


def test_plan_reads_imdb_wiki(drawn, monkeypatch):
    prepared = prepare_split("imdb-wiki-dir", drawn)
    plan = plan_ages("imdb-wiki-dir", data_dir=drawn)
    assert (plan.root, plan.bins, plan.comparable) == (drawn, imdb_wiki_dir.BINS, False)
    assert sum(plan.table.counts) == TOTAL
    monkeypatch.setattr(imdb_wiki_dir, "COUNTS", prepared.counts)
    assert plan_ages("imdb-wiki-dir", data_dir=drawn).comparable
    (drawn / "imdb_wiki.csv").rename(drawn / "imdb_wiki_blindspot.csv")
    assert not plan_ages("imdb-wiki-dir", data_dir=drawn, protocol="blindspot").comparable


@pytest.mark.parametrize("protocol", ["extrapolation", "interpolation", "blindspot"])
def test_published_protocol_repeats_images(tmp_path, protocol):
    faces.write_agedb(tmp_path, dict.fromkeys(range(20, 26), 3), size=8)
    table = agedb_dir.find_images(tmp_path).table
    parts = np.array([PARTS[k % 3] for k in range(len(table))])
    rows = np.array([*range(len(table)), 0, 0, 2])
    name = f"agedb_{protocol}.csv"
    write_split_file(tmp_path / name, type(table)(table.paths, table.labels, parts).take(rows))
    plan = plan_ages("agedb-dir", data_dir=tmp_path, protocol=protocol)
    benchmark, datasets = load_images(plan, 4)
    train, _, test = datasets
    assert benchmark.facts["counts"] == [8, 6, 7]
    assert train.rows[[0, -2, -1]].unique().numel() == 1
    assert test.rows[0] == test.rows[-1]
    assert len({row for data in datasets for row in data.rows.tolist()}) == 18
    (tmp_path / table.paths[0]).write_bytes(b"")
    with pytest.raises(DataError, match=f"^1 of 18 images .*{table.paths[0]} .the file is empty"):
        load_images(plan, 4)
    benchmark, _ = load_images(plan, 4, skip_broken=True)
    assert benchmark.facts["counts"] == [5, 6, 7]  # each of its rows
    assert benchmark.facts["n_skipped"] == 1


def decode_with_pillow(path, size):
    """Decode by Pillow alone: images are complete; some are gray, turned, or have alpha."""
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def test_loads_user_images_as_batches(drawn):
    plan, progress = user_images(drawn), []
    benchmark, datasets = load_images(plan, 5, on_progress=progress.append)
    assert progress[-1] == TOTAL
    assert benchmark.name == "images"
    assert not benchmark.comparable
    assert benchmark.facts == plan.facts | {"counts": list(plan.table.counts)}
    for name, samples, data in zip(PARTS, benchmark.parts, datasets, strict=True):
        table = plan.table.part(name)
        assert (samples.paths, len(samples)) == (table.paths, len(table))
        np.testing.assert_array_equal(samples.labels, table.labels)
        batch = data.__getitems__(list(range(len(data))))
        np.testing.assert_array_equal(batch["label"], table.labels)
        expected = np.stack([decode_with_pillow(drawn / path, 5) for path in table.paths])
        np.testing.assert_array_equal(batch["inputs"][0], expected)


def test_regions_count_training_labels(drawn):
    plan = user_images(drawn)
    benchmark, _ = load_images(plan, 5)
    training = plan.table.part("train").labels
    for shots in ("rule", "published"):  # there is no list of such data
        regions = benchmark.regions(shots)
        assert regions.bins == benchmark.bins
        assert regions.counts.tolist() == [np.count_nonzero(training == age) for age in COUNTS]
        assert regions.names == tuple("medium" if age in (25, 26) else "few" for age in COUNTS)


def test_broken_images_are_an_error_or_skipped(agedb):
    plan = plan_ages("agedb-dir", data_dir=agedb)
    broken = {}
    for name, count in (("train", 3), ("val", 2), ("test", 1)):
        for path in plan.table.part(name).paths[:count]:
            (agedb / path).write_bytes(b"not an image")
            broken[path] = "the file is not an image of a known format"
    order = [path for path in plan.table.paths if path in broken]
    first = ", ".join(f"{path} (the file is not an image of a known format)" for path in order[:5])
    note = f"6 of {TOTAL} images cannot be used: {first}, …"
    with pytest.raises(DataError, match=f"^{re.escape(note)}: .* --skip-broken"):
        load_images(plan, 4)
    benchmark, datasets = load_images(plan, 4, skip_broken=True)
    for name, count, samples, data in zip(PARTS, (3, 2, 1), benchmark.parts, datasets, strict=True):
        table = plan.table.part(name)
        assert samples.paths == table.paths[count:]
        np.testing.assert_array_equal(samples.labels, table.labels[count:])
        np.testing.assert_array_equal(data.labels, table.labels[count:])
        expected = np.stack([decode_with_pillow(agedb / path, 4) for path in samples.paths])
        images = data.__getitems__(list(range(len(data))))["inputs"][0]
        np.testing.assert_array_equal(images, expected)
    counts = [count - left for count, left in zip(plan.table.counts, (3, 2, 1), strict=True)]
    left = {"n_skipped": 6, "skipped_note": note}
    assert benchmark.facts == plan.facts | {"counts": counts} | left
    assert benchmark.regions("rule").counts.sum() == counts[0]


@pytest.mark.parametrize("part", PARTS)
def test_rejects_a_part_without_usable_images(agedb, part):
    plan = plan_ages("agedb-dir", data_dir=agedb)
    for path in plan.table.part(part).paths:
        (agedb / path).unlink()
    message = f"The {PART_TITLES[part]} set has no samples .no usable image"
    with pytest.raises(DataError, match=message):
        load_images(plan, 4, skip_broken=True)
