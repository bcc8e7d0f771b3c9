"""The reader of MATLAB files against SciPy's, on files that are whole."""

import io
import struct
import zlib

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from ranksim.datasets import matlab
from ranksim.datasets.matlab import read_struct

FIELDS = ("numbers", "small", "texts", "line", "one", "mixed", "flags", "pair", "none")


def record(seed):
    draw = np.random.default_rng(seed)
    texts = np.empty((1, 5), dtype=object)
    texts[0, :] = ["a/b.jpg", "é ü", "x" * 60, "漢字", "12345678"]
    mixed = np.empty((1, 4), dtype=object)
    mixed[0, :] = ["text", np.eye(2), "", np.array(["two", "row"])]
    kind = draw.choice([np.float64, np.float32, np.int32, np.uint16, np.int64, np.uint8])
    return {
        "numbers": draw.normal(0, 100, (1, 7)).astype(kind), "small": np.array([[3]], kind),
        "texts": texts, "line": "one line", "one": np.array([[np.nan, np.inf]]), "mixed": mixed,
        "flags": np.array([[True, False]]), "pair": np.ones((1, 2)) * 1j, "none": np.empty((0, 0)),
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("packed", [False, True])
def test_it_reads_what_scipy_reads(tmp_path, seed, packed):
    path = tmp_path / "a.mat"
    savemat(path, {"before": np.eye(3), "own": record(seed)}, do_compression=packed)
    expected = loadmat(path)["own"].ravel()[0]
    found = read_struct(path, "own", FIELDS)
    for name in ("numbers", "small", "one", "none"):
        np.testing.assert_array_equal(found[name], expected[name].ravel().astype(np.float64))
    assert found["texts"] == [str(cell[0]) for cell in expected["texts"].ravel()]
    assert found["mixed"] == ["text", None, None, None]
    assert [found[name] for name in ("line", "flags", "pair")] == [None] * 3
    assert read_struct(path, "own", ["numbers"]).keys() == {"numbers"}
    assert read_struct(path, "other", FIELDS) is None
    assert read_struct(path, "before", FIELDS) is None


def swapped(content):
    """A file of numbers in the other order of bytes, which SciPy does not write."""
    words = np.frombuffer(content[128:], "<u4").astype(">u4")
    return content[:124] + b"\x01\x00MI" + words.tobytes()


def test_the_other_order_of_bytes(tmp_path):
    path = tmp_path / "a.mat"
    element = struct.pack("<4I", 14, 88, 6, 8) + struct.pack("<4I", 2, 0, 5, 8)
    element += struct.pack("<2i", 1, 1) + struct.pack("<2I", 1, 3)
    names = int.from_bytes(b"own\0", "big"), 0, 4 << 16 | 5, 4, 1, 4
    element += struct.pack("<6I", *names) + struct.pack("<2I", int.from_bytes(b"x\0\0\0", "big"), 0)
    number = struct.pack("<4I", 6, 8, 6, 0) + struct.pack("<2I2i", 5, 8, 1, 1)
    number += struct.pack("<2I", 1, 0) + struct.pack("<2I", 4 << 16 | 5, 42)
    field = struct.pack("<2I", 14, len(number)) + number
    whole = struct.pack("<2I", 14, len(element) - 8 + len(field)) + element[8:] + field
    path.write_bytes(swapped(bytes(128) + whole))
    assert read_struct(path, "own", ["x"])["x"].tolist() == [42.0]


@pytest.mark.parametrize("change", [
    lambda c: c[:100], lambda c: c[:126] + b"XX" + c[128:], lambda c: c[:-40],
    lambda c: c[:124] + b"\0\2" + c[126:], lambda c: c[:132] + b"\xff" * 4 + c[136:],
    lambda c: c[:128] + struct.pack("<II", 15, 9) + b"not packed",
    lambda c: c[:128] + struct.pack("<II", 15, 20) + zlib.compress(c[128:])[:20],
])  # fmt: skip
def test_what_is_damaged_is_refused(tmp_path, change):
    made = io.BytesIO()
    savemat(made, {"own": record(0)})
    path = tmp_path / "a.mat"
    path.write_bytes(change(made.getvalue()))
    with pytest.raises((ValueError, struct.error, zlib.error)):
        read_struct(path, "own", FIELDS)


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(matlab, "_LARGEST", 1000)
    path = tmp_path / "a.mat"
    savemat(path, {"own": {"x": np.zeros((1, 100_000))}}, do_compression=True)
    with pytest.raises(ValueError, match="too large"):
        read_struct(path, "own", ["x"])
