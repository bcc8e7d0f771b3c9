"""The page on models for skewed tables contains the committed results."""

import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from scripts import model_tables
from scripts.model_tables import PAGE, RESULTS, TITLES, list_section, write_tables

TABLES = sorted(path.name for path in RESULTS.iterdir() if path.is_dir())
TUNED = [name for name in TITLES if (RESULTS / name / "tuned" / "results.json").is_file()]


def test_tables_are_those_of_the_results():
    text = PAGE.read_text(encoding="utf-8")
    assert write_tables(text) == text
    markers = [name + suffix for name in TABLES for suffix in ("", "-tuned", "-rivals")]
    assert all(f"<!-- {name} -->" in text for name in (*markers, "validation", "ranking"))
    assert sorted(TITLES) == TABLES


def test_figures_of_the_summary_are_in_the_tables():
    summary, tables = PAGE.read_text(encoding="utf-8").split("## Abalone", 1)
    figures = re.findall(r"[−+]\d+\.\d %|\d+[.,]\d+(?= to)|(?<= to )\d+[.,]\d+", summary)
    assert len(figures) > 10
    assert not [figure for figure in figures if figure not in tables]


def test_figures_on_the_default_of_the_estimator_are_in_its_table():
    _, section = PAGE.read_text(encoding="utf-8").split("## The default of RankSimRegressor", 1)
    table, text = section.split("<!-- end -->", 1)
    text = text.split("## ", 1)[0]
    figures = re.findall(r"[−+]\d+\.\d(?= %)", text)
    assert len(figures) == 6
    assert not [figure for figure in figures if figure.replace("−", "-") not in table]
    columns = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")]
    against = {cells[-1].strip(" |") for cells in columns if "mean of" not in cells[1]}
    assert not [cell for cell in against if cell.startswith("**")]  # RankSim adds nothing sure
    over_all = [cells[3] for cells in columns if cells[0] == "| labels as in the data"]
    assert all(cell.startswith("**+") for cell in over_all)


@pytest.mark.parametrize("name", TABLES)
def test_no_plain_script_beats_the_comparison(name):
    assert "**yes**" not in (RESULTS / name / "plain_trees.md").read_text(encoding="utf-8")
    results = json.loads((RESULTS / name / "results.json").read_text(encoding="utf-8"))
    assert not [run for run in results["runs"] if "-dirty" in str(run["provenance"]["commit"])]
    assert Path(RESULTS / name / "report.html").is_file()


def read_content(*path):
    return json.loads(RESULTS.joinpath(*path, "results.json").read_text(encoding="utf-8"))


def read_rows(section):
    """The cells of the lines of a section's tables, without marks."""
    lines = [line.replace("**", "").replace("`", "") for line in list_section(section)]
    return [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]


@pytest.mark.parametrize("name", TUNED)
def test_tuned_results_are_complete_and_of_the_same_split(name):
    default, tuned = read_content(name), read_content(name, "tuned")
    assert tuned["command"] == default["command"].replace(" --seeds", " --tune 8 --seeds")
    assert {run["status"] for run in tuned["runs"]} == {"done"}
    keys = [
        {(run["identity"]["method"], run["identity"]["seed"]) for run in results["runs"]}
        for results in (default, tuned)
    ]
    assert keys[0] == keys[1]
    facts = [results["runs"][0]["provenance"]["data"] for results in (default, tuned)]
    assert facts[0] == facts[1]
    assert tuned["labels"]["views"] == default["labels"]["views"]
    folder = RESULTS / name / "tuned"
    assert (folder / "report.html").is_file()
    for path in folder.iterdir():  # no path of a machine, except that of a program
        text = path.read_text(encoding="utf-8")
        assert not re.findall(r"/(?:tmp|work|home|root)/[^\s\"]*", text), path


@pytest.mark.parametrize("name", TUNED)
def test_rows_were_trained_with_the_recipes_of_the_search(name):
    recipes = tomllib.loads((RESULTS / name / "tuned" / "recipe.toml").read_text())["methods"]
    for run in read_content(name, "tuned")["runs"]:
        identity = run["identity"]
        for field, value in recipes.get(identity["method"], {}).items():
            assert identity["recipe"][field] == value, (identity["method"], field)


@pytest.mark.parametrize("name", TUNED)
def test_default_and_tuned_stand_side_by_side(name):
    sides = [read_content(name), read_content(name, "tuned")]
    rows = {cells[0]: cells for cells in read_rows(f"{name}-tuned") if len(cells) == 7}
    for method in (row["method"] for row in sides[0]["summary"]):
        for k, results in enumerate(sides):
            row = next(row for row in results["summary"] if row["method"] == method)
            places = (row["test"]["all"], row["views"]["as_is"], row["test"]["few"])
            for cell, place in zip(rows[method][1 + k :: 2], places, strict=True):
                value = float(cell.split(" (")[0].replace(",", ""))
                assert value == pytest.approx(place["mae"]["mean"], rel=6e-3)


def test_validation_errors_are_compared_by_seed():
    rows = {cells[0]: cells for cells in read_rows("validation")}
    lower = 0
    for name in TUNED:
        errors = [
            [
                run["result"]["metrics"]["val"]["all"]["mae"]
                for run in sorted(results["runs"], key=lambda run: run["identity"]["seed"])
                if run["identity"]["method"] == "vanilla"
            ]
            for results in (read_content(name), read_content(name, "tuned"))
        ]
        before, after = np.array(errors)
        assert len(before) == len(after) == 5
        differences = after - before
        interval = (0.0, 0.0)
        if differences.any():
            interval = stats.t.interval(0.95, 4, differences.mean(), stats.sem(differences))
        low, high = (100 * end / before.mean() for end in interval)
        mean = 100 * differences.mean() / before.mean()
        assert rows[TITLES[name]][3] == f"{mean:+.1f} % ({low:+.1f} to {high:+.1f})"
        verdict = "yes" if high < 0 else "not surely" if mean < 0 else "no"
        assert rows[TITLES[name]][4] == (verdict if differences.any() else "the same recipe")
        lower += mean < 0
    text = " ".join(list_section("validation"))
    assert f"The mean is lower on {lower} of {len(TUNED)} tables" in text
    assert text in " ".join(PAGE.read_text(encoding="utf-8").split("\n"))


def test_ranking_names_the_rows_of_the_lowest_error():
    for name, side, *cells in read_rows("ranking")[2:]:
        folder = next(key for key, title in TITLES.items() if title == name)
        results = read_content(folder, *["tuned"] * (side == "tuned"))
        for cell, (part, place) in zip(
            cells, (("test", "all"), ("test", "few"), ("views", "as_is")), strict=False
        ):
            scores = {row["method"]: row[part][place]["mae"]["mean"] for row in results["summary"]}
            assert cell == min(scores, key=scores.get)
        network, change, _, trees = cells[3].replace(" %", "%").split(" ")
        scores = {row["method"]: row["test"]["all"]["mae"]["mean"] for row in results["summary"]}
        relative = 100 * (scores[network] / scores[trees] - 1)
        assert float(change.replace("−", "-").rstrip("%")) == pytest.approx(relative, abs=0.06)
        networks = [row for row in scores if not row.startswith(("trees", "linear", "median"))]
        assert scores[network] == min(scores[row] for row in networks)


def test_table_without_tuned_results_is_skipped(monkeypatch):
    monkeypatch.setattr(model_tables, "read_side", lambda name, side: None)
    assert list(list_section("ames-tuned")) == ["Not tuned."]
    assert len(list(list_section("ranking"))) == 2
