import contextlib
import errno
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from operator import itemgetter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from ranksim.data.images import pixel_cache as module
from ranksim.data.images.decode import describe_broken
from ranksim.data.images.pixel_cache import ImageDataset, PixelCache
from ranksim.exceptions import DataError

SIZE = 6
NOT_AN_IMAGE = "the file is not an image of a known format"


def noise(seed, height=9, width=7):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def decode_with_pillow(root, path, size=SIZE):
    image = Image.open(root / path).convert("RGB")
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def assert_cached(cache, root, paths, filled=None):
    """Add images and compare every row with its file."""
    rows, broken = filled or cache.add_images(root, paths)
    assert broken == {}
    assert (rows.dtype, rows.shape) == (np.int64, (len(paths),))
    images = cache.map_pixels().numpy()
    for path, row in zip(paths, rows, strict=True):
        np.testing.assert_array_equal(images[row], decode_with_pillow(root, path, cache.size))
    return rows


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for k in range(10):
        image = Image.fromarray(noise(k, 5 + k, 12 - k))
        image.save(folder / f"{k}.{'jpg' if k % 2 else 'png'}")
    return folder


@pytest.fixture
def paths(root):
    return sorted(path.name for path in root.iterdir())


@pytest.fixture
def cache(tmp_path):
    return PixelCache(SIZE, tmp_path / "cache")


@pytest.fixture
def counted(monkeypatch):
    """How often files are read and images decoded."""
    calls = Counter()

    def counting(name):
        real = getattr(module, name)

        def run(*given):
            calls[name] += 1
            return real(*given)

        monkeypatch.setattr(module, name, run)

    counting("read_file")
    counting("decode")
    return calls


def run_serially(work, items, on_progress=None):
    return [work(item) for item in items]


def test_rows_equal_decoded_and_resized_files(root, paths, cache):
    progress = []
    rows, broken = cache.add_images(root, paths, on_progress=progress.append)
    assert_cached(cache, root, paths, (rows, broken))
    assert sorted(rows) == list(range(10))
    assert progress == [10]
    assert cache.map_pixels().shape == (10, SIZE, SIZE, 3)
    assert cache.map_pixels().dtype == torch.uint8


def test_decodes_each_image_once(root, paths, cache, counted, monkeypatch):
    first = assert_cached(cache, root, paths)
    assert counted == {"decode": 10, "read_file": 20}
    progress = []
    np.testing.assert_array_equal(
        cache.add_images(root, paths, on_progress=progress.append)[0], first
    )
    assert counted["decode"] == 10  # read again, because they are so young
    assert progress == []
    later = time.time_ns() + 3_000_000_000
    monkeypatch.setattr(module.time, "time_ns", lambda: later)
    cache.add_images(root, paths)
    counted.clear()
    np.testing.assert_array_equal(cache.add_images(root, paths)[0], first)
    np.testing.assert_array_equal(cache.add_images(root, paths[::-1])[0], first[::-1])
    assert counted == {}
    Image.fromarray(noise(99)).save(root / "new.png")
    assert assert_cached(cache, root, [*paths, "new.png"])[-1] == 10
    assert counted == {"decode": 1, "read_file": 2}


def test_stores_equal_content_once(root, paths, cache, counted):
    (root / "below").mkdir()
    shutil.copy(root / "3.jpg", root / "below" / "again.jpg")
    shutil.copy(root / "3.jpg", root / "again.png")
    rows = assert_cached(cache, root, ["3.jpg", "again.png", "below/again.jpg", "4.png"])
    assert rows[0] == rows[1] == rows[2] != rows[3]
    assert counted["decode"] == 2
    moved = root.rename(root.with_name("moved"))
    assert assert_cached(cache, moved, ["again.png"]) == rows[:1]
    assert counted["decode"] == 2


