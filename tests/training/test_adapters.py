"""What adapters read of user data, leave out and report."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from ranksim.data.reading import load_table
from ranksim.data.spec import make_user_spec
from ranksim.data.split_plan import make_split_plan
from ranksim.data.table import Table
from ranksim.exceptions import DataError
from ranksim.training.adapters import (
    SentenceAdapter,
    TextAdapter,
    adapter_from_dict,
    adapter_type,
)
from ranksim.training.presets import preset_table
from ranksim.training.recipe import recipe_type
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
    assert f"up to {limit} words are read" in splits.report.notes["Texts"]
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
    assert "60 (100.0\u202f%) texts are longer than the 24 tokens that are read" in warnings[0]


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
    with raises_with(DataError, "lines 3, 5", "has no text; fill it in or remove"):
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
    with raises_with(DataError, "row 3", "column 'said' contains a value that is not text"):
        adapter.adapt_table(table, make_recipe("text"))
