"""Tuning: the search space, resuming, pruning, and what is stored."""

import dataclasses
import math
import os
import shutil
import signal
import sqlite3
import tomllib
from contextlib import closing

import filelock
import pytest

from ranksim.evaluation.record import read_record
from ranksim.exceptions import RankSimError, UsageError
from ranksim.experiments import tune as tune_module
from ranksim.experiments.search_space import Space, TuneRequest
from ranksim.experiments.study import RECIPE, STORAGE, lock_study_folder, open_study, seal_trial
from ranksim.experiments.sweep_request import run_benchmark
from ranksim.experiments.tune import tune
from ranksim.training.method import parse_method
from ranksim.training.presets import load_recipe
from ranksim.training.recipe import EstimatorRecipe
from tests.helpers.sweeps import start_command, sts_request, wait_until_training

optuna = pytest.importorskip("optuna")
RECIPE_OF_ALL = dataclasses.asdict(
    load_recipe("sts-b-dir", "small", parse_method("vanilla+ranksim", "inverse"))
)


def tune_request(data, out, *, method="vanilla+ranksim", trials=3, fields=(), **changes):
    settings = {"seeds": "7,8", "max_epochs": 2, "changes": ("hidden=8",)} | changes
    return TuneRequest(sts_request(data, out, methods=method, **settings), trials, fields)


def study(out, name="vanilla+ranksim"):
    return optuna.load_study(study_name=name, storage=f"sqlite:///{out / STORAGE}")


def test_space_holds_the_fields_of_the_method():
    names = {
        "inv+ranksim": {"ranksim_weight", "gamma", "lambda_"},
        "inv+lds": {"lds_kernel", "lds_kernel_size", "lds_sigma"},
        "vanilla+fds": {"fds_kernel", "fds_kernel_size", "fds_sigma", "fds_bins"},
        "rrt+lds+fds+ranksim": {"lds_kernel", "lds_kernel_size", "lds_sigma"},
    }
    for name, fields in names.items():
        space = Space.from_method(parse_method(name, "inverse"), RECIPE_OF_ALL)
        assert {*space.ranges, *space.choices} == fields
    method = parse_method("vanilla+ranksim", "inverse")
    only = Space.from_method(method, RECIPE_OF_ALL, fields=("ranksim_weight",))
    assert (list(only.ranges), only.choices) == (["ranksim_weight"], {})
    fixed = Space.from_method(method, RECIPE_OF_ALL, fixed=("gamma", "lr"))
    assert list(fixed.ranges) == ["ranksim_weight", "lambda_"]


def test_first_trial_is_the_recipe_and_widens_the_space():
    recipe = RECIPE_OF_ALL | {"gamma": 3e-4, "fds_bins": 80}
    space = Space.from_method(parse_method("vanilla+fds+ranksim", "inverse"), recipe)
    first = next(space.initial_values(recipe))
    assert (first["gamma"], first["fds_bins"], first["ranksim_weight"]) == (3e-4, 80, 0.3)
    assert space.ranges["gamma"][0] == 3e-4
    assert space.choices["fds_bins"] == (5, 10, 20, 50, 80)


NETWORK = {"lr", "batch_size", "hidden", "layers", "dropout", "patience"}