def test_accepts_repeated_paths(root, paths, cache, counted):
    again = ["1.jpg", "0.png", "1.jpg", "1.jpg"]
    rows = assert_cached(cache, root, again)
    assert rows[0] == rows[2] == rows[3] != rows[1]
    assert counted["decode"] == 2
    (root / "1.jpg").write_bytes(b"none")
    rows, broken = cache.add_images(root, again)
    assert (rows < 0).tolist() == [True, False, True, True]
    assert broken == {"1.jpg": NOT_AN_IMAGE}


@pytest.mark.parametrize("how", ["longer", "time", "old time", "renamed", "link"])
def test_detects_changed_content(root, cache, how, monkeypatch):
    monkeypatch.setattr(module, "_MIN_FILE_AGE", -1)  # every file is taken for long unchanged
    path = root / "a.bmp"
    Image.fromarray(noise(50)).save(path)
    Image.fromarray(noise(51)).save(root / "b.bmp")
    stamp = path.stat().st_mtime_ns
    if how == "link":
        path.rename(root / "c.bmp")
        path.symlink_to("c.bmp")
    before = assert_cached(cache, root, ["a.bmp"])
    time.sleep(0.02)
    if how == "longer":
        Image.fromarray(noise(51, 10)).save(path)
    elif how == "link":
        path.unlink()
        path.symlink_to("b.bmp")
        os.utime(root / "b.bmp", ns=(stamp, stamp))
    elif how == "renamed":  # keeps its time
        os.utime(root / "b.bmp", ns=(stamp, stamp))
        (root / "b.bmp").rename(path)
    else:
        path.write_bytes((root / "b.bmp").read_bytes())
        if how == "old time":
            os.utime(path, ns=(stamp, stamp))
    assert assert_cached(cache, root, ["a.bmp"]) != before


def test_detects_change_within_one_clock_tick(root, cache, monkeypatch):
    """On a file system whose times do not tell two writes apart."""
    frozen = SimpleNamespace(st_size=0, st_ino=0, st_mtime_ns=0, st_ctime_ns=0)
    real = module._make_mark
    monkeypatch.setattr(module, "_make_mark", lambda state, digest: real(frozen, digest))
    for seed in (60, 61):
        Image.fromarray(noise(seed)).save(root / "a.bmp")
        assert_cached(cache, root, ["a.bmp"])


def test_mark_depends_on_all_file_attributes():
    names = ("st_size", "st_ino", "st_mtime_ns", "st_ctime_ns")
    states = [dict.fromkeys(names, 1), *(dict.fromkeys(names, 1) | {name: 2} for name in names)]
    marks = [module._make_mark(SimpleNamespace(**state), b"digest") for state in states]
    marks += [module._make_mark(SimpleNamespace(**states[0]), b"ingest")]
    assert len(set(marks)) == 6


def test_detects_change_between_hashing_and_decoding(root, paths, cache, monkeypatch):
    real, reads = module.read_file, Counter()

    def changes(path):
        reads[path.name] += 1
        if reads["2.png"] == 2 and path.name == "2.png":
            Image.fromarray(noise(70)).save(path)
        return real(path)

    monkeypatch.setattr(module, "read_file", changes)
    rows, broken = cache.add_images(root, paths)
    assert broken == {"2.png": "the file was changed while it was read"}
    assert (rows < 0).tolist() == [path == "2.png" for path in paths]
    assert_cached(cache, root, paths)


def test_sizes_have_separate_folders(root, paths):
    stores = [PixelCache(5), PixelCache(6)]
    for cache in stores * 2:
        assert_cached(cache, root, paths)
    assert stores[0].folder.name == "5px-v1"
    assert stores[0].folder.parent == stores[1].folder.parent
    assert Path(os.environ["RANKSIM_CACHE"]) in stores[0].folder.parents


def test_accepts_file_names_that_are_not_utf8(tmp_path, root, cache, counted, monkeypatch):
    monkeypatch.setattr(module, "_MIN_FILE_AGE", -1)
    odd = tmp_path / os.fsdecode(b"\xff\xe9t\xe9")
    try:
        shutil.copytree(root, odd)
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system takes UTF-8 names alone")
    for _ in range(2):
        assert_cached(cache, odd, ["1.jpg", "2.png"])
    assert counted == {"decode": 2, "read_file": 4}


