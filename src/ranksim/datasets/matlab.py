"""Read a struct from a MATLAB file of version 5 to 7.

``scipy.io.loadmat`` crashes the process on some damaged files, and a child process for each file
would slow the fuzz tests down a thousandfold.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAX_UNPACKED = 2**31  # bytes of a compressed element
_HEADER = 128
# types of elements, and classes of arrays
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_CELL, _STRUCT, _CHAR, _NUMBERS = 1, 2, 4, range(6, 16)
_COMPLEX_OR_LOGICAL = 0x0A00  # flags
_DTYPES = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8"}
_DTYPES |= {12: "<i8", 13: "<u8"}
_ENCODINGS = {1: "latin-1", 2: "latin-1", 4: "utf-16-le", 16: "utf-8"}
_ENCODINGS |= {17: "utf-16-le", 18: "utf-32-le"}

_Element = tuple[int, memoryview]


def read_struct(path: Path, name: str, fields: Collection[str]) -> dict[str, Any] | None:
    """Read fields of the one-element struct ``name``; return None if the struct does not exist.

    Real numbers are float64 ``(N,)``; a cell array is a list of its one-line texts, with None for
    other cells; any other field is None. A damaged file raises ValueError, ``struct.error`` or
    ``zlib.error``, and a big-endian file or one of another version raises ValueError.

    References:
        "MAT-File Format" (The MathWorks).
    """
    content = memoryview(path.read_bytes())
    if bytes(content[124:128]) != b"\0\1IM":
        raise ValueError("the file is not a little-endian MATLAB file of level 5")
    for kind, data in _read_elements(content[_HEADER:]):
        if kind == _COMPRESSED:
            ((kind, data),) = _read_elements(_decompress(data))
        if kind != _MATRIX:
            raise ValueError(f"a data element has type {kind} instead of an array type")
        array_class, _, shape, array_name, elements = _read_array(data)
        if array_name == name:
            is_single = array_class == _STRUCT and math.prod(shape) == 1
            return _read_fields(elements, fields) if is_single else None
    return None


def _decompress(data: memoryview) -> memoryview:
    decompressor = zlib.decompressobj()
    content = decompressor.decompress(data, _MAX_UNPACKED)
    if not decompressor.eof:
        raise ValueError("a compressed array is truncated or too large")
    return memoryview(content)


def _read_elements(data: memoryview) -> Iterator[_Element]:
    """Yield the type and content of consecutive data elements."""
    position = 0
    while position < len(data):
        (kind,) = struct.unpack_from("<I", data, position)
        if kind >> 16:  # small element: size, type and up to four bytes in eight
            kind, size, start, room = kind & 0xFFFF, kind >> 16, position + 4, 4
        else:
            (size,), start = struct.unpack_from("<I", data, position + 4), position + 8
            room = size if kind == _COMPRESSED else -(-size // 8) * 8
        if size > room or start + size > len(data):
            raise ValueError("a data element is longer than its container")
        yield kind, data[start : start + size]
        position = start + room


def _next(elements: Iterator[_Element], expected: int) -> memoryview:
    kind, data = next(elements, (0, memoryview(b"")))
    if kind != expected:
        raise ValueError(f"a data element has type {kind} instead of {expected}")
    return data


def _read_array(data: memoryview) -> tuple[int, int, tuple[int, ...], str, Iterator[_Element]]:
    """Parse an array element; return ``(class, flags, shape, name, content elements)``."""
    elements = _read_elements(data)
    flags, _ = struct.unpack("<II", _next(elements, _UINT32))
    sizes = _next(elements, _INT32)
    shape = struct.unpack(f"<{len(sizes) // 4}i", sizes)
    if len(shape) < 2 or min(shape) < 0:
        raise ValueError(f"an array has the invalid shape {shape}")
    return flags & 0xFF, flags, shape, bytes(_next(elements, _INT8)).decode("latin-1"), elements


def _read_fields(elements: Iterator[_Element], names: Collection[str]) -> dict[str, Any]:
    (width,) = struct.unpack("<i", _next(elements, _INT32))
    table = bytes(_next(elements, _INT8))
    if width < 1 or len(table) % width:
        raise ValueError(f"the field names occupy {len(table)} bytes, not a multiple of {width}")
    fields: dict[str, Any] = {}
    for start in range(0, len(table), width):
        data = _next(elements, _MATRIX)
        name = table[start : start + width].partition(b"\0")[0].decode("latin-1")
        if name in names:
            fields[name] = _read_field(data)
    return fields


def _read_field(data: memoryview) -> NDArray[np.float64] | list[str | None] | None:
    if not data:  # an empty array can be stored like this
        return None
    array_class, flags, shape, _, elements = _read_array(data)
    count = math.prod(shape)
    if array_class == _CELL:
        cells = [_read_line(cell) if kind == _MATRIX else None for kind, cell in elements]
        if len(cells) != count:
            raise ValueError(f"a cell array has {len(cells)} cells instead of {count}")
        return cells
    if array_class not in _NUMBERS or flags & _COMPLEX_OR_LOGICAL:
        return None
    kind, numbers = next(elements, (0, memoryview(b"")))
    if kind not in _DTYPES:
        raise ValueError(f"a numeric array has the unknown data type {kind}")
    values = np.frombuffer(numbers, _DTYPES[kind])
    if len(values) != count:
        raise ValueError(f"a numeric array has {len(values)} values instead of {count}")
    return values.astype(np.float64)


def _read_line(data: memoryview) -> str | None:
    """Return the text of a char array with a single, non-empty row; None for other arrays."""
    if not data:
        return None
    array_class, _, shape, _, elements = _read_array(data)
    if array_class != _CHAR or len(shape) != 2 or shape[0] != 1 or shape[1] < 1:
        return None
    kind, text = next(elements, (0, memoryview(b"")))
    if kind not in _ENCODINGS:
        raise ValueError(f"a char array has the unknown data type {kind}")
    return bytes(text).decode(_ENCODINGS[kind])