@pytest.mark.parametrize(
    ("name", "network", "fields"),
    [
        ("vanilla", False, NETWORK),  # has no others
        ("vanilla", True, NETWORK),
        ("focal-r", False, NETWORK),
        ("inv+lds", True, NETWORK | {"lds_kernel", "lds_kernel_size", "lds_sigma"}),
        ("vanilla+ranksim", True, NETWORK | {"ranksim_weight", "gamma", "lambda_"}),
        ("rrt+ranksim", True, {"lr", "batch_size", "patience"}),  # the first stage has the shape
    ],
)
def test_network_is_searched_on_user_data(name, network, fields):
    space = Space.from_method(parse_method(name, "inverse"), RECIPE_OF_ALL, network=network)
    assert {*space.ranges, *space.choices} == fields
    lr, batch = RECIPE_OF_ALL["lr"], RECIPE_OF_ALL["batch_size"]
    assert space.ranges["lr"] == pytest.approx((lr / 10, lr * 10))
    assert space.choices["batch_size"] == (batch // 2, batch, 2 * batch)
    assert next(space.initial_values(RECIPE_OF_ALL))["lr"] == lr


@pytest.mark.parametrize("name", ["median", "last-value"])
def test_method_without_fields_is_rejected(name):
    recipe = dataclasses.asdict(EstimatorRecipe.from_network(RECIPE_OF_ALL, {}))
    with pytest.raises(UsageError, match="has no field to tune that --set does not fix"):
        Space.from_method(parse_method(name, "inverse"), recipe, network=True)
    method = parse_method("vanilla", "inverse")
    with pytest.raises(UsageError, match="has no field to tune"):
        Space.from_method(method, RECIPE_OF_ALL, fixed=NETWORK)


def test_unused_field_is_rejected():
    with pytest.raises(UsageError, match="inv.lds has no field 'gamma' to tune: .* lds_kernel"):
        Space.from_method(parse_method("inv+lds", "inverse"), RECIPE_OF_ALL, fields=("gamma",))


@pytest.mark.slow
def test_best_trial_is_written_as_a_recipe_file(small_sts, tmp_path):
    out = tmp_path / "tuned"
    result = tune(tune_request(small_sts, out))
    best = result.values
    trials = study(out).trials
    assert len(trials) == 3
    weights = sorted(trial.params["ranksim_weight"] for trial in trials)
    assert weights == pytest.approx([0.1, 0.3, 0.9])  # the recipe, and a factor each way
    assert (
        best["ranksim_weight"]
        == min(trials, key=lambda t: t.value).user_attrs["values"]["ranksim_weight"]
    )
    assert (result.trials, result.monitor) == ("3 trials, 0 pruned", "MSE")

    recipes = tomllib.loads((out / RECIPE).read_text())
    assert recipes == {"methods": {"vanilla+ranksim": best}}
    content = run_benchmark(
        sts_request(small_sts, tmp_path / "bench", seeds="7,8", recipe_file=out / RECIPE,
                changes=("hidden=8",))
    )  # fmt: skip
    row = content["summary"][1]
    assert row["val"]["all"]["mse"]["mean"] == pytest.approx(min(t.value for t in trials))
    for run in content["runs"]:
        tuned = run["identity"]["method"] == "vanilla+ranksim"
        assert run["identity"]["recipe"]["ranksim_weight"] == (
            best["ranksim_weight"] if tuned else 0.3
        )


@pytest.mark.slow
def test_continued_search_repeats_nothing(small_sts, tmp_path):
    tune(tune_request(small_sts, tmp_path, trials=2))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("record.json")}
    assert len(before) == 4
    tune(tune_request(small_sts, tmp_path, trials=4))
    tune(tune_request(small_sts, tmp_path, trials=4))
    assert len(study(tmp_path).trials) == 4
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    values = [trial.user_attrs["values"]["ranksim_weight"] for trial in study(tmp_path).trials]
    assert len(set(values)) == 4


@pytest.mark.slow
def test_searches_of_two_methods_share_the_recipe_file(small_sts, tmp_path):
    tune(tune_request(small_sts, tmp_path, trials=1))
    tune(
        tune_request(
            small_sts, tmp_path, trials=1, method="vanilla+fds", fields=("fds_kernel_size",)
        )
    )
    assert set(tomllib.loads((tmp_path / RECIPE).read_text())["methods"]) == {
        "vanilla+ranksim", "vanilla+fds",
    }  # fmt: skip


