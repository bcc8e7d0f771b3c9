import io
import re
import struct
import sys
import threading
import time
import warnings
import zlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image, ImageOps, features

from ranksim.data.images.decode import (
    BrokenImageError,
    check_images,
    decode,
    examine,
    map_in_threads,
    read_file,
    resize,
)
from tests.oracles import images as oracle

ORIENTATIONS = {  # what a viewer shows of pixels stored with this EXIF orientation
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}
DEEP = {"I": np.int32, "I;16": np.uint16}
EXACT = {"GIF": {}, "BMP": {}, "PNG": {}, "TIFF": {}, "WEBP": {"lossless": True, "exact": True}}


def noise(height=5, width=7, channels=3, seed=0):
    draw = np.random.default_rng(seed)
    return draw.integers(0, 256, (height, width, channels), dtype=np.uint8)


def encode(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decode_pixels(content):
    image = decode(content)
    assert image.mode == "RGB"
    return np.asarray(image)


def picture(mode):
    """An image of the mode, and what it shows in RGB."""
    grey = noise(channels=1)[..., 0]
    if mode in DEEP:
        deep = np.random.default_rng(1).integers(0, 65_536, (5, 7)).astype(DEEP[mode])
        deep[0, :3] = 0, 256, 65_535  # the last one is white
        return Image.fromarray(deep), np.stack([np.rint(deep / 257)] * 3, -1)
    if mode in {"LA", "RGBA"}:
        image = Image.fromarray(noise(channels=4)).convert(mode)
        return image, oracle.over_white(np.asarray(image.convert("RGBA")))
    if mode == "L":
        return Image.fromarray(grey), np.stack([grey] * 3, -1)
    if mode == "1":
        return Image.fromarray(grey > 127), np.stack([np.where(grey > 127, 255, 0)] * 3, -1)
    if mode == "P":
        image = Image.fromarray(noise()).quantize(6)
    else:
        image = Image.fromarray(noise()).convert(mode)
    return image, np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(
    ("mode", "kind"),
    [(mode, kind) for kind in ("PNG", "TIFF") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")]
    + [("I;16", "PNG"), ("I;16", "TIFF"), ("I", "TIFF"), ("CMYK", "TIFF"), ("YCbCr", "TIFF")]
    + [(mode, "BMP") for mode in ("1", "L", "P", "RGB")]
    + [("1", "GIF"), ("L", "GIF"), ("P", "GIF"), ("RGB", "WEBP"), ("RGBA", "WEBP")],
)
def test_converts_every_mode_to_rgb(mode, kind):
    image, expected = picture(mode)
    got = decode_pixels(encode(image, kind, **EXACT[kind]))
    # Pillow mixes with white in integers
    np.testing.assert_allclose(got, expected, rtol=0, atol=1 if "A" in mode else 0)


@pytest.mark.parametrize(("mode", "quality"), [("L", 95), ("RGB", 95), ("CMYK", 100)])
def test_decodes_jpeg(mode, quality):
    across = np.linspace(0, 255, 24)
    smooth = np.stack(np.broadcast_arrays(across, across[:, None], 128.0), -1).astype(np.uint8)
    image = Image.fromarray(smooth).convert(mode)
    got = decode_pixels(encode(image, "JPEG", quality=quality)).astype(int)
    assert np.abs(got - np.asarray(image.convert("RGB"))).max() <= 12


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_transparent_color_becomes_white(mode, kind):
    if (mode, kind) == ("RGB", "GIF"):
        return
    image, expected = picture(mode)
    chosen = image.getpixel((2, 3))
    expected = expected.copy()
    expected[(np.asarray(image).reshape(5, 7, -1) == chosen).all(-1)] = 255
    content = encode(image, kind, transparency=chosen)
    assert (expected == 255).all(-1).any()
    np.testing.assert_array_equal(decode_pixels(content), expected)


def test_transparent_16_bit_value_becomes_white():
    deep = np.array([[0, 257, 40_000], [257, 514, 65_535]], dtype=np.uint16)
    grey = [[0, 255, 156], [255, 2, 255]]
    content = encode(Image.fromarray(deep), "PNG", transparency=257)
    assert Image.open(io.BytesIO(content)).info["transparency"] == 257
    np.testing.assert_array_equal(decode_pixels(content), np.stack([grey] * 3, -1))
    assert (examine(content).low, examine(content).high) == (0, 65_535)
    content = encode(Image.fromarray(deep[1:, :2]), "PNG", transparency=514)
    assert (examine(content).low, examine(content).high) == (257, 257)  # of the others


def test_blends_palette_alpha_with_white():
    image = Image.fromarray(noise()).quantize(4)
    alpha = np.array([0, 90, 180, 255], dtype=np.uint8)
    palette = np.array(image.getpalette()[:12], dtype=np.uint8).reshape(4, 3)
    index = np.asarray(image)
    rgba = np.concatenate([palette[index], alpha[index][..., None]], -1)
    got = decode_pixels(encode(image, "PNG", transparency=alpha.tobytes()))
    np.testing.assert_allclose(got, oracle.over_white(rgba), rtol=0, atol=1)


RAMP = np.tile(np.linspace(0, 1, 64), (8, 1))
DEEP_FILES = {  # pixels from 0 to 1, stored in the ways in which deep images occur
    "16 of 16 bits": (RAMP * 65_535, np.uint16, "PNG"),
    "14 of 16 bits": (RAMP * 16_383, np.uint16, "TIFF"),
    "12 of 16 bits": (RAMP * 4_095, np.uint16, "PNG"),
    "8 of 16 bits": (RAMP * 255, np.uint16, "PNG"),
    "an offset": (RAMP * 2_000 + 31_000, np.uint16, "TIFF"),
    "12 bits of JPEG 2000": (RAMP * 4_095, np.uint16, "JPEG2000"),
    "32-bit integers": (RAMP * 1e8, np.int32, "TIFF"),
    "negative integers": (RAMP * 3_000 - 1_024, np.int32, "TIFF"),
    "floats": (RAMP * 3.5e-4 - 1e-4, np.float32, "TIFF"),
    "large floats": (RAMP * 1e30, np.float32, "TIFF"),
}


@pytest.mark.parametrize("name", DEEP_FILES)
def test_scales_deep_images_by_their_range(name):
    values, kind, form = DEEP_FILES[name]
    stored = values.astype(kind)
    options = {"irreversible": False} if form == "JPEG2000" else {}
    content = encode(Image.fromarray(stored), form, **options)
    exact = stored.astype(np.float64)
    low, high = exact.min(), exact.max()
    facts = examine(content)
    assert (facts.width, facts.height) == (64, 8)
    assert (facts.low, facts.high) == (low, high)
    expected = np.rint(255 * (exact - low) / (high - low))
    got = decode_pixels(content)
    np.testing.assert_array_equal(got, np.stack([expected] * 3, -1))
    assert (got.min(), got.max(), len(np.unique(got))) == (0, 255, 64)
    middle, top = low + 0.25 * (high - low), low + 0.5 * (high - low)
    clipped = np.rint(255 * ((exact - middle) / (top - middle)).clip(0, 1))
    other = np.asarray(decode(content, (float(middle), float(top))))[..., 0]
    np.testing.assert_array_equal(other, clipped)


def test_reads_unsigned_32_bit_integers():
    values = np.array([[0, 2**31, 2**32 - 1]], dtype=np.uint32)
    content = bytearray(encode(Image.fromarray(values.view(np.int32)), "TIFF"))
    at = content.index(struct.pack("<HHI", 339, 3, 1)) + 8  # the sample format
    assert content[at] == 2
    content[at] = 1
    assert (examine(bytes(content)).low, examine(bytes(content)).high) == (0, 2**32 - 1)
    assert decode_pixels(bytes(content))[0, :, 0].tolist() == [0, 128, 255]


def test_pixels_that_are_no_numbers():
    values = np.array([[np.nan, -np.inf, 2, 4, np.inf]], dtype=np.float32)
    content = encode(Image.fromarray(values), "TIFF")
    assert (examine(content).low, examine(content).high) == (2, 4)
    assert decode_pixels(content)[0, :, 0].tolist() == [0, 0, 0, 255, 255]
    none = encode(Image.fromarray(np.full((2, 2), np.nan, np.float32)), "TIFF")
    assert np.isnan(examine(none).high)
    assert decode_pixels(none).max() == 0
    flat = encode(Image.fromarray(np.full((2, 2), 7, np.uint16)), "PNG")
    assert decode_pixels(flat).max() == 0  # no range
    assert np.asarray(decode(flat, (0.0, 14.0))).max() == 128


def encode_16_bit_png(values, color_type):
    """Write a PNG with 16 bits per channel, of a type that Pillow cannot write."""

    def chunk(name, content):
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(("channels", "color_type"), [(3, 2), (2, 4), (4, 6)])
@pytest.mark.parametrize("bits", [12, 16])
def test_16_bit_colors_are_recognized(channels, color_type, bits):
    """Pillow reads their upper 8 bits alone."""
    content = encode_16_bit_png(np.full((3, 5, channels), 2**bits - 1), color_type)
    facts = examine(content)
    assert (facts.width, facts.height, facts.brightest) == (5, 3, 2 ** (bits - 8) - 1)
    assert np.isnan(facts.high)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "AVIF"])
