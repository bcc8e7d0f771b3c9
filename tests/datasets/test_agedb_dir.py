import os

import numpy as np
import pytest

from ranksim._utils.storage import sha256
from ranksim.data.images.table import ImageTable, read_split_file
from ranksim.datasets import agedb_dir
from ranksim.datasets.image_benchmarks import describe_persons
from ranksim.exceptions import DataError

NAMES = ["10_AnnB_44_f.jpg", "2_CharlieD_8_m.jpg", "1_E_F_101_m.jpg", "30_WillSmith _36_m.jpg"]


def folder(root, names):
    (root / "AgeDB").mkdir()
    for name in names:
        (root / "AgeDB" / name).touch()
    return root


@pytest.mark.parametrize("order", [NAMES, NAMES[::-1]])
def test_reads_ages_from_names_sorted_by_path(tmp_path, order):
    listing = agedb_dir.find_images(folder(tmp_path, order))
    assert listing.table.paths == (
        "AgeDB/10_AnnB_44_f.jpg", "AgeDB/1_E_F_101_m.jpg", "AgeDB/2_CharlieD_8_m.jpg",
        "AgeDB/30_WillSmith _36_m.jpg",
    )  # fmt: skip
    assert listing.table.labels.tolist() == [44, 101, 8, 36]
    assert listing.table.parts is None
    assert (listing.skipped, listing.excluded) == ((), {})


@pytest.mark.parametrize("seed", [0, 1])
def test_order_of_the_file_system_does_not_matter(tmp_path, monkeypatch, seed):
    expected = agedb_dir.find_images(
        folder(tmp_path, [f"{i}_A_{i % 70}_m.jpg" for i in range(50)])
    ).table
    scan, orders = os.scandir, []

    class Shuffled:
        def __init__(self, path):
            with scan(path) as entries:
                self.entries = list(entries)
            np.random.default_rng(seed).shuffle(self.entries)
            orders.append([entry.name for entry in self.entries])

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(agedb_dir.os, "scandir", Shuffled)
    listing = agedb_dir.find_images(tmp_path).table
    assert orders[0] != sorted(orders[0])
    assert listing.paths == expected.paths
    np.testing.assert_array_equal(listing.labels, expected.labels)


def test_ignores_other_files_and_lists_misnamed_images(tmp_path):
    clutter = ["Thumbs.db", ".DS_Store", "._10_AnnB_44_f.jpg", "readme.txt"]
    misnamed = ["10_AnnB_44_x.jpg", "AnnB_44_f.jpg", "11_AnnB_44_f.JPG", "12_AnnB_121_f.jpg"]
    misnamed += ["x.jpeg", "13_Ann\udc82_44_f.jpg"]
    listing = agedb_dir.find_images(folder(tmp_path, NAMES + clutter + misnamed))
    assert len(listing.table) == len(NAMES)
    assert listing.skipped == tuple(sorted(misnamed))


@pytest.mark.parametrize("kind", ["nothing", "file"])
def test_missing_folder_names_the_remedy(tmp_path, kind):
    if kind == "file":
        (tmp_path / "AgeDB").touch()
    with pytest.raises(DataError, match="no readable folder AgeDB: .* --archive AgeDB.zip"):
        agedb_dir.find_images(tmp_path)


def test_rejects_folder_without_images(tmp_path):
    (tmp_path / "AgeDB" / "AgeDB").mkdir(parents=True)
    with pytest.raises(DataError, match="AgeDB contains no image named <index>_<Name>_<age>"):
        agedb_dir.find_images(tmp_path)


def test_finds_renamed_files_by_index_age_and_gender(tmp_path):
    root = folder(tmp_path, ["15872_StéphaneAudran_44_f.jpg", "3_A_20_m.jpg", "4_B_20_m.jpg"])
    published = ("AgeDB/15872_StВphaneAudran_44_f.jpg", "AgeDB/3_A_20_m.jpg",
                 "AgeDB/4_B_21_m.jpg", "other.jpg")  # fmt: skip
    table = ImageTable(published, np.array([44, 20, 21, 5]), np.array(["train"] * 4))
    renamed = agedb_dir.use_names_on_disk(table, root)
    assert renamed.paths == ("AgeDB/15872_StéphaneAudran_44_f.jpg", *published[1:])
    assert renamed.parts is table.parts


def test_keeps_existing_and_ambiguous_names(tmp_path):
    root = folder(tmp_path, ["7_A_20_m.jpg", "7_B_20_m.jpg", "8_C_20_m.jpg"])
    paths = ("AgeDB/7_A_20_m.jpg", "AgeDB/7_B_20_m.jpg", "AgeDB/7_X_20_m.jpg", "AgeDB/8_X_20_m.jpg")
    renamed = agedb_dir.use_names_on_disk(ImageTable(paths, np.full(4, 20.0)), root).paths
    assert renamed == (*paths[:3], "AgeDB/8_C_20_m.jpg")


