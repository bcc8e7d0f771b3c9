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

from ranksim.datasets.archives import extract, read_member
from ranksim.exceptions import DataError

FILES = {"faces/a.jpg": bytes(range(256)) * 400, "faces/deep/b.jpg": b"b" * 10, "c.txt": b""}
LIMIT = 10**7


def make_tar(members):
    """Build a tar of ``(name, type, content or link target)``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as file:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = content
                content = b""
            info.size, info.mode = len(content), 0o4777
            file.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def make_zip(members):
    """Build a zip of ``(name, Unix file type, content)``."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, kind, content in members:
            info = zipfile.ZipInfo("placeholder")
            info.filename = info.orig_filename = name  # else zipfile cleans it
            info.external_attr, info.compress_type = (kind | 0o777) << 16, zipfile.ZIP_DEFLATED
            file.writestr(info, content)
    return buffer.getvalue()


def good_tar(files=FILES):
    return make_tar(
        [("./", tarfile.DIRTYPE, b"")] + [(n, tarfile.REGTYPE, c) for n, c in files.items()]
    )


def good_zip(files=FILES):
    return make_zip(
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
    """Build an encrypted zip by hand: zipfile can only read them."""
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


def read_files(root):
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


def assert_rejected(unpack, tmp_path, content, match, **options):
    with pytest.raises(DataError, match=match) as caught:
        unpack(content, **options)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "root"]
    assert not (tmp_path / "root" / ".unpacking").exists()


@pytest.mark.parametrize("kind", MAKERS)
def test_unpacks_all_files_with_default_permissions(unpack, tmp_path, kind):
    progress = []
    before = os.umask(0o027)
    try:
        assert unpack(MAKERS[kind](), on_progress=progress.append) == 3
    finally:
        os.umask(before)
    assert read_files(tmp_path / "root") == FILES
    assert progress[-1] == sum(map(len, FILES.values()))
    assert progress == sorted(progress)
    assert stat.S_IMODE((tmp_path / "root" / "faces" / "a.jpg").stat().st_mode) == 0o640


@pytest.mark.parametrize(
    "name",
    ["../out", "faces/../../out", "faces/.. /out", "C:/out", "faces/c:out", "..\\out",
     ".unpacking", "./.unpacking.lock"],
)  # fmt: skip
@pytest.mark.parametrize("make", ["tar", "zip"])
def test_rejects_names_outside_the_root(unpack, tmp_path, name, make):
    bad = (
        make_tar([("good", tarfile.REGTYPE, b"1"), (name, tarfile.REGTYPE, b"2")])
        if make == "tar"
        else make_zip([("good", stat.S_IFREG, b"1"), (name, stat.S_IFREG, b"2")])
    )
    assert_rejected(unpack, tmp_path, bad, f"/archive contains {name!r}".replace("\\", "."))
    assert read_files(tmp_path / "root") == {"good": b"1"}


def test_absolute_names_stay_below_the_root(unpack, tmp_path):
    names = ("/out", "//deep/out", "\\\\server\\out")
    unpack(make_tar([(name, tarfile.REGTYPE, b"1") for name in names]))
    assert set(read_files(tmp_path / "root")) == {"out", "deep/out", "server/out"}


@pytest.mark.parametrize(
    "content",
    [
        make_tar([("../out", tarfile.DIRTYPE, b"")]),
        make_zip([("../out/", stat.S_IFDIR, b"")]),
        make_tar([("./", tarfile.REGTYPE, b"1")]),
        make_zip([("good.jpgXevil", stat.S_IFREG, b"1")]).replace(b"jpgX", b"jpg\0"),
    ],
)
def test_rejects_unusable_names(unpack, tmp_path, content):
    assert_rejected(unpack, tmp_path, content, "whose name or size is not allowed")


def test_rejects_extended_headers_with_nul_or_negative_size(unpack, tmp_path):
    for name, headers in (("x\0é", {}), ("x", {"size": "-512"})):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as file:
            info = tarfile.TarInfo(name)
            info.pax_headers = headers
            file.addfile(info)
        assert_rejected(unpack, tmp_path, buffer.getvalue(), "whose name or size is not allowed")


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"V"],
)
def test_rejects_links_and_devices_in_tar(unpack, tmp_path, kind):
    content = "/etc/passwd" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else b""
    bad = make_tar([("good", tarfile.REGTYPE, b"1"), ("odd", kind, content)])
    assert_rejected(unpack, tmp_path, bad, "'odd', which is a link or special file")
    assert read_files(tmp_path / "root") == {"good": b"1"}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_rejects_links_and_devices_in_zip(unpack, tmp_path, kind):
    content = make_zip([("odd", kind, b"/etc/passwd")])
    assert_rejected(unpack, tmp_path, content, "'odd', which is a link or special file")
    assert read_files(tmp_path / "root") == {}


