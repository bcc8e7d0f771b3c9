import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from scipy.io import savemat

from ranksim._utils.storage import sha256
from ranksim.data.images.table import ImageTable, read_table, write_table
from ranksim.datasets import agedb_dir, imdb_wiki_dir
from ranksim.datasets.prepare import describe, prepare
from ranksim.exceptions import DataError, UsageError


def sound(root, paths):
    """A check that finds nothing wrong with files that are there."""
    return {path: "missing" for path in paths if not (root / path).is_file()}


def faces(root, ages):
    """Empty files in the form of AgeDB."""
    (root / "AgeDB").mkdir(parents=True, exist_ok=True)
    for index, age in enumerate(ages):
        (root / "AgeDB" / f"{index}_Some One_{age}_{'fm'[index % 2]}.jpg").touch()
    return root


@pytest.fixture
def ages():
    return np.random.default_rng(0).integers(20, 40, 600).tolist()


@pytest.fixture
def root(tmp_path, ages):
    return faces(tmp_path / "images", ages)


@pytest.fixture
def published(tmp_path, root, monkeypatch):
    """Small files whose checksums and counts are made the published ones."""
    table = agedb_dir.find(root).table
    counts = {}
    for number, name in enumerate(agedb_dir.CHECKSUMS):
        draw = np.random.default_rng(number)
        parts = draw.choice(["train", "val", "test"], len(table), p=[0.8, 0.1, 0.1])
        written = ImageTable(table.paths, table.labels, parts)
        if number:  # the protocols repeat images
            written = written.take(np.append(np.arange(len(table)), [0, 0, 5]))
        write_table(tmp_path / name, written)
        monkeypatch.setitem(agedb_dir.CHECKSUMS, name, sha256(tmp_path / name))
        monkeypatch.setitem(agedb_dir.FINGERPRINTS, name, agedb_dir.fingerprint(written))
        counts[name] = written.counts
        protocol = name.removeprefix("agedb_").removesuffix(".csv")
        monkeypatch.setitem(agedb_dir.PROTOCOL_COUNTS, protocol, written.counts)
    monkeypatch.setattr(agedb_dir, "COUNTS", counts[agedb_dir.FILE])
    return tmp_path


def test_the_published_file_is_recognised_and_copied(root, published):
    prepared = prepare("agedb-dir", root, split_file=published / "agedb.csv", check=sound)
    assert prepared.path == root / "agedb.csv"
    assert prepared.path.read_bytes() == (published / "agedb.csv").read_bytes()
    assert (prepared.published, prepared.matches, prepared.drawn) == (True, True, False)
    assert prepared.counts == prepared.expected == agedb_dir.COUNTS
    train, val, test = prepared.counts
    assert describe(prepared) == [
        f"{root / 'agedb.csv'} lists {train} training, {val} validation and {test} test rows of "
        "600 images.",
        "This is the published split.",
    ]


@pytest.mark.parametrize("protocol", ["extrapolation", "interpolation", "blindspot"])
def test_a_published_protocol_keeps_its_repeats(root, published, protocol):
    name = f"agedb_{protocol}.csv"
    prepared = prepare(
        "agedb-dir", root, split_file=published / name, protocol=protocol, check=sound
    )
    assert prepared.path == root / name
    assert prepared.path.read_bytes() == (published / name).read_bytes()
    assert prepared.published
    assert (sum(prepared.counts), prepared.images) == (603, 600)


@pytest.mark.parametrize(
    ("benchmark", "protocol", "given", "wanted"),
    [("agedb-dir", None, "agedb_blindspot.csv", "agedb.csv"),
     ("agedb-dir", "blindspot", "agedb.csv", "agedb_blindspot.csv"),
     ("agedb-dir", "blindspot", "agedb_extrapolation.csv", "agedb_blindspot.csv"),
     ("imdb-wiki-dir", None, "agedb.csv", "imdb_wiki.csv")],
)  # fmt: skip
def test_a_published_file_of_another_protocol_is_refused(
    root, published, benchmark, protocol, given, wanted
):
    sentence = (
        f"{published / given} is the published {given}, where the split of {wanted} was expected: "
        "name that one, or ask for the benchmark and protocol of this one."
    )
    with pytest.raises(DataError, match=f"^{re.escape(sentence)}$"):
        prepare(benchmark, root, split_file=published / given, protocol=protocol, check=sound)
    assert not (root / wanted).exists()


