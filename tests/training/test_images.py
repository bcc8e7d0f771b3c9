"""Training on images: accumulation, drops of the learning rate, precisions, layouts, FDS."""

import dataclasses
import itertools
import math
import re
import shutil
from contextlib import contextmanager

import lightning.pytorch as L
import numpy as np
import pytest
import torch

from ranksim.exceptions import UsageError
from ranksim.training import fit as fit_module
from ranksim.training.fit import TrainingLimits, fit
from ranksim.training.method import Technique
from ranksim.training.resume import BEST, LAST
from ranksim.training.trainer_config import TrainerConfig
from tests.helpers.pictures import changed, small_task

EXACT = TrainerConfig("cpu", precision="64-true")
FULL = Technique(fds=True, ranksim=True)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(folder, recipe=None, technique=None, *, task=None, **settings):
    settings = {"seed": 0, "hardware": TrainerConfig("cpu")} | settings
    return fit(
        task or small_task(), recipe or changed(), technique or Technique(), folder, **settings
    )


def weights(folder, name=LAST):
    return torch.load(folder / name, weights_only=True)["state_dict"]


def compare(folder, other, name=LAST, **tolerance):
    one, two = weights(folder, name), weights(other, name)
    assert one.keys() == two.keys()
    for key in one:
        torch.testing.assert_close(one[key], two[key], **{"rtol": 0, "atol": 0} | tolerance)


class TestAccumulation:
    def test_two_batches_of_four_are_one_of_eight(self, tmp_path):
        run(tmp_path / "eight", changed(batch_size=8), hardware=EXACT)
        run(tmp_path / "four", changed(batch_size=4, accumulate=2), hardware=EXACT)
        compare(tmp_path / "eight", tmp_path / "four", atol=1e-12)

    def test_four_alone_are_not(self, tmp_path):
        run(tmp_path / "eight", changed(batch_size=8), hardware=EXACT)
        run(tmp_path / "four", changed(batch_size=4), hardware=EXACT)
        with pytest.raises(AssertionError, match="not close"):
            compare(tmp_path / "eight", tmp_path / "four", atol=1e-12)

    def test_batches_that_fill_no_step_are_left_out_of_an_epoch(self, tmp_path):
        """44 samples: 11 batches of 4, the last of which would have been half a step."""
        outcome = run(tmp_path, changed(batch_size=4, accumulate=2), task=small_task(count=44))
        assert (outcome.epochs, outcome.steps) == (3, 15)

    def test_a_smaller_batch_fills_no_step(self, tmp_path):
        """46 samples: the mean of twelve batches, one of two samples, is not that of 46."""
        outcome = run(tmp_path, changed(batch_size=4, accumulate=2), task=small_task(count=46))
        assert (outcome.epochs, outcome.steps) == (3, 15)

    @pytest.mark.parametrize("every", [0, 1, 2])
    def test_more_than_an_epoch_has_is_the_whole_epoch(self, tmp_path, every):
        recipe = changed(batch_size=8, accumulate=99, validate_every=every)
        outcome = run(tmp_path, recipe)
        assert outcome.steps == outcome.epochs == 3 * max(every, 1)

    @pytest.mark.parametrize("every", [1, 2, 3, 7])
    def test_validations_come_after_so_many_steps(self, tmp_path, every):
        steps = []

        class Watch(L.Callback):
            def on_validation_end(self, trainer, pl_module):
                steps.append(trainer.global_step)

        recipe = changed(batch_size=4, accumulate=2, validate_every=every)
        run(tmp_path, recipe, task=small_task(count=44), callbacks=[Watch()])
        assert steps == [every, 2 * every, 3 * every]


class Rates(L.Callback):
    """The learning rate of each epoch that is begun or gone on with."""

    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.seen.append((trainer.current_epoch, trainer.global_step, rate))


class FromTheStart(fit_module.SeededOrder):
    """Forgets how much of an epoch was seen."""

    def __iter__(self):
        self.start = 0
        return super().__iter__()


class KilledError(Exception):
    pass


def killed_after(count):
    """Raised in the validation after so many of which checkpoints were written."""
    counter = itertools.count(1)

    def told(epoch, score):
        if next(counter) > count:
            raise KilledError

    return told


