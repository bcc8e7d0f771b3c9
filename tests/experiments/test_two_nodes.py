"""Sweeps on two nodes: two groups of processes on this machine, connected by gloo."""

import json
import os
import re
import socket
import sys
import time
from pathlib import Path

import pytest

from ranksim._utils.storage import read_verified_json
from ranksim.exceptions import UsageError
from ranksim.experiments import run as run_module
from ranksim.experiments.sweep_request import run_benchmark
from ranksim.training.lightning import trainer
from ranksim.training.resume import BEST, LAST
from tests.helpers.pictures import assert_same_weights
from tests.helpers.trained_models import Process, images, request

METHODS = "vanilla+ranksim,rrt+ranksim"


def find_free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def node_variables(rank, port):
    return {"NODE_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}


def run_sweep(sweep_request, log=None, train=True):
    """Run a sweep and return its results; log what is written to its folder."""
    trainer._START_METHOD = "fork"  # starts faster than spawning
    if log is not None:
        log_writes(str(sweep_request.out), os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
    if not train:
        run_module._train = None
    return run_benchmark(sweep_request)


def log_writes(folder, log):
    """Log what this process and its children write to a folder."""
    flags = os.O_WRONLY | os.O_RDWR | os.O_CREAT

    def hook(event, args):
        if event == "open":
            paths = args[:1] if isinstance(args[2], int) and args[2] & flags else ()
        elif event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.truncate"):
            paths = args
        else:
            return
        for path in paths:
            if not isinstance(path, int) and os.fsdecode(path).startswith(folder):
                os.write(log, f"{event} {path}\n".encode())

    sys.addaudithook(hook)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return images(tmp_path_factory.mktemp("images"), {20: 9, 24: 8, 30: 9, 41: 7, 60: 7})


def make_request(table, out, **options):
    defaults = {"methods": METHODS, "max_epochs": 2, "gather_across_devices": True, "devices": "1"}
    return request(table, out, "batch_size=4", **defaults | options)


def start_nodes(sweep_request, tmp_path, *, last=0):
    """Start two nodes, of which ``last`` starts later; the follower's writes are logged."""
    port, log = find_free_port(), tmp_path / "log"
    nodes = [None, None]
    for rank in (0, 1) if last == 1 else (1, 0):
        follower_log = log if rank == 1 else None
        nodes[rank] = Process(run_sweep, sweep_request, follower_log, **node_variables(rank, port))
        time.sleep(0.5)
    return nodes, log


def comparable(results):
    """Return results without run times and the layout of the processes."""
    results = json.loads(json.dumps(results))
    del results["command"]
    for run in results["runs"]:
        del run["result"]["seconds"]
        for identity in (run["identity"], run["identity"].get("stage_one", {"trainer": {}})):
            for name in ("devices", "num_nodes"):
                identity["trainer"].pop(name, None)
    for row in results["summary"]:
        del row["seconds_median"]
    return results


@pytest.fixture(scope="module")
def single_node(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("one")
    cache = str(tmp_path_factory.getbasetemp() / "cache")
    sweep_request = make_request(table, out, devices="2")
    return out, Process(run_sweep, sweep_request, RANKSIM_CACHE=cache).result()


@pytest.mark.slow
@pytest.mark.distributed
class TestTwoNodes:
    """The first node writes what two devices of one node would; the second writes nothing."""

    @pytest.mark.parametrize("last", [0, 1])
    def test_results_equal_two_devices_of_one_node(self, table, tmp_path, single_node, last):
        out = tmp_path / "out"
        sweep_request = make_request(table, out, num_nodes=2)
        nodes, log = start_nodes(sweep_request, tmp_path, last=last)
        first, second = (each.result() for each in nodes)
        assert read_verified_json(out / "results.json") == first == second
        assert comparable(first) == comparable(single_node[1])
        assert [run["identity"]["method"] for run in first["runs"]] == [
            "vanilla+ranksim",
            "rrt+ranksim",
        ]
        for record in first["runs"]:
            folder = Path("runs", record["identity"]["method"], "seed-0")
            assert_same_weights(out / folder, single_node[0] / folder, BEST)
            assert not list((out / folder).glob(".turn*"))
        assert log.read_text() == ""

        # both nodes read a finished folder without training
        before = sorted((str(path), path.stat().st_mtime_ns) for path in (out / "runs").rglob("*"))
        port = find_free_port()
        again = [Process(run_sweep, sweep_request, log, False, **node_variables(1, port))]
        assert again[0].result() == first
        again = [
            Process(run_sweep, sweep_request, None, False, **node_variables(rank, port))
            for rank in (0, 1)
        ]
        assert [each.result() for each in again] == [first, first]
        after = sorted((str(path), path.stat().st_mtime_ns) for path in (out / "runs").rglob("*"))
        assert after == before
        assert log.read_text() == ""

    def test_log_records_writes(self, table, tmp_path):
        out, log = tmp_path / "out", tmp_path / "log"
        sweep_request = make_request(table, out, methods="vanilla", gather_across_devices=False)
        Process(run_sweep, sweep_request, log).result()
        written = log.read_text()
        for name in ("results.json", "record.json", "metrics.csv", "last.ckpt", "events.out"):
            assert name in written

    def test_killed_nodes_resume(self, table, tmp_path, single_node):
        """Both are killed during the first training, which leaves a stale note for the follower."""
        out = tmp_path / "out"
        sweep_request = make_request(table, out, num_nodes=2)
        nodes, _ = start_nodes(sweep_request, tmp_path)
        run = out / "runs" / "vanilla+ranksim" / "seed-0"
        deadline = time.monotonic() + 60
        while not (run / LAST).is_file() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [each.kill() for each in nodes] == [True, True]
        assert (run / ".turn.json").is_file()
        nodes, log = start_nodes(sweep_request, tmp_path)
        first, second = (each.result() for each in nodes)
        assert first == second
        assert comparable(first) == comparable(single_node[1])
        assert log.read_text() == ""

    def test_different_command_on_second_node_is_rejected(self, table, tmp_path):
        port, out = find_free_port(), tmp_path / "out"
        first = Process(run_sweep, make_request(table, out, num_nodes=2), **node_variables(0, port))
        other = make_request(table, out, num_nodes=2, max_epochs=3)
        second = Process(run_sweep, other, **node_variables(1, port))
        message = (
            "UsageError: The first node trains vanilla+ranksim seed 0 with limits.epochs 2, this "
            "node with 3: start the same command on each node."
        )
        with pytest.raises(AssertionError, match=re.escape(message)):
            second.result()
        assert first.kill()


def test_invalid_configuration_is_rejected_before_writing(table, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(UsageError, match=r"^--jobs 2 .* cannot be combined with --devices"):
        run_benchmark(make_request(table, out, devices="2", jobs=2))
    assert not out.exists()
