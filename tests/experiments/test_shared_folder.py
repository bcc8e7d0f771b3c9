"""Several sweeps in one folder: they share work, keep each other's rows and resume."""

import json
import threading
import time

import filelock
import pytest
from rich.console import Console

from ranksim.exceptions import UsageError
from ranksim.experiments import sweep
from ranksim.experiments.sweep_request import run_benchmark
from tests.helpers.sweeps import (
    ENDLESS,
    count_trainings,
    finish_command,
    read_comparable_results,
    start_command,
    sts_request,
    sweep_command,
    wait_until_training,
)

TABLE = ("--methods", "rrt,rrt+lds,rrt+fds+ranksim,inv+lds,vanilla+lds", "--max-epochs", "4")


@pytest.fixture
def expected(small_sts, tmp_path_factory):
    """The results of an undisturbed sweep, made once."""
    out = tmp_path_factory.getbasetemp() / "undisturbed"
    if not (out / "results.json").is_file():
        finish_command(sweep_command(small_sts, out, *TABLE, jobs=1))
    return read_comparable_results(out)


def finish_all(*commands):
    """Run commands at the same time."""
    with start_command(commands[0]) as first, start_command(commands[1]) as second:
        for process in (first, second):
            output = process.wait(timeout=300)
            assert process.returncode == 0, output


def without_command(content):
    return {name: value for name, value in content.items() if name != "command"}


@pytest.mark.slow
def test_killed_sweep_repeats_no_finished_run(small_sts, tmp_path, expected):
    finished = {}
    for n_records, jobs in ((2, 2), (6, 1)):
        with start_command(sweep_command(small_sts, tmp_path, *TABLE, jobs=jobs)) as process:
            deadline = time.monotonic() + 200
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
                if len(list((tmp_path / "runs").glob("*/*/record.json"))) >= n_records:
                    break
            assert process.poll() is None
        for record in (tmp_path / "runs").glob("*/*/record.json"):
            finished.setdefault(record, record.stat().st_mtime_ns)
    finish_command(sweep_command(small_sts, tmp_path, *TABLE, jobs=1))
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert read_comparable_results(tmp_path) == expected


@pytest.mark.slow
def test_equal_sweeps_share_the_work(small_sts, tmp_path, expected):
    words = sweep_command(small_sts, tmp_path, *TABLE, jobs=1)
    finish_all(words, words)
    assert set(count_trainings(tmp_path).values()) == {1}
    assert without_command(read_comparable_results(tmp_path)) == without_command(expected)


@pytest.mark.slow
def test_sweeps_of_other_methods_keep_each_others_rows(small_sts, tmp_path):
    options = ("--max-epochs", "4")
    finish_all(
        sweep_command(small_sts, tmp_path, "--methods", "vanilla+lds,vanilla", *options, jobs=1),
        sweep_command(small_sts, tmp_path, "--methods", "rrt+lds,vanilla", *options, jobs=1),
    )
    methods = {"vanilla+lds", "vanilla", "rrt+lds"}
    content = json.loads((tmp_path / "results.json").read_text())
    assert {row["method"] for row in content["summary"]} == methods
    assert set(count_trainings(tmp_path).values()) == {1}
    content = run_benchmark(sts_request(small_sts, tmp_path, methods="vanilla", max_epochs=4))
    assert {row["method"] for row in content["summary"]} == methods


@pytest.mark.slow
def test_active_sweep_with_other_settings_is_rejected(small_sts, tmp_path):
    with start_command(sweep_command(small_sts, tmp_path, *ENDLESS, jobs=1)) as process:
        wait_until_training(process, tmp_path)
        changes = ("hidden=9", "ranksim_weight=0.1", "patience=5000")
        request = sts_request(small_sts, tmp_path, changes=changes, max_epochs=5000)
        with pytest.raises(UsageError, match="Another sweep in .* trains vanilla with recipe"):
            run_benchmark(request)
        assert process.poll() is None
    # the note of the killed sweep does not matter
    changes = ("hidden=9",)
    content = run_benchmark(
        sts_request(small_sts, tmp_path, changes=changes, seeds="1", max_epochs=1)
    )
    assert [run["identity"]["recipe"]["hidden"] for run in content["runs"]] == [9, 9]
    assert not list((tmp_path / ".sweeps").iterdir())


def test_runs_of_another_sweep_are_awaited_after_all_others(
    small_sts, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(sweep, "_POLL_SECONDS", 0.1)
    folder = tmp_path / "runs/vanilla/seed-0"
    folder.mkdir(parents=True)
    lock = filelock.FileLock(folder / ".lock", thread_local=False)
    lock.acquire()

    def release_after_other_run():
        while not (tmp_path / "runs/vanilla+ranksim/seed-0/record.json").is_file():
            time.sleep(0.1)
        time.sleep(0.4)  # several polls
        lock.release()

    threading.Thread(target=release_after_other_run, daemon=True).start()
    request = sts_request(small_sts, tmp_path, seeds="1", max_epochs=1)
    content = run_benchmark(request, Console())
    assert [run["identity"]["method"] for run in content["runs"]] == ["vanilla", "vanilla+ranksim"]
    output = capsys.readouterr().out
    assert output.count("Waiting for another sweep") == 1
    assert output.index("1/2 vanilla+ranksim seed 0") < output.index("2/2 vanilla seed 0")
