"""Archives unpacked below a folder, without trusting the archive."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from ranksim._utils.formatting import format_value, single_line
from ranksim.exceptions import DataError, RankSimError, disk_error, require_optional

_CHUNK = 1 << 20
_ASIDE = ".unpacking"  # takes a file until it is whole; no member may have a name that begins so
_LONGEST_PART, _LONGEST_NAME = 255, 1024  # bytes, as file systems take them
_LONGEST_HEADER = 1 << 20  # tarfile reads an extended header into memory
_BY_HAND = "unpack it by hand with 7-Zip and give the folder in its place"


@dataclass(frozen=True)
class _Member:
    """What an archive says of one of its members; nothing of it is believed."""

    name: str
    kind: str  # "file", "folder", or what it is instead
    size: int
    open: Callable[[], IO[bytes]]
    checksum: int | None = None  # CRC-32, where the archive has one
    encrypted: bool = False


def extract(
    archive: Path,
    root: Path,
    *,
    limit_bytes: int,
    limit_files: int = 2_000_000,
    password: str | None = None,
    told: Callable[[int], None] | None = None,
) -> int:
    """Unpack a .tar, .tar.gz or .zip archive below ``root``; return the number of its files.

    Each file appears whole or not at all, with the permissions of a new file. Called again, it goes
    on: from a .zip, files that are there with the size and CRC-32 of their member are kept; those
    of a .tar, which has no checksums of its members, are written again.

    Args:
        archive: told apart by its content, not by its name.
        root: made where it is missing.
        limit_bytes: most bytes that all files together may have, counted as they are read.
        limit_files: most members, folders included.
        password: of an encrypted .zip.
        told: called with the number of bytes that are there so far.

    Raises:
        DataError: a member that is neither file nor folder or would land elsewhere than below
            ``root`` (nothing of it is written); too many members or bytes; no or a wrong password;
            a damaged archive; a file that could not be written.
    """
    with _writing(root):
        root.mkdir(parents=True, exist_ok=True)
    files = members = total = 0

    def count(size: int) -> None:
        nonlocal total
        total += size
        if total > limit_bytes:
            raise DataError(
                f"{archive} unpacks to more than the {limit_bytes:,} bytes that are allowed; "
                "get the archive again from its origin."
            )
        if told is not None:
            told(total)

    with (
        require_optional("filelock", "train").FileLock(root / f"{_ASIDE}.lock"),
        contextlib.closing(_members(archive, password)) as found,
    ):
        for member in found:
            members += 1
            if members > limit_files:
                raise DataError(
                    f"{archive} has more than the {limit_files:,} members that are allowed; "
                    "get the archive again from its origin."
                )
            target = _target(archive, root, member)
            files += member.kind == "file"
            with _writing(target):
                if member.kind == "folder":
                    target.mkdir(parents=True, exist_ok=True)
                elif _is_there(target, member):
                    count(member.size)
                else:
                    with contextlib.closing(_chunks(archive, member)) as chunks:
                        _write(chunks, target, root / _ASIDE, count)
    return files


def _target(archive: Path, root: Path, member: _Member) -> Path:
    """Where a member goes: a file or folder below ``root``, and through no link."""
    name, target, why = member.name, root, ""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if member.kind not in ("file", "folder"):
        why = f"is {member.kind}, and only files and folders are unpacked"
    elif name.startswith("/"):
        why = "is an absolute path"
    elif "\\" in name or "\0" in name:
        why = "has a backslash or a NUL in its name"
    elif any(not part.strip(" .") for part in parts):
        why = "leads out of its folder"
    elif any(re.match("[A-Za-z]:", part) for part in parts):
        why = "names a drive"
    elif not parts and member.kind == "file":
        why = "has no name"
    elif parts and parts[0].startswith(_ASIDE):
        why = "has a name that unpacking uses itself"
    elif len(os.fsencode(name)) > _LONGEST_NAME or any(
        len(os.fsencode(part)) > _LONGEST_PART for part in parts
    ):
        why = "has too long a name"
    elif member.size < 0:
        why = "has a negative size"
    for part in () if why else parts:
        target = target / part
        if target.is_symlink():
            why = f"would pass through the symbolic link {target}"
    if why:
        raise DataError(
            f"{archive}: {format_value(name)} {why}; get the archive again from its origin."
        )
    return target


def _is_there(target: Path, member: _Member) -> bool:
    """Whether a file on disk has its member's size and content."""
    if member.checksum is None or not target.is_file() or target.stat().st_size != member.size:
        return False
    checksum = 0
    with target.open("rb") as file:
        while chunk := file.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return checksum == member.checksum


