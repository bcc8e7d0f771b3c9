"""What adapters read of user data, leave out and report."""

from __future__ import annotations

import csv
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import torch
from PIL import Image

from ranksim.data.reading import load_table
from ranksim.data.spec import AgeDbSpec, DataSpec, ImdbWikiSpec, make_user_spec
from ranksim.data.table import Table
from ranksim.exceptions import DataError, UsageError
from ranksim.training.adapters import (
    SentenceAdapter,
    TextAdapter,
    adapter_from_dict,
    adapter_type,
)
from ranksim.training.presets import preset_table
from ranksim.training.recipe import recipe_type
from ranksim.user_data.split_plan import make_split_plan
from tests.helpers import user_data
from tests.helpers.errors import raises_with
from tests.helpers.language import save_bert


def make_recipe(kind, **changes):
    return recipe_type(kind).from_table(preset_table(kind, "small") | changes)


def adapt(table, recipe, **options):
    """Return the plan of user data, its adapted splits, and the adapter that is saved."""
    plan = make_split_plan(table, make_user_spec(options))
    adapter = adapter_type(plan.options.benchmark).fit(plan)
    splits = adapter.adapt_splits(plan, recipe)
    return plan, splits, splits.adapter or adapter


def write_texts(path, words):
    """Write one text per number of words, with a label that repeats."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = [(" ".join(["cat"] * (n - 1) + [f"w{k}"]) if n else " ", k % 5)
                for k, n in enumerate(words)]  # fmt: skip
        csv.writer(file).writerows([("said", "score"), *rows])
    return load_table(str(path))


@pytest.mark.parametrize(("changes", "limit"), [({}, 70), ({"max_tokens": 12}, 12)])
def test_model_reads_new_texts_like_its_training_texts(tmp_path, changes, limit):
    table = write_texts(tmp_path / "t.csv", [70] * 60)
    recipe = make_recipe("text", **changes)
    _, splits, adapter = adapt(table, recipe, target="score", text=("said",))
    assert adapter.max_tokens == limit
    assert int(splits.samples[0].lengths.max()) == limit
    assert f"up to {limit} words of each are read" in splits.report.notes["Texts"]
    assert splits.report.warnings == []  # a limit of the user's own is no mistake
    again = adapter_from_dict(adapter.to_dict())
    assert again == adapter
    new = again.adapt_table(write_texts(tmp_path / "new.csv", [90] * 4), recipe)
    assert new.samples.lengths.tolist() == [[limit] * 4]
    (warning,) = new.report.warnings
    assert warning.endswith("train the model on texts of this length.")


def test_models_of_earlier_versions_read_as_many_words_as_their_recipe(tmp_path):
    table, recipe = write_texts(tmp_path / "t.csv", [60] * 3), make_recipe("text", max_tokens=40)
    adapter = adapter_from_dict({"kind": "text", "names": ["said"]})
    assert isinstance(adapter, TextAdapter)
    assert adapter.adapt_table(table, recipe).samples.lengths.tolist() == [[40] * 3]


def test_more_than_the_cap_is_a_warning_with_the_option(tmp_path):
    table = write_texts(tmp_path / "t.csv", [300] * 60)
    _, splits, _ = adapt(table, make_recipe("text"), target="score", text=("said",))
    (warning,) = splits.report.warnings
    assert warning.endswith("read more with --set max_tokens=300.")
    assert "longer than the 256 words that are read" in warning


def test_limit_of_a_pretrained_encoder_is_a_warning(tmp_path):
    table = write_texts(tmp_path / "t.csv", [40] * 60)
    recipe = make_recipe("sentences", encoder=save_bert(tmp_path / "bert"))
    options = {"target": "score", "text": ("said",), "encoder": "bert"}
    _, splits, adapter = adapt(table, recipe, **options)
    assert isinstance(adapter, SentenceAdapter)
    assert adapter.max_tokens == 24  # of the model
    warnings = splits.report.warnings
    assert warnings[0].endswith("choose an encoder that reads longer texts, or shorten them.")
    assert (
        "60 (100.0\u202f%) of the texts are longer than the 24 tokens that are read" in warnings[0]
    )


def test_blank_texts_are_rows_that_skip_missing_covers(tmp_path):
    words = [5, 0, 7, 0] + [3] * 56
    table = write_texts(tmp_path / "t.csv", words)
    options = {"target": "score", "text": ("said",)}
    with raises_with(DataError, "lines 3, 5", "column 'said' has no text", "--skip-missing"):
        adapt(table, make_recipe("text"), **options)
    plan, _, adapter = adapt(table, make_recipe("text"), **options, skip_missing=True)
    assert sorted(np.concatenate(plan.split).tolist()) == list(range(58))
    assert 1 not in plan.rows
    assert 3 not in plan.rows
    assert plan.report.rows == {"used": 58, "left_out": {"no text in column 'said'": 2}}
    with raises_with(DataError, "lines 3, 5", "has no text; fill it in, remove"):
        adapter.adapt_table(table, make_recipe("text"))


def test_rows_without_text_or_target_are_counted_once():
    texts = ["a cat", None, "", *[f"dogs run {k}" for k in range(40)]]
    scores = ["", "", *[str(k % 4) for k in range(41)]]
    table = Table.from_columns("The data", {"said": texts, "score": scores})
    spec = make_user_spec({"target": "score", "text": ("said",), "skip_missing": True})
    report = make_split_plan(table, spec).report
    left_out = {"no text in column 'said'": 2, "no value in column 'score'": 1}
    assert {k: v for k, v in report.rows["left_out"].items() if "no " in k} == left_out


def test_values_that_are_not_text_are_rejected():
    table = Table.from_columns("The data", {"said": ["a", "b", 7], "score": ["1", "2", "3"]})
    adapter = TextAdapter(("said",))
    with raises_with(DataError, "row 3", "column 'said' contains 7, which is not text"):
        adapter.adapt_table(table, make_recipe("text"))


def series_table(groups, *, repeat=None, scale=None, start="2024-01-01"):
    """Return a table of readings ``{group: (minutes apart, count)}`` and of a repeated row."""
    origin, rows = datetime.fromisoformat(start).replace(tzinfo=UTC), []
    for name, (minutes, count) in groups.items():
        for k in range(count):
            when = origin + timedelta(minutes=minutes * k)
            time = str(when.replace(tzinfo=None)) if scale is None else when.timestamp() * scale
            rows.append((name, time, str(100 + (k * 7) % 40)))
    if repeat is not None:
        row, level = repeat
        rows.append((*rows[row][:2], level))
    names = ("who", "when", "level")
    columns = {name: [row[k] for row in rows] for k, name in enumerate(names)}
    return Table.from_columns("The data", columns)


FORECAST = {"target": "level", "time": "when", "group": "who", "window": 3, "horizon": 2}
PEOPLE = {"A": (5, 60), "B": (5, 60), "C": (5, 60), "D": (15, 60), "E": (60, 3)}


def test_groups_of_another_rate_have_windows_and_are_reported():
    plan, _, adapter = adapt(series_table(PEOPLE), make_recipe("series"), **FORECAST)
    notes, warnings = plan.report.notes, plan.report.warnings
    assert notes["By group"] == "A 56, B 56, C 56, D 56 and E 0"
    assert plan.report.rows == {"used": 240, "left_out": {"in no window": 3}}
    assert notes["Windows"].startswith(
        "224 of 3 readings each, with a target 2 readings later; none lost"
    )
    assert any(
        text.startswith("No window lies in E (3 readings, step 1 hour)") for text in warnings
    )
    assert any("15 minutes in D" in text for text in warnings)
    assert adapter.steps == (300.0, 900.0)
    again = adapter_from_dict(adapter.to_dict())
    assert again == adapter
    new = again.adapt_table(series_table({"X": (15, 10), "Y": (60, 10)}), make_recipe("series"))
    assert new.rows.tolist() == list(range(2, 10))
    assert new.times[0] == "2024-01-01 01:00:00"
    (warning,) = new.report.warnings
    assert warning == (
        "No window lies in Y (10 readings, step 1 hour): the model forecasts readings at a step of "
        "5 minutes and 15 minutes; resample them."
    )


def test_repeated_times_are_merged_or_refused_with_their_lines():
    three = dict.fromkeys("ABC", (5, 60))
    with raises_with(
        DataError,
        "rows 11, 181",
        "time in column 'when' repeats",
        "--repeated-times mean",
        "or correct them",
    ):
        adapt(series_table(three, repeat=(10, "160")), make_recipe("series"), **FORECAST)
    options = FORECAST | {"repeated_times": "mean"}
    table = series_table(three, repeat=(10, "160"))
    plan, _, adapter = adapt(table, make_recipe("series"), **options)
    assert plan.readings[10, 0] == (160 + 100 + 70 % 40) / 2
    assert plan.report.rows == {
        "used": 180, "left_out": {"merged with a row of the same time": 1}
    }  # fmt: skip
    assert plan.report.notes["By group"] == "A 56, B 56 and C 56"
    assert adapter.adapt_table(table, make_recipe("series")).rows.max() == 179
    equal = series_table(three, repeat=(10, str(100 + 70 % 40)))
    plan, _, adapter = adapt(equal, make_recipe("series"), **FORECAST)  # equal rows count once
    assert plan.report.rows["left_out"] == {"merged with a row of the same time": 1}
    assert adapter.repeated_times == "error"
    with raises_with(DataError, "rows 11, 181"):
        adapter.adapt_table(table, make_recipe("series"))


def test_repeated_times_in_two_parts_are_rejected():
    table = series_table({"A": (5, 90)}, repeat=(40, str(100 + 280 % 40)))
    parts = [("train", "val", "test")[k // 30] for k in range(90)] + ["test"]
    columns = {name: table.column(name) for name in table.names} | {"part": parts}
    table = Table.from_columns("The data", columns)
    options = {name: value for name, value in FORECAST.items() if name != "group"}
    with raises_with(DataError, "rows 41, 91", "'when' repeats in another part"):
        adapt(table, make_recipe("series"), **options, split="part")


@pytest.mark.parametrize("scale", [None, 1, 1e3, 1e6, 1e9])
def test_units_of_numeric_times_are_recognized(scale):
    three = dict.fromkeys("ABC", (5, 60))
    plan, _, adapter = adapt(series_table(three, scale=scale), make_recipe("series"), **FORECAST)
    assert adapter.steps == pytest.approx((300.0,), rel=1e-6)
    names = {1e3: "milliseconds", 1e6: "microseconds", 1e9: "nanoseconds"}
    expected = {"Times": f"numbers, read as {names[scale]} since 1970"} if scale in names else {}
    assert {k: v for k, v in plan.report.notes.items() if k == "Times"} == expected
    new = adapter.adapt_table(series_table({"X": (5, 10)}, scale=scale), make_recipe("series"))
    first = datetime(2024, 1, 1, 0, 20, tzinfo=UTC)
    if scale is None:
        assert new.times[0] == "2024-01-01 00:20:00"
    else:
        assert new.times[0] == pytest.approx(first.timestamp() * scale, rel=1e-12)


def test_time_zone_in_training_or_new_times_alone_is_a_warning():
    three = dict.fromkeys("ABC", (5, 60))
    forms = {True: series_table(three), False: series_table(three)}
    naive = [value.replace("+00:00", "") for value in forms[True].column("when")]
    columns = {name: forms[True].column(name) for name in forms[True].names}
    forms[False] = Table.from_columns("naive", columns | {"when": naive})
    forms[True] = Table.from_columns("zoned", columns | {"when": [f"{when}Z" for when in naive]})
    for trained, table in forms.items():
        _, _, adapter = adapt(table, make_recipe("series"), **FORECAST)
        adapter = adapter_from_dict(adapter.to_dict())
        for new, other in forms.items():
            warnings = adapter.adapt_table(other, make_recipe("series")).report.warnings
            assert ["column 'when'" in text for text in warnings] == [True] * (new != trained)
        old = adapter.to_dict()
        del old["zoned"]
        again = adapter_from_dict(old)
        assert not again.adapt_table(forms[not trained], make_recipe("series")).report.warnings


def test_models_of_earlier_versions_have_one_step():
    scaling = {"mean": [100.0], "deviation": [10.0]}
    content = {"kind": "series", "names": ["level"], "time": "when", "group": "who", "window": 3,
               "horizon": 2, "step": 300.0, "scaling": scaling}  # fmt: skip
    adapter = adapter_from_dict(content)
    assert (adapter.steps, adapter.repeated_times) == ((300.0,), "mean")
    table = series_table({"X": (5, 10)}, repeat=(4, "0"))
    assert adapter.adapt_table(table, make_recipe("series")).rows.tolist() == list(range(2, 10))
    assert adapter_from_dict(content | {"step": None}).steps == ()


def write_deep_images(root, top, count=60):
    """Write 16-bit images of one gray level each, up to ``top``, with labels."""
    root.mkdir(exist_ok=True)
    levels = np.linspace(top // 4, top, count).astype(np.uint16)
    for k, level in enumerate(levels):
        pixels = np.array([[0, 0], [level, level]], dtype=np.uint16)
        Image.fromarray(pixels).save(root / f"{k}.png")
    lines = [f"{k}.png,{k % 4}" for k in range(count)]
    (root / "labels.csv").write_text("\n".join(["file,years", *lines]) + "\n")
    return load_table(str(root)), levels


PICTURES = {"target": "years", "image": "file"}


def read_pixels(samples):
    (pixels,) = samples.get_inputs(torch.arange(len(samples)))
    return pixels.numpy()


def test_deep_images_are_scaled_by_the_range_of_the_training_images(tmp_path):
    table, levels = write_deep_images(tmp_path / "deep", 4_095)
    recipe = make_recipe("images", image_size=2)
    plan, splits, adapter = adapt(table, recipe, **PICTURES)
    top = float(levels[plan.rows[plan.split.train]].max())
    assert adapter.value_range == (0.0, top)
    for samples, part in zip(splits.samples, plan.split, strict=True):
        expected = np.rint(255 * (levels[plan.rows[part]] / top).clip(0, 1))
        np.testing.assert_array_equal(read_pixels(samples)[:, 1, 0, 0], expected)
    note = splits.report.notes["Pixel values"]
    assert note.startswith("60 (100.0\u202f%) images have more than 8 bits; 0 … ")
    again = adapter_from_dict(adapter.to_dict())
    assert again == adapter
    few, few_levels = write_deep_images(tmp_path / "few", 2_000, 5)  # another range
    new = again.adapt_table(few, recipe)
    expected = np.rint(255 * (few_levels / top))
    np.testing.assert_array_equal(read_pixels(new.samples)[:, 1, 0, 0], expected)
    assert new.report.warnings == []
    other, _ = write_deep_images(tmp_path / "other", 60_000, 5)
    (warning,) = again.adapt_table(other, recipe).report.warnings
    assert "outside 0 … " in warning


def test_models_of_earlier_versions_use_the_range_of_16_bits(tmp_path):
    table, levels = write_deep_images(tmp_path / "deep", 65_535, 8)
    adapter = adapter_from_dict({"kind": "images", "name": "file"})
    new = adapter.adapt_table(table, make_recipe("images", image_size=2))
    np.testing.assert_array_equal(read_pixels(new.samples)[:, 1, 0, 0], np.rint(levels / 257))


def test_images_of_8_bits_share_the_cache_and_have_no_range(tmp_path):
    root = user_data.write_pictures(tmp_path)
    recipe = make_recipe("images", image_size=8)
    (root / "broken.png").write_bytes(b"none")
    with (root / "labels.csv").open("a") as file:
        file.write("broken.png,30\n")
    table = load_table(str(root))
    plan, splits, adapter = adapt(table, recipe, **PICTURES, skip_broken=True)
    assert adapter.value_range is None
    assert splits.samples[0].cache.folder.name == "8px-v1"
    assert "1 skipped" in splits.report.notes["Images"]
    report = plan.report.combine(splits.report)
    assert report.rows["left_out"]["the image cannot be read"] == 1
    assert report.rows["used"] == sum(map(len, splits.samples))
    assert "Pixel values" not in report.notes


@pytest.mark.parametrize("how", [{}, {"split_by": "identity"}, {"split_by": "group"}])
def test_images_of_a_person_stay_in_one_part(tmp_path, how):
    table, _ = write_deep_images(tmp_path / "deep", 4_095)
    persons = [f"person {k % 12}" for k in range(60)]
    columns = {name: table.column(name) for name in table.names} | {"who": persons}
    with_persons = replace(Table.from_columns("The data", columns), root=table.root)
    spec = make_user_spec({**PICTURES, **how, "group": "who"})
    plan = make_split_plan(with_persons, spec)
    groups = [{persons[row] for row in plan.rows[part]} for part in plan.split]
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    assert plan.facts["split_by"] == "group"
    assert len(np.unique(plan.groups)) == len(groups[2])


def test_split_by_identity_needs_persons():
    with raises_with(UsageError, "--split-by identity needs the column of the group", "--group"):
        make_user_spec({**PICTURES, "split_by": "identity"})
    with raises_with(
        UsageError, "--split-by identity has no effect on a table", "--split-by group"
    ):
        make_user_spec({"target": "y", "split_by": "identity", "group": "who"})
    with raises_with(UsageError, "--split-by has no effect together with --protocol"):
        AgeDbSpec(split_by="identity", protocol="blindspot")
    with raises_with(UsageError, "--split-by has no effect on imdb-wiki-dir"):
        ImdbWikiSpec(split_by="identity")
    spec = AgeDbSpec(split_by="identity")
    assert DataSpec.from_dict(spec.to_dict()) == spec
    assert "split_by" not in AgeDbSpec().to_dict()["options"]  # as in earlier results


@pytest.mark.parametrize(
    ("kind", "max_tokens"),
    [("sts-b-dir", 40), ("sentiment-dir", 40), ("text", 0), ("sentences", 0)],
)
def test_only_user_texts_decide_how_much_is_read(kind, max_tokens):
    assert preset_table(kind, "small")["max_tokens"] == max_tokens
    with pytest.raises(UsageError, match="max_tokens must be at least 0, got -1"):
        make_recipe(kind, max_tokens=-1)
