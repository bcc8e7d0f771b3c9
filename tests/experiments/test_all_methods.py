"""The whole table: every published name, one training for each that is the same, stages shared."""

import dataclasses
import json
import shutil
import threading
import time

import filelock
import pytest

from ranksim.datasets.published import published_table
from ranksim.experiments.sweep_request import run_benchmark
from tests.experiments.test_sweep import ENDLESS, command, finish, request, results, started
from tests.helpers.requests import make_request

NAMES = list(published_table("sts-b-dir"))
TRAINED = 28


def test_all_32_names_train_on_sts_b_dir(small_sts, tmp_path):
    content = run_benchmark(
        request(small_sts, tmp_path, methods="all", seeds="1", max_steps=4, max_epochs=2)
    )
    assert [row["method"] for row in content["summary"]] == NAMES
    assert len(content["runs"]) == TRAINED
    rows = {row["method"]: row for row in content["summary"]}
    for name, row in rows.items():
        assert row["seeds"] == [0], name
        assert row["published"] == published_table("sts-b-dir")[name]
        if name.endswith("+ranksim"):
            assert row["vs_without_ranksim"]["method"] == name.removesuffix("+ranksim")
            assert row["vs_without_ranksim"]["seeds"] == [0]
    assert rows["vanilla+lds"]["alias_of"] == "inv+lds"
    assert rows["vanilla+lds"]["test"] == rows["inv+lds"]["test"]
    scores = {name: row["test"]["all"]["mse"]["mean"] for name, row in rows.items()}
    assert len({scores[name] for name in NAMES if "fds" not in name}) == 14


def test_all_32_names_train_on_sentiment_dir(small_sentiment, tmp_path):
    content = run_benchmark(
        make_request(
            "sentiment-dir",
            tmp_path / "out",
            options={"domains": ("tweets", "amazon")},
            methods="all",
            data_dir=small_sentiment.parent,
            changes=("hidden=8",),
            max_steps=4,
            max_epochs=2,
        )
    )
    assert [row["method"] for row in content["summary"]] == NAMES
    assert len(content["runs"]) == TRAINED
    assert all(run["status"] == "done" for run in content["runs"])


def trainings(out):
    """How often each run was begun: each time it gets a log of its own."""
    return {
        str(logs.parent.relative_to(out / "runs")): len(list(logs.rglob("metrics.csv")))
        for logs in out.rglob("logs")
    }


def test_a_stage_is_trained_once_for_all_rows_that_share_it(small_sts, tmp_path):
    methods = "rrt+ranksim,rrt+lds+ranksim,rrt+ranksim+fds,vanilla+ranksim"
    content = run_benchmark(request(small_sts, tmp_path, methods=methods, seeds="1", max_steps=2))
    assert trainings(tmp_path) == {
        f"{name}/seed-0": 1
        for name in ("vanilla+ranksim", "rrt+ranksim", "rrt+lds+ranksim", "vanilla+fds+ranksim",
                     "rrt+fds+ranksim")
    }  # fmt: skip
    runs = {run["identity"]["method"]: run for run in content["runs"]}
    assert runs["rrt+ranksim"]["identity"]["stage_one"]["method"] == "vanilla+ranksim"
    assert (
        runs["rrt+fds+ranksim"]["identity"]["stage_one"] == runs["vanilla+fds+ranksim"]["identity"]
    )
    # what was asked for comes first and under the name it was asked by, what it needed follows
    assert [row["method"] for row in content["summary"]] == [
        "rrt+ranksim", "rrt+lds+ranksim", "rrt+fds+ranksim", "vanilla+ranksim",
        "vanilla+fds+ranksim",
    ]  # fmt: skip


def test_a_first_stage_with_other_settings_is_refused(small_sts, tmp_path):
    from ranksim.exceptions import UsageError

    run_benchmark(request(small_sts, tmp_path, methods="rrt", seeds="1", max_steps=2))
    shutil.rmtree(tmp_path / "runs" / "vanilla")
    with pytest.raises(
        UsageError, match=r"rrt seed 0 made with .*lr 0\.001, now 0\.01: give anoth"
    ):
        run_benchmark(
            request(small_sts, tmp_path, methods="rrt", seeds="1", max_steps=2,
                    changes=("hidden=8", "ranksim_weight=0.1", "lr=0.01"))
        )  # fmt: skip


def test_a_first_stage_without_its_weights_is_one_sentence(small_sts, tmp_path):
    from ranksim.exceptions import RankSimError

    run_benchmark(request(small_sts, tmp_path, methods="vanilla", seeds="1", max_steps=2))
    (tmp_path / "runs/vanilla/seed-0/best.ckpt").unlink()
    with pytest.raises(RankSimError, match=r"^rrt seed 0 goes on from vanilla seed 0, whose best"):
        run_benchmark(request(small_sts, tmp_path, methods="rrt", seeds="1", max_steps=2))


