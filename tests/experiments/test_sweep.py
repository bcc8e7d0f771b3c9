import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch

from ranksim._utils.storage import read_verified_json
from ranksim.datasets import sts_b_dir
from ranksim.exceptions import RankSimError, UsageError
from ranksim.experiments.run import read_record
from ranksim.experiments.sweep_request import run_benchmark
from ranksim.metrics import METRICS, REGION_NAMES, regression_scores
from tests.helpers.requests import make_request

SMALL = ("hidden=8", "ranksim_weight=0.1")
ENDLESS = ("--max-epochs", "5000", "--set", "patience=5000")


def request(data, out, **changes):
    usual = {
        "options": {"split": "borealis", "regions_from": "published"},
        "methods": "vanilla,vanilla+ranksim",
        "seeds": "2",
        "data_dir": data,
        "changes": SMALL,
        "max_epochs": 2,
    }
    return make_request("sts-b-dir", out, **usual | changes)


def command(data, out, *more):
    words = [
        sys.executable, str(Path(__file__).with_name("driver.py")), "bench", "sts-b-dir",
        "--data-dir", data, "--out", out, "--seeds", "2", "--jobs", "2", "--accelerator", "cpu",
        *(word for change in SMALL for word in ("--set", change)), *more,
    ]  # fmt: skip
    return [str(word) for word in words]


