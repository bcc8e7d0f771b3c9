"""Sweeps on a Ray cluster: what holds for processes holds for tasks."""

import contextlib
import dataclasses
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from rich.console import Console

from ranksim.datasets import sts_b_dir
from ranksim.exceptions import MissingDependencyError, RankSimError, UsageError
from ranksim.experiments import sweep
from ranksim.experiments.executor import check_engine
from ranksim.experiments.executor import ray as ray_executor
from ranksim.experiments.executor.local import open_inline_executor
from ranksim.experiments.sweep_request import parse_seeds, run_benchmark
from ranksim.experiments.tune import TuneRequest, tune
from ranksim.training.trainer_config import TrainerConfig
from tests.helpers import sweep_driver
from tests.helpers.sweeps import (
    ENDLESS,
    read_comparable_results,
    start_command,
    sts_request,
    sweep_command,
    wait_until_training,
)

ray = pytest.importorskip("ray")
CPU = TrainerConfig("cpu")


@pytest.fixture(scope="module")
def apart():
    """What keeps Ray to itself; a short path, because sockets lie in it."""
    folder = tempfile.mkdtemp(prefix="r-", dir="/tmp")
    yield {"RAY_TMPDIR": folder, "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": ""}
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster(apart):
    """The process of a cluster, and the environment that names it."""
    words = [sys.executable, str(Path(sweep_driver.__file__).with_name("ray_cluster.py"))]
    with (
        tempfile.TemporaryFile() as told,
        subprocess.Popen(
            words, env=os.environ | apart, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=told, text=True, start_new_session=True,
        ) as process,
    ):  # fmt: skip
        address = process.stdout.readline().strip()
        assert address, told.seek(0) or told.read().decode()
        yield process, apart | {"RAY_ADDRESS": address}
        process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        for pid in processes(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def words(small_sts, tmp_path, monkeypatch):
    """A command with a relative folder, as it is typed; cluster and driver work in others."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nodes").mkdir()
    monkeypatch.setenv("RANKSIM_TEST_NODES", str(tmp_path / "nodes"))
    return sweep_command(small_sts.relative_to(tmp_path), "out", "--engine", "ray")


@pytest.fixture
def on_the_cluster(cluster, monkeypatch):
    for name, value in cluster[1].items():
        monkeypatch.setenv(name, value)
    return cluster[0]


def processes(session, name=""):
    """Those of a session, by the beginning of their command."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            told = (place / "stat").read_text().rpartition(")")[2].split()
            if (
                told[0] != "Z"
                and int(told[3]) == session
                and (place / "cmdline").read_text().startswith(name)
            ):
                found.append(int(place.name))
    return found


def wait_until_left(session, name=""):
    deadline = time.monotonic() + 30
    while processes(session, name) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not processes(session, name)


@pytest.mark.slow
@pytest.mark.distributed
def test_killed_ray_sweep_gives_the_results_of_processes(
    on_the_cluster, words, small_sts, tmp_path, monkeypatch, capfd
):
    """Four runs, two of which wait for their first stage, on two nodes."""
    asked = {"methods": "vanilla,rrt", "max_epochs": 12}
    words += ["--methods", "vanilla,rrt", "--max-epochs", "12"]
    with start_command(words) as process:
        wait_until_training(process, tmp_path / "out", lines=4)
        assert process.poll() is None
        process.kill()
        wait_until_left(on_the_cluster.pid, "ray::_execute_task")
    assert len(list((tmp_path / "nodes").iterdir())) == 2
    assert not list((tmp_path / "out").rglob("record.json"))

    run_benchmark(sts_request(small_sts, tmp_path / "whole", **asked))
    capfd.readouterr()
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal: a bar for each run
    monkeypatch.setenv("RANKSIM_TEST_CHECKSUMS", json.dumps(sts_b_dir.CHECKSUMS))
    ray.cloudpickle.register_pickle_by_value(sweep_driver)
    monkeypatch.setattr(
        sweep,
        "_execute_and_report",
        functools.partial(sweep_driver.in_a_task, sweep._execute_and_report),
    )
    run_benchmark(
        sts_request(small_sts.relative_to(tmp_path), Path("out"), engine="ray", jobs=2, **asked),
        Console(),
    )
    told, errors = capfd.readouterr()
    assert re.search(r"vanilla seed 1.*epoch \d+, validation MSE", told)
    assert "4/4" in told
    assert "ray" not in (told + errors).lower()
    wait_until_left(on_the_cluster.pid, "ray::_execute_task")
    whole = read_comparable_results(tmp_path / "whole")
    killed = read_comparable_results(tmp_path / "out")
    del killed["command"], whole["command"]
    assert killed == whole


@pytest.mark.slow
@pytest.mark.distributed
def test_errors_of_tasks_are_raised_here(on_the_cluster, tmp_path, monkeypatch):
    """In a program that uses Ray for more than this, and goes on doing so."""
    only_here = ModuleType("only_here")
    exec("def work(): pass", vars(only_here))
    monkeypatch.setitem(sys.modules, "only_here", only_here)
    shared = tmp_path / "note"
    shared.touch()
    ray.init(log_to_driver=False, logging_level="ERROR")
    try:
        for error, message, work in (
            (UsageError, "^--seeds takes a number above 0", (parse_seeds, "none")),
            (RankSimError, "process of a run was killed", (os._exit, 9)),
            (
                RankSimError,
                "node of the Ray cluster cannot run tasks .*only_here",
                (only_here.work,),
            ),
        ):
            with (
                pytest.raises(error, match=message),
                ray_executor.open_ray_executor(1, CPU, shared, print) as executor,
            ):
                executor.submit(*work).result()
        assert ray.is_initialized()
    finally:
        ray.shutdown()


