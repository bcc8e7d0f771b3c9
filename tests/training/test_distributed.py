"""Training on several devices: DDP over gloo in separate processes, and its configuration."""

import dataclasses
import itertools
import os
import re

import lightning.pytorch as L
import pytest
import torch

from ranksim.exceptions import RankSimError, UsageError
from ranksim.training import data_loader
from ranksim.training.data_loader import SeededSampler
from ranksim.training.hardware import check_trainer_config
from ranksim.training.lightning import trainer
from ranksim.training.method import Technique
from ranksim.training.resume import BEST, LAST
from ranksim.training.trainer_config import TrainerConfig
from tests.helpers import pictures
from tests.helpers.pictures import assert_same_weights, make_recipe, make_task
from tests.helpers.trained_models import Process

RANKSIM, FULL = Technique(ranksim=True), Technique(fds=True, ranksim=True)
ONE_DEVICE = TrainerConfig("cpu", precision="64-true")
NODE = {"NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


def two_devices(gather=True, **config):
    return TrainerConfig("cpu", "2", "64-true", gather_across_devices=gather, **config)


def train(folder, recipe, technique, config, count=40, **options):
    """Train with forked processes, which start faster than spawned ones; test_fit spawns some."""
    trainer._START_METHOD = "fork"
    task = options.pop("task", None) or make_task(count=count)
    pictures.train(folder, recipe, technique, task=task, trainer_config=config, **options)


def train_in_process(*args):
    Process(train, *args).result()


@pytest.mark.slow
@pytest.mark.distributed
class TestTwoDevices:
    """Two devices with half of the batch of one."""

    @pytest.mark.parametrize(("count", "unique"), [(40, True), (44, False)])
    def test_equal_one_device_with_the_whole_batch(self, tmp_path, unique, count):
        """With augmentation, FDS and, of 44 samples, a smaller last batch."""
        one = make_recipe(unique_labels=unique)
        train_in_process(tmp_path / "one", one, FULL, ONE_DEVICE, count)
        two = make_recipe(unique_labels=unique, batch_size=4)
        train_in_process(tmp_path / "two", two, FULL, two_devices(), count)
        assert torch.load(tmp_path / "two" / LAST, weights_only=True)["global_step"] >= 15
        assert_same_weights(tmp_path / "one", tmp_path / "two", atol=1e-9)

    def test_differ_without_gathering(self, tmp_path):
        train_in_process(tmp_path / "one", make_recipe(), RANKSIM, ONE_DEVICE)
        train_in_process(tmp_path / "two", make_recipe(batch_size=4), RANKSIM, two_devices(False))
        with pytest.raises(AssertionError, match="not close"):
            assert_same_weights(tmp_path / "one", tmp_path / "two", atol=1e-9)

    def test_accumulation_equals_one_device(self, tmp_path):
        one = make_recipe(lr_milestones=[1])
        train_in_process(tmp_path / "one", one, Technique(), ONE_DEVICE)
        two = make_recipe(batch_size=2, lr_milestones=[1], accumulate_grad_batches=2)
        train_in_process(tmp_path / "two", two, Technique(), two_devices(False))
        assert_same_weights(tmp_path / "one", tmp_path / "two", atol=1e-9)

    @pytest.mark.parametrize(("gather", "memory_size"), [(True, 30), (False, 0), (False, 30)])
    def test_resume_within_epoch_to_same_result(self, tmp_path, gather, memory_size):
        """Without gathering, each process has its own random draws and feature bank."""
        recipe = make_recipe(
            batch_size=4, memory_size=memory_size, validate_every=2, max_validations=5
        )
        arguments = recipe, FULL, two_devices(gather)
        train_in_process(tmp_path / "complete", *arguments)
        steps = Process(interrupt_and_resume, tmp_path / "resumed", *arguments).result()
        assert steps in (2, 4)  # of five steps per epoch and ten in total
        for name in (LAST, BEST):
            assert_same_weights(tmp_path / "complete", tmp_path / "resumed", name)

    def test_error_in_process_is_raised_unchanged(self, tmp_path):
        Process(raise_in_process, tmp_path, TrainerConfig("cpu", "2")).result()

    def test_each_process_compiles(self, tmp_path):
        Process(check_compiled, tmp_path, TrainerConfig("cpu", "2", compile=True)).result()


class TrainingInterruptedError(Exception):
    pass


def interrupt_and_resume(folder, recipe, technique, config):
    """Raise in the callback of the second validation, then resume."""
    calls = []

    def on_validation(epoch, score):
        calls.append((os.getpid(), epoch))
        if len(calls) == 2:
            raise TrainingInterruptedError

    with pytest.raises(TrainingInterruptedError):
        train(folder, recipe, technique, config, on_validation=on_validation)
    assert calls == [(os.getpid(), 1), (os.getpid(), 1)]
    steps = torch.load(folder / LAST, weights_only=True)["global_step"]
    train(folder, recipe, technique, config)
    return steps


class FailingAugmentation:
    def __call__(self, inputs, index, epoch):
        raise UsageError("The image size does not fit.")


def raise_in_process(folder, config):
    task = dataclasses.replace(make_task(), augment=FailingAugmentation())
    with pytest.raises(UsageError, match=r"^The image size does not fit\.$"):
        train(folder, make_recipe(), Technique(), config, task=task)


def check_compiled(folder, config):
    class CheckCompiled(L.Callback):
        def on_train_start(self, trainer, pl_module):
            compiled = pl_module.model.encoder._compiled_call_impl is not None
            raise RankSimError(f"compiled: {compiled}")

    with pytest.raises(RankSimError, match="^compiled: True$"):
        train(folder, make_recipe(), Technique(), config, callbacks=[CheckCompiled()])


class TestSeededSampler:
    def split(self, monkeypatch, size, batch_size, world_size, epoch=0, start=0):
        """Return the samples of each process."""
        shares = []
        for rank in range(world_size):
            monkeypatch.setattr(data_loader, "_world", lambda rank=rank: (world_size, rank))
            sampler = SeededSampler(size, 3, batch_size)
            sampler.set_epoch(epoch)
            sampler.start_index = start
            shares.append(list(sampler))
            if not start:
                count = sampler.samples_per_process(world_size)
                assert len(shares[-1]) == len(sampler) == count
        return shares

    @pytest.mark.parametrize("world_size", [1, 2, 3])
    @pytest.mark.parametrize("size", [1, 5, 12, 24, 29, 31])
    def test_processes_share_the_batches_of_one(self, monkeypatch, size, world_size):
        (single,) = self.split(monkeypatch, size, 4 * world_size, 1)
        shares = self.split(monkeypatch, size, 4, world_size)
        full = size // (4 * world_size) * 4
        joined = [shares[r][i : i + 4] for i in range(0, full, 4) for r in range(world_size)]
        assert list(itertools.chain(*joined)) == single[: full * world_size]
        rest = [row for share in shares for row in share[full:]]
        assert rest[: size - full * world_size] == single[full * world_size :]
        assert set(rest) <= set(single[full * world_size :])
        assert len(rest) < size - full * world_size + world_size

    def test_resumed_epoch_continues(self, monkeypatch):
        complete = self.split(monkeypatch, 29, 4, 2, epoch=2)
        rest = self.split(monkeypatch, 29, 4, 2, epoch=2, start=16)
        assert rest == [share[8:] for share in complete]

    def test_epochs_differ(self, monkeypatch):
        epochs = [self.split(monkeypatch, 29, 4, 2, epoch=epoch) for epoch in range(3)]
        assert len({tuple(first) for first, _ in epochs}) == 3


@pytest.mark.parametrize(
    ("config", "jobs", "environment", "words"),
    [
        (TrainerConfig("cpu", gather_across_devices=True), 1, {}, "--gather-across-devices needs"),
        (TrainerConfig("cpu", num_nodes=2), 1, {"MASTER_ADDR": ""}, "MASTER_ADDR, MASTER_PORT"),
        (TrainerConfig("cpu", num_nodes=2), 1, {"MASTER_PORT": ""}, "MASTER_ADDR, MASTER_PORT"),
        (TrainerConfig("cpu", num_nodes=2), 1, {"NODE_RANK": ""}, "MASTER_ADDR, MASTER_PORT"),
        (TrainerConfig("cpu", num_nodes=2), 1, {"NODE_RANK": "2"}, "NODE_RANK from 0 to 1, got 2"),
        (TrainerConfig("cpu", "0"), 1, {}, "--accelerator cpu --devices 0 .* not a valid input"),
        (TrainerConfig("cpu", "2"), 2, {}, "--jobs 2 .* cannot be combined with --devices"),
        (TrainerConfig("cpu", num_nodes=2), 2, {}, "--jobs 2 .* cannot be combined"),
    ],
)
def test_invalid_trainer_config_is_rejected(monkeypatch, config, jobs, environment, words):
    for name in ("GROUP_RANK", "SLURM_NODEID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (NODE | environment).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=re.compile(words)):
        check_trainer_config(config, jobs)