@pytest.mark.slow
def test_other_search_in_the_folder_is_rejected(small_sts, tmp_path):
    tune(tune_request(small_sts, tmp_path, trials=1))
    with pytest.raises(
        UsageError, match=r"contains a search for vanilla\+ranksim with seeds \[7, 8\]"
    ):
        tune(tune_request(small_sts, tmp_path, trials=1, seeds="2"))
    with (
        filelock.FileLock(tmp_path / ".lock"),
        pytest.raises(UsageError, match="Another ranksim tune runs in"),
    ):
        tune(tune_request(small_sts, tmp_path, trials=1))


@pytest.mark.slow
def test_killed_search_resumes_its_trials(small_sts, tmp_path):
    words = [
        "tune", "sts-b-dir", "--method", "vanilla+ranksim", "--trials", "3",
        "--seeds", "7,8", "--jobs", "2", "--data-dir", str(small_sts), "--out", str(tmp_path),
        "--accelerator", "cpu", "--set", "hidden=8", "--max-epochs", "8",
    ]  # fmt: skip
    with start_command(words) as process:
        wait_until_training(process, tmp_path)
        assert process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
    begun = {trial.params["ranksim_weight"] for trial in study(tmp_path).trials if trial.params}
    assert begun
    with start_command(words) as process:
        output = process.wait(timeout=300)
    assert process.returncode == 0, output
    complete = [t for t in study(tmp_path).trials if t.state.name == "COMPLETE"]
    assert len(complete) == 3
    assert begun <= {trial.params["ranksim_weight"] for trial in complete}
    assert len(list(tmp_path.glob("trials/*"))) == 3  # the same values resume in the same folder


@pytest.mark.slow
def test_bad_trials_are_pruned(small_sts, tmp_path, monkeypatch):
    execute, weights = tune_module.execute_run, []

    def worsen(run, on_validation):
        weights.append(run.recipe.ranksim_weight)
        bad = len(set(weights)) > 4
        return execute(run, on_validation=lambda e, s: on_validation(e, s + 100 * bad))

    monkeypatch.setattr(tune_module, "execute_run", worsen)
    tune(tune_request(small_sts, tmp_path, trials=6, max_epochs=9, seeds="7,",
                      fields=("ranksim_weight",)))  # fmt: skip
    states = [trial.state.name for trial in study(tmp_path).trials]
    assert states == ["COMPLETE"] * 4 + ["PRUNED"] * 2
    text = (tmp_path / RECIPE).read_text()
    assert "best of 6 trials, 2 pruned" in text
    unfinished = [f for f in tmp_path.glob("trials/*/runs/*/*") if read_record(f) is None]
    assert len(unfinished) == 2


@pytest.mark.slow
def test_diverged_trial_is_never_the_best(small_sts, tmp_path, monkeypatch):
    def diverge(run, on_validation):
        weight = run.recipe.ranksim_weight
        status = "failed" if weight == pytest.approx(0.3) else "done"
        return {"status": status, "result": {"metrics": {"val": {"all": {"mse": weight}}}}}

    monkeypatch.setattr(tune_module, "execute_run", diverge)
    best = tune(tune_request(small_sts, tmp_path, trials=2, fields=("ranksim_weight",))).values
    assert best["ranksim_weight"] == pytest.approx(0.1, rel=1e-3)
    assert math.isfinite(study(tmp_path).best_value)


def test_search_without_a_finite_score_fails(small_sts, tmp_path):
    changes = ("hidden=8", "lr=1e37", "max_grad_norm=1e30")
    lines = []
    with pytest.raises(RankSimError, match=r"No trial of vanilla\+ranksim ended with a finite"):
        tune(tune_request(small_sts, tmp_path, trials=2, seeds="7,", changes=changes), lines.append)
    assert ["diverged" in line for line in lines] == [True, True]
    assert len(study(tmp_path).trials) == 2 + 1  # the third initial trial stays queued


