import errno
import json
import os
import sys

import numpy as np
import pytest

from ranksim._utils.storage import (
    atomic_write,
    digest_arrays,
    read_arrays,
    read_verified_json,
    temporary_sibling,
    with_digest,
    write_arrays,
    write_json,
)
from ranksim.exceptions import DataError


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"a": [1, 2.5, None, -3e-07], "b": "x"}, '{\n "a": [1, 2.5, null, -3e-07],\n "b": "x"\n}'),
        ([[1, 2], [3, 4]], "[\n [1, 2],\n [3, 4]\n]"),
        ({"a": [], "b": {}, "c": [[]]}, '{\n "a": [],\n "b": {},\n "c": [\n  []\n ]\n}'),
        (["a", 1], '[\n "a",\n 1\n]'),
        (["[\n 1\n]", "null"], '[\n "[\\n 1\\n]",\n "null"\n]'),
        ([True, 1], "[\n true,\n 1\n]"),
    ],
)
def test_numbers_stand_on_one_line_and_all_else_as_ever(tmp_path, content, text):
    write_json(tmp_path / "a.json", content)
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == text
    assert json.loads(text) == content


def test_what_is_no_json_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert list(tmp_path.iterdir()) == []


def flips(path, draw, count):
    """The file with one bit flipped, at each of so many places, one after another."""
    whole = path.read_bytes()
    for place in draw.choice(len(whole), min(count, len(whole)), replace=False):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(draw.integers(8))
        path.write_bytes(flipped)
        yield int(place)
    path.write_bytes(whole)


def test_a_flipped_bit_of_sealed_json_never_gives_other_content(tmp_path):
    content = {
        "format": 3,
        "rows": {"a": "b", "\udc80": None},
        "x": [0.1, float("nan"), 3],
        "y": "t",
    }
    path = tmp_path / "a.json"
    write_json(path, with_digest(content))
    assert json.dumps(read_verified_json(path)) == json.dumps(content)
    found = 0
    for _ in flips(path, np.random.default_rng(0), 10_000):
        try:
            got = read_verified_json(path)
        except ValueError:
            found += 1
        else:  # white space, or an escape in the other case
            assert json.dumps(got) == json.dumps(content)
    assert found > 150


@pytest.mark.parametrize(
    "content", [{}, {"a": 1}, {"x": "text"}, {"runs": [], "machine": {"sha256": "0"}}]
)
def test_json_of_before_there_were_seals_is_read(tmp_path, content):
    write_json(tmp_path / "a.json", content)
    assert read_verified_json(tmp_path / "a.json") == content


def test_sealed_json_must_be_a_table(tmp_path):
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(ValueError, match="holds no table"):
        read_verified_json(tmp_path / "a.json")


def test_a_flipped_bit_of_arrays_never_gives_other_arrays(tmp_path):
    draw = np.random.default_rng(1)
    arrays = {"features": draw.normal(size=(5, 3)).astype(np.float32), "n": np.arange(4)}
    path = tmp_path / "a.npz"
    write_arrays(path, arrays)
    assert digest_arrays(read_arrays(path)) == digest_arrays(arrays)
    found = 0
    for _ in flips(path, draw, 600):
        got = read_arrays(path)
        found += got is None
        assert got is None or digest_arrays(got) == digest_arrays(arrays)
    assert found > 300


def test_arrays_under_other_names_are_not_those(tmp_path):
    write_arrays(tmp_path / "a.npz", {"a": np.zeros(2)})
    assert read_arrays(tmp_path / "b.npz") is None
    np.savez(tmp_path / "b.npz", a=np.zeros(2))  # without a digest
    assert read_arrays(tmp_path / "b.npz") is None


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    path = tmp_path / "a.json"
    child = os.fork()
    if child == 0:
        with atomic_write(path) as aside:
            aside.write_text("half")
            os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    (left,) = tmp_path.iterdir()
    (tmp_path / ".a.json.else").touch()
    with atomic_write(path) as one, atomic_write(path) as other:
        assert not left.exists()
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"
    assert {each.name for each in tmp_path.iterdir()} == {"a.json", ".a.json.else"}


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space"), "^The disk is full: .*a.json could not be written; fr"),
        (OSError("8 requested and 2 written"), "^The disk is full: .*a.json could not be written"),
        (
            OSError(errno.EROFS, "Read-only file system"),
            r"a.json could not be written \(Read-only ",
        ),
    ],
)
def test_what_the_disk_refuses_is_one_sentence_and_the_old_file_stays(tmp_path, error, message):
    (tmp_path / "a.json").write_text("old")
    with pytest.raises(DataError, match=message), atomic_write(tmp_path / "a.json"):
        raise error
    assert [each.read_text() for each in tmp_path.iterdir()] == ["old"]


def test_an_error_of_another_file_is_told_as_it_is(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "a.json"):
        (tmp_path / "else" / "where").read_text()


def test_a_folder_that_is_a_file_is_one_sentence(tmp_path):
    (tmp_path / "cache").touch()
    with pytest.raises(
        DataError, match=r"could not be written \(Not a directory\); move away what"
    ):
        write_arrays(tmp_path / "cache" / "tokens" / "a.npz", {"a": np.zeros(2)})


def test_a_folder_that_a_killed_process_left_is_removed(tmp_path):
    child = os.fork()
    if child == 0:
        with temporary_sibling(tmp_path / "model") as aside:
            (aside / "weights").write_text("half")
            os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    (left,) = tmp_path.iterdir()
    with (
        temporary_sibling(tmp_path / "model") as one,
        temporary_sibling(tmp_path / "model") as other,
    ):
        assert not left.exists()
        assert one.is_dir()
        assert other.is_dir()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")
def test_a_file_system_that_knows_no_locks_takes_files_and_folders(tmp_path, monkeypatch):
    asked = []

    def flock(handle, operation):
        asked.append(handle)
        assert len(asked) < 10, "tried again and again"
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("ranksim._utils.storage.fcntl.flock", flock)
    write_json(tmp_path / "a.json", [1])
    with temporary_sibling(tmp_path / "b") as aside:
        aside.rename(tmp_path / "b")
        aside.mkdir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b"]
