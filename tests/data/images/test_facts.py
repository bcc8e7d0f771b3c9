"""Sizes and pixel ranges of image files, and what is reported of them."""

from __future__ import annotations

import time

import numpy as np
import pytest
from PIL import Image

from ranksim.data.images import facts as module
from ranksim.data.images.facts import (
    ImageFacts,
    compare_value_range,
    describe_images,
    examine_images,
)


@pytest.fixture
def root(tmp_path):
    """Two 16-bit images that use 12 bits, one of 8 bits, and a broken file."""
    for name, pixels in (
        ("a.png", np.array([[7, 1_000], [2_000, 3_000]], dtype=np.uint16)),
        ("b.png", np.array([[40, 4_000, 5]], dtype=np.uint16)),
        ("c.png", np.zeros((30, 20), dtype=np.uint8)),
    ):
        Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "d.png").write_bytes(b"none")
    return tmp_path


PATHS = ["a.png", "c.png", "b.png", "d.png", "gone.png", "a.png"]


def test_examines_each_file(root):
    facts = examine_images(root, PATHS)
    assert facts.sizes.tolist() == [[2, 2], [20, 30], [3, 1], [0, 0], [0, 0], [2, 2]]
    nan = np.nan
    np.testing.assert_array_equal(facts.low, [7, nan, 5, nan, nan, 7])
    np.testing.assert_array_equal(facts.high, [3_000, nan, 4_000, nan, nan, 3_000])
    np.testing.assert_array_equal(facts.upper, facts.high)
    assert (len(facts), facts.n_deep, facts.value_range) == (6, 3, (5, 4_000))
    assert facts.take(np.array([0, 1])).value_range == (7, 3_000)
    assert facts.take(np.array([1, 3])).value_range is None
    assert len(examine_images(root, [])) == 0


def test_facts_are_cached_until_a_file_changes(root, monkeypatch):
    calls = []
    real = module.examine
    monkeypatch.setattr(module, "examine", lambda content: calls.append(1) or real(content))
    for _ in range(2):
        examine_images(root, PATHS)
    assert len(calls) == 10  # such young files are read again
    later = time.time_ns() + 3_000_000_000
    monkeypatch.setattr(module.time, "time_ns", lambda: later)
    first = examine_images(root, PATHS)
    calls.clear()
    again = examine_images(root, PATHS)
    assert not calls
    np.testing.assert_array_equal(again.high, first.high)
    Image.fromarray(np.full((2, 2), 9_000, np.uint16)).save(root / "a.png")
    assert examine_images(root, PATHS).value_range == (5, 9_000)


def test_report_of_sizes_and_range(root):
    facts = examine_images(root, PATHS)
    report = describe_images(facts, 4, (5.0, 4_000.0), n_skipped=2)
    assert report.notes == {
        "Images": "4 read at 4 × 4 pixels, stored with 3 × 1 to 20 × 30 (median 2 × 2); 2 skipped",
        "Pixel values": "3 (75.0\u202f%) images have more than 8 bits; 5 … 4,000, the range in "
        "training, is read as 0 … 255",
    }
    shallow = describe_images(facts.take(np.array([1])), 6)
    assert shallow.notes == {
        "Images": "1 read at 6 × 6 pixels, stored with 20 × 30, so "
        "that the median image keeps 6 % of its pixels"
    }
    assert shallow.warnings == []
    (warning,) = report.warnings
    assert warning.startswith("3 images have more than 8 bits and 1 have not")
    assert describe_images(facts.take(np.array([0])), 4, (5.0, 4_000.0)).warnings == []


DEPTHS = [(np.uint16, 65_535), (np.uint16, 0), (np.int32, -9_999), (np.float32, -3.4e38)]


@pytest.mark.parametrize(("kind", "mark"), DEPTHS)
@pytest.mark.parametrize("share", [0.002, 0.3])
@pytest.mark.parametrize("n_marked", [0, 1, 9])
def test_values_of_missing_pixels_are_a_warning(tmp_path, kind, mark, share, n_marked):
    """Pixels of 30,000 to 34,000 if the mark is 0, else of 0 to 4,000."""
    start = 30_000 if mark == 0 else 0
    for k in range(9):
        pixels = np.linspace(start, start + 4_000, 900).astype(kind)
        if k < n_marked:
            pixels[: int(share * 900)] = mark
        Image.fromarray(pixels.reshape(30, 30)).save(tmp_path / f"{k}.tif")
    facts = examine_images(tmp_path, [f"{k}.tif" for k in range(9)])
    warnings = describe_images(facts, 8, facts.value_range).warnings
    marks = [text for text in warnings if "lies far from all others" in text]
    assert len(marks) == (n_marked > 0)
    if marks:
        assert marks[0].startswith(f"The pixel value {mark:,.6g} lies far from")


