import errno
import gzip
import io
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from ranksim.datasets.extract import extract
from ranksim.exceptions import DataError

FILES = {"faces/a.jpg": bytes(range(256)) * 400, "faces/deep/b.jpg": b"b" * 10, "c.txt": b""}
LIMIT = 10**7


def tar(members):
    """An archive of ``(name, type, content or link target)``."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as file:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = content
                content = b""
            info.size, info.mode = len(content), 0o4777
            file.addfile(info, io.BytesIO(content))
    return made.getvalue()


def zipped(members):
    """An archive of ``(name, type of file in Unix, content)``."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
        for name, kind, content in members:
            info = zipfile.ZipInfo("placeholder")
            info.filename = info.orig_filename = name  # else zipfile cleans it
            info.external_attr, info.compress_type = (kind | 0o777) << 16, zipfile.ZIP_DEFLATED
            file.writestr(info, content)
    return made.getvalue()


def good_tar(files=FILES):
    return tar([("./", tarfile.DIRTYPE, b"")] + [(n, tarfile.REGTYPE, c) for n, c in files.items()])


def good_zip(files=FILES):
    return zipped(
        [("faces/", stat.S_IFDIR, b"")] + [(n, stat.S_IFREG, c) for n, c in files.items()]
    )


MAKERS = {
    "a.tar": good_tar,
    "a.tar.gz": lambda files=FILES: gzip.compress(good_tar(files)),
    "a.zip": good_zip,
}


