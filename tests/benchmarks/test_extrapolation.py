"""The study of labels that training lacks: its table follows from its runs."""

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


def test_diverged_runs_are_left_out_and_named(tmp_path, capsys):
    folder = tmp_path / "abalone, default"
    folder.mkdir()
    methods = ("vanilla", "rrt+ranksim")
    content = make_results(methods, failed=[("rrt+ranksim", 1)], published=False, tsne=False)
    write_json(folder / "results.json", with_digest(content))
    records = extrapolation.collect_runs(tmp_path)
    assert [(each["method"], each["seed"]) for each in records] == [
        *(("vanilla", seed) for seed in range(3)),
        *(("rrt+ranksim", seed) for seed in (0, 2)),
    ]
    assert "rrt+ranksim" in capsys.readouterr().out


def test_page_has_the_table_of_the_results(tmp_path):
    if not extrapolation.RUNS.exists():
        pytest.skip("results/extrapolation is not there yet")
    assert read_verified_json(extrapolation.RUNS)["runs"]
    page = tmp_path / "page.md"
    page.write_text(extrapolation.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    extrapolation.write_tables(page)
    assert page.read_text(encoding="utf-8") == extrapolation.PAGE.read_text(encoding="utf-8")
