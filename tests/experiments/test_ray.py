"""Sweeps on a Ray cluster give the results and errors of sweeps in processes."""

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
from ranksim.experiments.search_space import TuneRequest
from ranksim.experiments.sweep_request import run_benchmark
from ranksim.experiments.sweep_settings import parse_seeds
from ranksim.experiments.tune import tune
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
COMPUTES_TSNE = True  # as the tasks of the cluster


@pytest.fixture(scope="module")
def isolation():
    """Environment variables that isolate Ray; the path is short, because it holds sockets."""
    folder = tempfile.mkdtemp(prefix="r-", dir="/tmp")
    yield {"RAY_TMPDIR": folder, "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": ""}
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster(isolation):
    """The process of a cluster, and the environment variables that name it."""
    words = [sys.executable, str(Path(sweep_driver.__file__).with_name("ray_cluster.py"))]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            words, env=os.environ | isolation, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=log, text=True, start_new_session=True,
        ) as process,
    ):  # fmt: skip
        address = process.stdout.readline().strip()
        assert address, log.seek(0) or log.read().decode()
        yield process, isolation | {"RAY_ADDRESS": address}
        process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        for pid in find_processes(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def words(small_sts, tmp_path, monkeypatch):
    """A command with a relative folder; the cluster runs in another folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nodes").mkdir()
    monkeypatch.setenv("RANKSIM_TEST_NODES", str(tmp_path / "nodes"))
    return sweep_command(small_sts.relative_to(tmp_path), "out", "--engine", "ray")


@pytest.fixture
def on_the_cluster(cluster, monkeypatch):
    for name, value in cluster[1].items():
        monkeypatch.setenv(name, value)
    return cluster[0]


def find_processes(session, name=""):
    """Return the processes of a session whose command begins with a name."""
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if (
                fields[0] != "Z"
                and int(fields[3]) == session
                and (folder / "cmdline").read_text().startswith(name)
            ):
                pids.append(int(folder.name))
    return pids


def wait_until_ended(session, name=""):
    deadline = time.monotonic() + 30
    while find_processes(session, name) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not find_processes(session, name)


@pytest.mark.slow
@pytest.mark.distributed
def test_killed_ray_sweep_gives_the_results_of_processes(
    on_the_cluster, words, small_sts, tmp_path, monkeypatch, capfd
):
    """Four runs, two of which wait for their first stage, on two nodes."""
    options = {"methods": "vanilla,rrt", "max_epochs": 12}
    words += ["--methods", "vanilla,rrt", "--max-epochs", "12"]
    with start_command(words) as process:
        wait_until_training(process, tmp_path / "out", lines=4)
        assert process.poll() is None
        process.kill()
        wait_until_ended(on_the_cluster.pid, "ray::_execute_task")
    assert len(list((tmp_path / "nodes").iterdir())) == 2
    assert not list((tmp_path / "out").rglob("record.json"))

    run_benchmark(sts_request(small_sts, tmp_path / "whole", **options))
    capfd.readouterr()
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal: a bar for each run
    monkeypatch.setenv("RANKSIM_TEST_CHECKSUMS", json.dumps(sts_b_dir.CHECKSUMS))
    ray.cloudpickle.register_pickle_by_value(sweep_driver)
    monkeypatch.setattr(
        sweep,
        "_execute_and_report",
        functools.partial(sweep_driver.execute_in_task, sweep._execute_and_report),
    )
    run_benchmark(
        sts_request(small_sts.relative_to(tmp_path), Path("out"), engine="ray", jobs=2, **options),
        Console(),
    )
    output, errors = capfd.readouterr()
    assert re.search(r"vanilla seed 1.*epoch \d+, validation MSE", output)
    assert "4/4" in output
    assert "ray" not in (output + errors).lower()
    wait_until_ended(on_the_cluster.pid, "ray::_execute_task")
    whole = read_comparable_results(tmp_path / "whole")
    killed = read_comparable_results(tmp_path / "out")
    del killed["command"], whole["command"]
    assert killed == whole


@pytest.mark.slow
@pytest.mark.distributed
def test_errors_of_tasks_are_raised_here(on_the_cluster, tmp_path, monkeypatch):
    """Also in a program that has connected to Ray before, and stays connected."""
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


@pytest.mark.slow
def test_tune_uses_the_executor_too(small_sts, tmp_path, monkeypatch):
    calls = []

    def open_executor(*args):
        calls.append(args[:3])
        assert args[2].is_file()
        return open_inline_executor(args[3])

    monkeypatch.setattr("ranksim.experiments.executor.open_ray_executor", open_executor)
    values = {"methods": "vanilla+ranksim", "seeds": "1", "max_steps": 2}
    request = sts_request(small_sts, tmp_path, jobs=2, **values)
    result = tune(TuneRequest(dataclasses.replace(request, engine="ray"), 2))
    assert result.values["gamma"] > 0
    assert calls == [(2, CPU, tmp_path / "study.db")]


@pytest.mark.slow
@pytest.mark.distributed
def test_ctrl_c_stops_the_local_cluster(isolation, words, tmp_path, monkeypatch):
    for name, value in isolation.items():
        monkeypatch.setenv(name, value)
    with start_command([*words, *ENDLESS]) as process:
        wait_until_training(process, tmp_path, runs=2)
        os.killpg(process.pid, signal.SIGINT)
        output = process.wait(timeout=120)
        wait_until_ended(process.pid)
    assert process.returncode == 130
    assert output.splitlines()[-1].startswith("Error: Stopped")
    assert output.count("Error") == 1
    assert "Traceback" not in output
    assert not list(tmp_path.glob("out/.sweeps/*"))


def test_node_without_the_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    context = ray_executor._TaskContext(Path("nowhere"), {}, Path("out/.sweeps/1.json"), CPU, None)
    message = r"The Ray node \S+ cannot see the folder of results"
    with pytest.raises(UsageError, match=message):
        ray_executor._execute_task(context, print, ())


@pytest.mark.parametrize(
    ("trainer_config", "resources", "gpus"),
    [
        (CPU, {"CPU": 4.0, "GPU": 1.0}, 0),
        (TrainerConfig(), {"CPU": 4.0}, 0),
        (TrainerConfig(), {"CPU": 4.0, "GPU": 1.0}, 1),
        (TrainerConfig("gpu"), {"CPU": 4.0, "GPU": 1.0}, 1),
    ],
)
def test_task_has_a_gpu_if_it_trains_on_one(trainer_config, resources, gpus):
    assert (
        ray_executor._count_task_gpus(
            SimpleNamespace(cluster_resources=lambda: resources), trainer_config
        )
        == gpus
    )


@pytest.mark.parametrize(
    ("trainer_config", "resources", "kind"),
    [(CPU, {}, "CPU"), (TrainerConfig("cuda"), {"CPU": 1.0}, "GPU")],
)
def test_missing_hardware_is_reported(trainer_config, resources, kind):
    with pytest.raises(RankSimError, match=f"The Ray cluster has no {kind}"):
        ray_executor._count_task_gpus(
            SimpleNamespace(cluster_resources=lambda: resources), trainer_config
        )


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
        MissingDependencyError, match=r"^ray is not installed: run pip install .*\[ray\]"
    ):
        run_benchmark(sts_request(small_sts, tmp_path / "out", engine="ray"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "trainer_config", [TrainerConfig("cpu", "2"), TrainerConfig("cpu", num_nodes=2)]
)
def test_several_devices_are_rejected(trainer_config):
    message = "--engine ray trains each run on one device: remove --devices and --num-nod"
    with pytest.raises(UsageError, match=f"^{message}"):
        check_engine("ray", trainer_config, 1)


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
