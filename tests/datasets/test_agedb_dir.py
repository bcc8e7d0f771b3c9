import os
import re

import numpy as np
import pytest

from ranksim._utils.storage import sha256
from ranksim.data.images.table import ImageTable, read_table
from ranksim.datasets import agedb_dir
from ranksim.exceptions import DataError

NAMES = ["10_AnnB_44_f.jpg", "2_CharlieD_8_m.jpg", "1_E_F_101_m.jpg", "30_WillSmith _36_m.jpg"]


def folder(root, names):
    (root / "AgeDB").mkdir()
    for name in names:
        (root / "AgeDB" / name).touch()
    return root


@pytest.mark.parametrize("order", [NAMES, NAMES[::-1]])
def test_ages_are_those_of_the_names_in_the_order_of_paths(tmp_path, order):
    found = agedb_dir.find(folder(tmp_path, order))
    assert found.table.paths == (
        "AgeDB/10_AnnB_44_f.jpg", "AgeDB/1_E_F_101_m.jpg", "AgeDB/2_CharlieD_8_m.jpg",
        "AgeDB/30_WillSmith _36_m.jpg",
    )  # fmt: skip
    assert found.table.labels.tolist() == [44, 101, 8, 36]
    assert found.table.parts is None
    assert (found.odd, found.left_out) == ((), {})


@pytest.mark.parametrize("seed", [0, 1])
def test_the_order_of_the_file_system_does_not_matter(tmp_path, monkeypatch, seed):
    expected = agedb_dir.find(folder(tmp_path, [f"{i}_A_{i % 70}_m.jpg" for i in range(50)])).table
    scan, seen = os.scandir, []

    class Shuffled:
        def __init__(self, path):
            with scan(path) as entries:
                self.entries = list(entries)
            np.random.default_rng(seed).shuffle(self.entries)
            seen.append([entry.name for entry in self.entries])

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(agedb_dir.os, "scandir", Shuffled)
    found = agedb_dir.find(tmp_path).table
    assert seen[0] != sorted(seen[0])
    assert found.paths == expected.paths
    np.testing.assert_array_equal(found.labels, expected.labels)


def test_clutter_is_passed_over_and_odd_images_are_listed(tmp_path):
    clutter = ["Thumbs.db", ".DS_Store", "._10_AnnB_44_f.jpg", "readme.txt"]
    odd = ["10_AnnB_44_x.jpg", "AnnB_44_f.jpg", "11_AnnB_44_f.JPG", "12_AnnB_121_f.jpg", "x.jpeg",
           "13_Ann\udc82_44_f.jpg"]  # fmt: skip
    found = agedb_dir.find(folder(tmp_path, NAMES + clutter + odd))
    assert len(found.table) == len(NAMES)
    assert found.odd == tuple(sorted(odd))


@pytest.mark.parametrize("kind", ["nothing", "file"])
def test_a_missing_folder_says_where_the_images_come_from(tmp_path, kind):
    if kind == "file":
        (tmp_path / "AgeDB").touch()
    sentence = (
        f"{tmp_path} has no readable folder AgeDB: AgeDB is given out by its authors with a "
        "password; ask them, and then put the images there as "
        "AgeDB/<index>_<Name>_<age>_<gender>.jpg, or let --archive AgeDB.zip unpack them."
    )
    with pytest.raises(DataError, match=f"^{re.escape(sentence)}$"):
        agedb_dir.find(tmp_path)


def test_a_folder_in_the_folder_is_no_image(tmp_path):
    (tmp_path / "AgeDB" / "AgeDB").mkdir(parents=True)
    sentence = (
        f"{tmp_path / 'AgeDB'} holds no image named <index>_<Name>_<age>_<gender>.jpg: put the "
        "images of AgeDB directly into it."
    )
    with pytest.raises(DataError, match=f"^{re.escape(sentence)}$"):
        agedb_dir.find(tmp_path)


def test_names_in_another_code_page_are_found_by_index_age_and_gender(tmp_path):
    root = folder(tmp_path, ["15872_StéphaneAudran_44_f.jpg", "3_A_20_m.jpg", "4_B_20_m.jpg"])
    published = ("AgeDB/15872_StВphaneAudran_44_f.jpg", "AgeDB/3_A_20_m.jpg",
                 "AgeDB/4_B_21_m.jpg", "other.jpg")  # fmt: skip
    table = ImageTable(published, np.array([44, 20, 21, 5]), np.array(["train"] * 4))
    here = agedb_dir.as_on_disk(table, root)
    assert here.paths == ("AgeDB/15872_StéphaneAudran_44_f.jpg", *published[1:])
    assert here.parts is table.parts


def test_names_that_are_there_or_could_be_two_files_stay(tmp_path):
    root = folder(tmp_path, ["7_A_20_m.jpg", "7_B_20_m.jpg", "8_C_20_m.jpg"])
    paths = ("AgeDB/7_A_20_m.jpg", "AgeDB/7_B_20_m.jpg", "AgeDB/7_X_20_m.jpg", "AgeDB/8_X_20_m.jpg")
    here = agedb_dir.as_on_disk(ImageTable(paths, np.full(4, 20.0)), root).paths
    assert here == (*paths[:3], "AgeDB/8_C_20_m.jpg")


def published(shared_data, name):
    path = shared_data / "agedb-dir" / name
    if not path.is_file():
        pytest.skip("the AgeDB-DIR splits are not here: put them into ../shared/data")
    return path


@pytest.mark.parametrize("name", agedb_dir.CHECKSUMS)
def test_checksums_and_counts_are_those_of_the_published_files(shared_data, name):
    path = published(shared_data, name)
    assert sha256(path) == agedb_dir.CHECKSUMS[name]
    table = read_table(path, target="age", repeats=name != agedb_dir.FILE)
    protocol = name.removeprefix("agedb_").removesuffix(".csv")
    assert table.counts == agedb_dir.PROTOCOL_COUNTS.get(protocol, agedb_dir.COUNTS)
    assert agedb_dir.fingerprint(table) == agedb_dir.FINGERPRINTS[name]
    assert agedb_dir.published_name(table.take(np.arange(len(table))[::-1])) == name
    assert agedb_dir.published_name(table.take(np.arange(1, len(table)))) is None
    one_moved = np.where(np.arange(len(table)) == 0, "test", table.parts)
    assert table.parts[0] != "test"
    moved = ImageTable(table.paths, table.labels, one_moved)
    assert agedb_dir.published_name(moved) is None


def test_published_names_have_the_form_and_the_age(shared_data, tmp_path):
    table = read_table(published(shared_data, agedb_dir.FILE), target="age")
    order = np.argsort(table.paths)
    assert len(table) == 16_488
    found = agedb_dir.find(folder(tmp_path, [path.split("/")[1] for path in table.paths]))
    assert found.odd == ()
    assert found.table.paths == table.take(order).paths
    np.testing.assert_array_equal(found.table.labels, table.labels[order])