def test_a_file_of_ones_own_is_taken_and_compared(root, published):
    own = published / "own.csv"
    table = read_table(published / "agedb.csv", target="age")
    write_table(own, table.take(np.arange(500)))
    prepared = prepare("agedb-dir", root, split_file=own, check=sound)
    assert (prepared.published, prepared.matches, prepared.drawn) == (False, False, False)
    expected = "{}, {} and {}".format(*agedb_dir.COUNTS)
    assert describe(prepared)[1:] == [
        f"The split is the one of the file given: the published one has {expected} rows, so "
        "results on it do not compare with published tables."
    ]
    rows = table.part("train").take(np.arange(1)), table.part("test").take(np.arange(1))
    lines = (published / "agedb.csv").read_text()
    for one, part, other in ((rows[0], "train", "test"), (rows[1], "test", "train")):
        lines = lines.replace(f"{one.paths[0]},{part}\n", f"{one.paths[0]},{other}\n")
    own.write_text(lines)
    prepared = prepare("agedb-dir", root, split_file=own, check=sound)
    assert (prepared.published, prepared.matches) == (False, True)
    assert describe(prepared)[1:] == [
        "The split is the one of the file given: its counts are the published ones; whether its "
        "rows are could not be verified."
    ]


def test_the_published_rows_saved_by_another_program_are_recognised(root, published):
    header, *lines = (published / "agedb.csv").read_text().splitlines()
    own = published / "own.csv"
    own.write_text("\r\n".join([header, *lines[::-1]]))
    assert prepare("agedb-dir", root, split_file=own, check=sound).published


def test_names_in_the_other_code_page_are_written_as_they_are_here(root, published):
    old = agedb_dir.find(root).table.paths[0]
    new = old.replace("Some One", "André")
    (root / old).rename(root / new)
    prepared = prepare("agedb-dir", root, split_file=published / "agedb.csv", check=sound)
    assert (prepared.broken, prepared.published) == ({}, True)
    content = (published / "agedb.csv").read_text(encoding="utf-8")
    assert prepared.path.read_text(encoding="utf-8") == content.replace(old, new)


