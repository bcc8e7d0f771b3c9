"""Equal samples are recognized in every type and spelling."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranksim.data.arrow_cells import EncodedCells
from ranksim.data.spec import ImageSpec, TableSpec, TextSpec
from ranksim.data.splitting import factorize
from ranksim.data.table import Table
from ranksim.exceptions import DataError
from ranksim.user_data.sample_keys import (
    hash_keys,
    hash_samples,
    hash_windows,
    make_cell_keys,
    make_sample_keys,
    make_text_keys,
)
from ranksim.user_data.split_plan import make_split_plan
from tests.helpers.errors import raises_with

# spellings of one value, all different as Python objects or as text
SPELLINGS = {
    "missing": [None, float("nan"), "", " ", "NA", "n/a", "NaN", "null", np.nan],
    "zero": [0, 0.0, -0.0, "0", "-0", "0.0", "0e5", Decimal("-0"), np.float32(0), "-0.0"],
    "seven": [7, 7.0, "7", "7.0", " 7 ", "7.", "70e-1", "+7", Decimal("7.00"), np.int8(7)],
    "minus half": [-0.5, "-0.5", "-.5", "-5e-1", Decimal("-0.5"), np.float16(-0.5)],
    "true": [True, "True", "true", " TRUE", np.True_],
    "word": ["flat", " flat", "flat "],
    "day": ["2024-03-01", " 2024-03-01", date(2024, 3, 1), datetime(2024, 3, 1),
            "2024-03-01T00:00", datetime(2024, 3, 1, tzinfo=UTC), "2024-03-01 01:00+01:00"],
    "embedding": [[1.0, -0.0], [1, 0], (1.0, 0.0), np.array([1.0, 0.0])],
    "struct": [{"a": 1, "b": None}, {"b": float("nan"), "a": 1.0}],
}  # fmt: skip
VALUES = [(name, spelling) for name, spellings in SPELLINGS.items() for spelling in spellings]
TEXTS = {
    "greeting": ["Good dog, isn't it?", "good dog , is n't it ?", " GOOD  dog, isn't it? ",
                 "good\tdog, isn't it?"],
    "cafe": ["caf\u00e9", "cafe\u0301", "CAF\u00c9", "ca\u00adfe\u0301", "\ufeffcafe\u0301\u200b"],
    "width": ["\uff21\uff22", "AB", "ab"],
    "marks": ["!!!", "! ! !"],
    "other marks": ["???", "? ? ?"],
    "letters": ["isnt it", "isnt  it"],
    "apart": ["is nt it"],
}  # fmt: skip
LINES = [(name, text) for name, texts in TEXTS.items() for text in texts]


def have_equal_partition(keys, names):
    return factorize(keys).tolist() == factorize(names).tolist()


@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(VALUES), st.sampled_from(VALUES)), min_size=2))
def test_rows_are_equal_if_all_their_values_are(rows):
    columns = [[cell for _, cell in column] for column in zip(*rows, strict=True)]
    table = Table.from_columns("t", dict(zip("ab", columns, strict=True)))
    keys = make_sample_keys(table, TableSpec(target="y"), ("a", "b"))
    assert have_equal_partition(keys, [(a, b) for (a, _), (b, _) in rows])
    assert have_equal_partition(hash_keys(keys).tolist(), keys)


@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.lists(st.sampled_from(LINES), min_size=1, max_size=12))
def test_texts_are_equal_if_their_words_are(lines):
    keys = make_text_keys([text for _, text in lines])
    assert have_equal_partition(keys, [name for name, _ in lines])


@pytest.mark.parametrize("unread", ["id", "struct", "words"])
def test_columns_that_no_model_reads_do_not_distinguish_samples(unread):
    inputs = np.random.default_rng(0).normal(size=60).tolist() * 2
    cells = {
        "id": [f"P{k:03d}" for k in range(120)],
        "struct": [{"k": k} for k in range(120)],
        "words": [["a"] * (k + 1) for k in range(120)],
    }
    columns = {"x": inputs, "unread": cells[unread], "y": np.arange(120.0).tolist()}
    plan = make_split_plan(Table.from_columns("t", columns), TableSpec(target="y"))
    parts = plan.parts.tolist()
    assert {"train", "test"} <= {*parts}
    pairs = zip(parts[:60], parts[60:], strict=True)
    assert all(len({*pair} - {"unused"}) < 2 for pair in pairs)
    columns["split"] = ["train"] * 70 + ["val"] * 10 + ["test"] * 40
    given = TableSpec(target="y", split="split")
    with pytest.raises(DataError, match="in two parts|another part|--drop-shared"):
        make_split_plan(Table.from_columns("t", columns), given)


def test_numbers_that_no_model_distinguishes_are_recognized():
    values = np.random.default_rng(0).normal(10, 3, 50).round(2)
    single = values.astype(np.float32)
    forms = [
        [float(value) for value in single],  # of a Parquet file
        [str(value) for value in single],  # as pandas writes it
        [f"{value:.2f}".replace(".", ",") for value in values],
    ]
    options, first = TableSpec(target="y"), None
    for form in forms:
        vectors = [[float(value), 0.0] for value in (single if form is forms[0] else values)]
        table = Table.from_columns("t", {"x": form, "vector": vectors, "n": [2**24 + 1] * 50})
        hashes = hash_samples(table, options, ("x", "vector", "n"))
        first = hashes if first is None else first
        np.testing.assert_array_equal(hashes, first)
    assert len(np.unique(hashes)) == len(np.unique(values))
    table = Table.from_columns("t", {"n": [2**24, 2**24 + 1]})  # equal in float32
    assert len(np.unique(hash_samples(table, options, ("n",)))) == 2
    windows = [hash_windows(each[:, None], None, np.array([9, 20]), 5).tolist()
               for each in (values, single.astype(np.float64))]  # fmt: skip
    assert windows[0] == windows[1]


def test_numbers_of_category_columns_are_words():
    assert make_cell_keys(["007", "7", " 7", None, ""], is_category=True) == [
        "007", "7", "7", "missing", "missing",
    ]  # fmt: skip


def split_rows_in_two_parts(first, second, kind):
    """Return a table in which the last test row equals the first training row."""
    values = [first, *range(100, 158), second]
    parts = ["train"] * 20 + ["val"] * 20 + ["test"] * 20
    labels = [k % 7 for k in range(60)]
    if kind is TextSpec:
        values = [str(value) for value in values]
    return Table.from_columns("t", {"x": values, "y": labels, "split": parts})


@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.sampled_from(sorted(SPELLINGS)), st.data())
def test_equal_samples_are_rejected_in_a_given_split_and_stay_together_in_a_drawn_one(name, data):
    first, second = (data.draw(st.sampled_from(SPELLINGS[name])) for _ in range(2))
    table = split_rows_in_two_parts(first, second, TableSpec)
    spec = TableSpec(target="y", features=("x",), split="split")
    with raises_with(DataError, "row 60", "another part"):
        make_split_plan(table, spec)
    plan = make_split_plan(table, dataclasses.replace(spec, drop_shared=True))
    assert plan.facts["dropped_shared"] == [1, 0]
    seed = data.draw(st.integers(0, 99))
    drawn = TableSpec(target="y", features=("x",), split_by="random", split_seed=seed)
    plan = make_split_plan(table, drawn)
    assert plan.parts[0] == plan.parts[59]


@pytest.mark.parametrize("name", ["greeting", "cafe", "width", "marks"])
def test_equal_texts_are_rejected_in_two_parts(name):
    first, *others = TEXTS[name]
    for other in others:
        table = split_rows_in_two_parts(first, other, TextSpec)
        with raises_with(DataError, "row 60", "another part"):
            make_split_plan(table, TextSpec(target="y", text=("x",), split="split"))


def write_images(folder):
    """Write two pictures in several formats, and a broken file; return their names by picture."""
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3)).astype(np.uint8)
    near = pixels.copy()
    near[0, 0, 0] ^= 1  # a pixel that does not show in a thumbnail
    plain = image.fromarray(pixels)
    plain.save(folder / "a.png")
    plain.save(folder / "a.bmp")
    plain.save(folder / "a.tiff")
    plain.save(folder / "a.webp", lossless=True)
    plain.convert("RGBA").save(folder / "rgba.png")
    turned = plain.transpose(image.Transpose.ROTATE_90)
    exif = image.Exif()
    exif[0x0112] = 6  # to be rotated by 270 degrees
    turned.save(folder / "turned.png", exif=exif)
    image.fromarray(near).save(folder / "near.png")
    plain.save(folder / "a.jpg")  # other pixels
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "broken2.png").write_bytes(b"no image")
    return {
        "a": ["a.png", "a.bmp", "a.tiff", "a.webp", "rgba.png", "turned.png", "./a.png"],
        "near": ["near.png"],
        "jpg": ["a.jpg"],
        "broken": ["broken.png"],
        "broken2": ["broken2.png"],
    }


def test_images_are_equal_if_their_decoded_pixels_are(tmp_path, monkeypatch):
    monkeypatch.setenv("RANKSIM_CACHE", str(tmp_path / "cache"))
    pictures = write_images(tmp_path)
    names, paths = zip(
        *((name, path) for name, files in pictures.items() for path in files), strict=True
    )
    table = Table.from_columns("t", {"file": list(paths)})
    table = dataclasses.replace(table, root=tmp_path)
    spec = ImageSpec(target="y", image="file")
    keys = make_sample_keys(table, spec, ("file",))
    assert have_equal_partition(keys, names)
    assert make_sample_keys(dataclasses.replace(table, root=None), spec, ("file",))[0] == ("a.png",)


def test_deep_images_of_other_values_differ(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for name, top in (("a", 100), ("b", 4_000), ("c", 100)):
        image.fromarray(np.array([[0, top]] * 3, dtype=np.uint16)).save(tmp_path / f"{name}.png")
    image.fromarray(np.array([[0, 100]] * 3, dtype=np.uint16)).save(tmp_path / "d.tif")
    names = ["a.png", "b.png", "c.png", "d.tif"]
    table = Table.from_columns("t", {"file": names})
    table = dataclasses.replace(table, root=tmp_path)
    a, b, c, d = make_sample_keys(table, ImageSpec(target="y", image="file"), ["file"])
    assert a == c == d
    assert a != b


CELLS = ["1", "1.0", "-0", "1e-7", "12345678901", "0.1", "2.50", "", "NA", "inf", "x", "Yes", "007"]


@pytest.mark.parametrize("categories", [(), ("a",)])
@given(rows=st.lists(st.tuples(*[st.sampled_from(CELLS)] * 2), min_size=1, max_size=20))
def test_hashes_of_small_tables_equal_those_of_large_ones(rows, categories):
    """Arrow formats the cells of large tables."""
    columns = {
        name: EncodedCells.from_column(pyarrow.chunked_array([[row[k] for row in rows]]))
        for k, name in enumerate("ab")
    }
    table, spec = Table.from_columns("t", columns), TableSpec(target="y", categories=categories)
    small = hash_samples(table, spec, "ab")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ranksim.user_data.sample_keys._FEW_ROWS", 0)
        large = hash_samples(table, spec, "ab")
    assert small.tolist() == large.tolist()