def test_images_of_8_bits_have_no_range(form):
    facts = examine(encode(Image.fromarray(noise()), form))
    assert (facts.width, facts.height) == (7, 5)
    assert np.isnan([facts.low, facts.high, facts.brightest]).all()


def test_decodes_avif():
    smooth = np.stack(np.broadcast_arrays(np.linspace(0, 255, 24)[:, None], 90.0, RAMP[:1]), -1)
    image = Image.fromarray(smooth[:, :24].astype(np.uint8))
    got = decode_pixels(encode(image, "AVIF", quality=100)).astype(int)
    assert np.abs(got - np.asarray(image)).max() <= 12


def test_decodes_the_first_image_of_mpo():
    """As cameras with two lenses write it."""
    frames = [Image.fromarray(np.full((16, 16, 3), level, np.uint8)) for level in (200, 20)]
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encode(frames[0], "MPO", save_all=True, append_images=frames[1:], exif=exif)
    assert Image.open(io.BytesIO(content)).format == "MPO"
    got = decode_pixels(content)
    assert np.abs(got.astype(int) - 200).max() <= 2
    wide = np.zeros((16, 32, 3), np.uint8)
    wide[:, :16] = 250
    content = encode(Image.fromarray(wide), "MPO", save_all=True, append_images=frames, exif=exif)
    got = decode_pixels(content)
    assert got.shape == (32, 16, 3)  # upright
    assert got[:8].mean() > 230
    assert got[-8:].mean() < 20


