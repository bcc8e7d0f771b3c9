"""Sweeps: what they write, what they reuse and reject, and how they survive being killed."""

import contextlib
import functools
import json
import os
import signal
from concurrent.futures import Future
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet
import pytest
import torch
from rich.console import Console

from ranksim._utils.storage import read_verified_json
from ranksim.api import options as api_options
from ranksim.api.arguments import read_arguments
from ranksim.datasets import sts_b_dir
from ranksim.evaluation.record import FORMAT, read_record, run_name
from ranksim.exceptions import RankSimError, UsageError
from ranksim.experiments import sweep as sweep_module
from ranksim.experiments import sweep_request
from ranksim.experiments.executor import TaskExecutor, local
from ranksim.experiments.sweep import _execute_in_parallel
from ranksim.experiments.sweep_request import run_benchmark
from ranksim.imbalance import LabelBins
from ranksim.metrics import METRICS, REGION_NAMES, imbalanced_scores, regression_scores
from ranksim.training.task_loading import hand_over_data
from ranksim.training.task_loading import read_user_data as read_data
from tests.helpers import user_data
from tests.helpers.requests import make_request
from tests.helpers.sweeps import (
    ENDLESS,
    SMALL,
    finish_command,
    read_comparable_results,
    start_command,
    sts_request,
    sweep_command,
    wait_until_group_ends,
    wait_until_training,
)


def one_run(data, out, **values):
    """Run one method and seed."""
    defaults = {"methods": "vanilla", "seeds": "1"}
    return run_benchmark(sts_request(data, out, **defaults | values))


def test_sweep_writes_records_predictions_and_results(small_sts, tmp_path, capsys):
    out = tmp_path / "out"
    content = run_benchmark(sts_request(small_sts, out), Console())
    assert read_verified_json(out / "results.json") == content
    assert "4/4 vanilla+ranksim seed 1: MSE" in capsys.readouterr().out
    assert content["format"] == FORMAT
    assert (content["benchmark"], content["options"]) == ("sts-b-dir", {"split": "borealis"})
    assert list(map(run_name, content["runs"])) == [
        "vanilla seed 0", "vanilla seed 1", "vanilla+ranksim seed 0", "vanilla+ranksim seed 1",
    ]  # fmt: skip
    for run in content["runs"]:
        identity, result, provenance = run["identity"], run["result"], run["provenance"]
        assert identity["recipe"]["hidden"] == 8
        assert set(result["metrics"]["test"]) == set(REGION_NAMES)
        assert set(result["metrics"]["test"]["all"]) == {
            *("n", *METRICS, "balanced_mae", "balanced_mse", "ccc", "sera")
        }
        assert set(result["metrics"]["test"]["few"]) == {"n", *METRICS}
        assert result["epochs"] == 2
        assert result["seconds"] > 0
        assert provenance["versions"]["torch"] == torch.__version__
        assert provenance["data"]["sha256"] == sts_b_dir.CHECKSUMS["borealis"]
        assert provenance["threads"] == 1
        folder = out / "runs" / identity["method"] / f"seed-{identity['seed']}"
        table = pyarrow.parquet.read_table(folder / "predictions.parquet")
        preds, labels = (torch.tensor(table[n].to_numpy()) for n in ("prediction", "label"))
        scores = regression_scores(preds, labels, gmean_epsilon=1e-10)
        overall = result["metrics"]["test"]["all"]
        assert scores == pytest.approx({name: overall[name] for name in scores})
        bins = LabelBins.uniform(0.0, 5.0, 50)
        further = imbalanced_scores(preds.numpy(), labels.numpy(), bins)
        assert further == pytest.approx({name: overall[name] for name in further})
        regions = np.array(table["region"].to_pylist())
        assert (regions == "many").sum() == result["metrics"]["test"]["many"]["n"]
    check_summary(content)
    check_diagnostics(content)


def check_summary(content):
    values = [run["result"]["metrics"]["test"]["all"]["mse"] for run in content["runs"]]
    row = content["summary"][1]
    assert row["test"]["all"]["mse"]["mean"] == pytest.approx(np.mean(values[2:]))
    assert row["test"]["all"]["mse"]["sd"] == pytest.approx(np.std(values[2:], ddof=1))
    assert row["published"]["mse"]["all"] == 0.873
    assert row["vs_without_ranksim"]["method"] == "vanilla"
    effect = row["vs_baseline"]["test"]["all"]["mse"]
    assert effect["mean"] == pytest.approx(np.mean(values[2:]) - np.mean(values[:2]))
    assert effect["ci_total"][0] < effect["mean"] < effect["ci_total"][1]
    assert effect["ci_total"][0] <= effect["ci_seeds"][0] + 1e-9
    assert effect["ci_adjusted"] is None  # needs three seeds
    assert content["baseline"] == "vanilla"
    assert content["conclusion"]["error"] == "mse"


