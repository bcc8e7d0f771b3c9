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


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("packed", [False, True])
def test_reads_what_scipy_reads(tmp_path, seed, packed):
    path = tmp_path / "a.mat"
    savemat(path, {"before": np.eye(3), "faces": record(seed)}, do_compression=packed)
    expected = loadmat(path)["faces"].ravel()[0]
    fields = read_struct(path, "faces", FIELDS)
    for name in ("numbers", "small", "one", "none"):
        np.testing.assert_array_equal(fields[name], expected[name].ravel().astype(np.float64))
    assert fields["texts"] == [str(cell[0]) for cell in expected["texts"].ravel()]
    assert fields["mixed"] == ["text", None, None, None]
    assert [fields[name] for name in ("line", "flags", "pair")] == [None] * 3
    assert read_struct(path, "faces", ["numbers"]).keys() == {"numbers"}
    assert read_struct(path, "other", FIELDS) is None
    assert read_struct(path, "before", FIELDS) is None


def test_rejects_big_endian_files(tmp_path):
    path = tmp_path / "a.mat"
    path.write_bytes(bytes(124) + b"\x01\x00MI")
    with pytest.raises(ValueError, match="little-endian"):
        read_struct(path, "faces", ["x"])


@pytest.mark.parametrize("change", [
    lambda c: c[:100], lambda c: c[:126] + b"XX" + c[128:], lambda c: c[:-40],
    lambda c: c[:124] + b"\0\2" + c[126:], lambda c: c[:132] + b"\xff" * 4 + c[136:],
    lambda c: c[:128] + struct.pack("<II", 15, 9) + b"not packed",
    lambda c: c[:128] + struct.pack("<II", 15, 20) + zlib.compress(c[128:])[:20],
])  # fmt: skip
def test_rejects_damaged_files(tmp_path, change):
    buffer = io.BytesIO()
    savemat(buffer, {"faces": record(0)})
    path = tmp_path / "a.mat"
    path.write_bytes(change(buffer.getvalue()))
    with pytest.raises((ValueError, struct.error, zlib.error)):
        read_struct(path, "faces", FIELDS)


def test_does_not_decompress_a_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(matlab, "_MAX_UNPACKED", 1000)
    path = tmp_path / "a.mat"
    savemat(path, {"faces": {"x": np.zeros((1, 100_000))}}, do_compression=True)
    with pytest.raises(ValueError, match="too large"):
        read_struct(path, "faces", ["x"])
