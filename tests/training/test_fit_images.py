"""fit on tiny images: accumulation, schedules, resuming, precisions and memory layouts."""

import dataclasses
import itertools
import math
import shutil
from contextlib import contextmanager

import lightning.pytorch as L
import numpy as np
import pytest
import torch

from ranksim.exceptions import UsageError
from ranksim.training.data_loader import SeededSampler
from ranksim.training.fused_adam import FusedAdam
from ranksim.training.lightning import loop
from ranksim.training.limits import TrainingLimits
from ranksim.training.method import Technique
from ranksim.training.resume import BEST, LAST
from ranksim.training.trainer_config import TrainerConfig
from tests.helpers.pictures import (
    assert_same_weights,
    load_weights,
    make_recipe,
    make_task,
    train,
)

EXACT = TrainerConfig("cpu", precision="64-true")
FULL = Technique(fds=True, ranksim=True)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class TestGradientAccumulation:
    def test_two_batches_of_four_equal_one_of_eight(self, tmp_path):
        train(tmp_path / "eight", make_recipe(batch_size=8), trainer_config=EXACT)
        accumulated = make_recipe(batch_size=4, accumulate_grad_batches=2)
        train(tmp_path / "accumulated", accumulated, trainer_config=EXACT)
        train(tmp_path / "four", make_recipe(batch_size=4), trainer_config=EXACT)
        assert_same_weights(tmp_path / "eight", tmp_path / "accumulated", atol=1e-12)
        with pytest.raises(AssertionError, match="not close"):
            assert_same_weights(tmp_path / "eight", tmp_path / "four", atol=1e-12)

    @pytest.mark.parametrize("count", [44, 46])
    def test_incomplete_steps_and_smaller_batches_are_skipped(self, tmp_path, count):
        """44: the eleventh batch of 4 is half a step; 46: the twelfth batch has 2 samples."""
        recipe = make_recipe(batch_size=4, accumulate_grad_batches=2)
        result = train(tmp_path, recipe, task=make_task(count=count))
        assert (result.epochs, result.steps) == (3, 15)

    @pytest.mark.parametrize("every", [0, 2])
    def test_step_is_at_most_an_epoch(self, tmp_path, every):
        recipe = make_recipe(batch_size=8, accumulate_grad_batches=99, validate_every=every)
        result = train(tmp_path, recipe)
        assert result.steps == result.epochs == 3 * max(every, 1)

    @pytest.mark.parametrize("every", [1, 3, 7])
    def test_validation_interval_counts_optimizer_steps(self, tmp_path, every):
        steps = []

        class RecordSteps(L.Callback):
            def on_validation_end(self, trainer, pl_module):
                steps.append(trainer.global_step)

        recipe = make_recipe(batch_size=4, accumulate_grad_batches=2, validate_every=every)
        train(tmp_path, recipe, task=make_task(count=44), callbacks=[RecordSteps()])
        assert steps == [every, 2 * every, 3 * every]


class RecordLearningRate(L.Callback):
    """Records epoch, step and learning rate of each batch."""

    def __init__(self):
        self.records = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        lr = trainer.optimizers[0].param_groups[0]["lr"]
        self.records.append((trainer.current_epoch, trainer.global_step, lr))


class RestartingSampler(SeededSampler):
    """A wrong sampler, which repeats the samples of an interrupted epoch."""

    def __iter__(self):
        self.start_index = 0
        return super().__iter__()


class TrainingInterruptedError(Exception):
    pass


def interrupt_after(count):
    """Return a validation callback that interrupts once ``count`` checkpoints are written."""
    counter = itertools.count(1)

    def on_validation(epoch, score):
        if next(counter) > count:
            raise TrainingInterruptedError

    return on_validation