BOX = b"\0\0\0\x18ftyp"


@pytest.mark.parametrize(
    ("content", "name", "package"),
    [(BOX + b"heic" + bytes(40), "HEIC", "pillow-heif"),
     (BOX + b"mif1" + bytes(40), "HEIC", "pillow-heif"),
     (b"\xff\x0a" + bytes(40), "JPEG XL", "pillow-jxl-plugin"),
     (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "JPEG XL", "pillow-jxl-plugin"),
     (BOX + b"avif" + bytes(40), "AVIF", "pillow-avif-plugin")],
    ids=["heic", "mif1", "jxl", "jxl box", "avif"],
)  # fmt: skip
def test_names_the_plugin_that_a_format_needs(monkeypatch, content, name, package):
    Image.init()
    for module in ("pillow_heif", "pillow_jxl", "pillow_avif"):
        monkeypatch.setitem(sys.modules, module, None)  # not installed
    if name == "AVIF":  # a Pillow without its library
        monkeypatch.setattr(features, "check", lambda name: False)
    with pytest.raises(
        BrokenImageError, match=f"^Pillow needs the package {package} to read this {name} image$"
    ):
        decode(content)


def test_damaged_avif_names_no_plugin():
    Image.init()
    with pytest.raises(BrokenImageError, match=r"^the (file is not an image|image is damaged)"):
        decode(BOX + b"avif" + bytes(40))


@pytest.mark.parametrize(
    ("start", "module", "function"),
    [(BOX + b"heic", "pillow_heif", "register_heif_opener"), (b"\xff\x0a", "pillow_jxl", None)],
)
def test_reads_formats_of_installed_plugins(monkeypatch, start, module, function):
    """A plugin that stores a PNG after the first bytes of its format."""
    content = start + encode(Image.fromarray(noise()), "PNG")
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))

    def register():
        def opened(file, name=None):
            return Image.open(io.BytesIO(file.read()[len(start) :]))

        Image.register_open("OTHER", opened, lambda prefix: prefix.startswith(start))

    plugin = ModuleType(module)
    if function is None:
        register()  # such plugins register when they are imported
    else:
        setattr(plugin, function, register)
    monkeypatch.setitem(sys.modules, module, plugin)
    np.testing.assert_array_equal(decode_pixels(content), noise())
    assert (examine(content).width, examine(content).height) == (7, 5)