class ZipCrypto:
    """The traditional encryption of PKWARE's APPNOTE, section 6.1."""

    def __init__(self, password):
        self.keys = [0x12345678, 0x23456789, 0x34567890]
        for byte in password:
            self.update(byte)

    def update(self, byte):
        a, b, c = self.keys
        a = zlib.crc32(bytes([byte]), a ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
        b = ((b + (a & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        c = zlib.crc32(bytes([b >> 24]), c ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
        self.keys = [a, b, c]

    def encrypt(self, content):
        out = bytearray()
        for byte in content:
            t = (self.keys[2] | 2) & 0xFFFF
            out.append(byte ^ ((t * (t ^ 1)) >> 8 & 0xFF))
            self.update(byte)
        return bytes(out)


def encrypted_zip(files, password, flags=1, method=8):
    """Written by hand: zipfile only reads such archives."""
    body, directory = b"", b""
    for name, content in files.items():
        checksum, packed = zlib.crc32(content), zlib.compress(content, wbits=-15)
        secret = ZipCrypto(password).encrypt(bytes(11) + bytes([checksum >> 24]) + packed)
        fields = (20, flags, method, 0, 33, checksum, len(secret), len(content), len(name), 0)
        entry = struct.pack("<H", 20) + struct.pack("<5H3L2H", *fields)
        directory += b"PK\1\2" + entry + struct.pack("<3H2L", 0, 0, 0, 0, len(body)) + name.encode()
        body += b"PK\3\4" + struct.pack("<5H3L2H", *fields) + name.encode() + secret
    end = (0, 0, len(files), len(files), len(directory), len(body), 0)
    return body + directory + b"PK\5\6" + struct.pack("<4H2LH", *end)


def unpacked(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith(".unpacking")
    }


@pytest.fixture
def unpack(tmp_path):
    """Unpack content below ``tmp_path / "root"``."""

    def run(content, **options):
        archive = tmp_path / "archive"
        archive.write_bytes(content)
        return extract(archive, tmp_path / "root", **{"limit_bytes": LIMIT, **options})

    return run


def refused(unpack, tmp_path, content, match, **options):
    with pytest.raises(DataError, match=match) as caught:
        unpack(content, **options)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "root"]
    assert not (tmp_path / "root" / ".unpacking").exists()


@pytest.mark.parametrize("kind", MAKERS)
def test_unpacks(unpack, tmp_path, kind):
    told = []
    assert unpack(MAKERS[kind](), told=told.append) == 3
    assert unpacked(tmp_path / "root") == FILES
    assert told[-1] == sum(map(len, FILES.values()))
    assert told == sorted(told)


@pytest.mark.parametrize("kind", MAKERS)
def test_modes_of_the_archive_are_ignored(unpack, tmp_path, kind):
    before = os.umask(0o027)
    try:
        unpack(MAKERS[kind]())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "root" / "faces" / "a.jpg").stat().st_mode) == 0o640


BAD_NAMES = {
    "../out": "leads out of its folder",
    "faces/../../out": "leads out of its folder",
    "faces/.. /out": "leads out of its folder",
    "/out": "is an absolute path",
    "//out": "is an absolute path",
    "C:/out": "names a drive",
    "faces/c:out": "names a drive",
    "..\\out": "has a backslash or a NUL in its name",
    "\\\\server\\out": "has a backslash or a NUL in its name",
    ".unpacking": "has a name that unpacking uses itself",
    "./.unpacking.lock": "has a name that unpacking uses itself",
}


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("make", ["tar", "zip"])
def test_names_that_lead_elsewhere_are_refused(unpack, tmp_path, name, make):
    bad = (
        tar([("good", tarfile.REGTYPE, b"1"), (name, tarfile.REGTYPE, b"2")])
        if make == "tar"
        else zipped([("good", stat.S_IFREG, b"1"), (name, stat.S_IFREG, b"2")])
    )
    refused(unpack, tmp_path, bad, f"/archive: {name!r} {BAD_NAMES[name]}; ".replace("\\", "."))
    assert unpacked(tmp_path / "root") == {"good": b"1"}


def test_folders_that_lead_elsewhere_are_refused(unpack, tmp_path):
    refused(unpack, tmp_path, tar([("../out", tarfile.DIRTYPE, b"")]), "leads out of its folder")
    refused(unpack, tmp_path, zipped([("../out/", stat.S_IFDIR, b"")]), "leads out of its folder")


def test_a_nul_in_a_name_is_refused(unpack, tmp_path):
    bad = zipped([("good.jpgXevil", stat.S_IFREG, b"1")]).replace(b"jpgX", b"jpg\0")
    refused(unpack, tmp_path, bad, "has a backslash or a NUL")
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as file:
        file.addfile(tarfile.TarInfo("x\0é"))  # é: the name goes into an extended header
    refused(unpack, tmp_path, made.getvalue(), "has a backslash or a NUL")


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.CHRTYPE, "a special file"),
        (tarfile.BLKTYPE, "a special file"),
        (tarfile.FIFOTYPE, "a special file"),
        (b"V", "a special file"),
    ],
)
def test_only_files_and_folders_come_out_of_a_tar(unpack, tmp_path, kind, what):
    content = "/etc/passwd" if what == "a link" else b""
    bad = tar([("good", tarfile.REGTYPE, b"1"), ("odd", kind, content)])
    refused(unpack, tmp_path, bad, f"'odd' is {what}, and only files and folders are unpacked")
    assert unpacked(tmp_path / "root") == {"good": b"1"}


@pytest.mark.parametrize(
    ("kind", "what"),
    [(stat.S_IFLNK, "a link"), (stat.S_IFIFO, "a special file"), (stat.S_IFCHR, "a special file")],
)
def test_only_files_and_folders_come_out_of_a_zip(unpack, tmp_path, kind, what):
    refused(unpack, tmp_path, zipped([("odd", kind, b"/etc/passwd")]), f"'odd' is {what}")
    assert unpacked(tmp_path / "root") == {}


def test_a_file_needs_a_name(unpack, tmp_path):
    refused(unpack, tmp_path, tar([("./", tarfile.REGTYPE, b"1")]), "has no name")


