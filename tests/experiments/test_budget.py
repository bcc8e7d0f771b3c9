"""Runs that a time budget cuts short, and settings that a folder was begun with."""

import json

import pytest

from ranksim.cli.train import run_sweep_request
from ranksim.exceptions import UsageError
from tests.helpers import user_data
from tests.helpers.requests import make_request

MOMENT = 1e-3  # over after the first epoch


@pytest.fixture
def sweep(tmp_path):
    """A sweep of a small table; its runs by method, without what clocks and memory say."""
    data = user_data.write_table(tmp_path)

    def performed(out="out", methods="vanilla", budget=None, epochs=4, **options):
        request = make_request(
            data, tmp_path / out, options={"target": "price", **options}, methods=methods,
            changes=("hidden=8",), max_epochs=epochs, budget=budget,
        )  # fmt: skip
        results = run_sweep_request(request, as_json=False)
        for run in results["runs"]:
            del run["result"]["seconds"], run["result"]["peak_memory_mb"]
        return {run["method"]: run for run in results["runs"]}, results

    return performed


def test_a_run_that_was_cut_short_is_told_and_goes_on_with_more_time(sweep, tmp_path, capsys):
    cut, results = sweep(budget=MOMENT)
    assert cut["vanilla"]["result"]["epochs"] == 1
    assert cut["vanilla"]["result"]["truncated"] == MOMENT
    assert results["summary"][0]["truncated"] == [0]
    told = capsys.readouterr().out
    assert "stopped by the budget" in told
    assert "The budget cut 1 run short (vanilla seed 0)" in told
    assert "cut 1 run short" in (tmp_path / "out/report.html").read_text(encoding="utf-8")

    again, _ = sweep(budget=MOMENT)
    assert again == cut  # no more time, nothing to do

    whole, results = sweep()
    assert whole == sweep("never-cut")[0]
    assert "cut_short" not in results["summary"][0]
    assert not list(tmp_path.glob("out/**/last.ckpt"))


def test_what_goes_on_from_a_first_stage_that_was_cut_short_does_so_again(sweep):
    cut, _ = sweep(methods="rrt", budget=MOMENT)
    assert {run["result"]["truncated"] for run in cut.values()} == {MOMENT / 2}  # each run's share
    whole, _ = sweep(methods="rrt")
    assert whole == sweep("never-cut", methods="rrt")[0]
    assert not any("cut_short" in run for run in whole.values())


@pytest.mark.parametrize(
    ("first", "named"),
    [
        ({"region": ("dear=>20",)}, "region"),
        ({"categories": ("size",)}, "categories"),
        ({"epochs": 1}, "limits.epochs"),
    ],
)
def test_a_setting_that_is_no_longer_given_is_another_setting(sweep, tmp_path, first, named):
    sweep(**first)
    before = json.loads((tmp_path / "out/results.json").read_text())
    with pytest.raises(UsageError, match=f"made with {named} .*, now None: give another folder"):
        sweep(epochs=None) if "epochs" in first else sweep()
    assert json.loads((tmp_path / "out/results.json").read_text()) == before
