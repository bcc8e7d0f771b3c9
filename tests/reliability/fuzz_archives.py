"""Generate archives with unusual members, changed fields and changed bytes."""

from __future__ import annotations

import gzip
import io
import re
import struct
import tarfile
import zipfile
import zlib
from random import Random

from tests.reliability.fuzz_bytes import mutate

OUTSIDE = "/dev/shm/ranksim-fuzz-outside"
"""Absolute path that some members have; it must never be created."""
_NAMES = (
    *("a.txt", "b/c.txt", "b/", "b/d/e.bin", "b", "a.txt/x", "./a", "b//c", "é.txt", "e\u0301.txt"),
    *("../out", "b/../../out", "..", ".", "", "/", OUTSIDE, "//dev/shm/x", "C:/x", "c:x", "b\\c"),
    *("..\\out", "nul\0name", "x" * 99, "y" * 101, "z" * 300, "n/" * 300 + "f", " ", ". .", "l/x"),
    *(".unpacking", ".unpacking.lock", ".unpacking/x", "CON", "a:b", "new\nline", "\x1b[31m", "l"),
)
_MEMBER = "b/c.txt"
_BOMB = 4 << 20
_TYPES = (
    *(tarfile.REGTYPE,) * 80,
    *(tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE),
    *(tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE, b"V", b"\x80"),
)


def _content(draw: Random) -> bytes:
    if draw.random() < 0.01:
        return bytes(_BOMB)
    return draw.choice((b"", b"x", draw.randbytes(700), b"abc" * 400))


def _name(draw: Random, count: int = 10) -> str:
    """Return a valid name in most cases, often the one that is read."""
    odd = draw.random()
    return draw.choice(_NAMES) if odd < 0.12 else _MEMBER if odd < 0.4 else f"f/{count}.txt"


def tar(draw: Random) -> bytes:
    """Return a tar of up to six members with changed headers and blocks."""
    formats = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=draw.choice(formats)) as archive:
        for k in range(draw.randrange(1, 7)):
            info = tarfile.TarInfo(_name(draw, k).replace("\0", ""))
            content = _content(draw)
            info.type, info.size = draw.choice(_TYPES), len(content)
            info.mode = draw.choice((0o644, 0o7777, 0))
            if info.issym() or info.islnk():
                info.linkname, info.size = draw.choice(_NAMES).replace("\0", ""), 0
            if draw.random() < 0.1:
                info.pax_headers = dict([draw.choice(_PAX)])
            try:
                archive.addfile(info, io.BytesIO(content))
            except ValueError:  # a name too long for the format
                continue
    blocks = bytearray(buffer.getvalue())
    for _ in range(draw.choice((0, 0, 1, 1, 2))):
        _change_header(draw, blocks)
    whole = bytes(blocks)
    return mutate(draw, whole) if draw.random() < 0.3 else whole


_PAX = (
    *(("path", "../out"), ("path", OUTSIDE), ("path", ""), ("size", "-1"), ("size", "9" * 30)),
    *(("size", "x"), ("linkpath", ".."), ("GNU.sparse.major", "1"), ("GNU.sparse.map", "0,1,2")),
    *(("GNU.sparse.name", "../out"), ("GNU.sparse.size", "99"), ("mtime", "nan"), ("uid", "1e9")),
    *(("hdrcharset", "BINARY"), ("comment", "x" * 5000), ("GNU.sparse.numblocks", "-4")),
)
_FIELDS = {"name": (0, 100), "mode": (100, 8), "size": (124, 12), "mtime": (136, 12)}
_FIELDS |= {"type": (156, 1), "link": (157, 100), "magic": (257, 8), "prefix": (345, 155)}
_VALUES = (
    *(b"\0", b"\xff", b"\x80" + b"\xff" * 11, b"\x80" + bytes(10) + b"\1", b"77777777777\0", b"9"),
    *(b"-1", b"00000000000\0", b"x", b"L", b"K", b"x\0", b"g", b"S", b"5", b"../", b" 777777 "),
)


def _change_header(draw: Random, blocks: bytearray) -> None:
    """Change a field of a header, in most cases with its checksum."""
    headers = [k for k in range(0, len(blocks) - 511, 512) if blocks[k + 257 : k + 262] == b"ustar"]
    if not headers:
        return
    start = draw.choice(headers)
    at, length = draw.choice(list(_FIELDS.values()))
    value = draw.choice(_VALUES)[:length]
    blocks[start + at : start + at + length] = value + b"\0" * (length - len(value))
    if draw.random() < 0.9:
        blocks[start + 148 : start + 156] = b" " * 8
        total = sum(blocks[start : start + 512])
        blocks[start + 148 : start + 156] = b"%06o\0 " % total


def tar_gz(draw: Random) -> bytes:
    """Return a compressed tar; some have two parts or are damaged after compression."""
    whole = tar(draw)
    content = gzip.compress(whole, 1, mtime=0)
    if draw.random() < 0.05:
        half = len(whole) // 2
        content = gzip.compress(whole[:half], 1, mtime=0) + gzip.compress(whole[half:], 1, mtime=0)
    return mutate(draw, content) if draw.random() < 0.4 else content


def zip_(draw: Random) -> bytes:
    """Return a zip of up to six members with a changed directory."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        taken: set[str] = set()
        for k in range(draw.randrange(1, 7)):
            name = _name(draw, k)
            if name in taken:  # zipfile would warn
                continue
            taken.add(name)
            info = zipfile.ZipInfo(name or "empty")
            info.external_attr = (
                draw.choice((0,) * 20 + (0o100644, 0o120777, 0o040755, 0o020666)) << 16
            )
            info.compress_type = draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
            info.extra = draw.choice((b"", b"\1\0\x08\0" + b"\xff" * 8, b"\x75\x70\3\0abc"))
            with archive.open(info, "w", force_zip64=draw.random() < 0.1) as file:
                file.write(_content(draw))
        archive.comment = draw.choice((b"", b"PK\5\6" * 5))
    blocks = bytearray(buffer.getvalue())
    for _ in range(draw.choice((0, 0, 1, 1, 2))):
        _change_directory(draw, blocks)
    whole = bytes(blocks)
    return mutate(draw, whole) if draw.random() < 0.3 else whole


def _change_directory(draw: Random, blocks: bytearray) -> None:
    """Change a field of a local header, of the directory or of its end record."""
    marks = {b"PK\3\4": (6, 8, 14, 18, 22, 26, 28), b"PK\5\6": (4, 6, 8, 10, 12, 16, 20)}
    marks[b"PK\1\2"] = (8, 10, 16, 20, 24, 28, 30, 32, 34, 36, 38, 42)
    mark = draw.choice(list(marks))
    places = [each.start() for each in re.finditer(re.escape(mark), blocks[:-46])]
    if not places:
        return
    at = draw.choice(places) + draw.choice(marks[mark])
    value = draw.choice((0, 1, 9, 99, 8, 14, 65, 2049, 0xFFFF, 0xFFFFFFFF, draw.getrandbits(32)))
    packed = struct.pack("<I", value)[: draw.choice((2, 4))]
    blocks[at : at + len(packed)] = packed


def any_archive(draw: Random) -> bytes:
    """Return a tar, a compressed tar, a zip, or other bytes."""
    if draw.random() < 0.01:
        return draw.choice((b"", b"PK\3\4", b"\x1f\x8b", zlib.compress(b"x"), draw.randbytes(600)))
    return draw.choice((tar, tar_gz, zip_))(draw)