def test_accepts_no_images_and_no_usable_images(root, cache):
    for _ in range(2):
        rows, broken = cache.add_images(root, [])
        assert (rows.shape, rows.dtype, broken) == ((0,), np.int64, {})
        rows, broken = cache.add_images(root, ["gone.jpg"])
        assert (rows.tolist(), broken) == ([-1], {"gone.jpg": "the file does not exist"})
        assert cache.map_pixels().shape == (0, SIZE, SIZE, 3)
    assert_cached(cache, root, ["1.jpg"])


def test_reports_broken_images_in_order(root, cache):
    names = [f"{k}.{'jpg' if k % 2 else 'png'}" for k in range(10)]
    for k in (8, 2, 5, 1, 9, 6):
        (root / names[k]).write_bytes(b"" if k % 2 else b"no image")
    (root / names[4]).unlink()
    shuffled = [names[k] for k in (7, 9, 4, 0, 8, 1, 2, 3, 6, 5)]
    for _ in range(2):  # no verdict is kept
        rows, broken = cache.add_images(root, shuffled)
        assert list(broken.items()) == [
            ("9.jpg", "the file is empty"), ("4.png", "the file does not exist"),
            ("8.png", NOT_AN_IMAGE), ("1.jpg", "the file is empty"),
            ("2.png", NOT_AN_IMAGE), ("6.png", NOT_AN_IMAGE),
            ("5.jpg", "the file is empty"),
        ]  # fmt: skip
        assert [path for path, row in zip(shuffled, rows, strict=True) if row < 0] == list(broken)
    assert describe_broken(broken, 12_345) == (
        "7 of 12,345 images cannot be used: 9.jpg (the file is empty), 4.png (the file does not "
        f"exist), 8.png ({NOT_AN_IMAGE}), 1.jpg (the file is empty), 2.png ({NOT_AN_IMAGE}), …"
    )
    assert describe_broken({"a": "reason"}, 2) == "1 of 2 images cannot be used: a (reason)"
    Image.fromarray(noise(3)).save(root / "9.jpg")
    assert "9.jpg" not in cache.add_images(root, shuffled)[1]


def test_unreadable_files_are_broken(root, paths, cache, monkeypatch):
    real = Path.stat

    def stat(path, **given):
        if path.name == "3.jpg":
            raise PermissionError(13, "Permission denied")
        return real(path, **given)

    monkeypatch.setattr(Path, "stat", stat)
    assert cache.add_images(root, ["nul\0", *paths])[1] == {
        "nul\0": "the file cannot be read: embedded null byte",
        "3.jpg": "the file cannot be read: Permission denied",
    }


