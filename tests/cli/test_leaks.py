"""Commands leave out row numbers and columns that contain the target, unless they are kept."""

import json

import numpy as np
import pytest

SMALL = ("--set", "hidden=8", "--max-steps", "4", "--accelerator", "cpu")
ROWS = 300


@pytest.fixture
def rides(tmp_path, monkeypatch):
    """Write rides by hour, with the parts of their sum and two row numbers."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    hour, casual, registered = rng.integers(0, 24, ROWS), *rng.poisson((9, 30), (ROWS, 2)).T
    lines = [",row id,hour,temp,casual,registered,cnt"]
    for k in range(ROWS):
        temp, total = rng.normal(15, 8), casual[k] + registered[k]
        lines.append(f"{k},{k + 1},{hour[k]},{temp:.2f},{casual[k]},{registered[k]},{total}")
    (tmp_path / "rides.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "rides.csv"


LEFT_OUT = {
    "": "without a name, as the index of a data frame",
    "row id": "row number",
    "casual": "part of a sum equal to the target",
    "registered": "part of a sum equal to the target",
}


def test_inspect_names_them(run_command, rides):
    outcome = run_command("inspect", rides, "--target", "cnt", "--json")
    report = json.loads(outcome.out)["data_report"]
    assert report["columns"]["numbers"] == ["hour", "temp"]
    assert report["columns"]["left_out"] == LEFT_OUT
    assert "--keep 'row id'" in report["warnings"][0]
    outcome = run_command("inspect", rides, "--target", "cnt", "--keep", "row id,casual")
    assert "Kept: row id (row number); casual (part of a sum" in outcome.out
    assert "--keep 'row id,casual'\n" in outcome.out
    outcome = run_command("inspect", rides, "--target", "cnt", "--strict")
    assert (outcome.code, outcome.out) == (1, "")
    assert "numbers the rows" in outcome.err


def test_duplicates_are_counted_without_row_numbers(run_command, rides):
    lines = rides.read_text().splitlines()
    for k in range(5):
        lines.append(f"{ROWS + k},{ROWS + k + 1}," + lines[k + 1].split(",", 2)[2])
    rides.write_text("\n".join(lines) + "\n")
    outcome = run_command("inspect", rides, "--target", "cnt", "--json")
    assert json.loads(outcome.out)["duplicates"] == 5


def test_models_read_the_other_columns(run_command, rides, tmp_path):
    words = ("fit", rides, "--target", "cnt", *SMALL, "--json", "--out")
    report = json.loads(run_command(*words, "model").out)["data_report"]
    assert report["columns"]["left_out"] == LEFT_OUT
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["data_report"]["columns"]["left_out"] == LEFT_OUT
    # a prediction needs none of them
    (tmp_path / "new.csv").write_text("hour,temp\n3,15\n4,11\n")
    outcome = run_command("predict", "model", "new.csv", "--out", "p.csv", "--json")
    assert outcome.code == 0, outcome.err
    report = json.loads(run_command(*words, "other", "--keep", "casual").out)["data_report"]
    assert report["columns"]["numbers"] == ["hour", "temp", "casual"]
    outcome = run_command("predict", "other", "new.csv", "--out", "p.csv")
    assert "'casual'" in outcome.err


def test_compare_records_kept_columns(run_command, rides):
    words = ("compare", rides, "--target", "cnt", *SMALL, "--methods", "vanilla", "--seeds", "1")
    results = json.loads(run_command(*words, "--json", "--out", "a").out)
    assert results["data_report"]["columns"]["left_out"] == LEFT_OUT
    assert any("cnt = casual + registered" in text for text in results["data_report"]["warnings"])
    outcome = run_command(*words, "--keep", "casual", "--out", "a")
    assert outcome.code == 2
    assert "another folder" in outcome.err
    outcome = run_command(*words, "--strict", "--out", "b")
    assert outcome.code == 1
    assert "--keep casual,registered" in outcome.err


def test_keep_is_an_option_of_tables(check_error, rides):
    words = ["compare", rides, "--target", "cnt", "--keep"]
    check_error([*words, "weather"], 2, "--keep", "'weather'", "not an input")
    check_error([*words, "hour", "--text", "temp"], 2, "--keep", "no effect on texts")
