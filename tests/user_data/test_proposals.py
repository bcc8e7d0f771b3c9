"""Proposed commands read the columns that they name."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from ranksim.data.reading import load_table
from ranksim.data.spec import DataLocation, ImageSpec, SeriesSpec, TableSpec, TextSpec
from ranksim.experiments.sweep_request import resolve_user_data
from ranksim.user_data.proposals import find_column_kinds, propose_inputs
from tests.conftest import sentence

ROWS = 80


def write(path, **columns):
    """Write columns as CSV; the target is ``y``."""
    draw = np.random.default_rng(0)
    columns["y"] = draw.integers(0, 9, ROWS).tolist()
    lines = [
        ",".join(columns),
        *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True)),
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def read_proposals(path):
    """Return the specification, without the target, of each proposal, and what it reads."""
    table = load_table(str(path))
    kinds = find_column_kinds(table, "y", np.arange(table.n_rows))
    proposals = []
    for words, reads in propose_inputs(table, kinds):
        options = {"target": "y"}
        pairs = iter(words)
        for word in pairs:
            name = word.removeprefix("--").replace("-", "_")
            value = True if name == "skip_missing" else next(pairs)
            options[name] = tuple(value.split(",")) if name in ("text", "features") else value
        if "window" in options:
            options["window"] = int(options["window"])
        options.pop("image_root", None)
        proposals.append((resolve_user_data(DataLocation(str(path)), options).spec, reads))
    return proposals


def list_texts(seed=0):
    draw = np.random.default_rng(seed)
    return [f"{sentence(draw)} number {k}" for k in range(ROWS)]


def list_numbers(seed):
    return np.random.default_rng(seed).normal(size=ROWS).round(3).tolist()


def test_texts_come_before_the_numbers_beside_them(tmp_path):
    path = write(
        tmp_path / "t.csv", comment=list_texts(), rating=list_numbers(1), other=list_numbers(2)
    )
    (text, reads_text), (table, reads_table) = read_proposals(path)
    assert isinstance(text, TextSpec)
    assert text.text == ("comment",)
    assert reads_text == "reads the texts in column comment; not rating and other"
    assert isinstance(table, TableSpec)
    assert reads_table == "reads 2 columns: rating and other; not comment"


def test_two_texts_and_blank_ones(tmp_path):
    texts = list_texts()
    texts[3] = ""
    path = write(tmp_path / "t.csv", a=texts, b=list_texts(1))
    ((text, _),) = read_proposals(path)
    assert text.text == ("a", "b")
    assert text.skip_missing


@pytest.mark.parametrize("name", ["file", "photo"])
def test_images_come_before_texts_and_numbers(tmp_path, name):
    images = {name: [f"faces/{k}.JPG" for k in range(ROWS)]}
    path = write(tmp_path / "t.csv", **images, comment=list_texts(), size=list_numbers(1))
    (image, _), (text, _), (table, reads) = read_proposals(path)
    assert isinstance(image, ImageSpec)
    assert image.image == name
    assert text.text == ("comment",)
    assert isinstance(table, TableSpec)
    assert "size" in reads
    assert table.features == (("size",) if name == "file" else ())


def test_regular_times_propose_a_series(tmp_path):
    start = datetime(2024, 1, 1)
    when = [start + timedelta(minutes=5 * k) for k in range(ROWS)]
    path = write(tmp_path / "t.csv", when=when, dose=list_numbers(1))
    (series, _), (table, _) = read_proposals(path)
    assert isinstance(series, SeriesSpec)
    assert (series.time, series.window) == ("when", 24)
    assert isinstance(table, TableSpec)
    assert series.repeated_times is None
    repeated = write(tmp_path / "r.csv", when=[when[0], *when[:-1]], dose=list_numbers(1))
    assert read_proposals(repeated)[0][0].repeated_times == "mean"
    path = write(tmp_path / "u.csv", when=when[::-1], dose=list_numbers(1))
    assert [type(spec) for spec, _ in read_proposals(path)] == [TableSpec]


def test_short_words_repeated_sentences_and_names_are_no_texts(tmp_path):
    path = write(
        tmp_path / "t.csv",
        kind=["flat", "house"] * (ROWS // 2),
        answer=["I do not agree at all", "I agree with this"] * (ROWS // 2),
        person=[f"Ann {k}son" for k in range(ROWS)],
        x=list_numbers(1),
    )
    ((table, reads),) = read_proposals(path)
    assert isinstance(table, TableSpec)
    assert reads == "reads 3 columns: kind, answer and x"


def test_unreadable_columns_are_reported_and_not_proposed(tmp_path):
    cells = list_numbers(1)
    cells[5] = "nil"
    path = write(tmp_path / "t.csv", current=cells, x=list_numbers(2))
    ((table, _),) = read_proposals(path)
    assert table.features == ("x",)
    report = find_column_kinds(load_table(str(path)), "y", np.arange(ROWS))
    assert "line 7: column 'current' contains 'nil'" in report.problems[0]


def test_no_column_but_the_target(tmp_path):
    assert read_proposals(write(tmp_path / "t.csv")) == []
