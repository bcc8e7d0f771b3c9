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
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from ranksim.datasets import sts_b_dir
from ranksim.exceptions import MissingDependencyError, RankSimError, UsageError
from ranksim.experiments import ray_executor, sweep
from ranksim.experiments.executor import check_engine, set_progress_queue
from ranksim.experiments.sweep_request import parse_seeds, run_benchmark
from ranksim.experiments.tune import TuneRequest, tune
from ranksim.training.trainer_config import TrainerConfig
from tests.experiments.test_sweep import (
    ENDLESS,
    _wait_until_it_trains,
    command,
    request,
    results,
    started,
)
from tests.helpers import sweep_driver

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
    words = [sys.executable, str(Path(__file__).with_name("ray_cluster.py"))]
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
    return command(small_sts.relative_to(tmp_path), "out", "--engine", "ray")


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


def test_killed_it_goes_on_and_ends_as_processes_do(
    on_the_cluster, words, small_sts, tmp_path, monkeypatch, capfd
):
    """Four runs, two of which wait for their first stage, on two nodes."""
    asked = {"methods": "vanilla,rrt", "max_epochs": 12}
    words += ["--methods", "vanilla,rrt", "--max-epochs", "12"]
    with started(words) as process:
        lines, deadline = 0, time.monotonic() + 120
        while process.poll() is None and lines < 4 and time.monotonic() < deadline:
            time.sleep(0.02)
            logs = (tmp_path / "out").rglob("metrics.csv")
            lines = sum(path.read_text().count("\n") for path in logs)
        assert process.poll() is None
        process.kill()
        wait_until_left(on_the_cluster.pid, "ray::_do")
    assert len(list((tmp_path / "nodes").iterdir())) == 2
    assert not list((tmp_path / "out").rglob("record.json"))

    run_benchmark(request(small_sts, tmp_path / "whole", **asked))
    capfd.readouterr()
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal: a bar for each run
    monkeypatch.setenv("RANKSIM_TEST_CHECKSUMS", json.dumps(sts_b_dir.CHECKSUMS))
    ray.cloudpickle.register_pickle_by_value(sweep_driver)
    monkeypatch.setattr(
        sweep,
        "_perform_and_tell",
        functools.partial(sweep_driver.in_a_task, sweep._perform_and_tell),
    )
    run_benchmark(
        request(small_sts.relative_to(tmp_path), Path("out"), engine="ray", jobs=2, **asked)
    )
    told, errors = capfd.readouterr()
    assert re.search(r"vanilla seed 1.*epoch \d+, validation MSE", told)
    assert "4/4" in told
    assert "ray" not in (told + errors).lower()
    wait_until_left(on_the_cluster.pid, "ray::_do")
    whole, killed = results(tmp_path / "whole"), results(tmp_path / "out")
    assert killed.pop("command").replace("2 --engine ray", "1") == whole.pop("command")
    assert killed == whole


def test_what_tasks_raise_and_that_one_died(on_the_cluster, tmp_path, monkeypatch):
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
            (RankSimError, "^A run's process was killed, perhaps for lack of", (os._exit, 9)),
            (
                RankSimError,
                "^A node of the Ray cluster cannot take part .*only_here",
                (only_here.work,),
            ),
        ):
            with pytest.raises(error, match=message), ray_executor.tasks(1, CPU, shared) as pool:
                pool.submit(*work).result()
        assert ray.is_initialized()
    finally:
        ray.shutdown()


class Here:
    """Work done at once, in this process."""

    def __init__(self):
        self.told = deque()
        set_progress_queue(SimpleNamespace(put=self.told.append))

    def submit(self, work, *given):
        future = Future()
        future.set_result(work(*given))
        return future

    def news(self):
        while self.told:
            yield self.told.popleft()


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_search_submits_its_trials_too(small_sts, tmp_path, monkeypatch, jobs):
    asked = []

    @contextlib.contextmanager
    def tasks(*given):
        asked.append(given)
        assert given[-1].is_file()
        yield Here()

    monkeypatch.setattr(ray_executor, "tasks", tasks)
    run_benchmark = request(small_sts, tmp_path, methods="vanilla+ranksim", seeds="1", jobs=jobs)
    found = tune(TuneRequest(dataclasses.replace(run_benchmark, engine="ray"), 2))
    assert found["gamma"] > 0
    assert asked == [(jobs, CPU, tmp_path / "study.db")]


