import signal
import subprocess
import sys

import numpy as np
import pytest
from scipy.io import savemat

from ranksim._utils.storage import sha256
from ranksim.data.images.table import ImageTable, read_split_file, write_split_file
from ranksim.datasets import agedb_dir, imdb_wiki_dir
from ranksim.datasets.image_benchmarks import describe, prepare_split
from ranksim.exceptions import DataError, UsageError


def exists(root, paths):
    """Report only missing files."""
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
    table = agedb_dir.find_images(root).table
    counts = {}
    for number, name in enumerate(agedb_dir.CHECKSUMS):
        draw = np.random.default_rng(number)
        parts = draw.choice(["train", "val", "test"], len(table), p=[0.8, 0.1, 0.1])
        written = ImageTable(table.paths, table.labels, parts)
        if number:  # the protocols repeat images
            written = written.take(np.append(np.arange(len(table)), [0, 0, 5]))
        write_split_file(tmp_path / name, written)
        monkeypatch.setitem(agedb_dir.CHECKSUMS, name, sha256(tmp_path / name))
        monkeypatch.setitem(agedb_dir.FINGERPRINTS, name, agedb_dir.fingerprint(written))
        counts[name] = written.counts
        protocol = name.removeprefix("agedb_").removesuffix(".csv")
        monkeypatch.setitem(agedb_dir.PROTOCOL_COUNTS, protocol, written.counts)
    monkeypatch.setattr(agedb_dir, "COUNTS", counts[agedb_dir.FILE])
    return tmp_path


def test_recognizes_and_copies_the_published_file(root, published):
    prepared = prepare_split("agedb-dir", root, split_file=published / "agedb.csv", check=exists)
    assert prepared.path == root / "agedb.csv"
    assert prepared.path.read_bytes() == (published / "agedb.csv").read_bytes()
    assert (prepared.published, prepared.matches, prepared.drawn) == (True, True, False)
    assert prepared.counts == prepared.expected == agedb_dir.COUNTS
    lines = describe(prepared)
    assert "published split" in lines[1]
    for number in (*prepared.counts, 600):
        assert str(number) in lines[0]