class TestResumed:
    @pytest.mark.parametrize("accumulate", [1, 2])
    @pytest.mark.parametrize("every", [0, 2, 3, 7])
    def test_it_ends_as_the_uninterrupted_one(self, tmp_path, every, accumulate):
        """Of epochs of 11 batches, the last one left out where two make a step."""
        task, checks = small_task(count=44), 5
        recipe = changed(
            batch_size=4,
            accumulate=accumulate,
            validate_every=every,
            max_validations=checks,
            lr_milestones=[1, 2],
            lr_factor=0.5,
        )
        whole = Rates()
        expected = run(tmp_path / "whole", recipe, FULL, task=task, callbacks=[whole])
        for stop in range(1, checks):
            folder, resumed = tmp_path / str(stop), Rates()
            with pytest.raises(KilledError):
                run(folder, recipe, FULL, task=task, on_validation=killed_after(stop))
            outcome = run(folder, recipe, FULL, task=task, callbacks=[resumed])
            assert resumed.seen == whole.seen[-len(resumed.seen) :]
            assert len(resumed.seen) < len(whole.seen)
            compare(tmp_path / "whole", folder)
            compare(tmp_path / "whole", folder, BEST)
            assert np.array_equal(outcome.prediction, expected.prediction)
            assert (outcome.test, outcome.val) == (expected.test, expected.val)
            assert (outcome.epochs, outcome.best_epoch) == (expected.epochs, expected.best_epoch)
            assert outcome.curves == expected.curves

    @pytest.mark.parametrize("precision", ["64-true", "bf16-true", "bf16-mixed"])
    def test_in_another_precision(self, tmp_path, precision):
        recipe, hardware = changed(max_validations=3), TrainerConfig("cpu", precision=precision)
        run(tmp_path / "whole", recipe, FULL, hardware=hardware)
        told = {"on_validation": killed_after(1), "hardware": hardware}
        with pytest.raises(KilledError):
            run(tmp_path / "killed", recipe, FULL, **told)
        run(tmp_path / "killed", recipe, FULL, hardware=hardware)
        compare(tmp_path / "whole", tmp_path / "killed")

    def test_the_comparison_sees_a_batch_that_is_seen_twice(self, tmp_path, monkeypatch):
        recipe = changed(batch_size=4, validate_every=2, max_validations=3)
        run(tmp_path / "whole", recipe)
        with pytest.raises(KilledError):
            run(tmp_path / "killed", recipe, on_validation=killed_after(1))
        monkeypatch.setattr(fit_module, "SeededOrder", FromTheStart)
        run(tmp_path / "killed", recipe)
        with pytest.raises(AssertionError, match="not equal"):
            compare(tmp_path / "whole", tmp_path / "killed")


def test_the_learning_rate_drops_as_its_epochs_start(tmp_path):
    watch = Rates()
    recipe = changed(lr=0.01, lr_milestones=[1, 3], lr_factor=0.1, max_validations=5)
    run(tmp_path, recipe, callbacks=[watch])
    rates = {epoch: rate for epoch, _, rate in watch.seen}
    assert rates == pytest.approx({0: 1e-2, 1: 1e-3, 2: 1e-3, 3: 1e-4, 4: 1e-4})
    assert len({(epoch, rate) for epoch, _, rate in watch.seen}) == 5


@pytest.mark.parametrize(("clip", "largest"), [(0, None), (0.25, 0.25)])
def test_clip_zero_clips_nothing(tmp_path, monkeypatch, clip, largest):
    asked = []
    clipped = torch.nn.utils.clip_grad_norm_

    def watch(parameters, max_norm, *args, **kwargs):
        asked.append(max_norm)
        return clipped(parameters, max_norm, *args, **kwargs)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", watch)
    run(tmp_path, changed(clip=clip))
    assert set(asked) == ({largest} if largest else set())


@pytest.mark.parametrize(("patience", "epochs"), [(0, 9), (2, 3)])
def test_patience_zero_never_stops_early(tmp_path, patience, epochs):
    """Nothing is learned, so no validation is better than the first."""
    outcome = run(tmp_path, changed(lr=1e-30, patience=patience, max_validations=9))
    assert (outcome.epochs, outcome.best_epoch) == (epochs, 1)


def test_the_monitor_chooses_the_best_epoch(tmp_path):
    scores, outcomes = {}, {}
    for monitor in ("mse", "mae"):
        told = scores[monitor] = []
        outcomes[monitor] = run(
            tmp_path / monitor,
            changed(monitor=monitor, lr=0.1, max_validations=12),
            on_validation=lambda _, score, told=told: told.append(score),
        )
    best = {monitor: int(np.argmin(told)) + 1 for monitor, told in scores.items()}
    assert best["mse"] != best["mae"]
    for monitor, outcome in outcomes.items():
        assert outcome.best_epoch == best[monitor]
        assert outcome.val["all"][monitor] == pytest.approx(min(scores[monitor]), rel=1e-6)