def test_a_cluster_of_its_own_leaves_with_ctrl_c(apart, words, tmp_path, monkeypatch):
    for name, value in apart.items():
        monkeypatch.setenv(name, value)
    with started([*words, *ENDLESS]) as process:
        _wait_until_it_trains(process, tmp_path, runs=2)
        os.killpg(process.pid, signal.SIGINT)
        told, _ = process.communicate(timeout=60)
        wait_until_left(process.pid)
    assert process.returncode == 130
    assert told == "Error: Stopped; the same command goes on where it stopped.\n"
    assert not list(tmp_path.glob("out/.sweeps/*"))


def test_a_node_that_does_not_see_the_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = ray_executor._Place(Path("nowhere"), {}, Path("out/.sweeps/1.json"), CPU, None)
    message = r"Ray's node \S+ does not see the folder of results: give --out a path that all"
    with pytest.raises(UsageError, match=message):
        ray_executor._do(place, print, ())


@pytest.mark.parametrize(
    ("hardware", "there", "gpus"),
    [
        (CPU, {"CPU": 4.0, "GPU": 1.0}, 0),
        (TrainerConfig(), {"CPU": 4.0}, 0),
        (TrainerConfig(), {"CPU": 4.0, "GPU": 1.0}, 1),
        (TrainerConfig("gpu"), {"CPU": 4.0, "GPU": 1.0}, 1),
    ],
)
def test_a_task_has_a_gpu_where_it_trains_on_one(hardware, there, gpus):
    assert ray_executor._gpus(SimpleNamespace(cluster_resources=lambda: there), hardware) == gpus


@pytest.mark.parametrize(
    ("hardware", "there", "kind"), [(CPU, {}, "CPU"), (TrainerConfig("cuda"), {"CPU": 1.0}, "GPU")]
)
def test_what_no_node_has_is_not_waited_for(hardware, there, kind):
    with pytest.raises(RankSimError, match=f"^No node of the Ray cluster has a {kind}: add one"):
        ray_executor._gpus(SimpleNamespace(cluster_resources=lambda: there), hardware)


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nonsense"])
def test_a_cluster_that_is_not_there_is_one_sentence(address, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", address)
    message = r"^Ray cannot be used \(.+\): give RAY_ADDRESS of a cluster that this machine is of"
    with pytest.raises(RankSimError, match=message), ray_executor.tasks(1, CPU, tmp_path):
        pass


def test_without_ray_the_extra_is_named(small_sts, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        MissingDependencyError, match=r"^ray is not installed: run pip install 'ranksim"
    ):
        run_benchmark(request(small_sts, tmp_path / "out", engine="ray"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("hardware", [TrainerConfig("cpu", "2"), TrainerConfig("cpu", num_nodes=2)])
def test_a_task_is_one_device(hardware):
    message = "--engine ray trains each run on one device: leave it out with --devices or --num-nod"
    with pytest.raises(UsageError, match=f"^{message}"):
        check_engine("ray", hardware, 1)


def test_the_machine_that_submits_needs_no_gpu():
    check_engine("ray", TrainerConfig("gpu"), 2)
    with pytest.raises(UsageError, match="Lightning cannot use --accelerator abacus"):
        check_engine("ray", TrainerConfig("abacus"), 2)


def test_other_settings_are_refused_before_ray_starts(small_sts, tmp_path):
    run_benchmark(request(small_sts, tmp_path, methods="vanilla", seeds="1"))
    with pytest.raises(UsageError, match=r"vanilla seed 0 made with recipe.hidden 8, now 9: give"):
        run_benchmark(
            request(small_sts, tmp_path, engine="ray", changes=("hidden=9", "ranksim_weight=0.1"))
        )


def test_what_is_finished_needs_no_ray(small_sts, tmp_path, monkeypatch):
    first = run_benchmark(request(small_sts, tmp_path, methods="vanilla", seeds="1"))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    again = run_benchmark(request(small_sts, tmp_path, methods="vanilla", seeds="1", engine="ray"))
    assert again["runs"] == json.loads(json.dumps(first["runs"]))
