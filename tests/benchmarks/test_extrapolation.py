"""The study of labels that training lacks: its table follows from its runs."""

import json

import pytest

from benchmarks import extrapolation
from ranksim._utils.storage import read_verified_json, with_digest, write_json
from tests.helpers.results import make_results


def make_record(method, seed, zero, setting="default"):
    errors = {"all": 1.0 + seed, "many": 0.5, "zero": zero}
    return {"task": "abalone", "setting": setting, "method": method, "seed": seed} | errors


def test_table_shows_means_and_deviations_over_seeds():
    records = [make_record("rrt", seed, zero) for seed, zero in ((0, 4.0), (1, 6.0))]
    records += [make_record("rrt", 0, 4.0, "weight 1, γ 1")]  # the same runs
    records += [make_record("rrt+ranksim", seed, 3.0, "weight 1, γ 1") for seed in (0, 1)]
    *_, plain, ranked = extrapolation.list_errors(records)
    assert [cell.strip() for cell in plain.strip("|").split("|")][1:] == [
        "", "rrt", "1.5 ± 0.71", "5 ± 1.4", "6"
    ]  # fmt: skip
    assert "| weight 1, γ 1 | rrt+ranksim | 1.5 ± 0.71 | 3 ± 0 | 3 |" in ranked


@pytest.mark.parametrize(
    ("diverged", "cells"),
    [
        ([1], ["rrt+ranksim (1 of 3 diverged)", "1 ± 0", "1 ± 0", "1"]),
        ([1, 2], ["rrt+ranksim (2 of 3 diverged)", "1", "1", "1"]),
        ([0, 1, 2], ["rrt+ranksim (3 of 3 diverged)", "–", "–", "–"]),
    ],
)
def test_diverged_runs_are_counted(monkeypatch, tmp_path, diverged, cells):
    """A study of instability must not leave them out without a word."""
    monkeypatch.setattr(extrapolation, "METHODS", ("vanilla", "rrt+ranksim"))
    monkeypatch.setattr(extrapolation, "FEW", {"abalone": ("default",)})
    folder = tmp_path / "abalone, default"
    folder.mkdir()
    failed = [("rrt+ranksim", seed) for seed in diverged]
    content = make_results(("vanilla", "rrt+ranksim"), failed=failed, published=False, tsne=False)
    for run in content["runs"]:
        if run["status"] == "done":
            scores = {region: {"mae": 1.0} for region in ("all", "many", "zero")}
            run["result"]["metrics"]["test"] = scores
    write_json(folder / "results.json", with_digest(content))
    records = json.loads(json.dumps(extrapolation.collect_runs(tmp_path)))
    assert len(records) == 6
    *_, line = extrapolation.list_errors(records)
    assert [cell.strip() for cell in line.strip("|").split("|")][2:] == cells
    monkeypatch.setattr(extrapolation, "FEW", {})  # five seeds: this sweep has not ended
    assert extrapolation.collect_runs(tmp_path) == []


def test_findings_compare_the_spread_over_seeds():
    errors = {"vanilla": (6.0, 10.0), "rrt": (4.0, 6.0), "rrt+ranksim": (3.0, 7.0)}
    records = [
        make_record(method, seed, zero)
        for method, values in errors.items()
        for seed, zero in enumerate(values)
    ]
    records += [make_record("rrt+ranksim", seed, 5.0 + seed, "weight 1, γ 1") for seed in (0, 1)]
    records += [make_record("rrt+ranksim", 2, None)]
    finding, failures = extrapolation.list_findings(records)
    assert "0.5 to 2.0 times the standard deviation of `rrt` (`vanilla`: 2.0 times)" in finding
    assert "mean is 5 to 5.5, of `rrt` 5, of `vanilla` 8; the worst seed has 7." in finding
    assert failures == "- 1 run diverged."


def test_page_has_the_table_of_the_results(tmp_path):
    if not extrapolation.RUNS.exists():
        pytest.skip("results/extrapolation is not there yet")
    assert read_verified_json(extrapolation.RUNS)["runs"]
    page = tmp_path / "page.md"
    page.write_text(extrapolation.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    extrapolation.write_tables(page)
    assert page.read_text(encoding="utf-8") == extrapolation.PAGE.read_text(encoding="utf-8")