@contextlib.contextmanager
def started(words):
    """A command in a process group of its own, none of which outlives the test."""
    environment = os.environ | {"RANKSIM_TEST_CHECKSUMS": json.dumps(sts_b_dir.CHECKSUMS)}
    process = subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True, preexec_fn=_hear_ctrl_c,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _hear_ctrl_c():
    """What a job in the background is started with ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def finish(words):
    with started(words) as process:
        told, _ = process.communicate(timeout=300)
        assert process.returncode == 0, told
        return told


def results(out):
    """results.json without what may differ: clocks and memory, and the digest of all."""
    content = read_verified_json(out / "results.json")
    for run in content["runs"]:
        del run["result"]["seconds"], run["result"]["peak_memory_mb"]
    for row in content["summary"]:
        del row["seconds_median"]
    return content


def test_a_sweep_writes_what_it_promises(small_sts, tmp_path, capsys):
    out = tmp_path / "out"
    content = run_benchmark(request(small_sts, out))
    assert read_verified_json(out / "results.json") == content
    told = capsys.readouterr().out
    assert "4/4 vanilla+ranksim seed 1: MSE" in told
    assert "published" in told
    assert "0.873" in told

    assert [(run["identity"]["method"], run["seed"]) for run in content["runs"]] == [
        ("vanilla", 0), ("vanilla", 1), ("vanilla+ranksim", 0), ("vanilla+ranksim", 1),
    ]  # fmt: skip
    for run in content["runs"]:
        assert set(run["result"]["metrics"]["test"]) == set(REGION_NAMES)
        assert set(run["result"]["metrics"]["test"]["all"]) == {"n", *METRICS}
        assert run["result"]["epochs"] == 2
        assert run["result"]["seconds"] > 0
        assert run["identity"]["recipe"]["hidden"] == 8
        assert run["provenance"]["versions"]["torch"] == torch.__version__
        assert run["provenance"]["data"]["sha256"] == sts_b_dir.CHECKSUMS["borealis"]
        assert run["provenance"]["threads"] == 1
        table = pyarrow.parquet.read_table(
            out / "runs" / run["identity"]["method"] / f"seed-{run['seed']}" / "predictions.parquet"
        )
        again = regression_scores(
            torch.tensor(table["prediction"].to_numpy()),
            torch.tensor(table["label"].to_numpy()),
            gmean_epsilon=1e-10,
        )
        assert again == pytest.approx(run["result"]["metrics"]["test"]["all"])
        regions = np.array(table["region"].to_pylist())
        assert (regions == "many").sum() == run["result"]["metrics"]["test"]["many"]["n"]

    row = content["summary"][1]
    values = [run["result"]["metrics"]["test"]["all"]["mse"] for run in content["runs"]]
    assert row["test"]["all"]["mse"]["mean"] == pytest.approx(np.mean(values[2:]))
    assert row["test"]["all"]["mse"]["sd"] == pytest.approx(np.std(values[2:], ddof=1))
    assert row["published"]["mse"]["all"] == 0.873
    assert row["vs_without_ranksim"]["method"] == "vanilla"
    assert row["vs_without_ranksim"]["test"]["all"]["mse"]["mean"] == pytest.approx(
        np.mean(values[2:]) - np.mean(values[:2])
    )
    assert "tmp" not in json.dumps({k: v for k, v in content.items() if k != "runs"})
    shows_what_it_left(content)


def shows_what_it_left(content):
    """The parts of a page, each true to the data."""
    labels = content["labels"]
    assert content["format"] == 3
    assert (labels["name"], labels["many"], sum(labels["test"])) == ("similarity", None, 60)
    assert len(labels["edges"]) == 51
    for run in content["runs"]:
        assert ("embedding" in run) == (run["seed"] == 0)
        assert "labels" not in run
        assert run["result"]["curves"]["epoch"] == [1, 2]
        assert run["result"]["curves"]["monitor"] == "mse"
        assert ("train_ranksim" in run["result"]["curves"]) == run["identity"]["method"].endswith(
            "+ranksim"
        )
        assert run["result"]["curves"]["val"][run["result"]["best_epoch"] - 1] == pytest.approx(
            run["result"]["metrics"]["val"]["all"]["mse"], rel=1e-5
        )
        n, mse = (
            np.array(run["result"]["error_by_bin"][name], dtype=float) for name in ("n", "mse")
        )
        assert n.tolist() == labels["test"]
        assert np.nansum(n * mse) / 60 == pytest.approx(
            run["result"]["metrics"]["test"]["all"]["mse"], rel=1e-4
        )
        assert sum(run["result"]["gaps"]["n"]) == run["result"]["metrics"]["test"]["zero"]["n"]
        assert sum(run["result"]["ranks"]["anchors"]) == 60
        assert run["result"]["peak_memory_mb"] is None or run["result"]["peak_memory_mb"] > 50
    places = content["runs"][0]["result"]["projection"]
    assert np.shape(places["pca"]) == np.shape(places["tsne"]) == (60, 2)
    assert places["labels"] == content["runs"][2]["result"]["projection"]["labels"]
    effect = content["summary"][1]["vs_baseline"]["test"]["all"]["mse"]
    assert effect["ci_total"][0] < effect["mean"] < effect["ci_total"][1]
    assert effect["ci_adjusted"] is None  # of two seeds
    assert effect["ci_total"][0] <= effect["ci_seeds"][0] + 1e-9
    assert (content["baseline"], content["conclusion"]["error"]) == ("vanilla", "mse")
    assert content["conclusion"]["sentence"]


def test_finished_runs_are_skipped_and_more_can_follow(small_sts, tmp_path, capsys):
    out = tmp_path / "out"
    run_benchmark(request(small_sts, out, methods="vanilla", seeds="1"))
    stamp = (out / "runs/vanilla/seed-0/record.json").stat().st_mtime_ns
    content = run_benchmark(request(small_sts, out))
    assert (out / "runs/vanilla/seed-0/record.json").stat().st_mtime_ns == stamp
    assert len(content["runs"]) == 4
    assert "1 of 4 runs were already finished." in capsys.readouterr().out


def test_other_settings_need_another_folder(small_sts, tmp_path):
    run_benchmark(request(small_sts, tmp_path, methods="vanilla", seeds="1"))
    with pytest.raises(UsageError, match=r"vanilla seed 0 made with recipe.hidden 8, now 9: give"):
        run_benchmark(
            request(small_sts, tmp_path, seeds="1", changes=("hidden=9", "ranksim_weight=0.1"))
        )
    with pytest.raises(UsageError, match="made with split 'borealis', now 'yang'"):
        run_benchmark(request(small_sts, tmp_path, seeds="1", options={"split": "yang"}))


def test_a_folder_never_mixes_what_must_not_be_compared(small_sts, tmp_path):
    """Other methods and seeds of the folder count too, not only those this command asks for."""
    run_benchmark(request(small_sts, tmp_path, methods="vanilla", seeds="1"))
    for changes in (
        {"options": {"split": "yang"}},
        {"changes": ("hidden=9", "ranksim_weight=0.1")},
        {"devices": "2"},
        {"max_epochs": 3},
    ):
        for others in ({"methods": "vanilla+ranksim"}, {"methods": "vanilla", "seeds": "7,"}):
            with pytest.raises(UsageError, match="holds vanilla seed 0 made with"):
                run_benchmark(request(small_sts, tmp_path, **changes, **others))


def test_the_recorded_command_gives_the_same_runs(small_sts, tmp_path):
    content = run_benchmark(
        request(small_sts, tmp_path, methods="vanilla", seeds="7,", changes=(*SMALL, "ties=min"))
    )
    assert content["command"] == (
        "ranksim bench sts-b-dir --split borealis --methods vanilla --preset small "
        "--shots published --seeds 7, --jobs 1 --set hidden=8 --set ranksim_weight=0.1 --set ties=min "
        "--max-epochs 2 --accelerator cpu"
    )


def test_an_interrupted_run_of_other_settings_is_not_gone_on_with(small_sts, tmp_path):
    plain = run_benchmark(request(small_sts, tmp_path / "plain", methods="vanilla", seeds="1"))
    out = tmp_path / "out"
    run_benchmark(request(small_sts, out, methods="vanilla", seeds="1", max_epochs=1))
    folder = out / "runs/vanilla/seed-0"
    (folder / "best.ckpt").rename(folder / "last.ckpt")  # as if it had been killed here
    (folder / "record.json").unlink()
    again = run_benchmark(request(small_sts, out, methods="vanilla", seeds="1"))
    assert again["runs"][0]["result"]["metrics"] == plain["runs"][0]["result"]["metrics"]


def test_a_damaged_record_is_made_again(small_sts, tmp_path):
    first = run_benchmark(request(small_sts, tmp_path, methods="vanilla", seeds="1"))
    record = tmp_path / "runs/vanilla/seed-0/record.json"
    record.write_text(record.read_text()[:100])
    assert read_record(record.parent) is None
    again = run_benchmark(request(small_sts, tmp_path, methods="vanilla", seeds="1"))
    assert again["runs"][0]["result"]["metrics"] == first["runs"][0]["result"]["metrics"]


def test_a_run_that_diverges_is_told_and_the_sweep_goes_on(small_sts, tmp_path, capsys):
    changes = ("hidden=8", "lr=1e37", "max_grad_norm=1e30")
    content = run_benchmark(request(small_sts, tmp_path, seeds="1", changes=changes))
    assert [run["status"] for run in content["runs"]] == ["failed", "failed"]
    assert content["summary"][0]["failed"] == 1
    assert content["summary"][0]["test"]["all"]["mse"]["mean"] is None
    assert "Training diverged" in capsys.readouterr().out


def test_killed_twice_it_ends_as_if_it_never_was(small_sts, tmp_path):
    """kill -9 of the whole sweep while it trains; two jobs give what one gives."""
    run_benchmark(request(small_sts, tmp_path / "whole", jobs=1, max_epochs=16))
    words = command(small_sts, tmp_path / "killed", "--max-epochs", "16")
    kills = 0
    for moment in (2, 8):
        with started(words) as process:
            lines = 0
            deadline = time.monotonic() + 120
            while process.poll() is None and lines < moment and time.monotonic() < deadline:
                time.sleep(0.02)
                logs = (tmp_path / "killed").rglob("metrics.csv")
                lines = sum(path.read_text().count("\n") for path in logs)
            kills += process.poll() is None
    assert kills == 2
    finish(words)
    whole, killed = results(tmp_path / "whole"), results(tmp_path / "killed")
    assert killed.pop("command") == whole.pop("command").replace("--jobs 1", "--jobs 2")
    assert killed == whole


def test_workers_do_not_outlive_their_sweep(small_sts, tmp_path):
    with started(command(small_sts, tmp_path, *ENDLESS)) as process:
        _wait_until_it_trains(process, tmp_path)
        os.kill(process.pid, signal.SIGKILL)  # the parent alone
        process.wait()
        _wait_until_all_left(process.pid)


def _wait_until_it_trains(process, out, runs=1):
    deadline = time.monotonic() + 120
    while len(list(out.rglob("metrics.csv"))) < runs and time.monotonic() < deadline:
        time.sleep(0.1)
    assert process.poll() is None


def _wait_until_all_left(group):
    deadline = time.monotonic() + 20
    while _alive_in_group(group) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not _alive_in_group(group)


def _alive_in_group(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_stops_at_once_and_says_so(small_sts, tmp_path, jobs):
    words = command(small_sts, tmp_path, *ENDLESS)
    words[words.index("--jobs") + 1] = jobs
    with started(words) as process:
        _wait_until_it_trains(process, tmp_path, runs=int(jobs))
        os.killpg(process.pid, signal.SIGINT)
        told, _ = process.communicate(timeout=60)
        _wait_until_all_left(process.pid)
    assert process.returncode == 130
    assert told.splitlines()[-1] == "Error: Stopped; the same command goes on where it stopped."
    assert "Traceback" not in told
    assert len(list(tmp_path.rglob("started.json"))) == int(jobs)


def test_a_worker_that_dies_is_one_sentence(small_sts, tmp_path, monkeypatch):
    from ranksim.experiments import sweep as sweep_module

    monkeypatch.setattr(sweep_module, "_perform_and_tell", _die)
    with pytest.raises(RankSimError, match="A run's process was killed, perhaps for lack of mem"):
        run_benchmark(request(small_sts, tmp_path, jobs=2))


def _die(run):
    os._exit(9)