class TestHardware:
    """A ResNet-18 on images of 16 pixels."""

    @pytest.fixture(scope="class")
    @classmethod
    def plain(cls, tmp_path_factory):
        torch.set_num_threads(1)
        return cls.outcome(tmp_path_factory.mktemp("plain"))

    @classmethod
    def outcome(cls, folder, *, hardware=None, **layout):
        task = small_task(count=24, encoder="resnet18", size=16, **layout)
        settings = {
            "hardware": hardware or TrainerConfig("cpu"),
            "limits": TrainingLimits(epochs=2),
        }
        return run(folder, changed(lr=1e-3), FULL, task=task, **settings)

    def test_bf16(self, tmp_path, plain):
        other = self.outcome(tmp_path, hardware=TrainerConfig("cpu", precision="bf16-mixed"))
        for part in ("val", "test"):
            ours, theirs = getattr(other, part)["all"], getattr(plain, part)["all"]
            assert math.isfinite(ours["mae"])
            assert ours["mae"] == pytest.approx(theirs["mae"], rel=0.1)
        assert not np.array_equal(other.prediction, plain.prediction)

    def test_channels_last(self, tmp_path, plain):
        other = self.outcome(
            tmp_path, hardware=TrainerConfig("cpu", channels_last=True), channels_last=True
        )
        assert other.test["all"]["mae"] == pytest.approx(plain.test["all"]["mae"], rel=0.02)

    def test_compiled(self, tmp_path, plain, monkeypatch):
        """Whole graphs as they are: Inductor takes a minute for a ResNet."""
        with compiling_by("eager", monkeypatch) as graphs:
            other = self.outcome(tmp_path, hardware=TrainerConfig("cpu", compile=True))
        assert graphs
        assert other.test["all"]["mae"] == pytest.approx(plain.test["all"]["mae"], rel=0.02)


def test_one_sample_left_of_an_epoch(tmp_path):
    message = (
        "A batch of one sample, as the last of an epoch may be, cannot train BatchNorm where "
        "images have shrunk to a pixel: set another batch_size or image_size."
    )
    task = small_task(count=9, encoder="resnet18", size=16)
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        run(tmp_path, task=task)


@contextmanager
def compiling_by(backend, monkeypatch):
    """``Module.compile()`` by another backend; yields the graphs it is given."""
    graphs, compiled = [], torch.nn.Module.compile

    def given(graph, inputs):
        graphs.append(graph)
        return torch._dynamo.lookup_backend(backend)(graph, inputs)

    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **how: compiled(self, backend=given, **how)
    )
    torch._dynamo.reset()
    yield graphs
    torch._dynamo.reset()


@pytest.mark.skipif(shutil.which("c++") is None, reason="the default backend needs a compiler")
# torch's own, as it imports the compiler
@pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning")
def test_compiled_by_the_default_backend(tmp_path):
    recipe = changed(batch_size=40)  # one size of batches: each costs seconds
    plain = run(tmp_path / "plain", recipe)
    other = run(tmp_path / "other", recipe, hardware=TrainerConfig("cpu", compile=True))
    assert other.prediction == pytest.approx(plain.prediction, rel=1e-4, abs=1e-4)
    assert weights(tmp_path / "other").keys() == weights(tmp_path / "plain").keys()
    torch._dynamo.reset()


class TestLabelsOfAnyUnit:
    def test_what_is_found_trains_as_what_is_given(self, tmp_path):
        task = small_task()
        scale = float(np.std(task.train.labels.numpy()))
        given = changed(label_scale=scale, label_step=1.0)
        found = changed(label_scale=0, label_step=0)
        first = run(tmp_path / "given", given, FULL, task=task)
        second = run(tmp_path / "found", found, FULL, task=task)
        compare(tmp_path / "given", tmp_path / "found")
        assert first.test == second.test

    @pytest.mark.parametrize("name", [BEST, LAST])
    def test_a_checkpoint_knows_the_scale(self, tmp_path, name):
        task = small_task()
        run(tmp_path, changed(label_scale=0, label_step=0), task=task)
        content = torch.load(tmp_path / name, weights_only=True)
        assert content["recipe"]["label_scale"] == float(np.std(task.train.labels.numpy()))


@pytest.mark.parametrize("published", [False, True])
def test_statistics_of_augmented_samples_are_the_published_ones(tmp_path, published):
    seen = []

    def augment(inputs, index, epoch):
        if not torch.is_grad_enabled():
            seen.append((epoch, sorted(index.tolist())))
        return inputs

    task = dataclasses.replace(small_task(), augment=augment)
    run(tmp_path, changed(fds_paper_compat=published), Technique(fds=True), task=task)
    every = list(range(40))
    assert seen == ([(1, every), (2, every)] if published else [])


def test_augmentation_changes_the_training(tmp_path):
    with_it = run(tmp_path / "with")
    without = run(tmp_path / "without", task=small_task(augment=False))
    assert not np.array_equal(with_it.prediction, without.prediction)