@pytest.mark.parametrize("jobs", [1, 2])
def test_tune_uses_the_executor_too(small_sts, tmp_path, monkeypatch, jobs):
    calls = []

    def open_executor(*args):
        calls.append(args[:3])
        assert args[2].is_file()
        return open_inline_executor(args[3])

    monkeypatch.setattr("ranksim.experiments.executor.open_ray_executor", open_executor)
    request = sts_request(small_sts, tmp_path, methods="vanilla+ranksim", seeds="1", jobs=jobs)
    result = tune(TuneRequest(dataclasses.replace(request, engine="ray"), 2))
    assert result.values["gamma"] > 0
    assert calls == [(jobs, CPU, tmp_path / "study.db")]


@pytest.mark.slow
@pytest.mark.distributed
def test_ctrl_c_stops_the_local_cluster(apart, words, tmp_path, monkeypatch):
    for name, value in apart.items():
        monkeypatch.setenv(name, value)
    with start_command([*words, *ENDLESS]) as process:
        wait_until_training(process, tmp_path, runs=2)
        os.killpg(process.pid, signal.SIGINT)
        told, _ = process.communicate(timeout=120)
        wait_until_left(process.pid)
    assert process.returncode == 130
    assert told.startswith("Error: Stopped")
    assert told.count("\n") == 1
    assert not list(tmp_path.glob("out/.sweeps/*"))


def test_node_without_the_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = ray_executor._TaskContext(Path("nowhere"), {}, Path("out/.sweeps/1.json"), CPU, None)
    message = r"Ray's node \S+ does not see the folder of results"
    with pytest.raises(UsageError, match=message):
        ray_executor._execute_task(place, print, ())


@pytest.mark.parametrize(
    ("hardware", "there", "gpus"),
    [
        (CPU, {"CPU": 4.0, "GPU": 1.0}, 0),
        (TrainerConfig(), {"CPU": 4.0}, 0),
        (TrainerConfig(), {"CPU": 4.0, "GPU": 1.0}, 1),
        (TrainerConfig("gpu"), {"CPU": 4.0, "GPU": 1.0}, 1),
    ],
)
def test_task_has_a_gpu_if_it_trains_on_one(hardware, there, gpus):
    assert (
        ray_executor._count_task_gpus(SimpleNamespace(cluster_resources=lambda: there), hardware)
        == gpus
    )


@pytest.mark.parametrize(
    ("hardware", "there", "kind"), [(CPU, {}, "CPU"), (TrainerConfig("cuda"), {"CPU": 1.0}, "GPU")]
)
def test_missing_hardware_is_reported(hardware, there, kind):
    with pytest.raises(RankSimError, match=f"No node of the Ray cluster has a {kind}"):
        ray_executor._count_task_gpus(SimpleNamespace(cluster_resources=lambda: there), hardware)


@pytest.mark.slow
@pytest.mark.parametrize("address", ["127.0.0.1:9", "nonsense"])
@pytest.mark.distributed
def test_unreachable_cluster_is_reported(address, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", address)
    message = "Ray could not be started .* RAY_ADDRESS"
    with (
        pytest.raises(RankSimError, match=message),
        ray_executor.open_ray_executor(1, CPU, tmp_path, print),
    ):
        pass


def test_missing_ray_is_reported(small_sts, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        MissingDependencyError, match=r"^ray is not installed: run pip install 'ranksim"
    ):
        run_benchmark(sts_request(small_sts, tmp_path / "out", engine="ray"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("hardware", [TrainerConfig("cpu", "2"), TrainerConfig("cpu", num_nodes=2)])
def test_several_devices_are_rejected(hardware):
    message = "--engine ray trains each run on one device: leave it out with --devices or --num-nod"
    with pytest.raises(UsageError, match=f"^{message}"):
        check_engine("ray", hardware, 1)


def test_submitting_machine_needs_no_gpu():
    check_engine("ray", TrainerConfig("gpu"), 2)
    with pytest.raises(UsageError, match="--accelerator abacus"):
        check_engine("ray", TrainerConfig("abacus"), 2)


def test_other_settings_are_rejected_before_ray_starts(small_sts, tmp_path):
    run_benchmark(sts_request(small_sts, tmp_path, methods="vanilla", seeds="1"))
    with pytest.raises(UsageError, match=r"vanilla seed 0 trained with recipe.hidden 8, .* 9"):
        run_benchmark(
            sts_request(
                small_sts, tmp_path, engine="ray", changes=("hidden=9", "ranksim_weight=0.1")
            )
        )


def test_finished_sweep_does_not_start_ray(small_sts, tmp_path, monkeypatch):
    first = run_benchmark(sts_request(small_sts, tmp_path, methods="vanilla", seeds="1"))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    again = run_benchmark(
        sts_request(small_sts, tmp_path, methods="vanilla", seeds="1", engine="ray")
    )
    assert again["runs"] == json.loads(json.dumps(first["runs"]))