def test_uses_the_first_frame():
    frames = [Image.fromarray(noise(seed=k)).quantize(8) for k in range(3)]
    for kind in ("GIF", "TIFF", "PNG"):
        content = encode(frames[0], kind, save_all=True, append_images=frames[1:])
        np.testing.assert_array_equal(decode_pixels(content), np.asarray(frames[0].convert("RGB")))


@pytest.mark.parametrize("turn", ORIENTATIONS)
@pytest.mark.parametrize(
    ("kind", "mode"),
    [("PNG", "RGB"), ("PNG", "P"), ("PNG", "LA"), ("PNG", "I;16"), ("TIFF", "RGB"),
     ("WEBP", "RGB"), ("JPEG", "RGB")],
)  # fmt: skip
def test_applies_exif_orientation(kind, mode, turn):
    image, expected = picture(mode)
    exif = Image.Exif()
    exif[0x0112] = turn
    content = encode(image, kind, exif=exif, **EXACT.get(kind, {}))
    got = decode_pixels(content)
    if mode == "RGB":
        reference = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
        np.testing.assert_array_equal(got, np.asarray(reference))
    if kind == "JPEG":
        expected = np.asarray(Image.open(io.BytesIO(content)))  # with its losses
    np.testing.assert_allclose(
        got, ORIENTATIONS[turn](expected), rtol=0, atol=1 if mode == "LA" else 0
    )


def damaged_exif(turn):
    """An EXIF block with the orientation in front, whose other entries point nowhere."""
    head = b"Exif\0\0II*\0\x08\0\0\0" + (40).to_bytes(2, "little")
    entry = b"\x12\x01\x03\0\x01\0\0\0" + turn.to_bytes(4, "little")
    return head + entry + b"\x87\x69\x04\0\x01\0\0\0\xff\xff\xff\xff" + b"\xee" * 17