@pytest.mark.parametrize("content", [b"garbage", b"SQLite format 3\x00" + b"x" * 200])
def test_other_file_as_storage_is_rejected(small_sts, tmp_path, content):
    (tmp_path / STORAGE).write_bytes(content)
    with pytest.raises(UsageError, match=r"study\.db could not be read"):
        tune(tune_request(small_sts, tmp_path, trials=1))


@pytest.mark.slow
def test_first_stage_is_trained_once_for_all_trials(small_sts, tmp_path):
    tune(tune_request(small_sts, tmp_path, method="rrt+lds", trials=2, seeds="7,",
                      fields=("lds_kernel_size",)))  # fmt: skip
    assert len(list(tmp_path.rglob("vanilla/seed-7/record.json"))) == 1
    assert len(list(tmp_path.rglob("rrt+lds/seed-7/record.json"))) >= 1


@pytest.mark.slow
def test_folder_contains_searches_on_one_data_set(small_sts, tmp_path):
    tune(tune_request(small_sts, tmp_path, trials=1))
    with pytest.raises(UsageError, match="split 'borealis', .* 'yang'"):
        tune(tune_request(small_sts, tmp_path, method="inv+lds", options={"split": "yang"}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("methods = 3", r'tables such as \[methods\."vanilla\+ranksim"\]'),
        ("[methods.vanilla]\nlr = 1e-4\n[else]\n", "ranksim tune"),
        ("[methods.vanila]\nlr = 1e-4", "vanila: Method 'vanila' has an unknown part"),
        ("[methods.vanilla]\nlrr = 1e-4", "vanilla: A recipe has no field 'lrr'"),
        ("[methods.vanilla]\nlr = 'x'", "vanilla: Recipe field lr must be of type float, got 'x'"),
        ("[methods.inv]\nweighting = 'none'", "inv: weighting"),
        ('[methods."vanilla+lds"]\n[methods."inv+lds"]', r"inv\+lds"),
        ("[x", "could not be read"),
        (None, "could not be read"),
    ],
)
def test_invalid_recipe_file_is_rejected(small_sts, tmp_path, content, message):
    path = tmp_path / "recipe.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=message):
        run_benchmark(sts_request(small_sts, tmp_path / "out", recipe_file=path))


SETTINGS = {"data": {}, "limits": {"epochs": 2}}


@pytest.fixture(scope="module")
def finished_study(tmp_path_factory):
    """The storage of a search with two trials."""
    folder = tmp_path_factory.mktemp("study")
    method = parse_method("vanilla+ranksim", "inverse")
    with lock_study_folder(folder):
        study = open_study(folder, method, SETTINGS)
        for score in (1.0, 0.5):
            trial = study.ask()
            trial.set_user_attr(
                "values", {"ranksim_weight": trial.suggest_float("ranksim_weight", 0, 9)}
            )
            trial.report(score + 1, 1)
            study.tell(trial, score)
            seal_trial(study, trial.number)
        assert open_study(folder, method, SETTINGS).best_value == 0.5
    return folder / STORAGE


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE trial_values SET value = 0.25 WHERE trial_id = 2", r"trial 2 of vanilla\+ranksim"),
        (
            "UPDATE trial_intermediate_values SET intermediate_value = 9.0",
            r"trial 2 of vanilla\+ranksim",
        ),
        ("UPDATE trials SET state = 'COMPLEUE' WHERE trial_id = 1", "'COMPLEUE' is not among"),
        ("DELETE FROM trials WHERE trial_id = 2", "list index out of range"),
    ],
)
def test_damaged_study_is_rejected(finished_study, tmp_path, change, reason):
    shutil.copy(finished_study, tmp_path / STORAGE)
    with closing(sqlite3.connect(tmp_path / STORAGE)) as storage, storage:
        storage.execute(change)
    with (
        pytest.raises(UsageError, match=rf"study.db could not be read \(.*{reason}"),
        lock_study_folder(tmp_path),
    ):
        open_study(tmp_path, parse_method("vanilla+ranksim", "inverse"), SETTINGS)