@pytest.mark.parametrize("make", [good_tar, good_zip])
@pytest.mark.parametrize("at", ["faces", "faces/a.jpg"])
def test_links_on_disk_are_not_followed(unpack, tmp_path, make, at):
    root, outside = tmp_path / "root", tmp_path / "root" / "outside"
    outside.mkdir(parents=True)
    (outside / "a.jpg").write_bytes(FILES["faces/a.jpg"])
    (root / at).parent.mkdir(exist_ok=True)
    (root / at).symlink_to(outside if at == "faces" else outside / "a.jpg")
    refused(unpack, tmp_path, make(), f"would pass through the symbolic link .*/root/{at};")
    assert [path.name for path in outside.iterdir()] == ["a.jpg"]


def test_what_a_killed_process_left_is_not_written_through(unpack, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "victim").write_bytes(b"mine")
    (root / ".unpacking").symlink_to(root / "victim")
    unpack(good_tar())
    assert unpacked(root) == FILES | {"victim": b"mine"}


@pytest.mark.parametrize("kind", MAKERS)
def test_stopped_in_the_middle_it_goes_on(unpack, tmp_path, kind):
    files = {f"{i}": os.urandom(2_500_000) for i in range(3)}

    def stop(total):
        if total > 4_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(MAKERS[kind](files), told=stop)
    root = tmp_path / "root"
    assert unpacked(root) == {"0": files["0"]}
    assert not (root / ".unpacking").exists()
    assert unpack(MAKERS[kind](files)) == 3
    assert unpacked(root) == files


@pytest.mark.parametrize("kind", MAKERS)
def test_other_content_of_the_same_size_is_replaced(unpack, tmp_path, kind):
    unpack(MAKERS[kind]())
    (tmp_path / "root" / "faces" / "deep" / "b.jpg").write_bytes(b"B" * 10)
    kept = (tmp_path / "root" / "faces" / "a.jpg").stat().st_ino
    told = []
    assert unpack(MAKERS[kind](), told=told.append) == 3
    assert unpacked(tmp_path / "root") == FILES
    assert told[-1] == sum(map(len, FILES.values()))
    if kind == "a.zip":
        assert (tmp_path / "root" / "faces" / "a.jpg").stat().st_ino == kept


@pytest.mark.parametrize("kind", MAKERS)
def test_too_much_is_refused(unpack, tmp_path, kind):
    content = MAKERS[kind]()
    refused(
        unpack, tmp_path, content, "unpacks to more than the 1,000 bytes that are", limit_bytes=1000
    )
    assert unpacked(tmp_path / "root") == {}
    refused(unpack, tmp_path, content, "has more than the 2 members that are", limit_files=2)


def test_sizes_in_headers_are_not_believed(unpack, tmp_path):
    """10 MB of zeros that call themselves 10 bytes."""
    bomb = zipped([("bomb", stat.S_IFREG, bytes(10**7))])
    bomb = bomb.replace(struct.pack("<L", 10**7), struct.pack("<L", 10))
    refused(unpack, tmp_path, bomb, "is damaged", limit_bytes=10**6)
    assert unpacked(tmp_path / "root") == {}


def test_a_header_that_would_fill_the_memory_is_refused(unpack, tmp_path):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    refused(unpack, tmp_path, info.tobuf(tarfile.GNU_FORMAT), "bad size in a header")
    info.type, info.size = tarfile.REGTYPE, -1
    refused(unpack, tmp_path, info.tobuf(tarfile.GNU_FORMAT), "bad size in a header")
    chain = tarfile.TarInfo("x")
    chain.type = tarfile.XGLTYPE
    refused(unpack, tmp_path, chain.tobuf() * 5000, "is damaged.*recursion")


def test_a_negative_size_in_an_extended_header_is_refused(unpack, tmp_path):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as file:
        info = tarfile.TarInfo("x")
        info.pax_headers = {"size": "-512"}
        file.addfile(info)
    refused(unpack, tmp_path, made.getvalue(), "'x' has a negative size")