def _write(
    chunks: Iterator[bytes], target: Path, aside: Path, count: Callable[[int], None]
) -> None:
    """A file, written aside and renamed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside.unlink(missing_ok=True)  # of a process that was killed
    try:
        with aside.open("xb") as file:
            for chunk in chunks:
                count(len(chunk))
                file.write(chunk)
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    """What the disk refuses, as one sentence."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, single_line(str(target))) from error


@contextlib.contextmanager
def _reading(archive: Path, encrypted: bool = False) -> Iterator[None]:
    """Whatever goes wrong in reading an untrusted file, as one sentence."""
    try:
        yield
    except RankSimError:
        raise
    except NotImplementedError as error:
        raise DataError(f"{archive} is packed in a way not read here ({error}); {_BY_HAND}.") from (
            error
        )
    except Exception as error:  # the parsers promise no list of what damage makes them raise
        if encrypted:
            raise DataError(
                f"The password does not open {archive}, or the archive is damaged; try again with "
                "the right password, or get the archive again."
            ) from error
        reason = str(error) or type(error).__name__
        raise DataError(
            f"{archive} is damaged, cut short or no .tar, .tar.gz or .zip archive "
            f"({single_line(reason)}); get the archive again."
        ) from error


def _chunks(archive: Path, member: _Member) -> Generator[bytes]:
    with _reading(archive, member.encrypted), member.open() as content:
        while chunk := content.read(_CHUNK):
            yield chunk


def _members(archive: Path, password: str | None) -> Generator[_Member]:
    if not archive.is_file():
        raise DataError(f"There is no archive {archive}; put it there, or give another path.")
    with _reading(archive):
        with archive.open("rb") as file:
            start = file.read(4)
        if start in (b"PK\3\4", b"PK\5\6", b"PK\7\x08"):
            yield from _zip_members(archive, password)
        else:
            yield from _tar_members(archive, gzipped=start.startswith(b"\x1f\x8b"))


def _zip_members(archive: Path, password: str | None) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            encrypted = bool(info.flag_bits & 1)
            if info.flag_bits & 64 or info.compress_type == 99:
                raise DataError(
                    f"{archive} is encrypted in a way not read here (AES or another strong one); "
                    f"{_BY_HAND}."
                )
            if encrypted and password is None:
                raise DataError(
                    f"{archive} is encrypted; give --password, and its password is asked for on "
                    "the terminal."
                )
        secret = None if password is None else password.encode()
        for info in file.infolist():
            yield _Member(
                info.orig_filename,  # filename is cut at a NUL
                _kind_of_zipped(info),
                info.file_size,
                lambda info=info: file.open(info, pwd=secret),  # type: ignore[misc]
                checksum=info.CRC,
                encrypted=bool(info.flag_bits & 1),
            )


def _kind_of_zipped(info: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(info.external_attr >> 16)  # of Unix; 0 where the archive is of another
    if kind == stat.S_IFLNK:
        return "a link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a special file"
    return "folder" if kind == stat.S_IFDIR or info.orig_filename.endswith("/") else "file"


_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class Header(tarfile.TarInfo):
    """A header that must be whole: tarfile takes a damaged one for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise  # the archive's end
            raise tarfile.ReadError(str(error)) from error
        if header.size < 0 or (header.type in _EXTENDED and header.size > _LONGEST_HEADER):
            raise tarfile.ReadError("bad size in a header")
        return header


def _tar_members(archive: Path, *, gzipped: bool) -> Iterator[_Member]:
    with (
        gzip.open(archive) if gzipped else archive.open("rb") as source,
        tarfile.open(fileobj=source, mode="r:", tarinfo=Header) as tar,
    ):
        while (info := tar.next()) is not None:
            yield _Member(
                info.name,
                _kind_of_tarred(info),
                info.size,
                lambda info=info: _content(tar, info),  # type: ignore[misc]
            )
            tar.members.clear()  # type: ignore[attr-defined]  # else they fill the memory
        for _ in range(64):  # to the end, where gzip keeps its checksum
            if not source.read(_CHUNK):
                break


def _kind_of_tarred(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "a link"
    return "folder" if info.isdir() else "file" if info.isreg() else "a special file"


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(info)
    assert content is not None  # it is a regular file
    return content
