"""Commands read exports of other programs as what they are, at training and prediction alike."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ranksim._utils.storage import read_verified_json

SMALL = ["--method", "vanilla", "--set", "hidden=8", "--max-epochs", "1"]


@pytest.fixture
def rows():
    draw = np.random.default_rng(0)
    size = draw.gamma(3, 700, 120).round(1)
    kind = draw.choice(["flat", "house"], 120)
    price = (size * np.where(kind == "house", 30, 20)).round()
    return [[*row] for row in zip(size.tolist(), kind.tolist(), price.tolist(), strict=True)]


def write(path, rows, form, first=""):
    lines = ["size;kind;price", *(f"{form(size)};{kind};{price}" for size, kind, price in rows)]
    path.write_text(first + "\n".join(lines) + "\n", encoding="cp1252")


def german(value):
    return f"{value:,.1f} m²".translate(str.maketrans(",.", ".,"))


def predictions(path):
    with path.open(newline="") as file:
        return [float(row["prediction"]) for row in csv.DictReader(file)]


def test_predict_reads_what_fit_reads(run_command, tmp_path, monkeypatch, rows):
    monkeypatch.chdir(tmp_path)
    rows[5][2] = rows[9][2] = -200.0
    rows[7][0] = float("nan")
    missing = lambda value: "unknown" if np.isnan(value) else german(value)  # noqa: E731
    write(tmp_path / "fit.csv", rows, missing, first="exported\n\n")
    options = ["--missing", "unknown", "--skip-rows", "2", "--encoding", "cp1252"]
    options += ["--missing-target", "-200", "--target", "price"]
    assert run_command("fit", "fit.csv", *options, *SMALL, "--out", "model").code == 0
    config = read_verified_json(tmp_path / "model/config.json")
    assert config["options"]["missing_target"] == [-200.0]
    assert "with decimal commas" in config["data_report"]["notes"]["Forms"]
    assert config["data_report"]["rows"]["left_out"]["price is -200"] == 2
    assert config["data_report"]["filled"] == {"size": 1}

    outcome = run_command("predict", "model", "fit.csv", "--out", "same.csv", "--json")
    result = json.loads(outcome.out)
    assert (result["predictions"], result["mae"] > 0) == (120, True)
    write(tmp_path / "plain.csv", rows, lambda v: "" if np.isnan(v) else str(v))
    columns = [list(column) for column in zip(*rows, strict=True)]
    columns[0][7] = None
    pq.write_table(
        pa.table(dict(zip(("size", "kind", "price"), columns, strict=True))), "t.parquet"
    )
    expected = predictions(tmp_path / "same.csv")
    for data, more in (("plain.csv", ["--skip-rows", "0"]), ("t.parquet", [])):
        outcome = run_command("predict", "model", data, "--out", "other.csv", *more)
        assert outcome.code == 0, outcome.err
        assert predictions(tmp_path / "other.csv") == expected

    write(tmp_path / "new.csv", [[1.5, "barn", 3], *rows], missing, first="exported\n\n")
    outcome = run_command("predict", "model", "new.csv", "--out", "new.out.csv", "--json")
    notes = json.loads(outcome.out)["data_report"]["notes"]
    assert "'kind': 1 (0.8\u202f%), such as 'barn' (line 4)" in notes["Unknown in this data"]
    barns = [[1.5 + k, "barn", 3] for k in range(5)]
    write(tmp_path / "all.csv", barns, german, first="exported\n\n")
    outcome = run_command("predict", "model", "all.csv", "--out", "all.out.csv")
    assert outcome.code == 1
    assert "lines 4, 5, 6, 7, 8: no value of column 'kind', such as 'barn'" in outcome.err
    write(tmp_path / "one.csv", barns[:1], german, first="exported\n\n")  # may be of a new kind
    outcome = run_command("predict", "model", "one.csv", "--out", "one.out.csv", "--json")
    assert outcome.code == 0
    (warning,) = json.loads(outcome.out)["data_report"]["warnings"]
    assert "'barn' (line 4)" in warning


def test_inspect_repeats_the_options_of_reading(run_command, tmp_path, monkeypatch, rows):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(
        "# v1\nname,price\n" + "\n".join(f'a,"{row[2]:,.0f}"' for row in rows) + "\n"
    )
    outcome = run_command("inspect", "t.csv", "--target", "price", "--comment", "#")
    assert outcome.code == 1
    assert "--thousands ',' or --decimal ','" in outcome.err
    outcome = run_command(
        "inspect", "t.csv", "--target", "price", "--comment", "#", "--thousands", ","
    )
    assert "Forms: price: 120 values with thousands separators" in outcome.out
    assert "--thousands , --comment '#'" in outcome.out


def test_the_nameless_index_is_never_an_input(run_command, tmp_path, monkeypatch, rows):
    monkeypatch.chdir(tmp_path)
    lines = [f"{k},{size},{price}" for k, (size, _, price) in enumerate(rows)]
    for name in ("", "Unnamed: 0"):
        (tmp_path / "t.csv").write_text("\n".join([f"{name},size,price", *lines]) + "\n")
        outcome = run_command("fit", "t.csv", "--target", "price", *SMALL, "--out", "m", "--json")
        report = json.loads(outcome.out)["data_report"]
        assert report["columns"]["numbers"] == ["size"]
        assert report["columns"]["left_out"] == {
            name: "without a name, as the index of a data frame"
        }