@pytest.mark.parametrize(
    ("exif", "turn"),
    [(b"Exif\0\0" + b"\xff" * 40, 1), (b"Exif\0\0II*\0\xff\xff\xff\xff", 1), (b"Exif\0\0", 1),
     (b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x03\0\0\0ab\0\0", 1),  # a word
     (damaged_exif(0), 1), (damaged_exif(9), 1), (damaged_exif(6), 6)],
    ids=["noise", "nowhere", "nothing", "a word", "turn 0", "turn 9", "turn 6"],
)  # fmt: skip
def test_accepts_damaged_exif(tmp_path, exif, turn):
    content = encode(Image.fromarray(noise()), "JPEG", exif=exif)
    (tmp_path / "a.jpg").write_bytes(content)
    assert check_images(tmp_path, ["a.jpg"]) == {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = np.asarray(Image.open(io.BytesIO(content)))
        np.testing.assert_array_equal(decode_pixels(content), ORIENTATIONS[turn](plain))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_accepts_exif_that_pillow_rejects(kind):
    """One block is cut short; in the other a number is a word, which is seen after the turn."""
    word = b"Exif\0\0II*\0\x08\0\0\0\x02\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"
    word += b"\x2d\x01\x02\0\x05\0\0\0\x26\0\0\0" + bytes(4) + b"make\0"
    for exif, turn in ((b"Exif\0\0MM\0", 1), (word, 6)):
        content = encode(Image.fromarray(noise()), kind, exif=exif)
        plain = np.asarray(Image.open(io.BytesIO(content)))
        with pytest.raises((SyntaxError, struct.error)):  # what Pillow says of it
            ImageOps.exif_transpose(Image.open(io.BytesIO(content)), in_place=True)
        np.testing.assert_array_equal(decode_pixels(content), ORIENTATIONS[turn](plain))


@pytest.mark.parametrize("percent", range(0, 100, 15))
@pytest.mark.parametrize("how", ["JPEG", "progressive", "PNG"])
def test_rejects_truncated_images(how, percent):
    options = {"progressive": True} if how == "progressive" else {}
    content = encode(Image.fromarray(noise(40, 40)), how if not options else "JPEG", **options)
    decode(content)
    with pytest.raises(
        BrokenImageError, match=r"^the (file is not an image|image is damaged: )[^.]{8,}$"
    ):
        decode(content[: len(content) * percent // 100])


@pytest.mark.parametrize("kind", ["GIF", "BMP", "WEBP", "TIFF"])
def test_rejects_half_an_image(kind):
    content = encode(Image.fromarray(noise(40, 40)), kind)
    with pytest.raises(
        BrokenImageError, match=r"^the (file is not an image|image is damaged: )[^.]{8,}$"
    ):
        decode(content[: len(content) // 2])


def test_detects_changed_byte_of_png():
    content = bytearray(encode(Image.fromarray(noise(20, 20)), "PNG"))
    content[len(content) // 2] ^= 1
    with pytest.raises(
        BrokenImageError, match=r"^the image is damaged: (broken data stream|broken PNG).*[^.]$"
    ):
        decode(bytes(content))


def test_reason_is_never_empty(monkeypatch):
    def fails(file):
        raise MemoryError

    monkeypatch.setattr(Image, "open", fails)
    with pytest.raises(BrokenImageError, match=r"^the image is damaged: MemoryError$"):
        decode(b"x")


def test_check_images_reports_broken_files_in_order(tmp_path):
    good = encode(Image.fromarray(noise()), "PNG")
    for name, content in {"b.png": good, "empty.jpg": b"", "text.jpg": b"a portrait\n" * 9,
                          "half.png": good[: len(good) // 2], "a.png": good}.items():  # fmt: skip
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.jpg").mkdir()
    names = ["b.png", "text.jpg", "gone.jpg", "folder.jpg", "empty.jpg", "a.png/x.jpg",
             "nul\0.jpg", "half.png", "a.png", "n" * 300]  # fmt: skip
    counted = []
    checked = check_images(tmp_path, names, on_progress=counted.append)
    assert counted == [len(names)]
    half = checked.pop("half.png")
    assert re.fullmatch(r"the image is damaged: .+[^.]", half)
    assert checked == {
        "text.jpg": "the file is not an image of a known format",
        "gone.jpg": "the file does not exist",
        "folder.jpg": "the file cannot be read: Is a directory",
        "empty.jpg": "the file is empty",
        "a.png/x.jpg": "the file cannot be read: Not a directory",
        "nul\0.jpg": "the file cannot be read: embedded null byte",
        "n" * 300: "the file cannot be read: File name too long",
    }
    assert list(checked) == [name for name in names if name in checked]


def test_unreadable_file_is_broken(tmp_path, monkeypatch):
    """What chmod does to users other than root."""

    def fails(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", fails)
    with pytest.raises(BrokenImageError, match=r"^the file cannot be read: Permission denied$"):
        read_file(tmp_path / "a.jpg")


def test_limits_the_number_of_pixels(tmp_path, monkeypatch):
    """Pillow warns of large photographs, which are whole, and refuses what would fill memory."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000)
    for side in (31, 44, 45):
        Image.fromarray(noise(side, side)).save(tmp_path / f"{side}.png")
    assert check_images(tmp_path, ["31.png", "44.png", "45.png"]) == {
        "45.png": "the image has more than 2,000 pixels"
    }


def test_resizes_bilinearly():
    for height, width, size in ((40, 30, 7), (5, 9, 16), (8, 8, 8), (1, 3, 4)):
        image = Image.fromarray(noise(height, width))
        got = resize(image, size)
        assert (got.shape, got.dtype) == ((size, size, 3), np.uint8)
        reference = image.resize((size, size), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(got, np.asarray(reference))
        slow = oracle.bilinear(np.asarray(image), size)
        np.testing.assert_allclose(got, slow, rtol=0, atol=1)
        nearest = np.asarray(image.resize((size, size), Image.Resampling.NEAREST))
        if height != size:  # the oracle tells filters apart
            assert np.abs(nearest - slow).max() > 20


def test_map_in_threads_keeps_order_and_stops_on_errors():
    counted, items = [], list(range(130))
    late = threading.Event()

    def work(item):
        if item == 0:
            late.wait(10)
        if item == 5:
            late.set()
        return item * item

    assert map_in_threads(work, items, counted.append) == [k * k for k in items]
    assert counted == [64, 128, 130]
    assert map_in_threads(work, [], counted.append) == []
    before = list(warnings.filters)
    done = []

    def slow(item):
        time.sleep(0.001)
        done.append(1 // item)

    def stops(count):
        raise KeyboardInterrupt

    with pytest.raises(ZeroDivisionError):
        map_in_threads(slow, [1, 0, *[1] * 2_000], None)
    with pytest.raises(KeyboardInterrupt):
        map_in_threads(slow, [1] * 2_000, stops)
    assert len(done) < 1_000  # the rest was not begun
    assert warnings.filters == before