def check_diagnostics(content):
    labels = content["labels"]
    assert (labels["name"], labels["many"], sum(labels["test"])) == ("similarity", None, 60)
    assert len(labels["edges"]) == 51
    for run in content["runs"]:
        identity, result = run["identity"], run["result"]
        assert ("projection" in result) == (identity["seed"] == 0)
        assert "labels" not in result
        curves, mse = result["curves"], result["metrics"]["val"]["all"]["mse"]
        assert (curves["epoch"], curves["monitor"]) == ([1, 2], "mse")
        assert ("train_ranksim" in curves) == identity["method"].endswith("+ranksim")
        assert curves["val"][result["best_epoch"] - 1] == pytest.approx(mse, rel=1e-5)
        n, errors = (np.array(result["error_by_bin"][k], dtype=float) for k in ("n", "mse"))
        assert n.tolist() == labels["test"]
        mse = result["metrics"]["test"]["all"]["mse"]
        assert np.nansum(n * errors) / 60 == pytest.approx(mse, rel=1e-4)
        assert sum(result["gaps"]["n"]) == result["metrics"]["test"]["zero"]["n"]
        assert sum(result["ranks"]["anchors"]) == 60
    projection = content["runs"][0]["result"]["projection"]
    assert np.shape(projection["pca"]) == np.shape(projection["tsne"]) == (60, 2)


def test_finished_runs_are_skipped_and_runs_can_be_added(small_sts, tmp_path):
    one_run(small_sts, tmp_path, max_steps=2)
    record = tmp_path / "runs/vanilla/seed-0/record.json"
    modified = record.stat().st_mtime_ns
    content = run_benchmark(sts_request(small_sts, tmp_path, seeds="2", max_steps=2))
    assert record.stat().st_mtime_ns == modified
    assert len(content["runs"]) == 4


def test_one_folder_never_mixes_settings(small_sts, tmp_path):
    """Runs that this command does not train count too."""
    one_run(small_sts, tmp_path, max_steps=2)
    for values, others, setting in [
        ({"options": {"split": "yang"}}, {}, "data.options.split 'borealis', .* 'yang'"),
        ({"changes": ("hidden=9", "ranksim_weight=0.1")}, {}, "recipe.hidden 8, .* 9"),
        ({"precision": "bf16-mixed"}, {"methods": "vanilla+ranksim"}, "trainer.precision"),
        ({"max_epochs": 3}, {"seeds": "7,"}, "limits.epochs"),
    ]:
        with pytest.raises(UsageError, match=f"vanilla seed 0 trained with .*{setting}"):
            one_run(small_sts, tmp_path, max_steps=2, **values, **others)


def test_checkpoints_of_other_settings_are_not_resumed(small_sts, tmp_path):
    expected = one_run(small_sts, tmp_path / "expected")
    out = tmp_path / "out"
    one_run(small_sts, out, max_epochs=1)
    folder = out / "runs/vanilla/seed-0"
    (folder / "best.ckpt").rename(folder / "last.ckpt")  # as if the run had been killed
    (folder / "record.json").unlink()
    content = one_run(small_sts, out)
    assert content["runs"][0]["result"]["metrics"] == expected["runs"][0]["result"]["metrics"]


def test_damaged_record_is_trained_again(small_sts, tmp_path):
    first = one_run(small_sts, tmp_path, max_steps=2)
    record = tmp_path / "runs/vanilla/seed-0/record.json"
    record.write_text(record.read_text()[:100])
    assert read_record(record.parent) is None
    second = one_run(small_sts, tmp_path, max_steps=2)
    assert second["runs"][0]["result"]["metrics"] == first["runs"][0]["result"]["metrics"]


def test_diverged_runs_fail_and_the_sweep_continues(small_sts, tmp_path):
    changes = ("hidden=8", "lr=1e37", "max_grad_norm=1e30")
    content = run_benchmark(sts_request(small_sts, tmp_path, seeds="1", changes=changes))
    assert [run["status"] for run in content["runs"]] == ["failed", "failed"]
    assert all("diverged" in run["result"]["error"] for run in content["runs"])
    assert content["summary"][0]["failed"] == 1
    assert content["summary"][0]["test"]["all"]["mse"]["mean"] is None


