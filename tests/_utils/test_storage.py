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
def test_write_json_puts_lists_of_numbers_on_one_line(tmp_path, content, text):
    write_json(tmp_path / "a.json", content)
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == text
    assert json.loads(text) == content


def test_write_json_leaves_no_file_after_an_error(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert list(tmp_path.iterdir()) == []


def flips(path, draw, count):
    """Write the file with one flipped bit at up to ``count`` random positions."""
    whole = path.read_bytes()
    for place in draw.choice(len(whole), min(count, len(whole)), replace=False):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(draw.integers(8))
        path.write_bytes(flipped)
        yield int(place)
    path.write_bytes(whole)


def test_verified_json_detects_flipped_bits(tmp_path):
    content = {
        "format": 3,
        "rows": {"a": "b", "\udc80": None},
        "x": [0.1, float("nan"), 3],
        "y": "t",
    }
    path = tmp_path / "a.json"
    write_json(path, with_digest(content))
    assert json.dumps(read_verified_json(path)) == json.dumps(content)
    detected = 0
    for _ in flips(path, np.random.default_rng(0), 10_000):
        try:
            got = read_verified_json(path)
        except ValueError:
            detected += 1
        else:  # white space, or an escape in the other case
            assert json.dumps(got) == json.dumps(content)
    assert detected > 150


@pytest.mark.parametrize(
    "content", [{}, {"a": 1}, {"x": "text"}, {"runs": [], "machine": {"sha256": "0"}}]
)
def test_reads_json_without_a_digest(tmp_path, content):
    write_json(tmp_path / "a.json", content)
    assert read_verified_json(tmp_path / "a.json") == content


def test_verified_json_must_be_an_object(tmp_path):
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(ValueError, match="is not a JSON object"):
        read_verified_json(tmp_path / "a.json")


def test_read_arrays_detects_flipped_bits(tmp_path):
    draw = np.random.default_rng(1)
    arrays = {"features": draw.normal(size=(5, 3)).astype(np.float32), "n": np.arange(4)}
    path = tmp_path / "a.npz"
    write_arrays(path, arrays)
    assert digest_arrays(read_arrays(path)) == digest_arrays(arrays)
    detected = 0
    for _ in flips(path, draw, 200):
        got = read_arrays(path)
        detected += got is None
        assert got is None or digest_arrays(got) == digest_arrays(arrays)
    assert detected > 100


def test_read_arrays_of_missing_or_unverified_files(tmp_path):
    write_arrays(tmp_path / "a.npz", {"a": np.zeros(2)})
    assert read_arrays(tmp_path / "b.npz") is None
    np.savez(tmp_path / "b.npz", a=np.zeros(2))  # without a digest
    assert read_arrays(tmp_path / "b.npz") is None


def test_atomic_write_removes_files_of_killed_processes_only(tmp_path):
    path = tmp_path / "a.json"
    child = os.fork()
    if child == 0:
        with atomic_write(path) as temporary:
            temporary.write_text("half")
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
def test_atomic_write_reports_disk_errors_and_keeps_the_old_file(tmp_path, error, message):
    (tmp_path / "a.json").write_text("old")
    with pytest.raises(DataError, match=message), atomic_write(tmp_path / "a.json"):
        raise error
    assert [each.read_text() for each in tmp_path.iterdir()] == ["old"]


def test_atomic_write_does_not_convert_errors_of_other_files(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "a.json"):
        (tmp_path / "else" / "where").read_text()


def test_reports_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "cache").touch()
    with pytest.raises(
        DataError, match=r"could not be written \(Not a directory\); move away what"
    ):
        write_arrays(tmp_path / "cache" / "tokens" / "a.npz", {"a": np.zeros(2)})


def test_temporary_sibling_removes_folders_of_killed_processes(tmp_path):
    child = os.fork()
    if child == 0:
        with temporary_sibling(tmp_path / "model") as temporary:
            (temporary / "weights").write_text("half")
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
def test_file_systems_without_locks(tmp_path, monkeypatch):
    calls = []

    def flock(handle, operation):
        calls.append(handle)
        assert len(calls) < 10, "endless retries"
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("ranksim._utils.storage.fcntl.flock", flock)
    write_json(tmp_path / "a.json", [1])
    with temporary_sibling(tmp_path / "b") as temporary:
        temporary.rename(tmp_path / "b")
        temporary.mkdir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b"]