# fills a cache in children that kill themselves at a moment, or in two at once
CHILDREN = """
import os, signal, sys, time
from pathlib import Path
import ranksim.data.images.pixel_cache as module
root, out, paths = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3].split(",")
module._CHUNK_IMAGES, module._MIN_FILE_AGE = 2, -1

def dying(real, count):
    remaining = [count]
    def run(*given):
        remaining[0] -= 1
        if not remaining[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*given)
    return run

def arrange(what, count):
    if what == "sqlite":
        real = module.sqlite3.connect
        def connect(place):
            index = real(place)
            index.set_progress_handler(dying(lambda: 0, count), 1)
            return index
        module.sqlite3.connect = connect
    elif what == "crc32":
        module.zlib = type("", (), {"crc32": staticmethod(dying(module.zlib.crc32, count))})
    elif what != "progress":
        setattr(module, what, dying(getattr(module, what), count))
    return dying(lambda done: None, count if what == "progress" else 10**9)

def child(folder, what, count, start=0.0, order=1):
    pid = os.fork()
    if pid:
        return pid
    progress = arrange(what, count)
    time.sleep(max(0.0, start - time.time()))
    cache = module.PixelCache(int(sys.argv[4]), folder)
    cache.add_images(root, paths[::order], on_progress=progress)
    os._exit(0)

for moment in sys.argv[5:]:
    what, count = moment.split(":")
    print(moment, os.waitpid(child(out / moment, what, int(count)), 0)[1])
start = time.time() + 0.2
pids = [child(out / "two", "progress", 10**9, start, order) for order in (1, -1)]
print("two", *(os.waitpid(pid, 0)[1] for pid in pids))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills children that were forked")
@pytest.mark.slow
def test_survives_kills_and_concurrent_processes(root, paths, tmp_path, counted, monkeypatch):
    moments = ["read_file:3", "decode:1", "decode:7", "crc32:6", "progress:1", "progress:4",
               *(f"sqlite:{k}" for k in (1, 100, 250, 400))]  # fmt: skip
    lines = subprocess.run(
        [sys.executable, "-c", CHILDREN, root, tmp_path, ",".join(paths), str(SIZE), *moments],
        capture_output=True, text=True, check=True, timeout=100,
    ).stdout.splitlines()  # fmt: skip
    assert lines == [*(f"{moment} 9" for moment in moments), "two 0 0"]
    decoded = {}
    for moment in [*moments, "two"]:
        counted.clear()
        assert_cached(PixelCache(SIZE, tmp_path / moment), root, paths)
        decoded[moment] = counted["decode"]
    # what was committed is not done again
    assert decoded["progress:4"] == 2
    assert decoded["progress:1"] == 8
    assert decoded["decode:7"] <= 4
    assert decoded["two"] == 0
    assert (tmp_path / "two" / "pixels.u8").stat().st_size == 10 * SIZE * SIZE * 3


def test_interrupt_while_writing(root, paths, cache, counted, monkeypatch):
    """Half of the chunk is in the file, and the index knows nothing of it."""
    monkeypatch.setattr(module, "_CHUNK_IMAGES", 4)
    calls = Counter()
    real = module.zlib.crc32

    def stops(array):
        calls["crc32"] += 1
        if calls["crc32"] == 7:
            raise KeyboardInterrupt
        return real(array)

    monkeypatch.setattr(module, "zlib", SimpleNamespace(crc32=stops))
    with pytest.raises(KeyboardInterrupt):
        cache.add_images(root, paths)
    with cache.path.open("ab") as file:
        file.write(b"?" * (cache.row_bytes + 5))
    monkeypatch.setattr(module, "zlib", SimpleNamespace(crc32=real))
    counted.clear()
    assert sorted(assert_cached(cache, root, paths)) == list(range(10))
    assert counted["decode"] == 6


@pytest.mark.parametrize("row", [0, 4, 9])
def test_flipped_byte_of_the_pixels_is_repaired(root, paths, cache, counted, row):
    before = assert_cached(cache, root, paths)
    with cache.path.open("r+b") as file:
        file.seek(row * cache.row_bytes + 17)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    counted.clear()
    after = assert_cached(cache, root, paths)
    assert counted["decode"] == 1
    # not in its old place, which another process may be reading
    assert [b for a, b in zip(before, after, strict=True) if a != b] == [10]


@pytest.mark.parametrize("length", [0, 3 * 108 + 50, 9 * 108 + 107])
@pytest.mark.parametrize("half", [False, True])
def test_truncated_pixels_are_repaired(root, paths, cache, counted, length, half):
    assert cache.row_bytes == 108
    assert_cached(cache, root, paths)
    os.truncate(cache.path, length)
    counted.clear()
    if half:  # what is not asked for stays lost, and takes no place
        assert_cached(cache, root, paths[7:])
        assert cache.path.stat().st_size <= 10 * 108
    assert_cached(cache, root, paths)
    assert_cached(cache, root, paths)
    assert counted["decode"] == 10 - length // 108
    assert cache.path.stat().st_size == 10 * 108


def test_missing_pixels_are_repaired(root, paths, cache, counted):
    assert_cached(cache, root, paths)
    cache.path.unlink()
    assert_cached(cache, root, paths)
    assert counted["decode"] == 20


@pytest.fixture
def whole(root, paths, cache, monkeypatch):
    """A cache that was filled, whose index remembers the files; returns what it was."""
    monkeypatch.setattr(module, "_MIN_FILE_AGE", -1)
    cache.add_images(root, paths)
    return (cache.folder / "index.sqlite").read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda good: b"",
        lambda good: b"garbage" * 999,
        lambda good: good[:100],
        lambda good: good[: len(good) // 2 + 100],
        lambda good: good[:4096] + bytes(len(good) - 4096),
        lambda good: good[:4096] + b"\xff" * (len(good) - 4096),
        lambda good: good.replace(b"digest", b"ingest"),
        lambda good: good.replace(b"digest", b"\xff\xfegest"),
        lambda good: good.replace(b"TABLE file", b"TABLE fall"),
    ],
)
def test_damaged_index_is_rebuilt(root, paths, cache, whole, damage):
    place = cache.folder / "index.sqlite"
    changed = damage(whole)
    assert changed != whole
    place.write_bytes(changed)
    (cache.folder / "index.sqlite-journal").write_bytes(b"of a process that is gone")
    assert sorted(assert_cached(cache, root, paths)) == list(range(10))
    with closing(sqlite3.connect(place)) as index:
        assert index.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert index.execute("SELECT COUNT(*) FROM pixels").fetchone() == (10,)


@pytest.mark.slow
def test_any_flipped_byte_of_the_index_is_detected(root, paths, cache, whole, monkeypatch):
    """Whatever SQLite says of it, and when: rows are right."""
    monkeypatch.setattr(module, "map_in_threads", run_serially)
    monkeypatch.setattr(
        module, "require_optional", lambda *_: SimpleNamespace(FileLock=contextlib.nullcontext)
    )
    pixels, place = cache.path.read_bytes(), cache.folder / "index.sqlite"
    used = np.flatnonzero(np.frombuffer(whole, dtype=np.uint8))
    draw = np.random.default_rng(0)
    for at in draw.choice(used, 100, replace=False):
        changed = bytearray(whole)
        changed[at] ^= int(draw.choice([1, 128, 255]))
        place.write_bytes(changed)
        cache.path.write_bytes(pixels)
        assert_cached(cache, root, paths[:5])
        assert_cached(cache, root, paths)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("column", "values"),
    [("pixels.row", (-7, 2**62, "word", None, 1.5, b"blob")),
     ("pixels.crc", (0, 2**62, "word", None, b"blob")),
     ("pixels.digest", ("word", None, b"blob")),
     ("file.digest", ("word", None, 5, b"blob")),
     ("file.mark", ("word", None, 5, b"blob")),
     ("file.path", ("word", None, 5, b"blob"))],
)  # fmt: skip
@pytest.mark.parametrize("used", [slice(0, 5), slice(5, 10)])
def test_wrong_values_in_the_index_are_repaired(
    root, paths, cache, whole, counted, column, values, used
):
    """Of the images that are asked for, and of those that are not."""
    table, _, name = column.partition(".")
    pixels, place = cache.path.read_bytes(), cache.folder / "index.sqlite"
    for value in values:
        place.write_bytes(whole)
        cache.path.write_bytes(pixels)
        with closing(sqlite3.connect(place)) as index, index:
            change = f"UPDATE {table} SET {name} = ? WHERE rowid = 3"
            assert index.execute(change, (value,)).rowcount == 1
        assert_cached(cache, root, paths[used])
        assert_cached(cache, root, paths)
        counted.clear()
        assert_cached(cache, root, paths)
        assert counted == {}
        assert cache.path.stat().st_size <= 11 * 108


def test_negative_rows_are_not_written(root, cache):
    cache.add_images(root, ["1.jpg"])
    with closing(sqlite3.connect(cache.folder / "index.sqlite")) as index, index:
        index.execute("UPDATE pixels SET row = -7")
    assert assert_cached(cache, root, ["1.jpg", "2.png"]).tolist() == [0, 1]


def test_locked_index_is_an_error_and_kept(root, paths, cache, whole, monkeypatch):
    real = sqlite3.connect
    monkeypatch.setattr(module.sqlite3, "connect", lambda place: real(place, timeout=0.05))
    other = real(cache.folder / "index.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    Image.fromarray(noise(80)).save(root / "new.png")
    with pytest.raises(DataError, match="cannot be written .database is locked"):
        cache.add_images(root, ["new.png"])
    other.close()
    assert (cache.folder / "index.sqlite").read_bytes() == whole
    assert_cached(cache, root, [*paths, "new.png"])


def assert_disk_full(cache, root, paths, count, need, free):
    facts = (
        f"^{count} images at {cache.size} pixels need {need} .* but {free} are free: .*--cache-dir"
    )
    with pytest.raises(DataError, match=facts):
        cache.add_images(root, paths)


def set_free_space(monkeypatch, free):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))


def test_missing_space_is_reported_before_decoding(root, paths, tmp_path, counted, monkeypatch):
    cache = PixelCache(2_000, tmp_path / "large")
    set_free_space(monkeypatch, 119_999_999)
    assert_disk_full(cache, root, paths, 10, "0.1 GB", "0.1 GB")
    set_free_space(monkeypatch, 3_500_000)
    assert_disk_full(cache, root, paths, 10, "0.1 GB", "3.5 MB")
    assert counted["decode"] == 0
    small = PixelCache(SIZE, tmp_path / "small")
    set_free_space(monkeypatch, 5 * 108)
    assert_cached(small, root, paths[:5])
    assert_cached(small, root, paths[:5])
    set_free_space(monkeypatch, 4 * 108)  # only what is new counts
    assert_disk_full(small, root, [*paths, paths[0]], 5, "0.0 MB", "0.0 MB")
    assert_cached(small, root, paths[:9])
    assert_cached(small, root, paths[:9])


class Full:
    """A file on a disk that takes so many more rows."""

    def __init__(self, file, rows, number):
        self.file, self.rows, self.number = file, rows, number

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def write(self, content):
        self.rows -= 1
        if self.rows < 0:
            self.file.write(content[:11])
            raise OSError(self.number, os.strerror(self.number))
        self.file.write(content)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_disk_full_while_writing_pixels(root, paths, cache, counted, monkeypatch, number):
    monkeypatch.setattr(module, "_CHUNK_IMAGES", 2)
    real = Path.open

    def opened(path, mode="r", **given):
        file = real(path, mode, **given)
        return Full(file, 5, number) if mode == "r+b" else file

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        set_free_space(patch, 123_400_000)
        assert_disk_full(cache, root, [*paths, paths[0]], 10, "0.0 MB", "0.1 GB")
        assert len(cache.map_pixels()) == 5
    counted.clear()
    assert sorted(assert_cached(cache, root, paths)) == list(range(10))
    assert counted["decode"] == 6  # two chunks were whole


def test_disk_full_while_writing_the_index(root, paths, cache, counted, monkeypatch):
    real = sqlite3.connect

    def connect(place):
        index = real(place)
        index.execute("PRAGMA max_page_count = 5")
        return index

    assert_cached(cache, root, paths)
    for k in range(100):
        Image.fromarray(noise(100 + k)).save(root / f"more{k}.png")
    more = [*paths, *(f"more{k}.png" for k in range(100))]
    with monkeypatch.context() as patch:
        patch.setattr(module.sqlite3, "connect", connect)
        set_free_space(patch, 123_400_000)
        assert_disk_full(cache, root, more, 110, "0.0 MB", "0.1 GB")
    counted.clear()
    assert_cached(cache, root, paths)
    assert counted["decode"] == 0  # nothing is lost
    assert_cached(cache, root, more)


def test_folder_that_cannot_be_created(root, paths, tmp_path):
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "below"
    with pytest.raises(DataError, match="cannot be written .Not a directory.: .* --cache-dir"):
        PixelCache(SIZE, folder).add_images(root, paths)


def test_maps_files_larger_than_memory(cache):
    """Offsets beyond 2³¹ and 2³², and more bytes than there is memory; the file has holes."""
    cache.folder.mkdir(parents=True)
    cache = PixelCache(224, cache.folder)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    places = np.array([0, 2**31 // cache.row_bytes + 1, 2**32 // cache.row_bytes + 1,
                       4 * memory // cache.row_bytes])  # fmt: skip
    try:
        with cache.path.open("wb") as file:
            for place in places:
                file.seek(place * cache.row_bytes)
                file.write(noise(place, 224, 224).tobytes())
    except OSError:
        pytest.skip("this file system has no files with holes")
    assert cache.path.stat().st_blocks * 512 < 2**24
    batch = ImageDataset(cache, places, np.zeros(4)).__getitems__([3, 1, 2, 0])
    (images,) = batch["inputs"]
    for image, place in zip(images, places[[3, 1, 2, 0]], strict=True):
        np.testing.assert_array_equal(image, noise(place, 224, 224))
    cache.path.unlink()


@pytest.fixture
def dataset(root, paths, cache):
    rows = assert_cached(cache, root, paths)
    return ImageDataset(cache, rows, np.arange(10, dtype=np.float64))


def test_dataset_returns_batches(root, paths, dataset):
    batch = dataset.__getitems__([7, 0, 7])
    (images,) = batch["inputs"]
    expected = np.stack([decode_with_pillow(root, paths[k]) for k in (7, 0, 7)])
    np.testing.assert_array_equal(images, expected)
    assert images.is_contiguous()
    assert batch["label"].dtype == torch.float64
    assert batch["label"].tolist() == batch["index"].tolist() == [7, 0, 7]
    images.zero_()  # a batch is nobody else's
    np.testing.assert_array_equal(dataset.__getitems__([7, 0, 7])["inputs"][0], expected)
    one = dataset[7]
    np.testing.assert_array_equal(one["inputs"][0], expected[:1])
    assert (one["label"].tolist(), one["index"].tolist(), len(dataset)) == ([7], [7], 10)
    (none,) = dataset.__getitems__([])["inputs"]
    assert none.shape == (0, SIZE, SIZE, 3)


def test_length_order_is_the_order_on_disk(root, paths, cache):
    rows = cache.add_images(root, paths[::-1])[0][::-1].copy()
    data = ImageDataset(cache, rows, np.zeros(10))
    assert data.rows[data.length_order()].tolist() == list(range(10))


@pytest.mark.slow
def test_dataset_can_be_pickled(root, paths, dataset):
    dataset[0]  # has mapped the file
    content = pickle.dumps(dataset)
    assert pickle.loads(content)._pixels is None
    code = (
        "import pickle, sys; data = pickle.load(sys.stdin.buffer);"
        "sys.stdout.buffer.write(data.__getitems__([4, 9])['inputs'][0].numpy().tobytes())"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], input=content, capture_output=True, check=True
    )
    expected = np.stack([decode_with_pillow(root, paths[k]) for k in (4, 9)])
    assert process.stdout == expected.tobytes()
    assert dataset._pixels is not None


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_dataset_works_in_data_loader_workers(root, paths, dataset):
    dataset[0]  # has mapped the file
    loader = DataLoader(dataset, batch_size=4, num_workers=1, collate_fn=itemgetter("inputs"))
    images = torch.cat([images for (images,) in loader])
    np.testing.assert_array_equal(
        images, np.stack([decode_with_pillow(root, path) for path in paths])
    )


def test_assert_cached_detects_a_wrong_row(root, paths, cache):
    rows, broken = cache.add_images(root, paths)
    with pytest.raises(AssertionError):
        assert_cached(cache, root, paths, (rows[::-1], broken))