@pytest.mark.slow
def test_killed_twice_gives_the_results_of_an_undisturbed_sweep(small_sts, tmp_path):
    epochs = ("--max-epochs", "10")
    finish_command(sweep_command(small_sts, tmp_path / "whole", *epochs, jobs=1))
    out = tmp_path / "killed"
    for lines, jobs in ((2, 2), (6, 1)):
        with start_command(sweep_command(small_sts, out, *epochs, jobs=jobs)) as process:
            wait_until_training(process, out, lines=lines)
            assert process.poll() is None
    finish_command(sweep_command(small_sts, out, *epochs, jobs=1))
    whole = read_comparable_results(tmp_path / "whole")
    killed = read_comparable_results(tmp_path / "killed")
    del killed["command"], whole["command"]
    assert killed == whole


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder for temporary files of commands."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.mark.slow
def test_workers_read_no_data_that_the_sweep_has_read(tmp_path, monkeypatch):
    def run(out, **options):
        path = user_data.write_table(tmp_path / out)
        changes = {"methods": "vanilla,linear", "seeds": "2", "changes": SMALL, "max_epochs": 2}
        options = options | changes | {"options": user_data.OPTIONS[user_data.TABLE]}
        run_benchmark(make_request(path, tmp_path / out / "runs", **options))
        return path, read_comparable_results(tmp_path / out / "runs")

    @contextlib.contextmanager
    def remove_table(sources):
        with hand_over_data(sources) as data:
            assert data is not None
            (tmp_path / "two" / "homes.csv").rename(tmp_path / "moved.csv")
            yield data
        assert not data.path.parent.exists()
        (tmp_path / "moved.csv").rename(tmp_path / "two" / "homes.csv")

    _, one = run("one", jobs=1)
    monkeypatch.setattr(local, "hand_over_data", remove_table)
    _, two = run("two", jobs=2)
    for results in (one, two):  # that of this process is no t-SNE
        for each in results["runs"]:
            each["result"].pop("projection", None)
    assert two == one


@pytest.mark.slow
def test_workers_exit_when_their_parent_is_killed(small_sts, tmp_path, temporary):
    with start_command(sweep_command(small_sts, tmp_path, *ENDLESS)) as process:
        wait_until_training(process, tmp_path)
        assert list(temporary.glob("ranksim-*"))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        wait_until_group_ends(process.pid)
    assert not list(temporary.glob("ranksim-*"))


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_stops_all_processes_with_one_sentence(small_sts, tmp_path, temporary, jobs):
    with start_command(sweep_command(small_sts, tmp_path, *ENDLESS, jobs=jobs)) as process:
        wait_until_training(process, tmp_path, runs=jobs)
        os.killpg(process.pid, signal.SIGINT)
        output = process.wait(timeout=120)
        wait_until_group_ends(process.pid)
    assert process.returncode == 130
    assert output.splitlines()[-1].startswith("Error: Stopped")
    assert "Traceback" not in output
    assert len(list(tmp_path.rglob("started.json"))) == jobs
    assert not list(temporary.glob("ranksim-*"))


@pytest.mark.slow
def test_killed_worker_is_reported(small_sts, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_module, "_execute_and_report", functools.partial(_exit, 9))
    with pytest.raises(RankSimError, match="process of a run was killed"):
        run_benchmark(sts_request(small_sts, tmp_path, jobs=2))


def _exit(code, *_):
    os._exit(code)


def test_committed_settings_are_recorded(small_sts, tmp_path):
    content = one_run(small_sts, tmp_path, seeds="7,", max_steps=2, changes=(*SMALL, "ties=min"))
    identity = content["runs"][0]["identity"]
    assert (identity["seed"], identity["recipe"]["ties"]) == (7, "min")
    assert identity["limits"] == {"steps": 2, "epochs": 2}
    assert str(tmp_path) not in json.dumps(content)


def test_last_runs_start_with_the_longest_ones():
    seconds, started = {"a": 1.0, "b": 3.0, "c": 2.0}, []

    def submit(function, run, progress_bar):
        started.append(run.name)
        future = Future()
        future.set_result({"result": {"seconds": seconds[run.method.key]}})
        return future

    runs = [
        SimpleNamespace(name=f"{key}{seed}", method=SimpleNamespace(key=key), required=())
        for seed in range(2)
        for key in "abc"
    ]
    nodes = SimpleNamespace(num_nodes=1)
    plan = SimpleNamespace(jobs=2, trainer_config=nodes, progress_bar=False)
    executor = TaskExecutor(submit, lambda: None)
    done = [run.name for run, _ in _execute_in_parallel(executor, plan, runs, None)]
    assert started == ["a0", "b0", "c0", "c1", "b1", "a1"]  # c is unknown when c1 starts
    assert sorted(done) == sorted(started)
    nodes.num_nodes, started[:] = 2, []  # which start runs in the same order
    list(_execute_in_parallel(executor, plan, runs, None))
    assert started == [run.name for run in runs]


@pytest.mark.parametrize(
    ("options", "count"),
    [
        *(({"jobs": 2}, 1), ({"jobs": 1}, 0), ({}, 0), ({"jobs": 2, "engine": "ray"}, 0)),
        ({"jobs": 2, "methods": "nonsense"}, 0),
    ],
)
def test_workers_start_before_data_is_read(tmp_path, monkeypatch, options, count):
    events = []
    monkeypatch.setattr(api_options, "start_worker_server", lambda: events.append("start"))
    monkeypatch.setattr(
        sweep_request, "read_user_data", lambda *args: events.append("read") or read_data(*args)
    )
    path = user_data.write_table(tmp_path)
    values = read_arguments("compare", api_options.COMPARE_OPTIONS, {"target": "price", **options})
    with contextlib.suppress(UsageError):
        api_options.make_sweep_request(str(path), tmp_path / "out", values)
    assert events[:1] == ["start"] if count else "start" not in events