class TestResume:
    @pytest.mark.parametrize(
        ("every", "accumulate", "stops"),
        [
            (0, 1, (4,)),
            (2, 2, (3,)),
            *(
                pytest.param(*case, marks=pytest.mark.slow)
                for case in ((0, 1, (1,)), (3, 1, (2, 4)), (7, 2, (1,)))
            ),
        ],
    )
    def test_interrupted_training_resumes_to_same_result(self, tmp_path, every, accumulate, stops):
        """Epochs have 11 batches, the last of which is skipped if two make a step."""
        task = make_task(count=44)
        recipe = make_recipe(
            batch_size=4,
            accumulate_grad_batches=accumulate,
            validate_every=every,
            max_validations=5,
            lr_milestones=[1, 2],
            lr_factor=0.5,
        )
        complete_lr = RecordLearningRate()
        expected = train(tmp_path / "complete", recipe, FULL, task=task, callbacks=[complete_lr])
        for stop in stops:
            folder, resumed_lr = tmp_path / str(stop), RecordLearningRate()
            with pytest.raises(TrainingInterruptedError):
                train(
                    folder,
                    recipe,
                    FULL,
                    task=task,
                    on_validation=interrupt_after(stop),
                    callbacks=[RecordLearningRate()],
                )
            result = train(folder, recipe, FULL, task=task, callbacks=[resumed_lr])
            assert resumed_lr.records == complete_lr.records[-len(resumed_lr.records) :]
            assert len(resumed_lr.records) < len(complete_lr.records)
            assert_same_weights(tmp_path / "complete", folder)
            assert_same_weights(tmp_path / "complete", folder, BEST)
            assert np.array_equal(result.preds, expected.preds)
            assert (result.test, result.val) == (expected.test, expected.val)
            assert (result.epochs, result.best_epoch) == (expected.epochs, expected.best_epoch)
            assert result.curves == expected.curves

    @pytest.mark.parametrize(
        "precision",
        [
            "bf16-mixed",
            *(pytest.param(p, marks=pytest.mark.slow) for p in ("64-true", "bf16-true")),
        ],
    )
    def test_other_precisions_resume_to_same_result(self, tmp_path, precision):
        options = {"trainer_config": TrainerConfig("cpu", precision=precision)}
        train(tmp_path / "complete", technique=FULL, **options)
        interrupted = options | {"on_validation": interrupt_after(1)}
        with pytest.raises(TrainingInterruptedError):
            train(tmp_path / "interrupted", technique=FULL, **interrupted)
        train(tmp_path / "interrupted", technique=FULL, **options)
        assert_same_weights(tmp_path / "complete", tmp_path / "interrupted")

    def test_comparison_detects_repeated_batches(self, tmp_path, monkeypatch):
        recipe = make_recipe(batch_size=4, validate_every=2, max_validations=3)
        lightning = {"callbacks": [L.Callback()]}
        train(tmp_path / "complete", recipe)
        with pytest.raises(TrainingInterruptedError):
            train(tmp_path / "interrupted", recipe, on_validation=interrupt_after(1), **lightning)
        monkeypatch.setattr(loop, "SeededSampler", RestartingSampler)
        train(tmp_path / "interrupted", recipe, **lightning)
        with pytest.raises(AssertionError, match="not equal"):
            assert_same_weights(tmp_path / "complete", tmp_path / "interrupted")


def test_learning_rate_drops_at_milestones(tmp_path):
    recorder = RecordLearningRate()
    recipe = make_recipe(lr=0.01, lr_milestones=[1, 3], lr_factor=0.1, max_validations=5)
    train(tmp_path, recipe, callbacks=[recorder])
    rates = {epoch: lr for epoch, _, lr in recorder.records}
    assert rates == pytest.approx({0: 1e-2, 1: 1e-3, 2: 1e-3, 3: 1e-4, 4: 1e-4})
    assert len({(epoch, lr) for epoch, _, lr in recorder.records}) == 5


@pytest.mark.parametrize("max_grad_norm", [0, 0.25])
def test_max_grad_norm_zero_disables_clipping(tmp_path, monkeypatch, max_grad_norm):
    norms = set()
    clip = FusedAdam.clip_gradients

    def record(optimizer, max_norm):
        norms.add(max_norm)
        clip(optimizer, max_norm)

    monkeypatch.setattr(FusedAdam, "clip_gradients", record)
    train(tmp_path, make_recipe(max_grad_norm=max_grad_norm))
    assert norms == ({max_grad_norm} if max_grad_norm else set())


@pytest.mark.parametrize(("patience", "epochs"), [(0, 9), (2, 3)])
def test_patience_zero_disables_early_stopping(tmp_path, patience, epochs):
    """With a negligible learning rate no validation is better than the first."""
    result = train(tmp_path, make_recipe(lr=1e-30, patience=patience, max_validations=9))
    assert (result.epochs, result.best_epoch) == (epochs, 1)


def test_monitor_selects_best_epoch(tmp_path):
    best_epochs = set()
    for monitor in ("mse", "mae"):
        scores = []
        result = train(
            tmp_path / monitor,
            make_recipe(monitor=monitor, lr=0.1, max_validations=12),
            on_validation=lambda _, score, scores=scores: scores.append(score),
        )
        assert result.best_epoch == int(np.argmin(scores)) + 1
        assert result.val["all"][monitor] == pytest.approx(min(scores), rel=1e-6)
        best_epochs.add(result.best_epoch)
    assert len(best_epochs) == 2


