"""Runs that a time budget truncates, and options that a second command omits."""

import json

import pytest

from ranksim.cli.train import run_sweep_request
from ranksim.exceptions import UsageError
from tests.helpers import user_data
from tests.helpers.requests import make_request

MOMENT = 1e-3  # seconds; shorter than an epoch


@pytest.fixture
def sweep(tmp_path):
    """Sweeps over a small table; returns runs by method without timing, and the results."""
    data = user_data.write_table(tmp_path)

    def run(out="out", methods="vanilla", budget=None, epochs=4, **options):
        request = make_request(
            data, tmp_path / out, options={"target": "price", **options}, methods=methods,
            changes=("hidden=8",), max_epochs=epochs, budget=budget,
        )  # fmt: skip
        results = run_sweep_request(request, as_json=False)
        for run in results["runs"]:
            del run["result"]["seconds"], run["result"]["peak_memory_mb"]
        return {run["identity"]["method"]: run for run in results["runs"]}, results

    return run


def test_truncated_run_is_reported_and_resumes_with_more_time(sweep, tmp_path, capsys):
    cut, results = sweep(budget=MOMENT)
    assert cut["vanilla"]["result"]["epochs"] == 1
    assert cut["vanilla"]["result"]["truncated"] == MOMENT
    assert results["summary"][0]["truncated"] == [0]
    output = " ".join(capsys.readouterr().out.split())
    assert "stopped by the budget" in output
    assert "vanilla seed 0" in output

    again, _ = sweep(budget=MOMENT)
    assert again == cut  # no more time, nothing to do

    whole, results = sweep()
    assert whole == sweep("never-cut")[0]
    assert "truncated" not in results["summary"][0]
    assert not list(tmp_path.glob("out/**/last.ckpt"))


@pytest.mark.slow
def test_second_stage_is_trained_again_after_a_truncated_first_stage(sweep):
    cut, _ = sweep(methods="rrt", budget=MOMENT)
    assert {run["result"]["truncated"] for run in cut.values()} == {MOMENT / 2}  # each run's share
    whole, _ = sweep(methods="rrt")
    assert whole == sweep("never-cut", methods="rrt")[0]
    assert not any("truncated" in run["result"] for run in whole.values())


@pytest.mark.parametrize(
    ("first", "named"),
    [
        ({"region": ("dear=>20",)}, "data.options.region"),
        ({"categories": ("size",)}, "data.options.categories"),
        ({"epochs": 1}, "limits.epochs"),
    ],
)
def test_omitted_option_is_another_setting(sweep, tmp_path, first, named):
    sweep(**first)
    before = json.loads((tmp_path / "out/results.json").read_text())
    with pytest.raises(UsageError, match=f"{named} .* has None"):
        sweep(epochs=None) if "epochs" in first else sweep()
    assert json.loads((tmp_path / "out/results.json").read_text()) == before
