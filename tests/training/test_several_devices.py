"""Several devices, and several machines, on this one: DDP over gloo in processes of their own."""

import dataclasses
import functools
import itertools
import json
import os
import re
import socket
import sys
import time
from pathlib import Path

import lightning.pytorch as L
import pytest
import torch

from ranksim._utils.storage import read_verified_json
from ranksim.exceptions import RankSimError, UsageError
from ranksim.experiments import run as run_module
from ranksim.experiments.sweep_request import run_benchmark
from ranksim.training import trainer_config as hardware_module
from ranksim.training.data_loader import SeededSampler
from ranksim.training.fit import fit
from ranksim.training.method import Technique
from ranksim.training.resume import BEST, LAST
from ranksim.training.trainer_config import TrainerConfig, check_trainer_config
from tests.helpers.pictures import changed, small_task
from tests.helpers.trained_models import Process, images, request

RANKSIM, FULL = Technique(ranksim=True), Technique(fds=True, ranksim=True)


def free_port():
    """Nobody listens there now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def node(rank, port):
    return {"NODE_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}


def forking():
    """Trainings that start in a moment; test_fit starts some as they are started in earnest."""
    hardware_module._START = "fork"


def train(folder, recipe, technique, hardware, **settings):
    forking()
    settings = {"task": small_task(**settings.pop("data", {})), "seed": 0} | settings
    task = settings.pop("task")
    fit(task, recipe, technique, folder, hardware=hardware, **settings)


def weights(folder, name=LAST):
    return torch.load(folder / name, weights_only=True)["state_dict"]


def compare(folder, other, name=LAST, atol=0.0):
    one, two = weights(folder, name), weights(other, name)
    assert one.keys() == two.keys()
    for key in one:
        torch.testing.assert_close(one[key], two[key], rtol=0, atol=atol)


def alone(batch_size=8, **changes):
    return changed(batch_size=batch_size, **changes), TrainerConfig("cpu", precision="64-true")


def together(batch_size=4, *, gather=True, **changes):
    hardware = TrainerConfig("cpu", "2", "64-true", gather=gather)
    return changed(batch_size=batch_size, **changes), hardware


class TestTwoDevices:
    """Each with half of the batch of one."""

    @pytest.mark.parametrize("count", [40, 44])
    @pytest.mark.parametrize("unique", [True, False])
    def test_they_train_as_one_with_the_whole_batch(self, tmp_path, unique, count):
        """Augmentation, FDS and a last batch of four samples among it."""
        data = {"count": count}
        for name, (recipe, hardware) in {
            "one": alone(unique_labels=unique),
            "two": together(unique_labels=unique),
        }.items():
            Process(
                functools.partial(train, data=data), tmp_path / name, recipe, FULL, hardware
            ).result()
        assert torch.load(tmp_path / "two" / LAST, weights_only=True)["global_step"] >= 15
        compare(tmp_path / "one", tmp_path / "two", atol=1e-9)

    def test_without_gather_they_do_not(self, tmp_path):
        Process(train, tmp_path / "one", *alone()[:1], RANKSIM, alone()[1]).result()
        recipe, hardware = together(gather=False)
        Process(train, tmp_path / "two", recipe, RANKSIM, hardware).result()
        with pytest.raises(AssertionError, match="not close"):
            compare(tmp_path / "one", tmp_path / "two", atol=1e-9)

    def test_without_gather_they_do_where_nothing_is_ranked(self, tmp_path):
        """With two batches a step each."""
        recipe, hardware = alone(lr_milestones=[1])
        Process(train, tmp_path / "one", recipe, Technique(), hardware).result()
        recipe, hardware = together(2, gather=False, lr_milestones=[1], accumulate=2)
        Process(train, tmp_path / "two", recipe, Technique(), hardware).result()
        compare(tmp_path / "one", tmp_path / "two", atol=1e-9)


class KilledError(Exception):
    pass


def killed_and_resumed(folder, recipe, technique, hardware):
    """Stopped by what is told of its second validation, then gone on with."""
    seen = []

    def told(epoch, score):
        seen.append((os.getpid(), epoch))
        if len(seen) == 2:
            raise KilledError

    with pytest.raises(KilledError):
        train(folder, recipe, technique, hardware, on_validation=told)
    assert seen == [(os.getpid(), 1), (os.getpid(), 1)]
    stopped = torch.load(folder / LAST, weights_only=True)["global_step"]
    train(folder, recipe, technique, hardware)
    return stopped


@pytest.mark.parametrize(
    ("gather", "memory"), [(True, 0), (False, 0), (True, 30), (False, 30)], ids=str
)
def test_two_devices_go_on_within_an_epoch_as_if_never_interrupted(tmp_path, gather, memory):
    """Without gather each draws unique labels of its own, and remembers its own samples."""
    changes = {"memory_size": memory, "validate_every": 2, "max_validations": 5}
    recipe, hardware = together(gather=gather, **changes)
    Process(train, tmp_path / "whole", recipe, FULL, hardware).result()
    stopped = Process(killed_and_resumed, tmp_path / "killed", recipe, FULL, hardware).result()
    assert stopped in (2, 4)  # of five steps an epoch, and ten in all
    compare(tmp_path / "whole", tmp_path / "killed")
    compare(tmp_path / "whole", tmp_path / "killed", BEST)


class TestTheOrderOfSamples:
    def dealt(self, monkeypatch, size, batch, processes, epoch=0, start=0):
        shares = []
        for rank in range(processes):
            monkeypatch.setattr(
                "ranksim.training.data_loader._processes", lambda rank=rank: (processes, rank)
            )
            order = SeededSampler(size, 3, batch)
            order.set_epoch(epoch)
            order.start = start
            shares.append(list(order))
            assert start or len(shares[-1]) == len(order) == order.share(processes)
        return shares

    @pytest.mark.parametrize("processes", [1, 2, 3])
    @pytest.mark.parametrize("size", [1, 2, 5, 12, 24, 29, 31])
    def test_it_is_that_of_one_process(self, monkeypatch, size, processes):
        (whole,) = self.dealt(monkeypatch, size, 4 * processes, 1)
        shares = self.dealt(monkeypatch, size, 4, processes)
        full = size // (4 * processes) * 4
        together = [shares[r][i : i + 4] for i in range(0, full, 4) for r in range(processes)]
        assert list(itertools.chain(*together)) == whole[: full * processes]
        rest = [row for share in shares for row in share[full:]]
        assert rest[: size - full * processes] == whole[full * processes :]
        assert set(rest) <= set(whole[full * processes :])
        assert len(rest) < size - full * processes + processes

    def test_a_resumed_epoch_goes_on_with_the_rest(self, monkeypatch):
        whole = self.dealt(monkeypatch, 29, 4, 2, epoch=2)
        rest = self.dealt(monkeypatch, 29, 4, 2, epoch=2, start=16)
        assert rest == [share[8:] for share in whole]

    def test_each_epoch_has_its_own(self, monkeypatch):
        epochs = [self.dealt(monkeypatch, 29, 4, 2, epoch=epoch) for epoch in range(3)]
        assert len({tuple(first) for first, _ in epochs}) == 3


class Refusing:
    def __call__(self, inputs, index, epoch):
        raise UsageError("It takes images of another size.")


def refused(folder, hardware):
    task = dataclasses.replace(small_task(), augment=Refusing())
    with pytest.raises(UsageError, match=r"^It takes images of another size\.$"):
        train(folder, changed(), Technique(), hardware, task=task)


def test_an_error_in_a_process_is_the_same_sentence_here(tmp_path):
    Process(refused, tmp_path, TrainerConfig("cpu", "2")).result()


def compiled(folder, hardware):
    class Look(L.Callback):
        def on_train_start(self, trainer, pl_module):
            found = pl_module.model.encoder._compiled_call_impl is not None
            raise RankSimError(f"compiled: {found}")

    with pytest.raises(RankSimError, match="^compiled: True$"):
        train(folder, changed(), Technique(), hardware, callbacks=[Look()])


def test_each_process_compiles(tmp_path):
    Process(compiled, tmp_path, TrainerConfig("cpu", "2", compile=True)).result()


# several machines


def swept(asked, log=None, train=True):
    """The results of a command; what it writes into its folder is noted in a log."""
    forking()
    if log is not None:
        _watch(str(asked.out), os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
    if not train:
        run_module._train = None
    return run_benchmark(asked)


def _watch(folder, log):
    """In the processes that it starts too."""
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT

    def hook(event, args):
        if event == "open":
            touched = args[:1] if isinstance(args[2], int) and args[2] & writing else ()
        elif event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.truncate"):
            touched = args
        else:
            return
        for path in touched:
            if not isinstance(path, int) and os.fsdecode(path).startswith(folder):
                os.write(log, f"{event} {path}\n".encode())

    sys.addaudithook(hook)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return images(tmp_path_factory.mktemp("images"), {20: 9, 24: 8, 30: 9, 41: 7, 60: 7})


METHODS = "vanilla+ranksim,rrt+ranksim"


def asked(table, out, **more):
    usual = {"methods": METHODS, "max_epochs": 2, "gather": True, "devices": "1"}
    return request(table, out, "batch_size=4", **usual | more)


def two_nodes(wanted, tmp_path, *, late=0, **settings):
    """What the first and the second come to; the second or, with ``late``, the first waits."""
    port, log = free_port(), tmp_path / "log"
    nodes = [None, None]
    for rank in (0, 1) if late == 1 else (1, 0):
        log_of_follower = log if rank == 1 else None
        nodes[rank] = Process(swept, wanted, log_of_follower, **settings, **node(rank, port))
        time.sleep(0.5)
    return nodes, log


def content(results):
    """Results without what may differ: the clock, and how processes lie on machines."""
    results = json.loads(json.dumps(results))
    del results["command"]
    for run in (
        *results["runs"],
        *(
            run["identity"]["stage_one"]
            for run in results["runs"]
            if "stage_one" in run["identity"]
        ),
    ):
        for name in ("seconds", "devices", "num_nodes"):
            run.pop(name, None)
    for row in results["summary"]:
        del row["seconds_median"]
    return results


@pytest.fixture(scope="module")
def on_one(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("one")
    cache = str(tmp_path_factory.getbasetemp() / "cache")
    wanted = asked(table, out, devices="2")
    return out, Process(swept, wanted, RANKSIM_CACHE=cache).result()


class TestTwoNodes:
    """The first writes what two devices of one node would; the second writes nothing."""

    @pytest.mark.parametrize("late", [0, 1])
    def test_they_do_what_two_devices_do(self, table, tmp_path, on_one, late):
        out = tmp_path / "out"
        wanted = asked(table, out, num_nodes=2)
        nodes, log = two_nodes(wanted, tmp_path, late=late)
        first, second = (each.result() for each in nodes)
        assert read_verified_json(out / "results.json") == first == second
        assert content(first) == content(on_one[1])
        assert [run["identity"]["method"] for run in first["runs"]] == [
            "vanilla+ranksim",
            "rrt+ranksim",
        ]
        for record in first["runs"]:
            folder = Path("runs", record["identity"]["method"], "seed-0")
            compare(out / folder, on_one[0] / folder, BEST)
            assert not list((out / folder).glob(".turn*"))
        assert log.read_text() == ""

        # a finished folder is read by both, without training
        before = sorted((str(path), path.stat().st_mtime_ns) for path in (out / "runs").rglob("*"))
        port = free_port()
        again = [Process(swept, wanted, log, False, **node(1, port))]
        assert again[0].result() == first
        again = [Process(swept, wanted, None, False, **node(rank, port)) for rank in (0, 1)]
        assert [each.result() for each in again] == [first, first]
        after = sorted((str(path), path.stat().st_mtime_ns) for path in (out / "runs").rglob("*"))
        assert after == before
        assert log.read_text() == ""

    def test_the_log_sees_what_is_written(self, table, tmp_path):
        out, log = tmp_path / "out", tmp_path / "log"
        Process(swept, asked(table, out, methods="vanilla", gather=False), log).result()
        told = log.read_text()
        for name in ("results.json", "record.json", "metrics.csv", "last.ckpt", "events.out"):
            assert name in told

    def test_killed_they_go_on(self, table, tmp_path, on_one):
        """Both, in the middle of the first training: the second finds the note of a dead one."""
        out = tmp_path / "out"
        wanted = asked(table, out, num_nodes=2)
        nodes, _ = two_nodes(wanted, tmp_path)
        run = out / "runs" / "vanilla+ranksim" / "seed-0"
        deadline = time.monotonic() + 60
        while not (run / LAST).is_file() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [each.kill() for each in nodes] == [True, True]
        assert (run / ".turn.json").is_file()
        nodes, log = two_nodes(wanted, tmp_path)
        first, second = (each.result() for each in nodes)
        assert first == second
        assert content(first) == content(on_one[1])
        assert log.read_text() == ""

    def test_another_command_on_the_second_is_refused(self, table, tmp_path):
        port, out = free_port(), tmp_path / "out"
        first = Process(swept, asked(table, out, num_nodes=2), **node(0, port))
        other = asked(table, out, num_nodes=2, max_epochs=3)
        second = Process(swept, other, **node(1, port))
        message = (
            "UsageError: The first node trains vanilla+ranksim seed 0 with limits.epochs 2, this "
            "one with 3: give each node the same command."
        )
        with pytest.raises(AssertionError, match=re.escape(message)):
            second.result()
        assert first.kill()


class TestRefused:
    def check(self, message, hardware, monkeypatch, jobs=1, **environment):
        for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "GROUP_RANK", "SLURM_NODEID"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
            check_trainer_config(hardware, jobs)

    def test_gather_of_one_device(self, monkeypatch):
        message = "--gather joins the samples of several devices: give --devices too."
        self.check(message, TrainerConfig("cpu", gather=True), monkeypatch)

    @pytest.mark.parametrize("missing", ["MASTER_ADDR", "MASTER_PORT", "NODE_RANK"])
    def test_nodes_that_would_not_find_each_other(self, monkeypatch, missing):
        message = (
            "--num-nodes 2 needs the environment variables MASTER_ADDR, MASTER_PORT and "
            "NODE_RANK: set them on each node and give each the same command."
        )
        given = {k: v for k, v in node(0, "29500").items() if k != missing}
        self.check(message, TrainerConfig("cpu", num_nodes=2), monkeypatch, **given)

    def test_a_node_too_many(self, monkeypatch):
        message = "--num-nodes 2 needs a NODE_RANK from 0 to 1, got 2."
        self.check(message, TrainerConfig("cpu", num_nodes=2), monkeypatch, **node(2, "29500"))

    def test_what_lightning_refuses(self, monkeypatch):
        message = (
            "Lightning cannot use --accelerator cpu --devices 0 --precision 32-true: "
            "`Trainer(devices=0)` value is not a valid input using cpu accelerator."
        )
        self.check(message, TrainerConfig("cpu", "0"), monkeypatch)

    @pytest.mark.parametrize(
        "hardware", [TrainerConfig("cpu", "2"), TrainerConfig("cpu", num_nodes=2)]
    )
    def test_jobs_of_several_devices(self, monkeypatch, hardware):
        message = (
            "--jobs 2 trains runs side by side, each on one device: leave it out with --devices "
            "or --num-nodes."
        )
        self.check(message, hardware, monkeypatch, 2, **node(0, "29500"))

    def test_a_command_says_so_before_it_writes(self, table, tmp_path):
        out = tmp_path / "out"
        with pytest.raises(UsageError, match=r"^--jobs 2 trains runs side by side, each on one d"):
            run_benchmark(asked(table, out, devices="2", jobs=2))
        assert not out.exists()