def test_a_diverged_first_stage_fails_its_rows_and_no_other(small_sts, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[methods."vanilla+ranksim"]\nlr = 1e37\nclip = 1e30\n')
    content = run_benchmark(
        request(
            small_sts, tmp_path / "out", methods="rrt,rrt+ranksim", seeds="1", recipe_file=recipe
        )
    )
    states = {run["identity"]["method"]: run["status"] for run in content["runs"]}
    assert states["rrt"] == states["vanilla"] == "done"
    assert states["vanilla+ranksim"] == states["rrt+ranksim"] == "failed"
    failed = next(run for run in content["runs"] if run["identity"]["method"] == "rrt+ranksim")
    assert failed["result"]["error"].startswith(
        "Stage one, vanilla+ranksim seed 0: Training diverged at step"
    )
    assert failed["result"]["diverged"]["stage_one"] == "vanilla+ranksim seed 0"


TABLE = ("--methods", "rrt,rrt+lds,rrt+fds+ranksim,inv+lds,vanilla+lds", "--max-epochs", "4")


@pytest.fixture
def whole(small_sts, tmp_path_factory):
    """What the table comes to where nothing disturbs it, made once."""
    out = tmp_path_factory.getbasetemp() / "whole-table"
    if not (out / "results.json").is_file():
        finish(command(small_sts, out, *TABLE))
    return results(out)


def test_a_killed_table_goes_on_without_repeating_a_finished_stage(small_sts, tmp_path, whole):
    words = command(small_sts, tmp_path / "killed", *TABLE)
    done = {}
    for wanted in (2, 6):  # kill -9 once so many runs are finished, others being under way
        with started(words) as process:
            deadline = time.monotonic() + 200
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
                records = list((tmp_path / "killed").rglob("record.json"))
                if len(records) >= wanted:
                    break
            assert process.poll() is None
        for record in (tmp_path / "killed").rglob("record.json"):
            done.setdefault(record, record.stat().st_mtime_ns)
    begun = trainings(tmp_path / "killed")
    finish(words)
    for record, moment in done.items():
        assert record.stat().st_mtime_ns == moment
        name = str(record.parent.relative_to(tmp_path / "killed/runs"))
        assert trainings(tmp_path / "killed")[name] == begun[name]
    assert results(tmp_path / "killed") == whole


def test_two_sweeps_in_one_folder_share_the_work(small_sts, tmp_path, whole):
    words = command(small_sts, tmp_path / "both", *TABLE, "--jobs", "1")
    with started(words) as one, started(words) as two:
        for process in (one, two):
            told, _ = process.communicate(timeout=300)
            assert process.returncode == 0, told
    assert set(trainings(tmp_path / "both").values()) == {1}
    both = results(tmp_path / "both")
    assert both.pop("command") == whole["command"].replace("--jobs 2", "--jobs 1")
    assert both == {name: value for name, value in whole.items() if name != "command"}
    for path in (tmp_path / "both/runs").rglob("record.json"):
        assert json.loads(path.read_text())["status"] == "done"


def test_two_sweeps_of_other_methods_lose_no_row_of_each_other(small_sts, tmp_path):
    few = ("--max-epochs", "4", "--jobs", "1")
    one = command(small_sts, tmp_path, "--methods", "vanilla+lds,vanilla", *few)
    two = command(small_sts, tmp_path, "--methods", "rrt+lds,vanilla", *few)
    with started(one) as first, started(two) as second:
        for process in (first, second):
            told, _ = process.communicate(timeout=300)
            assert process.returncode == 0, told
    content = json.loads((tmp_path / "results.json").read_text())
    assert {row["method"] for row in content["summary"]} == {"vanilla+lds", "vanilla", "rrt+lds"}
    assert {row["method"]: len(row["seeds"]) for row in content["summary"]}["vanilla+lds"] == 2
    assert set(trainings(tmp_path).values()) == {1}
    run_benchmark(request(small_sts, tmp_path, methods="vanilla", max_epochs=4))
    again = json.loads((tmp_path / "results.json").read_text())
    assert {row["method"] for row in again["summary"]} == {"vanilla+lds", "vanilla", "rrt+lds"}


def test_a_sweep_with_other_settings_is_refused_while_one_is_at_work(small_sts, tmp_path):
    from ranksim.exceptions import UsageError

    with started(command(small_sts, tmp_path, *ENDLESS, "--jobs", "1")) as process:
        deadline = time.monotonic() + 120
        while not list(tmp_path.rglob("metrics.csv")) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert process.poll() is None
        other = request(
            small_sts, tmp_path, changes=("hidden=9", "ranksim_weight=0.1"), max_epochs=5000
        )
        with pytest.raises(
            UsageError, match=r"^Another sweep is at work in .* on vanilla with rec"
        ):
            run_benchmark(dataclasses.replace(other, changes=(*other.changes, "patience=5000")))
        assert process.poll() is None
    # killed, it leaves a note that binds nobody: no run was finished
    content = run_benchmark(
        request(small_sts, tmp_path, changes=("hidden=9",), seeds="1", max_epochs=1)
    )
    assert [run["identity"]["recipe"]["hidden"] for run in content["runs"]] == [9, 9]
    assert not list((tmp_path / ".sweeps").iterdir())


def test_what_another_sweep_is_at_work_on_is_waited_for_and_said(small_sts, tmp_path, capsys):
    """The lock of one run is held elsewhere for a while; the others are done meanwhile."""
    folder = tmp_path / "runs/vanilla/seed-0"
    folder.mkdir(parents=True)
    held = filelock.FileLock(folder / ".lock", thread_local=False)
    held.acquire()
    threading.Timer(8.0, held.release).start()
    content = run_benchmark(request(small_sts, tmp_path, seeds="1", max_epochs=1))
    assert [run["identity"]["method"] for run in content["runs"]] == ["vanilla", "vanilla+ranksim"]
    told = capsys.readouterr().out
    assert told.count("Waiting for another sweep that is training vanilla seed 0.") == 1
    assert told.index("1/2 vanilla+ranksim seed 0") < told.index("2/2 vanilla seed 0")