def test_drawn_by_the_rule(root, ages):
    prepared = prepare("agedb-dir", root, check=sound)
    table = read_table(prepared.path, target="age")
    assert table.paths == tuple(sorted(table.paths))
    counts = np.bincount(ages)
    for part in ("val", "test"):
        np.testing.assert_array_equal(
            np.bincount(table.part(part).labels.astype(int), minlength=40),
            np.minimum(counts // 3, 30),
        )
    assert len(table) == 600
    assert (prepared.drawn, prepared.published, prepared.matches) == (True, False, False)
    assert describe(prepared)[1:] == [
        "The split is drawn here with seed 666: the published one has 12,208, 2,140 and 2,140 "
        "rows, so results on it do not compare with published tables."
    ]


def test_the_order_in_which_files_were_made_does_not_matter(tmp_path):
    names = [f"{index}_A_{20 + index % 7}_m.jpg" for index in range(200)]
    written = []
    for number in range(2):
        folder = tmp_path / str(number)
        (folder / "AgeDB").mkdir(parents=True)
        for name in np.random.default_rng(number).permutation(names):
            (folder / "AgeDB" / name).touch()
        written.append(prepare("agedb-dir", folder, check=sound).path.read_bytes())
    assert written[0] == written[1]
    other = prepare("agedb-dir", folder, check=sound, seed=1).path.read_bytes()
    assert other != written[0]


def test_the_published_rule_on_the_published_images(shared_data, tmp_path):
    """Counts of every age in validation and test are those of the published file."""
    path = shared_data / "agedb-dir" / "agedb.csv"
    if not path.is_file():
        pytest.skip("the AgeDB-DIR splits are not here: put them into ../shared/data")
    table = read_table(path, target="age")
    (tmp_path / "AgeDB").mkdir()
    for name in table.paths:
        (tmp_path / name).touch()
    prepared = prepare("agedb-dir", tmp_path, check=sound)
    assert prepared.counts == (12_208, 2_140, 2_140)
    assert (prepared.matches, prepared.published) == (True, False)
    ours = read_table(prepared.path, target="age")
    for part in ("train", "val", "test"):
        np.testing.assert_array_equal(
            np.bincount(ours.part(part).labels.astype(int), minlength=121),
            np.bincount(table.part(part).labels.astype(int), minlength=121),
        )
    assert ours.part("test").paths != table.part("test").paths
    assert describe(prepared)[1:] == [
        "The split is drawn here with seed 666: the rule and the counts are the published ones, "
        "the draw is not, so results compare with published tables only up to the luck of the "
        "split."
    ]


def test_a_protocol_is_drawn_by_its_rule(tmp_path):
    root = faces(tmp_path, [20 + index % 12 for index in range(12 * 150)])
    prepared = prepare("agedb-dir", root, protocol="blindspot", check=sound)
    assert prepared.path == root / "agedb_blindspot.csv"
    assert prepared.counts[2] == 12 * 50
    assert (prepared.expected, prepared.matches) == ((10_253, 1_257, 2_700), False)
    with pytest.raises(UsageError, match="^Protocol interpolation needs 10 neighbouring label "):
        prepare("agedb-dir", faces(tmp_path / "few", [20] * 300), protocol="interpolation")


def test_broken_images_stop_everything(root):
    paths = [f"AgeDB/{index}" for index in range(3)]
    broken = [path for path in agedb_dir.find(root).table.paths if path.startswith(tuple(paths))]

    def check(folder, checked):
        assert (folder, sorted(checked)) == (root, list(agedb_dir.find(root).table.paths))
        return dict.fromkeys(broken, "truncated")

    first = ", ".join(f"{path} (truncated)" for path in broken[:5])
    sentence = (
        f"{len(broken)} of 600 images cannot be used, first {first} and {len(broken) - 5} more; "
        "mend them, or leave them out with --skip-broken."
    )
    with pytest.raises(DataError, match=f"^{re.escape(sentence)}$"):
        prepare("agedb-dir", root, check=check)
    assert [path.name for path in root.iterdir()] == ["AgeDB"]

    prepared = prepare("agedb-dir", root, check=check, skip_broken=True)
    assert prepared.broken == dict.fromkeys(broken, "truncated")
    assert sum(prepared.counts) == 600 - len(broken)
    assert not set(broken) & set(read_table(prepared.path, target="age").paths)
    assert describe(prepared)[2] == (
        f"Left out {len(broken)} images that cannot be used: {first} and {len(broken) - 5} more."
    )


def test_a_broken_image_does_not_move_the_others(root):
    whole = read_table(prepare("agedb-dir", root, check=sound).path, target="age")
    gone = whole.paths[7]
    prepared = prepare("agedb-dir", root, check=lambda *_: {gone: "empty"}, skip_broken=True)
    rest = read_table(prepared.path, target="age")
    kept = np.flatnonzero(np.array(whole.paths) != gone)
    assert rest.paths == whole.take(kept).paths
    assert rest.parts.tolist() == whole.take(kept).parts.tolist()


def test_a_published_split_without_a_broken_image_is_another_one(root, published):
    gone = agedb_dir.find(root).table.paths[0]  # stands three times
    prepared = prepare(
        "agedb-dir", root, split_file=published / "agedb_blindspot.csv", protocol="blindspot",
        check=lambda *_: {gone: "empty"}, skip_broken=True,
    )  # fmt: skip
    assert (prepared.published, prepared.matches) == (False, False)
    assert sum(prepared.counts) == 600
    with pytest.raises(DataError, match="^1 of 600 images cannot be used, first AgeDB/0_"):
        prepare(
            "agedb-dir", root, split_file=published / "agedb_blindspot.csv",
            protocol="blindspot", check=lambda *_: {gone: "empty"},
        )  # fmt: skip


def test_a_part_that_is_left_empty_is_named(root, published, tmp_path):
    sentence = "leave no validation row: put more images there, or mend those that cannot be used."
    with pytest.raises(DataError, match=f"{re.escape(sentence)}$"):
        prepare("agedb-dir", faces(tmp_path / "few", [20, 21]), check=sound)
    table = read_table(published / "agedb.csv", target="age")
    with pytest.raises(DataError, match=f"{re.escape(sentence)}$"):
        prepare(
            "agedb-dir", root, split_file=published / "agedb.csv", skip_broken=True,
            check=lambda *_: dict.fromkeys(table.part("val").paths, "empty"),
        )  # fmt: skip
    assert not (root / "agedb.csv").exists()


def test_a_killed_command_leaves_the_old_table_or_none(root):
    """Killed while the new one is written, just before it would appear."""
    code = f"""
import os, signal
from pathlib import Path
from ranksim.datasets.prepare import prepare
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
prepare("agedb-dir", Path({str(root)!r}), check=lambda *_: {{}})
"""
    for old in (None, b"old"):
        if old is not None:
            (root / "agedb.csv").write_bytes(old)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
        there = (root / "agedb.csv").read_bytes() if (root / "agedb.csv").exists() else None
        assert there == old
    assert sum(prepare("agedb-dir", root, check=sound).counts) == 600


def test_an_interrupted_check_writes_nothing(root):
    def check(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare("agedb-dir", root, check=check)
    assert os.listdir(root) == ["AgeDB"]


def test_odd_names_are_told(root):
    (root / "AgeDB" / "portrait.jpg").touch()
    prepared = prepare("agedb-dir", root, check=sound)
    assert describe(prepared)[2:] == [
        "Left out 1 files whose names do not have the form <index>_<Name>_<age>_<gender>.jpg: "
        "'portrait.jpg'."
    ]


@pytest.fixture
def lists(tmp_path):
    """IMDB-WIKI's two lists: 300 faces each, of 30, 31 and 32 years; one has no face."""
    for name in imdb_wiki_dir.ORIGINS:
        folder = tmp_path / f"{name}_crop"
        folder.mkdir()
        full_path = np.empty((1, 301), dtype=object)
        full_path[0, :] = [f"{i}.jpg" for i in range(301)]
        savemat(folder / f"{name}.mat", {name: {
            "dob": np.full((1, 301), 720_000),
            "photo_taken": 2001 + np.arange(301).reshape(1, -1) % 3,
            "full_path": full_path,
            "face_score": np.where(np.arange(301) < 300, 2.0, -np.inf).reshape(1, -1),
            "second_face_score": np.full((1, 301), np.nan),
        }})  # fmt: skip
        for i in range(300):
            (folder / f"{i}.jpg").touch()
    return tmp_path


def test_imdb_wiki_is_drawn_by_its_rule_or_taken_from_a_file(lists, tmp_path):
    prepared = prepare("imdb-wiki-dir", lists, check=sound)
    assert prepared.path == lists / "imdb_wiki.csv"
    assert prepared.counts == (600 - 2 * 198, 198, 198)
    assert prepared.expected == (191_509, 11_022, 11_022)
    assert describe(prepared)[2:] == ["Left out 2 entries: no face."]
    own = tmp_path / "own.csv"
    own.write_bytes(prepared.path.read_bytes())
    again = prepare("imdb-wiki-dir", lists, split_file=own, check=sound)
    assert again.path.read_bytes() == own.read_bytes()
    assert (again.drawn, again.left_out) == (False, {})
    with pytest.raises(UsageError, match="^Protocol extrapolation needs 10 label bins of at least"):
        prepare("imdb-wiki-dir", lists, protocol="extrapolation", check=sound)


def test_imdb_wiki_has_no_published_protocol(tmp_path, lists):
    own = tmp_path / "own.csv"
    own.write_text("age,path,split\n" + "".join(
        f"30,imdb_crop/{i}.jpg,{part}\n" for i, part in enumerate(["train", "val", "test"])
    ))  # fmt: skip
    prepared = prepare("imdb-wiki-dir", lists, split_file=own, protocol="blindspot", check=sound)
    assert (prepared.path.name, prepared.expected) == ("imdb_wiki_blindspot.csv", None)
    assert describe(prepared)[1] == (
        "The split is the one of the file given; no published counts are known for it."
    )


def test_what_does_not_exist_is_named(root, tmp_path):
    with pytest.raises(
        UsageError,
        match=r"^Benchmark 'x' has no images to prepare: choose agedb-dir or imdb-wiki-dir\.$",
    ):
        prepare("x", root)
    with pytest.raises(
        UsageError,
        match=r"^Protocol 'x' does not exist: choose extrapolation, interpolation, blindspot\.$",
    ):
        prepare("agedb-dir", root, protocol="x")
    missing = tmp_path / "none.csv"
    sentence = f"{missing} is not a file: name the split file, or leave it out."
    with pytest.raises(DataError, match=f"^{re.escape(sentence)}$"):
        prepare("agedb-dir", root, split_file=missing)


def test_images_are_really_checked_by_default(root):
    """These files are empty."""
    with pytest.raises(DataError, match="^600 of 600 images cannot be used, first AgeDB/0_Some "):
        prepare("agedb-dir", root)
    assert os.listdir(root) == ["AgeDB"]


def test_a_published_split_is_not_overwritten(shared_data, tmp_path):
    """The natural place for it is beside the images, where the table is written too."""
    published = shared_data / "agedb-dir" / "agedb.csv"
    if not published.is_file():
        pytest.skip("the AgeDB-DIR splits are not here: put them into ../shared/data")
    from tests.helpers import faces

    faces.agedb(tmp_path, dict.fromkeys(range(20, 40), 6), size=8)
    there = tmp_path / "agedb.csv"
    there.write_bytes(published.read_bytes())
    message = (
        f"{there} is the published split and would be replaced by other rows: move it elsewhere "
        "and give it with --split-file."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        prepare("agedb-dir", tmp_path)
    assert there.read_bytes() == published.read_bytes()
