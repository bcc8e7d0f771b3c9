"""What is committed under results/ is whole, and the docs quote it."""

import json
from pathlib import Path

import pytest

from ranksim.datasets.published import published_table
from ranksim.evaluation.summary import count_pairs, summarize
from ranksim.metrics import REGION_NAMES

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "results").rglob("results.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_committed_summaries_follow_from_their_runs(path):
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["runs"]
    for run in content["runs"]:
        assert not str(run["provenance"]["commit"]).endswith("-dirty")
        assert run["provenance"]["versions"]["ranksim"]
    again = summarize(content["runs"], content["benchmark"], content["reported_methods"])
    for row in content["summary"]:
        for name in ("vs_baseline", "ensemble", "views", "ensemble_views", "ensemble_change"):
            row.pop(name, None)  # follow from predictions too, which are not committed
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
    effect = content["summary"][1]["vs_without_ranksim"]["test"]
    assert effect["all"]["mse"]["relative"] <= -0.04
    assert effect["all"]["mse"]["better"] >= 4
    assert effect["medium"]["mse"]["relative"] <= -0.15
    recipes = {json.dumps(run["identity"]["recipe"], sort_keys=True) for run in content["runs"]}
    assert len(recipes) == 1


def test_documented_scores_of_the_feature_bank():
    page = (ROOT / "docs/loss.md").read_text(encoding="utf-8")
    page = page.split("### Effect")[1].split("## ")[0]
    scores_by_size = {}
    for path in sorted((ROOT / "results/sts-b-dir/memory").glob("*/results.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        (row,) = content["summary"]
        recipe = content["runs"][0]["identity"]["recipe"]
        scores = [row["val"]["all"]["mse"], *(row["test"][r]["mse"] for r in REGION_NAMES[:4])]
        figures = [f"{score['mean']:.3f} ± {score['sd']:.3f}" for score in scores]
        setting = [
            f"{recipe['memory_size']:,}",
            *(f"{recipe[name]:g}" for name in ("gamma", "ranksim_weight")),
        ]
        line = " | ".join([*setting, str(len(row["seeds"])), *figures])
        assert f"| {line} |" in page
        scores_by_size[path.parent.name] = scores[1]["mean"]
    assert min(scores_by_size, key=scores_by_size.__getitem__) == "0"


def test_the_whole_table_of_sts_b_dir():
    """All 32 rows have three seeds, 12 of 16 pairs or more improved, and docs has the scores."""
    content = json.loads((ROOT / "results/sts-b-dir/all/results.json").read_text())
    assert [row["method"] for row in content["summary"]] == list(published_table("sts-b-dir"))
    assert all(row["seeds"] == [0, 1, 2] for row in content["summary"])
    pairs = count_pairs(content["summary"])
    assert pairs == content["pairs"]
    assert (pairs["pairs"], pairs["distinct"]) == (16, 14)
    assert pairs["improved"] >= 12
    # with and without RankSim all else is the same
    recipes = {run["identity"]["method"]: run["identity"]["recipe"] for run in content["runs"]}
    for method, recipe in recipes.items():
        if method.endswith("+ranksim"):
            base = recipes[method.removesuffix("+ranksim")]
            assert {k for k in recipe if recipe[k] != base[k]} <= {"ranksim_weight"}
    page = (ROOT / "docs/sts-b-dir-methods.md").read_text(encoding="utf-8")
    for row in content["summary"]:
        scores = [f"{row['test'][region]['mse']['mean']:.3f}" for region in ("all", "many", "few")]
        assert all(score in page for score in scores)
