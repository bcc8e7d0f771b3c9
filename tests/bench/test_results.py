"""What is committed under results/ is whole, and the docs quote it."""

import json
from pathlib import Path

import pytest

from ranksim.bench.summary import summarise

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "results").rglob("results.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_committed_summaries_follow_from_their_runs(path):
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["runs"]
    for run in content["runs"]:
        assert not str(run["commit"]).endswith("-dirty")
        assert run["versions"]["ranksim"]
    again = summarise(content["runs"], content["benchmark"])
    assert _close(json.loads(json.dumps(again)), content["summary"])


def _close(a, b):
    if isinstance(a, dict):
        return set(a) == set(b) and all(_close(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_close, a, b))
    return a == pytest.approx(b, rel=1e-9) if isinstance(a, float) else a == b


def test_the_main_result_of_sts_b_dir():
    """Done when: MSE all at least 4 % lower, medium 15 %, better in at least 4 of 5 seeds."""
    content = json.loads((ROOT / "results/sts-b-dir/borealis/results.json").read_text())
    effect = content["summary"][1]["versus"]["test"]
    assert effect["all"]["mse"]["relative"] <= -0.04
    assert effect["all"]["mse"]["better"] >= 4
    assert effect["medium"]["mse"]["relative"] <= -0.15
    recipes = {json.dumps(run["recipe"], sort_keys=True) for run in content["runs"]}
    assert len(recipes) == 1