@pytest.mark.parametrize("make", [good_tar, good_zip])
@pytest.mark.parametrize("at", ["faces", "faces/a.jpg"])
def test_rejects_links_on_disk(unpack, tmp_path, make, at):
    root, outside = tmp_path / "root", tmp_path / "root" / "outside"
    outside.mkdir(parents=True)
    (outside / "a.jpg").write_bytes(FILES["faces/a.jpg"])
    (root / at).parent.mkdir(exist_ok=True)
    (root / at).symlink_to(outside if at == "faces" else outside / "a.jpg")
    assert_rejected(unpack, tmp_path, make(), f"through the symbolic link .*/root/{at}:")
    assert [path.name for path in outside.iterdir()] == ["a.jpg"]


def test_does_not_write_through_a_temporary_link(unpack, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "victim").write_bytes(b"mine")
    (root / ".unpacking").symlink_to(root / "victim")
    unpack(good_tar())
    assert read_files(root) == FILES | {"victim": b"mine"}


@pytest.mark.parametrize("kind", MAKERS)
def test_resumes_after_an_interrupt(unpack, tmp_path, kind):
    files = {f"{i}": os.urandom(1_500_000) for i in range(3)}

    def stop(total):
        if total > 2_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(MAKERS[kind](files), on_progress=stop)
    root = tmp_path / "root"
    assert read_files(root) == {"0": files["0"]}
    assert not (root / ".unpacking").exists()
    assert unpack(MAKERS[kind](files)) == 3
    assert read_files(root) == files


@pytest.mark.parametrize("kind", MAKERS)
def test_repeated_call_replaces_changed_files_alone(unpack, tmp_path, kind):
    unpack(MAKERS[kind]())
    (tmp_path / "root" / "faces" / "deep" / "b.jpg").write_bytes(b"B" * 10)
    inode = (tmp_path / "root" / "faces" / "a.jpg").stat().st_ino
    progress = []
    assert unpack(MAKERS[kind](), on_progress=progress.append) == 3
    assert read_files(tmp_path / "root") == FILES
    assert progress[-1] == sum(map(len, FILES.values()))
    if kind == "a.zip":
        assert (tmp_path / "root" / "faces" / "a.jpg").stat().st_ino == inode


@pytest.mark.parametrize("kind", MAKERS)
def test_enforces_limits(unpack, tmp_path, kind):
    content = MAKERS[kind]()
    assert_rejected(unpack, tmp_path, content, "limit of 1,000 bytes", limit_bytes=1000)
    assert read_files(tmp_path / "root") == {}
    assert_rejected(unpack, tmp_path, content, "limit of 2 members", limit_files=2)


def test_counts_bytes_instead_of_trusting_zip_headers(unpack, tmp_path):
    """10 MB of zeros in a member whose header says 10 bytes."""
    bomb = make_zip([("bomb", stat.S_IFREG, bytes(10**7))])
    bomb = bomb.replace(struct.pack("<L", 10**7), struct.pack("<L", 10))
    assert_rejected(unpack, tmp_path, bomb, "is damaged", limit_bytes=10**6)
    assert read_files(tmp_path / "root") == {}


def test_rejects_headers_that_would_fill_the_memory(unpack, tmp_path):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    assert_rejected(unpack, tmp_path, info.tobuf(tarfile.GNU_FORMAT), "is damaged")
    info.type, info.size = tarfile.REGTYPE, -1
    assert_rejected(unpack, tmp_path, info.tobuf(tarfile.GNU_FORMAT), "is damaged")
    chain = tarfile.TarInfo("x")
    chain.type = tarfile.XGLTYPE
    assert_rejected(unpack, tmp_path, chain.tobuf() * 5000, "is damaged")


SECRET = encrypted_zip(FILES, b"open sesame")