SECRET = encrypted_zip(FILES, b"open sesame")


def test_an_encrypted_zip(unpack, tmp_path):
    assert unpack(SECRET, password="open sesame") == 3
    assert unpacked(tmp_path / "root") == FILES
    assert unpack(SECRET, password="open sesame") == 3


def test_an_encrypted_zip_without_its_password(unpack, tmp_path):
    match = "archive is encrypted; give --password, and its password is asked for on the terminal"
    refused(unpack, tmp_path, SECRET, match)


def test_wrong_passwords(unpack, tmp_path):
    """One in 256 passes the check byte and is found out by the content."""
    for i in range(600):
        refused(unpack, tmp_path, SECRET, "The password does not open", password=f"wrong{i}")
        assert unpacked(tmp_path / "root") == {}


@pytest.mark.parametrize("unreadable", [{"method": 99}, {"flags": 65}])
def test_strong_encryption(unpack, tmp_path, unreadable):
    content = encrypted_zip(FILES, b"x", **unreadable)
    refused(unpack, tmp_path, content, "in a way not read here .AES.*7-Zip", password="x")


def test_a_compression_that_is_not_read(unpack, tmp_path):
    content = encrypted_zip(FILES, b"x", flags=0, method=9)
    refused(unpack, tmp_path, content, "packed in a way not read here .*7-Zip and give the folder")


@pytest.mark.parametrize("kind", MAKERS)
def test_every_archive_that_is_cut_short_is_refused(unpack, tmp_path, kind):
    """Also where it is cut between two members, or right before the end's mark."""
    whole = MAKERS[kind]()
    # after the first of a .tar's two empty blocks, its last member being an empty file
    end = whole.index(b"c.txt") + 1024 if kind == "a.tar" else len(whole)
    for cut in {*range(0, end, 512), *range(100, end, 1711), end - 1}:
        refused(unpack, tmp_path, whole[:cut], "is damaged, cut short or no .tar, .tar.gz or .zip")


@pytest.mark.parametrize("kind", ["a.tar.gz", "a.zip"])
def test_flipped_bits_are_found(unpack, tmp_path, kind):
    """By the checksums; a .tar has some in its headers alone."""
    whole = bytearray(MAKERS[kind]({"a": os.urandom(3000)}))
    whole[1500] ^= 16
    refused(unpack, tmp_path, bytes(whole), "is damaged")


def test_a_damaged_header_is_not_the_end(unpack, tmp_path):
    whole = bytearray(good_tar())
    place = whole.index(b"faces/deep/b.jpg")
    whole[place] ^= 16
    refused(unpack, tmp_path, bytes(whole), "is damaged.*bad checksum")


def test_no_archive(unpack, tmp_path):
    refused(unpack, tmp_path, b"<html>not found</html>", "is damaged, cut short or no .tar")
    with pytest.raises(DataError, match="There is no archive .*nothing; put it there"):
        extract(tmp_path / "nothing", tmp_path / "root", limit_bytes=LIMIT)


def test_an_empty_archive_is_fine(unpack):
    assert unpack(tar([])) == unpack(zipped([])) == 0


def test_a_full_disk_is_one_sentence(unpack, tmp_path, monkeypatch):
    class Full(io.BytesIO):
        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    real = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, mode="r": Full() if mode == "xb" else real(self, mode)
    )
    refused(unpack, tmp_path, good_tar(), "The disk is full: .*a.jpg could not be written; free")


def test_something_else_in_its_place_is_one_sentence(unpack, tmp_path):
    (tmp_path / "root" / "faces" / "a.jpg").mkdir(parents=True)
    refused(unpack, tmp_path, good_zip(), "a.jpg could not be written .*; move away what is in")
    bad = tar([("a", tarfile.REGTYPE, b"1"), ("a/b", tarfile.REGTYPE, b"2")])
    refused(unpack, tmp_path, bad, "a/b could not be written")