@pytest.mark.parametrize("protocol", ["extrapolation", "interpolation", "blindspot"])
def test_published_protocol_keeps_repeated_images(root, published, protocol):
    name = f"agedb_{protocol}.csv"
    prepared = prepare_split(
        "agedb-dir", root, split_file=published / name, protocol=protocol, check=exists
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
def test_rejects_published_file_of_another_protocol(
    root, published, benchmark, protocol, given, wanted
):
    with pytest.raises(DataError, match=f"is the published {given}, not {wanted}"):
        prepare_split(
            benchmark, root, split_file=published / given, protocol=protocol, check=exists
        )
    assert not (root / wanted).exists()


def test_compares_user_split_with_published_counts(root, published):
    user_file = published / "own.csv"
    table = read_split_file(published / "agedb.csv")
    write_split_file(user_file, table.take(np.arange(500)))
    prepared = prepare_split("agedb-dir", root, split_file=user_file, check=exists)
    assert (prepared.published, prepared.matches, prepared.drawn) == (False, False, False)
    assert "not comparable" in describe(prepared)[1]
    assert "{}, {} and {}".format(*agedb_dir.COUNTS) in describe(prepared)[1]
    rows = table.part("train").take(np.arange(1)), table.part("test").take(np.arange(1))
    lines = (published / "agedb.csv").read_text()
    for one, part, other in ((rows[0], "train", "test"), (rows[1], "test", "train")):
        lines = lines.replace(f"{one.paths[0]},{part}\n", f"{one.paths[0]},{other}\n")
    user_file.write_text(lines)
    prepared = prepare_split("agedb-dir", root, split_file=user_file, check=exists)
    assert (prepared.published, prepared.matches) == (False, True)
    assert "cannot be verified" in describe(prepared)[1]


def test_recognizes_published_rows_in_other_order_and_line_ends(root, published):
    header, *lines = (published / "agedb.csv").read_text().splitlines()
    user_file = published / "own.csv"
    user_file.write_text("\r\n".join([header, *lines[::-1]]))
    assert prepare_split("agedb-dir", root, split_file=user_file, check=exists).published


def test_writes_file_names_as_on_disk(root, published):
    old = agedb_dir.find_images(root).table.paths[0]
    new = old.replace("Some One", "André")
    (root / old).rename(root / new)
    prepared = prepare_split("agedb-dir", root, split_file=published / "agedb.csv", check=exists)
    assert (prepared.broken, prepared.published) == ({}, True)
    content = (published / "agedb.csv").read_text(encoding="utf-8")
    assert prepared.path.read_text(encoding="utf-8") == content.replace(old, new)


def test_draws_the_split_by_the_published_rule(root, ages):
    prepared = prepare_split("agedb-dir", root, check=exists)
    table = read_split_file(prepared.path)
    assert table.paths == tuple(sorted(table.paths))
    counts = np.bincount(ages)
    for part in ("val", "test"):
        np.testing.assert_array_equal(
            np.bincount(table.part(part).labels.astype(int), minlength=40),
            np.minimum(counts // 3, 30),
        )
    assert len(table) == 600
    assert (prepared.drawn, prepared.published, prepared.matches) == (True, False, False)
    assert "seed 666" in describe(prepared)[1]
    assert "12,208, 2,140 and 2,140" in describe(prepared)[1]


def test_drawn_split_is_independent_of_file_order(tmp_path):
    names = [f"{index}_A_{20 + index % 7}_m.jpg" for index in range(200)]
    written = []
    for number in range(2):
        folder = tmp_path / str(number)
        (folder / "AgeDB").mkdir(parents=True)
        for name in np.random.default_rng(number).permutation(names):
            (folder / "AgeDB" / name).touch()
        written.append(prepare_split("agedb-dir", folder, check=exists).path.read_bytes())
    assert written[0] == written[1]
    other = prepare_split("agedb-dir", folder, check=exists, seed=1).path.read_bytes()
    assert other != written[0]


@pytest.mark.slow
def test_rule_on_published_images_gives_published_counts(shared_data, tmp_path):
    """Counts of every age in validation and test are those of the published file."""
    path = shared_data / "agedb-dir" / "agedb.csv"
    if not path.is_file():
        pytest.skip("the AgeDB-DIR splits are not here: put them into ../shared/data")
    table = read_split_file(path)
    (tmp_path / "AgeDB").mkdir()
    for name in table.paths:
        (tmp_path / name).touch()
    prepared = prepare_split("agedb-dir", tmp_path, check=exists)
    assert prepared.counts == (12_208, 2_140, 2_140)
    assert (prepared.matches, prepared.published) == (True, False)
    ours = read_split_file(prepared.path)
    for part in ("train", "val", "test"):
        np.testing.assert_array_equal(
            np.bincount(ours.part(part).labels.astype(int), minlength=121),
            np.bincount(table.part(part).labels.astype(int), minlength=121),
        )
    assert ours.part("test").paths != table.part("test").paths
    assert "another draw" in describe(prepared)[1]


def test_draws_a_zero_shot_protocol(tmp_path):
    root = faces(tmp_path, [20 + index % 12 for index in range(12 * 150)])
    prepared = prepare_split("agedb-dir", root, protocol="blindspot", check=exists)
    assert prepared.path == root / "agedb_blindspot.csv"
    assert prepared.counts[2] == 12 * 50
    assert (prepared.expected, prepared.matches) == ((10_253, 1_257, 2_700), False)
    with pytest.raises(UsageError, match="^Protocol interpolation needs 10 "):
        prepare_split("agedb-dir", faces(tmp_path / "few", [20] * 300), protocol="interpolation")


def test_broken_images_are_an_error_or_skipped(root):
    paths = [f"AgeDB/{index}" for index in range(3)]
    broken = [
        path for path in agedb_dir.find_images(root).table.paths if path.startswith(tuple(paths))
    ]

    def check(folder, checked):
        assert (folder, sorted(checked)) == (root, list(agedb_dir.find_images(root).table.paths))
        return dict.fromkeys(broken, "truncated")

    with pytest.raises(DataError, match=f"^{len(broken)} of 600 images .*{broken[0]} .truncated."):
        prepare_split("agedb-dir", root, check=check)
    assert [path.name for path in root.iterdir()] == ["AgeDB"]

    prepared = prepare_split("agedb-dir", root, check=check, skip_broken=True)
    assert prepared.broken == dict.fromkeys(broken, "truncated")
    assert sum(prepared.counts) == 600 - len(broken)
    assert not set(broken) & set(read_split_file(prepared.path).paths)
    problem = f"{len(broken)} of 600 images cannot be used: {broken[0]} (truncated)"
    assert describe(prepared)[2].startswith(problem)


def test_skipped_image_does_not_change_other_parts(root):
    whole = read_split_file(prepare_split("agedb-dir", root, check=exists).path)
    gone = whole.paths[7]
    prepared = prepare_split("agedb-dir", root, check=lambda *_: {gone: "empty"}, skip_broken=True)
    rest = read_split_file(prepared.path)
    remaining = np.flatnonzero(np.array(whole.paths) != gone)
    assert rest.paths == whole.take(remaining).paths
    assert rest.parts.tolist() == whole.take(remaining).parts.tolist()


def test_published_split_with_skipped_image_is_not_published(root, published):
    gone = agedb_dir.find_images(root).table.paths[0]  # stands three times
    prepared = prepare_split(
        "agedb-dir", root, split_file=published / "agedb_blindspot.csv", protocol="blindspot",
        check=lambda *_: {gone: "empty"}, skip_broken=True,
    )  # fmt: skip
    assert (prepared.published, prepared.matches) == (False, False)
    assert sum(prepared.counts) == 600
    with pytest.raises(DataError, match="^1 of 600 images cannot be used: AgeDB/0_"):
        prepare_split(
            "agedb-dir", root, split_file=published / "agedb_blindspot.csv",
            protocol="blindspot", check=lambda *_: {gone: "empty"},
        )  # fmt: skip


def test_rejects_empty_part(root, published, tmp_path):
    with pytest.raises(DataError, match="validation set has no samples"):
        prepare_split("agedb-dir", faces(tmp_path / "few", [20, 21]), check=exists)
    table = read_split_file(published / "agedb.csv")
    with pytest.raises(DataError, match="validation set has no samples"):
        prepare_split(
            "agedb-dir", root, split_file=published / "agedb.csv", skip_broken=True,
            check=lambda *_: dict.fromkeys(table.part("val").paths, "empty"),
        )  # fmt: skip
    assert not (root / "agedb.csv").exists()


@pytest.mark.slow
def test_killed_process_leaves_old_file_or_none(root):
    """Killed while the new one is written, just before it would appear."""
    code = f"""
import os, signal
from pathlib import Path
from ranksim.datasets.image_benchmarks import prepare_split
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
prepare_split("agedb-dir", Path({str(root)!r}), check=lambda *_: {{}})
"""
    for old in (None, b"old"):
        if old is not None:
            (root / "agedb.csv").write_bytes(old)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
        there = (root / "agedb.csv").read_bytes() if (root / "agedb.csv").exists() else None
        assert there == old
    assert sum(prepare_split("agedb-dir", root, check=exists).counts) == 600


def test_interrupted_check_writes_nothing(root):
    def check(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_split("agedb-dir", root, check=check)
    assert [path.name for path in root.iterdir()] == ["AgeDB"]


def test_reports_skipped_file_names(root):
    (root / "AgeDB" / "portrait.jpg").touch()
    prepared = prepare_split("agedb-dir", root, check=exists)
    assert prepared.skipped == ("portrait.jpg",)
    assert "portrait.jpg" in describe(prepared)[2]


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


def test_prepares_imdb_wiki_drawn_or_from_file(lists, tmp_path):
    prepared = prepare_split("imdb-wiki-dir", lists, check=exists)
    assert prepared.path == lists / "imdb_wiki.csv"
    assert prepared.counts == (600 - 2 * 198, 198, 198)
    assert prepared.expected == (191_509, 11_022, 11_022)
    assert prepared.excluded == {"no face": 2}
    assert "no face" in describe(prepared)[2]
    user_file = tmp_path / "own.csv"
    user_file.write_bytes(prepared.path.read_bytes())
    again = prepare_split("imdb-wiki-dir", lists, split_file=user_file, check=exists)
    assert again.path.read_bytes() == user_file.read_bytes()
    assert (again.drawn, again.excluded) == (False, {})
    with pytest.raises(UsageError, match="^Protocol extrapolation needs 10 label bins"):
        prepare_split("imdb-wiki-dir", lists, protocol="extrapolation", check=exists)


def test_imdb_wiki_has_no_published_protocol_counts(tmp_path, lists):
    user_file = tmp_path / "own.csv"
    user_file.write_text("age,path,split\n" + "".join(
        f"30,imdb_crop/{i}.jpg,{part}\n" for i, part in enumerate(["train", "val", "test"])
    ))  # fmt: skip
    prepared = prepare_split(
        "imdb-wiki-dir", lists, split_file=user_file, protocol="blindspot", check=exists
    )
    assert (prepared.path.name, prepared.expected) == ("imdb_wiki_blindspot.csv", None)
    assert "no published counts" in describe(prepared)[1]


def test_rejects_unknown_benchmark_protocol_and_file(root, tmp_path):
    with pytest.raises(UsageError, match="'x' .* choose agedb-dir or imdb-wiki-dir"):
        prepare_split("x", root)
    with pytest.raises(UsageError, match="'x': choose one of extrapolation,"):
        prepare_split("agedb-dir", root, protocol="x")
    with pytest.raises(DataError, match=r"none\.csv is not a file"):
        prepare_split("agedb-dir", root, split_file=tmp_path / "none.csv")


def test_decodes_images_by_default(root):
    """These files are empty."""
    with pytest.raises(DataError, match="^600 of 600 images cannot be used: AgeDB/0_Some "):
        prepare_split("agedb-dir", root)
    assert [path.name for path in root.iterdir()] == ["AgeDB"]


def test_published_split_is_not_overwritten(shared_data, tmp_path):
    """The natural place for it is beside the images, where the table is written too."""
    published = shared_data / "agedb-dir" / "agedb.csv"
    if not published.is_file():
        pytest.skip("the AgeDB-DIR splits are not here: put them into ../shared/data")
    from tests.helpers import faces

    faces.write_agedb(tmp_path, dict.fromkeys(range(20, 40), 6), size=8)
    there = tmp_path / "agedb.csv"
    there.write_bytes(published.read_bytes())
    with pytest.raises(DataError, match="is the published split and would be overwritten"):
        prepare_split("agedb-dir", tmp_path)
    assert there.read_bytes() == published.read_bytes()