@contextmanager
def compile_backend(backend, monkeypatch):
    """Let ``Module.compile()`` use another backend; yields the list of compiled graphs."""
    graphs, compile_module = [], torch.nn.Module.compile

    def compile_graph(graph, inputs):
        graphs.append(graph)
        return torch._dynamo.lookup_backend(backend)(graph, inputs)

    monkeypatch.setattr(
        torch.nn.Module,
        "compile",
        lambda self, **options: compile_module(self, backend=compile_graph, **options),
    )
    torch._dynamo.reset()
    yield graphs
    torch._dynamo.reset()


@pytest.mark.slow
class TestTrainerConfig:
    """A ResNet-18 on images of 16 pixels."""

    @pytest.fixture(scope="class")
    @classmethod
    def default(cls, tmp_path_factory):
        torch.set_num_threads(1)
        return cls.train_resnet(tmp_path_factory.mktemp("default"))

    @staticmethod
    def train_resnet(folder, channels_last=False, **config):
        task = make_task(count=24, encoder="resnet18", size=16, channels_last=channels_last)
        options = {
            "trainer_config": TrainerConfig("cpu", **config),
            "limits": TrainingLimits(epochs=2),
        }
        return train(folder, make_recipe(lr=1e-3), FULL, task=task, **options)

    def test_bf16_agrees_up_to_rounding(self, tmp_path, default):
        other = self.train_resnet(tmp_path, precision="bf16-mixed")
        for split in ("val", "test"):
            score, expected = (getattr(each, split)["all"]["mae"] for each in (other, default))
            assert math.isfinite(score)
            assert score == pytest.approx(expected, rel=0.1)
        assert not np.array_equal(other.preds, default.preds)

    def test_channels_last_agrees(self, tmp_path, default):
        other = self.train_resnet(tmp_path, channels_last=True)
        assert other.test["all"]["mae"] == pytest.approx(default.test["all"]["mae"], rel=0.02)

    def test_compiled_encoder_agrees(self, tmp_path, default, monkeypatch):
        """With the eager backend: Inductor takes a minute for a ResNet."""
        with compile_backend("eager", monkeypatch) as graphs:
            other = self.train_resnet(tmp_path, compile=True)
        assert graphs
        assert other.test["all"]["mae"] == pytest.approx(default.test["all"]["mae"], rel=0.02)

    @pytest.mark.skipif(shutil.which("c++") is None, reason="the default backend needs a compiler")
    # torch warns as it imports the compiler
    @pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning")
    def test_default_backend_agrees(self, tmp_path):
        recipe = make_recipe(batch_size=40)  # one batch size: each takes seconds to compile
        expected = train(tmp_path / "default", recipe)
        config = TrainerConfig("cpu", compile=True)
        result = train(tmp_path / "compiled", recipe, trainer_config=config)
        assert result.preds == pytest.approx(expected.preds, rel=1e-4, abs=1e-4)
        weights = [load_weights(tmp_path / name) for name in ("compiled", "default")]
        assert weights[0].keys() == weights[1].keys()
        torch._dynamo.reset()


@pytest.mark.usefixtures("real_resnet18")
def test_batch_norm_of_one_sample_is_explained(tmp_path):
    task = make_task(count=9, encoder="resnet18", size=16)
    with pytest.raises(UsageError, match="one sample .* choose another batch_size or image_size"):
        train(tmp_path, task=task)


class TestInferredLabelScale:
    def test_equals_explicit_values(self, tmp_path):
        scale = float(np.std(make_task().train.labels.numpy()))
        explicit = make_recipe(label_scale=scale, label_step=1.0)
        first = train(tmp_path / "explicit", explicit, FULL)
        second = train(tmp_path / "inferred", make_recipe(label_scale=0, label_step=0), FULL)
        assert_same_weights(tmp_path / "explicit", tmp_path / "inferred")
        assert first.test == second.test
        for name in (BEST, LAST):
            checkpoint = torch.load(tmp_path / "inferred" / name, weights_only=True)
            assert checkpoint["recipe"]["label_scale"] == scale


@pytest.mark.parametrize("paper_compat", [False, True])
def test_fds_uses_augmented_samples_only_with_paper_compat(tmp_path, paper_compat):
    calls = []

    def augment(inputs, index, epoch):
        if not torch.is_grad_enabled():
            calls.append((epoch, sorted(index.tolist())))
        return inputs

    task = dataclasses.replace(make_task(), augment=augment)
    train(tmp_path, make_recipe(fds_paper_compat=paper_compat), Technique(fds=True), task=task)
    samples = list(range(40))
    assert calls == ([(1, samples), (2, samples)] if paper_compat else [])


def test_augmentation_changes_training(tmp_path):
    augmented = train(tmp_path / "augmented")
    plain = train(tmp_path / "plain", task=make_task(augment=False))
    assert not np.array_equal(augmented.preds, plain.preds)
