"""Unpack archives, or read one member, without trusting their content.

``extractall`` of tarfile and zipfile is not enough: it has no limit of bytes or files, can leave a
partly written file, follows links on disk, and cannot resume; ``data_filter`` needs Python 3.11.4.
"""

from __future__ import annotations

import contextlib
import io
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
_TEMPORARY = ".unpacking"  # receives each file until it is complete
_MAX_EXTENDED_HEADER = 1 << 20  # bytes; tarfile reads an extended header into memory
_AES = 99  # compression type of AES-encrypted zips
_GET_AGAIN = "download the archive again"
_USE_7ZIP = "unpack it with 7-Zip and use the unpacked folder"


class StrictHeader(tarfile.TarInfo):
    """A tar header that raises an error if it is damaged; tarfile would end the archive there."""

    _EXTENDED = (
        *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
        *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    )

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Parse a header block."""
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise  # the regular end of an archive
            raise tarfile.ReadError(str(error)) from error
        extended = header.type in cls._EXTENDED
        if header.size < 0 or (extended and header.size > _MAX_EXTENDED_HEADER):
            raise tarfile.ReadError("bad size in a header")
        return header


@dataclass(frozen=True)
class _Member:
    """A member of a tar or zip archive, and how to open it."""

    info: tarfile.TarInfo  # name, type and size, also of a zip member
    open: Callable[[], IO[bytes]]
    crc: int | None = None  # CRC-32 in a zip
    is_encrypted: bool = False


def extract(
    archive: Path,
    root: Path,
    *,
    limit_bytes: int,
    limit_files: int = 2_000_000,
    password: str | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> int:
    """Unpack a tar or zip archive below ``root`` and return its number of files.

    Each file appears complete or not at all, with the permissions of a new file. A repeated call
    resumes: files from a zip are kept if they have the member's size and CRC-32, files from a tar,
    which has no checksums, are written again.

    Args:
        archive: a zip, or a tar with or without compression, recognized by its content.
        root: created if it does not exist.
        limit_bytes: maximum bytes of all files together, counted while reading.
        limit_files: maximum number of members, including folders.
        password: password of an encrypted zip.
        on_progress: called with the total number of bytes unpacked.

    Raises:
        DataError: a member is not a file or folder, or would be written outside ``root``; a limit
            is exceeded; the password is missing or wrong; the archive is damaged; or a file cannot
            be written.
    """
    with _writing(root):
        root.mkdir(parents=True, exist_ok=True)
    lock = require_optional("filelock", "train").FileLock(root / f"{_TEMPORARY}.lock")
    files = total = 0

    def count(size: int) -> None:
        nonlocal total
        total += size
        if total > limit_bytes:
            raise _error(archive, f"unpacks to more than the limit of {limit_bytes:,} bytes")
        if on_progress is not None:
            on_progress(total)

    with lock, contextlib.closing(_read_members(archive, password)) as members:
        for number, member in enumerate(members, start=1):
            if number > limit_files:
                raise _error(archive, f"has more than the limit of {limit_files:,} members")
            target = _check_target(archive, root, member.info)
            files += member.info.isreg()
            with _writing(target):
                if member.info.isdir():
                    target.mkdir(parents=True, exist_ok=True)
                elif _is_extracted(target, member):
                    count(member.info.size)
                else:
                    _write(archive, member, target, root / _TEMPORARY, count)
    return files


def read_member(archive: Path | bytes, member: str, *, limit: int, origin: str) -> bytes:
    """Return the content of one regular file of a ``.tar.gz`` archive, at most ``limit`` bytes.

    The archive is a path or its content, and ``origin`` is its name in messages. Any problem with
    the archive or the member is a DataError.
    """
    source: IO[bytes] = io.BytesIO(archive) if isinstance(archive, bytes) else archive.open("rb")
    with (
        _reading(origin),
        source,
        tarfile.open(fileobj=source, mode="r:gz", tarinfo=StrictHeader) as tar,
    ):
        try:
            info = tar.getmember(member)
        except KeyError as error:
            raise _error(origin, f"does not contain {member}") from error
        content = tar.extractfile(info) if info.isreg() else None
        if content is None:
            raise _error(origin, f"contains {member}, which is not a regular file")
        data = content.read(limit + 1)
    if len(data) > limit:
        raise _error(origin, f"contains {member}, which is larger than {limit:,} bytes")
    return data


def _error(archive: object, problem: str) -> DataError:
    return DataError(f"{archive} {problem}: {_GET_AGAIN}.")


def _check_target(archive: Path, root: Path, info: tarfile.TarInfo) -> Path:
    """Return the path to write, which is below ``root`` and not below a symbolic link."""
    name, target = format_value(info.name), root
    parts = [part for part in info.name.replace("\\", "/").split("/") if part not in ("", ".")]
    if not (info.isreg() or info.isdir()):
        raise _error(archive, f"contains {name}, which is a link or special file")
    # dots and blanks climb, also on Windows, as drives do
    leads_out = any(not part.strip(" .") or part[1:2] == ":" for part in parts)
    reserved = parts[:1] != [] and parts[0].startswith(_TEMPORARY)
    if leads_out or reserved or "\0" in info.name or info.size < 0 or (info.isreg() and not parts):
        raise _error(archive, f"contains {name}, whose name or size is not allowed")
    for part in parts:
        target = target / part
        with _reading(archive), _writing(target):
            if target.is_symlink():
                raise _error(archive, f"would write {name} through the symbolic link {target}")
    return target


def _is_extracted(target: Path, member: _Member) -> bool:
    """Return True if the file exists with the size and CRC-32 of its zip member."""
    if member.crc is None or not target.is_file() or target.stat().st_size != member.info.size:
        return False
    crc = 0
    with target.open("rb") as file:
        while chunk := file.read(_CHUNK):
            crc = zlib.crc32(chunk, crc)
    return crc == member.crc


def _write(
    archive: Path, member: _Member, target: Path, temporary: Path, count: Callable[[int], None]
) -> None:
    """Write a member to a temporary file and rename it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary.unlink(missing_ok=True)  # left by a killed process
    try:
        with (
            temporary.open("xb") as file,
            contextlib.closing(_read_chunks(archive, member)) as chunks,
        ):
            for chunk in chunks:
                count(len(chunk))
                file.write(chunk)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Turn an OSError of the disk into a DataError."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, single_line(str(target))) from error


