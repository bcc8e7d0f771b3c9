"""Sweeps of all methods, and of two-stage methods that share a first stage."""

import shutil

import pytest

from ranksim.datasets.published import published_table
from ranksim.exceptions import RankSimError, UsageError
from ranksim.experiments.sweep_request import run_benchmark
from tests.helpers.requests import make_request
from tests.helpers.sweeps import count_trainings, sts_request

NAMES = list(published_table("sts-b-dir"))


@pytest.mark.slow
def test_all_published_methods_train_on_sts_b_dir(small_sts, tmp_path):
    content = run_benchmark(
        sts_request(small_sts, tmp_path, methods="all", seeds="1", max_steps=4, max_epochs=2)
    )
    rows = {row["method"]: row for row in content["summary"]}
    assert list(rows) == NAMES
    assert len(content["runs"]) == 28
    for name, row in rows.items():
        assert row["seeds"] == [0], name
        assert row["published"] == published_table("sts-b-dir")[name]
        if name.endswith("+ranksim"):
            assert row["vs_without_ranksim"]["method"] == name.removesuffix("+ranksim")
    assert rows["vanilla+lds"]["alias_of"] == "inv+lds"
    assert rows["vanilla+lds"]["test"] == rows["inv+lds"]["test"]
    scores = {name: row["test"]["all"]["mse"]["mean"] for name, row in rows.items()}
    assert len({scores[name] for name in NAMES if "fds" not in name}) == 14


@pytest.mark.slow
def test_each_part_of_a_method_trains_on_sentiment_dir(small_sentiment, tmp_path):
    methods = "inv+lds,focal-r+fds,rrt+lds+fds+ranksim"
    request = make_request(
        "sentiment-dir", tmp_path / "out", options={"domains": ("tweets", "amazon")},
        methods=methods, data_dir=small_sentiment.parent, changes=("hidden=8",),
        max_steps=4, max_epochs=2,
    )  # fmt: skip
    content = run_benchmark(request)
    reported = [row["method"] for row in content["summary"]]
    assert reported == [*methods.split(","), "vanilla+fds+ranksim"]  # the last one is a first stage
    assert [run["status"] for run in content["runs"]] == ["done"] * 4


def test_shared_first_stage_is_trained_once(small_sts, tmp_path):
    methods = "rrt+ranksim,rrt+lds+ranksim,rrt+ranksim+fds,vanilla+ranksim"
    content = run_benchmark(
        sts_request(small_sts, tmp_path, methods=methods, seeds="1", max_steps=2)
    )
    rows = ["rrt+ranksim", "rrt+lds+ranksim", "rrt+fds+ranksim", "vanilla+ranksim"]
    rows.append("vanilla+fds+ranksim")  # only a first stage
    assert [row["method"] for row in content["summary"]] == rows
    assert count_trainings(tmp_path) == {f"{name}/seed-0": 1 for name in rows}
    runs = {run["identity"]["method"]: run["identity"] for run in content["runs"]}
    assert runs["rrt+ranksim"]["stage_one"] == runs["vanilla+ranksim"]
    assert runs["rrt+fds+ranksim"]["stage_one"] == runs["vanilla+fds+ranksim"]


@pytest.mark.slow
def test_terms_on_features_train_by_name_and_share_an_encoder(small_sts, tmp_path):
    methods = "oe,srl,conr+ranksim,bsam,rnc,inv+rnc"
    content = run_benchmark(
        sts_request(small_sts, tmp_path, methods=methods, seeds="1", max_steps=2)
    )
    rows = ["vanilla+oe", "vanilla+srl", "vanilla+conr+ranksim", "vanilla+bsam"]
    rows += ["vanilla+rnc", "inv+rnc"]
    assert [row["method"] for row in content["summary"]] == rows  # an encoder is no method
    trainings = {f"{name}/seed-0": 1 for name in [*rows, "encoder+rnc"]}
    assert count_trainings(tmp_path) == trainings
    runs = {run["identity"]["method"]: run["identity"] for run in content["runs"]}
    assert runs["vanilla+rnc"]["stage_one"] == runs["encoder+rnc"]
    assert runs["inv+rnc"]["stage_one"] == runs["encoder+rnc"]
    assert runs["encoder+rnc"]["recipe"]["rnc_temperature"] == 2.0
    assert "oe_weight" not in runs["encoder+rnc"]["recipe"]


def test_rows_join_a_folder_with_a_trained_encoder(small_sts, tmp_path):
    request = {"seeds": "1", "max_steps": 2, "changes": ("hidden=8",)}
    run_benchmark(sts_request(small_sts, tmp_path, methods="rnc+ranksim,vanilla", **request))
    content = run_benchmark(sts_request(small_sts, tmp_path, methods="vanilla,sqinv", **request))
    names = {run["identity"]["method"] for run in content["runs"]}
    assert names >= {"sqinv", "encoder+rnc+ranksim", "vanilla+rnc+ranksim"}
    trainings = count_trainings(tmp_path)
    assert trainings["encoder+rnc+ranksim/seed-0"] == trainings["vanilla/seed-0"] == 1


def test_first_stage_must_have_equal_settings_and_its_checkpoint(small_sts, tmp_path):
    def train(methods, *changes):
        changes = ("hidden=8", *changes)
        request = {"methods": methods, "seeds": "1", "max_steps": 2, "changes": changes}
        return run_benchmark(sts_request(small_sts, tmp_path, **request))

    train("rrt")
    shutil.rmtree(tmp_path / "runs/rrt")
    with pytest.raises(UsageError, match=r"vanilla seed 0 trained with .*lr 0\.001, .* 0\.01"):
        train("rrt", "lr=0.01")
    (tmp_path / "runs/vanilla/seed-0/best.ckpt").unlink()
    with pytest.raises(RankSimError, match=r"rrt seed 0 needs .*best\.ckpt of vanilla seed 0"):
        train("rrt")


def test_diverged_first_stage_fails_only_the_runs_that_need_it(small_sts, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[methods."vanilla+ranksim"]\nlr = 1e37\nmax_grad_norm = 1e30\n')
    values = {"methods": "rrt,rrt+ranksim", "seeds": "1", "recipe_file": recipe}
    content = run_benchmark(sts_request(small_sts, tmp_path / "out", **values))
    runs = {run["identity"]["method"]: run for run in content["runs"]}
    assert runs["rrt"]["status"] == runs["vanilla"]["status"] == "done"
    assert runs["vanilla+ranksim"]["status"] == runs["rrt+ranksim"]["status"] == "failed"
    result = runs["rrt+ranksim"]["result"]
    assert result["error"].startswith("Stage one, vanilla+ranksim seed 0: Training diverged at")
    assert result["diverged"]["stage_one"] == "vanilla+ranksim seed 0"