def published(shared_data, name):
    path = shared_data / "agedb-dir" / name
    if not path.is_file():
        pytest.skip("the AgeDB-DIR splits are not here: put them into ../shared/data")
    return path


@pytest.mark.parametrize("name", agedb_dir.CHECKSUMS)
def test_published_files_have_the_known_checksums_and_counts(shared_data, name):
    path = published(shared_data, name)
    assert sha256(path) == agedb_dir.CHECKSUMS[name]
    table = read_split_file(path, allow_repeats=name != agedb_dir.FILE)
    protocol = name.removeprefix("agedb_").removesuffix(".csv")
    assert table.counts == agedb_dir.PROTOCOL_COUNTS.get(protocol, agedb_dir.COUNTS)
    assert agedb_dir.fingerprint(table) == agedb_dir.FINGERPRINTS[name]
    assert agedb_dir.published_name(table.take(np.arange(len(table))[::-1])) == name
    assert agedb_dir.published_name(table.take(np.arange(1, len(table)))) is None
    one_moved = np.where(np.arange(len(table)) == 0, "test", table.parts)
    assert table.parts[0] != "test"
    moved = ImageTable(table.paths, table.labels, one_moved)
    assert agedb_dir.published_name(moved) is None


@pytest.mark.slow
def test_published_names_have_the_form_and_age(shared_data, tmp_path):
    table = read_split_file(published(shared_data, agedb_dir.FILE))
    order = np.argsort(table.paths)
    assert len(table) == 16_488
    listing = agedb_dir.find_images(folder(tmp_path, [path.split("/")[1] for path in table.paths]))
    assert listing.skipped == ()
    assert listing.table.paths == table.take(order).paths
    np.testing.assert_array_equal(listing.table.labels, table.labels[order])


def test_reads_persons_from_file_names():
    names = ["AgeDB/10_AnnB_44_f.jpg", "AgeDB/1_E_F_101_m.jpg", "AgeDB/30_WillSmith _36_m.jpg",
             "other/2_CharlieD.jpg"]  # fmt: skip
    table = ImageTable(tuple(names), np.arange(4.0))
    persons = ["AnnB", "E_F", "WillSmith", "other/2_CharlieD.jpg"]
    assert agedb_dir.read_identities(table) == persons


def draw_persons(count=400, seed=0):
    """Draw images of 40 persons with ages, each in a random part."""
    draw = np.random.default_rng(seed)
    ages = draw.integers(20, 30, count)
    paths = tuple(f"AgeDB/{k}_P{draw.integers(40)}_{age}_m.jpg" for k, age in enumerate(ages))
    return ImageTable(paths, ages, draw.choice(["train", "val", "test"], count))


def persons_by_part(table):
    parts = {}
    for path, part in zip(table.paths, table.parts, strict=True):
        parts.setdefault(part, set()).add(path.split("_")[1])
    return parts


@pytest.mark.parametrize("seed", [0, 1])
def test_split_by_identity_keeps_persons_in_one_part(seed):
    table = draw_persons(seed=seed)
    assert persons_by_part(table)["train"] & persons_by_part(table)["test"]
    split = agedb_dir.split_by_identity(table)
    parts = persons_by_part(split)
    assert not parts["train"] & parts["val"]
    assert not parts["train"] & parts["test"]
    assert not parts["val"] & parts["test"]
    for name in ("val", "test"):
        part = split.part(name)
        assert np.bincount(part.labels.astype(int)).max() <= 30
        assert 20 <= len(part) <= 70
    shuffled = table.take(np.random.default_rng(1).permutation(len(table)))
    repeated = shuffled.take(np.array([*range(len(table)), 0, 7]))
    again = agedb_dir.split_by_identity(repeated)  # neither order nor repeats matter
    assert again.paths == split.paths
    assert again.parts.tolist() == split.parts.tolist()


def test_published_test_persons_are_in_training(shared_data):
    """All 544 persons of the test set, and so all of its 2,140 images."""
    table = read_split_file(published(shared_data, agedb_dir.FILE))
    parts = persons_by_part(table)
    assert len(parts["test"]) == 544
    assert parts["test"] <= parts["train"]
    assert (len(set.union(*parts.values())), len(table.part("test"))) == (567, 2_140)
    text = describe_persons(agedb_dir.read_identities(table), table.split)
    assert text == (
        "544 of the 544 in the test set, with 2,140 of its 2,140 images, have other images in "
        "training; --split-by identity keeps them apart"
    )
    split = agedb_dir.split_by_identity(table)
    text = describe_persons(agedb_dir.read_identities(split), split.split)
    assert text == "87 in the test set, none of them in training"
    assert split.counts == (11_542, 1_891, 1_848)
