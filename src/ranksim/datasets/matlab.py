"""One struct of a MATLAB file, read by hand: some damaged files end SciPy's reader and the process.

Versions 5 to 7, which store what is called a level 5 file; nothing is nested deeper than cells.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_LARGEST = 2**31  # bytes that a compressed element may have
_HEADER = 128
# types of elements, and classes of arrays
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_CELL, _STRUCT, _CHAR, _NUMBERS = 1, 2, 4, range(6, 16)
_NO_PLAIN_NUMBER = 0x0A00  # flags of complex and of logical arrays
_DTYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"}
_DTYPES |= {12: "i8", 13: "u8"}
_CODES = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}

Field = NDArray[np.float64] | list[str | None] | None
_Element = tuple[int, memoryview]


def read_struct(path: Path, name: str, wanted: Collection[str]) -> dict[str, Field] | None:
    """Fields of a struct of one element.

    Args:
        path: the file.
        name: of the variable.
        wanted: the fields that are read; others are passed over.

    Returns:
        Those of them that the struct has: real numbers as float64 ``(N,)``; a cell array as a list
        of its lines of text, None for what is none; None for anything else. None where the file
        has no such struct.

    Raises:
        ValueError: the file is damaged, or none of these versions (or ``struct.error``,
            ``zlib.error``, by what is damaged).

    Source: "MAT-File Format" (The MathWorks).
    """
    content = memoryview(path.read_bytes())
    order = {b"IM": "<", b"MI": ">"}.get(bytes(content[126:128]))
    if order is None or struct.unpack_from(order + "H", content, 124)[0] != 0x0100:
        raise ValueError("no MATLAB file of level 5")
    for kind, data in _elements(content[_HEADER:], order):
        if kind == _COMPRESSED:
            ((kind, data),) = _elements(_unpacked(data), order)
        if kind != _MATRIX:
            raise ValueError(f"element of type {kind} where an array was expected")
        array, _, shape, called, parts = _array(data, order)
        if called == name:
            one = array == _STRUCT and math.prod(shape) == 1
            return _fields(parts, order, wanted) if one else None
    return None


def _unpacked(data: memoryview) -> memoryview:
    unpack = zlib.decompressobj()
    content = unpack.decompress(data, _LARGEST)
    if not unpack.eof:
        raise ValueError("a compressed array is cut short or too large")
    return memoryview(content)


def _elements(data: memoryview, order: str) -> Iterator[_Element]:
    """Type and content of the elements that stand one after another."""
    at, tag = 0, struct.Struct(order + "I")
    while at < len(data):
        (kind,) = tag.unpack_from(data, at)
        if kind >> 16:  # size, type and at most four bytes in eight
            kind, size, start, room = kind & 0xFFFF, kind >> 16, at + 4, 4
        else:
            (size,), start = tag.unpack_from(data, at + 4), at + 8
            room = size if kind == _COMPRESSED else -(-size // 8) * 8
        if size > room or start + size > len(data):
            raise ValueError("an element is longer than what holds it")
        yield kind, data[start : start + size]
        at = start + room


def _next(parts: Iterator[_Element], *kinds: int) -> memoryview:
    kind, data = next(parts, (0, memoryview(b"")))
    if kind not in kinds:
        raise ValueError(f"element of type {kind}, expected {kinds}")
    return data


def _array(
    data: memoryview, order: str
) -> tuple[int, int, tuple[int, ...], str, Iterator[_Element]]:
    """Class, flags, shape and name of an array, and the elements of its content."""
    parts = _elements(data, order)
    flags, _ = struct.unpack(order + "II", _next(parts, _UINT32))
    sizes = _next(parts, _INT32)
    shape = struct.unpack(f"{order}{len(sizes) // 4}i", sizes)
    if len(shape) < 2 or min(shape) < 0:
        raise ValueError(f"an array of shape {shape}")
    return flags & 0xFF, flags, shape, bytes(_next(parts, _INT8)).decode("latin-1"), parts


def _fields(parts: Iterator[_Element], order: str, wanted: Collection[str]) -> dict[str, Field]:
    (longest,) = struct.unpack(order + "i", _next(parts, _INT32))
    names = bytes(_next(parts, _INT8))
    if longest < 1 or len(names) % longest:
        raise ValueError(f"names of fields in {len(names)} bytes, {longest} each")
    found: dict[str, Field] = {}
    for start in range(0, len(names), longest):
        data = _next(parts, _MATRIX)
        name = names[start : start + longest].partition(b"\0")[0].decode("latin-1")
        if name in wanted:
            found[name] = _field(data, order)
    return found


def _field(data: memoryview, order: str) -> Field:
    if not data:  # as empty arrays may be stored
        return None
    array, flags, shape, _, parts = _array(data, order)
    count = math.prod(shape)
    if array == _CELL:
        cells = [_line(cell, order) if kind == _MATRIX else None for kind, cell in parts]
        if len(cells) != count:
            raise ValueError(f"{len(cells)} cells where {count} were expected")
        return cells
    if array not in _NUMBERS or flags & _NO_PLAIN_NUMBER:
        return None
    kind, numbers = next(parts, (0, memoryview(b"")))
    if kind not in _DTYPES:
        raise ValueError(f"numbers of type {kind}")
    values = np.frombuffer(numbers, order + _DTYPES[kind])
    if len(values) != count:
        raise ValueError(f"{len(values)} numbers where {count} were expected")
    return values.astype(np.float64)


def _line(data: memoryview, order: str) -> str | None:
    """A char array of one row that is not empty; None for anything else."""
    if not data:
        return None
    array, _, shape, _, parts = _array(data, order)
    if array != _CHAR or len(shape) != 2 or shape[0] != 1 or shape[1] < 1:
        return None
    kind, text = next(parts, (0, memoryview(b"")))
    if kind not in _CODES:
        raise ValueError(f"text of type {kind}")
    code = _CODES[kind]
    if code in ("utf-16", "utf-32"):
        code += "-le" if order == "<" else "-be"
    return bytes(text).decode(code)