def test_two_values_are_no_mark(tmp_path):
    Image.fromarray(np.array([[0, 60_000]], np.uint16)).save(tmp_path / "mask.png")
    facts = examine_images(tmp_path, ["mask.png"])
    assert describe_images(facts, 8, (0.0, 60_000.0)).warnings == []


@pytest.mark.parametrize(
    ("name", "is_counted"), [("a.tif", True), ("a.gif", True), ("a.webp", True), ("a.png", False)]
)
def test_further_frames_are_reported(tmp_path, name, is_counted):
    frames = [Image.fromarray(np.full((4, 4), k, np.uint8)) for k in (0, 90)]
    more = {"save_all": True, "append_images": frames[1:]} if is_counted else {}
    frames[0].save(tmp_path / name, **more)
    note = describe_images(examine_images(tmp_path, [name]), 4).notes["Images"]
    assert ("1 have several frames or pages" in note) == is_counted


@pytest.mark.parametrize(("top", "warns"), [(4_000, False), (30_000, False), (60_000, True)])
def test_few_bright_pixels_are_a_warning(tmp_path, top, warns):
    """A mark of one pixel in 2 of 9 images, which has the greatest value of the format."""
    for k in range(9):
        pixels = np.full((20, 20), 4_000, dtype=np.uint16)
        pixels[0, 0] = top if k < 2 else 4_000
        Image.fromarray(pixels).save(tmp_path / f"{k}.png")
    facts = examine_images(tmp_path, [f"{k}.png" for k in range(9)])
    assert facts.upper.tolist() == [4_000] * 9
    warnings = describe_images(facts, 8, (0.0, float(top))).warnings
    assert len(warnings) == warns
    if warns:
        assert "99 % of the pixels do not exceed 4,000 of 0 … 60,000" in warnings[0]


def make_facts(high, low=0.0, brightest=np.nan):
    high = np.array(high, dtype=np.float64)
    low = np.where(np.isnan(high), np.nan, low)
    sizes, frames = np.full((len(high), 2), 9), np.zeros(len(high))
    return ImageFacts(sizes, low, high, high, np.full(len(high), brightest), low, high, frames)


@pytest.mark.parametrize(("brightest", "warns"), [(15.0, True), (63.0, True), (200.0, False)])
def test_dark_16_bit_colors_are_a_warning(brightest, warns):
    report = describe_images(make_facts([np.nan] * 3, brightest=brightest), 9)
    (text,) = report.warnings if warns else [report.notes["Colors"]]
    assert text.startswith("3 images have 16-bit colors, of which Pillow reads the upper 8 bits")
    assert ("save them with 8 bits" in text) == warns


@pytest.mark.parametrize(
    ("high", "low", "value_range", "text"),
    [([4_000] * 9, 0, (0, 4_095), None), ([np.nan] * 9, 0, None, None),
     ([4_000, *[np.nan] * 8], 0, (0, 4_095), None),
     ([4_000] * 9, 0, None, "9 images have more than 8 bits, but the model was trained on images"),
     ([np.nan] * 9, 0, (0, 4_095), "9 images have 8 bits, but the model was trained on pixels of"),
     ([5_000] + [4_000] * 8, 0, (0, 4_095), "1 (11.1\u202f%) images have pixels outside 0 … 4095"),
     ([5_000] + [4_000] * 30, 0, (0, 4_095), None),
     ([4_200] * 9, -100, (0, 4_095), None),
     ([4_000] * 9, -300, (0, 4_095), "9 (100.0\u202f%) images have pixels outside 0 … 4095"),
     ([255] * 9, 0, (0, 4_095), "The images use 0 … 255 of 0 … 4095, the range of the training")],
)  # fmt: skip
def test_new_images_are_compared_with_the_training(high, low, value_range, text):
    warnings = compare_value_range(make_facts(high, low), value_range)
    assert [w[: len(text)] for w in warnings] == ([text] if text else [])