@contextlib.contextmanager
def _reading(archive: object, is_encrypted: bool = False) -> Iterator[None]:
    """Turn any error of the archive modules, which document no list of them, into a DataError."""
    try:
        yield
    except RankSimError:
        raise
    except NotImplementedError as error:
        raise DataError(
            f"{archive} uses an unsupported compression ({error}): {_USE_7ZIP}."
        ) from error
    except Exception as error:
        if is_encrypted:
            raise DataError(
                f"{archive} is damaged or the password is wrong: check the password, or "
                f"{_GET_AGAIN}."
            ) from error
        reason = single_line(str(error).partition("\n")[0] or type(error).__name__)
        raise _error(archive, f"is damaged or not a tar or zip archive ({reason})") from error


def _read_chunks(archive: Path, member: _Member) -> Generator[bytes]:
    with _reading(archive, member.is_encrypted), member.open() as content:
        while chunk := content.read(_CHUNK):
            yield chunk


def _read_members(archive: Path, password: str | None) -> Generator[_Member]:
    if not archive.is_file():
        raise DataError(f"There is no archive {archive}: check the path.")
    with _reading(archive):
        with archive.open("rb") as file:
            is_zip = file.read(4) in (b"PK\3\4", b"PK\5\6", b"PK\7\x08")
        yield from _read_zip(archive, password) if is_zip else _read_tar(archive)


def _read_zip(archive: Path, password: str | None) -> Iterator[_Member]:
    secret = None if password is None else password.encode()
    with zipfile.ZipFile(archive) as file:
        for item in file.infolist():
            if item.flag_bits & 64 or item.compress_type == _AES:
                raise DataError(
                    f"{archive} uses an unsupported encryption (AES or another strong one): "
                    f"{_USE_7ZIP}."
                )
            if item.flag_bits & 1 and secret is None:
                raise DataError(f"{archive} is encrypted: add --password to be asked for it.")
        for item in file.infolist():
            info = tarfile.TarInfo(item.orig_filename)  # filename is cut at a NUL
            info.size, mode = item.file_size, stat.S_IFMT(item.external_attr >> 16)
            if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
                info.type = tarfile.SYMTYPE
            elif mode == stat.S_IFDIR or info.name.endswith("/"):
                info.type = tarfile.DIRTYPE
            yield _Member(
                info,
                lambda item=item: file.open(item, pwd=secret),  # type: ignore[misc]
                item.CRC,
                bool(item.flag_bits & 1),
            )


def _read_tar(archive: Path) -> Iterator[_Member]:
    with tarfile.open(archive, tarinfo=StrictHeader) as tar:
        while (info := tar.next()) is not None:
            yield _Member(info, lambda info=info: tar.extractfile(info))  # type: ignore[misc,arg-type]
            tar.members.clear()  # type: ignore[attr-defined]  # they would fill the memory
        for _ in range(64):  # read on to the checksum at the end of a gzip file
            if tar.fileobj is None or not tar.fileobj.read(_CHUNK):
                break