def test_unpacks_encrypted_zip(unpack, tmp_path):
    for _ in range(2):
        assert unpack(SECRET, password="open sesame") == 3
        assert read_files(tmp_path / "root") == FILES
    assert_rejected(unpack, tmp_path, SECRET, "is encrypted: add --password")


def test_rejects_wrong_passwords(unpack, tmp_path):
    """One password in 256 passes the check byte and fails by the content."""
    for i in range(260):
        assert_rejected(unpack, tmp_path, SECRET, "check the password", password=f"wrong{i}")
    assert read_files(tmp_path / "root") == {}


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"method": 99}, "AES or another unsupported encryption.*7-Zip"),
        ({"flags": 65}, "AES or another unsupported encryption.*7-Zip"),
        ({"flags": 0, "method": 9}, "unsupported compression .*7-Zip"),
    ],
)
def test_rejects_unsupported_zips(unpack, tmp_path, options, match):
    assert_rejected(unpack, tmp_path, encrypted_zip(FILES, b"x", **options), match, password="x")


@pytest.mark.parametrize("kind", MAKERS)
def test_rejects_every_truncated_archive(unpack, tmp_path, kind):
    """Also one that ends between two members, or right before the end marker."""
    whole = MAKERS[kind]()
    # after the first of a tar's two empty blocks, its last member being an empty file
    end = whole.index(b"c.txt") + 1024 if kind == "a.tar" else len(whole)
    for cut in {*range(0, end, 2048), *range(512, end, 17 * 512), *range(100, end, 3711), end - 1}:
        assert_rejected(unpack, tmp_path, whole[:cut], "is damaged or not a tar or zip archive")


@pytest.mark.parametrize("kind", ["a.tar.gz", "a.zip"])
def test_checksums_find_flipped_bits(unpack, tmp_path, kind):
    whole = bytearray(MAKERS[kind]({"a": os.urandom(3000)}))
    whole[1500] ^= 16
    assert_rejected(unpack, tmp_path, bytes(whole), "is damaged")


def test_damaged_header_is_not_the_end_of_the_archive(unpack, tmp_path):
    whole = bytearray(good_tar())
    whole[whole.index(b"faces/deep/b.jpg")] ^= 16
    assert_rejected(unpack, tmp_path, bytes(whole), "is damaged.*bad checksum")


def test_rejects_what_is_not_an_archive(unpack, tmp_path):
    assert_rejected(unpack, tmp_path, b"<html>not found</html>", "is damaged or not a tar")
    with pytest.raises(DataError, match="archive .*nothing does not exist"):
        extract(tmp_path / "nothing", tmp_path / "root", limit_bytes=LIMIT)


def test_accepts_empty_archives(unpack):
    assert unpack(make_tar([])) == unpack(make_zip([])) == 0


def test_full_disk_is_one_sentence(unpack, tmp_path, monkeypatch):
    class Full(io.BytesIO):
        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    real = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, mode="r": Full() if mode == "xb" else real(self, mode)
    )
    assert_rejected(unpack, tmp_path, good_tar(), "[Dd]isk is full.*a.jpg|a.jpg.*disk is full")


def test_obstacles_on_disk_are_one_sentence(unpack, tmp_path):
    (tmp_path / "root" / "faces" / "a.jpg").mkdir(parents=True)
    assert_rejected(unpack, tmp_path, good_zip(), "a.jpg could not be written")
    bad = make_tar([("a", tarfile.REGTYPE, b"1"), ("a/b", tarfile.REGTYPE, b"2")])
    assert_rejected(unpack, tmp_path, bad, "a/b could not be written")


def test_read_member_returns_one_file():
    content = gzip.compress(
        make_tar([("a", tarfile.REGTYPE, b"1" * 9), ("d", tarfile.DIRTYPE, b"")])
    )
    assert read_member(content, "a", limit=9, origin="x") == b"1" * 9
    for member, limit, match in (
        ("a", 8, "larger than 8 bytes"),
        ("b", 9, "^x does not contain b"),
        ("d", 9, "not a regular file"),
    ):
        with pytest.raises(DataError, match=match):
            read_member(content, member, limit=limit, origin="x")
    for cut in range(0, len(content) // 2, 7):
        with pytest.raises(DataError, match="^x is damaged"):
            read_member(content[:cut], "a", limit=9, origin="x")
