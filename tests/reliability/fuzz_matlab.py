"""Generate MATLAB lists of faces with changed values, elements and bytes."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache
from random import Random
from typing import Any

import numpy as np
from scipy.io import savemat

from tests.reliability.fuzz_bytes import mutate

_HEADER = 128  # bytes before the first element
_COUNT = 6


def _cells(texts: list[Any]) -> np.ndarray:
    array = np.empty((1, len(texts)), dtype=object)
    array[0, :] = texts
    return array


def _fields() -> dict[str, Any]:
    return {
        "dob": np.full((1, _COUNT), 720_000, dtype=np.int32),
        "photo_taken": np.full((1, _COUNT), 2000, dtype=np.uint16),
        "full_path": _cells([f"{k:02}/nm{k:07}.jpg" for k in range(_COUNT)]),
        "gender": np.ones((1, _COUNT)),
        "face_score": np.full((1, _COUNT), 3.0),
        "second_face_score": np.full((1, _COUNT), np.nan),
    }


def _file(name: str, fields: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, {name: fields}, **options)
    return buffer.getvalue()


@cache
def valid(name: str, packed: bool = False) -> bytes:
    """Return a list in the form of the IMDB-WIKI archives."""
    return _file(name, _fields(), do_compression=packed)


def make(draw: Random) -> bytes:
    """Return a list with changed values or elements, deep nesting, or damage."""
    kind = draw.random()
    if kind < 0.15:
        return _other_values(draw)
    if kind < 0.18:
        return _file("imdb", np.ones((2, 3)), format="4")
    if kind < 0.21:
        return _nested(draw)
    content = valid("imdb")
    if kind < 0.6:
        content = _other_element(draw, content)
    elif kind < 0.85:
        content = mutate(draw, content, (valid("wiki"), valid("imdb", True)))
    if draw.random() < 0.3:
        content = content[:_HEADER] + _packed(content[_HEADER:])
        content = mutate(draw, content) if draw.random() < 0.3 else content
    return content


def _packed(elements: bytes) -> bytes:
    whole = zlib.compress(elements, 1)
    return struct.pack("<II", 15, len(whole)) + whole


_VALUES = (
    *(np.nan, np.inf, -np.inf, -1.0, 0.0, 1.0, 1e300, -1e300, 366.0, 3_652_500.0, 1e18, 2.0**63),
)
_PATHS = ("../x.jpg", "/x.jpg", "a/../../x", "C:\\x", "", "a\nb.jpg", "é.jpg", 3.0, np.eye(2), "..")


def _other_values(draw: Random) -> bytes:
    fields = _fields()
    for _ in range(draw.randrange(1, 4)):
        name = draw.choice(list(fields))
        value = fields.pop(name)
        match draw.randrange(5):
            case 0 if _is_full(value) and value.dtype.kind in "iuf":
                value = value.astype(np.float64)
                value[0, draw.randrange(_COUNT)] = draw.choice(_VALUES)
            case 1 if _is_full(value) and value.dtype.kind == "O":
                value[0, draw.randrange(_COUNT)] = draw.choice(_PATHS)
            case 2 if isinstance(value, np.ndarray):
                value = value[:, : draw.randrange(_COUNT)]
            case 3:
                value = draw.choice(("text", np.ones((1, _COUNT), bool), np.ones((1, 2)) + 1j, {}))
            case _:
                continue
        fields[name] = value
    return _file(draw.choice(("imdb", "imdb", "other")), fields)


def _is_full(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.shape == (1, _COUNT)


def _nested(draw: Random) -> bytes:
    """Return deeply nested cells."""
    element = struct.pack("<II", 14, 0)
    for _ in range(draw.choice((3, 100, 900, 3_000))):
        flags = struct.pack("<IIII", 6, 8, 1, 0)  # of class cell
        shape = struct.pack("<IIii", 5, 8, 1, 1)
        element = (
            struct.pack("<II", 14, len(element) + 40) + flags + shape + b"\1" + bytes(7) + element
        )
    return valid("imdb")[:_HEADER] + element


def _other_element(draw: Random, content: bytes) -> bytes:
    """Change tags, counts or dimensions of elements."""
    buffer = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 3))):
        at = _HEADER + 4 * draw.randrange((len(buffer) - _HEADER) // 4)
        old = struct.unpack_from("<I", buffer, at)[0]
        near = (old + 1, old - 1, old * 2, old | 1 << 31, old ^ 1 << draw.randrange(32))
        value = draw.choice((*near, 0, 1, 5, 6, 9, 14, 15, 16, 17, 18, 2**31 - 1, 2**32 - 1))
        struct.pack_into("<I", buffer, at, value % 2**32)
    return bytes(buffer)
