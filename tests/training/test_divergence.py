"""Detection and reporting of diverging trainings."""

import dataclasses
import json
import math
import pickle
import re

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import nn

from ranksim.data.batch import VectorDataset
from ranksim.losses import FocalRLoss, HuberLoss, L1Loss, MSELoss, RankSimLoss
from ranksim.models import MLPEncoder, Regressor
from ranksim.training.data_loader import SeededSampler
from ranksim.training.divergence import (
    EXPLOSION_FACTOR,
    DivergedError,
    Divergence,
    DivergenceMonitor,
    SampleIds,
    explosion_threshold,
)
from ranksim.training.fit import fit
from ranksim.training.lightning import trainer
from ranksim.training.limits import TrainingLimits
from ranksim.training.method import Technique
from ranksim.training.resume import BEST, LAST
from ranksim.training.trainer_config import TrainerConfig
from tests.helpers.text_training import (
    RECIPE,
    load_weights,
    make_options,
    make_recipe,
    make_task,
    same_result,
    train,
)
from tests.helpers.trained_models import Process

STEPS_PER_EPOCH, BATCH_SIZE = 4, 16


class SetBias(L.Callback):
    """Overwrites the bias of the head before a step, counted from 1."""

    def __init__(self, step, value):
        self.step, self.value = step, value

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step + 1 == self.step:
            nn.init.constant_(pl_module.model.head.bias, self.value)


def diverge(folder, step, value, recipe=RECIPE, **options):
    with pytest.raises(DivergedError) as raised:
        train(folder, recipe=recipe, callbacks=[SetBias(step, value)], **options)
    return raised.value


def batch_of_step(step, size=BATCH_SIZE):
    sampler = SeededSampler(64, 0, size)
    sampler.set_epoch((step - 1) // STEPS_PER_EPOCH)
    return list(sampler)[(step - 1) % STEPS_PER_EPOCH * size :][:size]


@pytest.mark.parametrize(
    ("value", "text"),
    [(math.nan, "is nan on"), (math.inf, "is inf on"), (1e9, r"is 1e\+18, above \d[\d.e+]*, on")],
)
@pytest.mark.parametrize("step", [1, 6])
def test_training_stops_at_diverged_step_and_names_batch(tmp_path, value, text, step):
    error = diverge(tmp_path, step, value, make_recipe(lr_milestones=[1], lr_factor=0.5))
    batch, divergence = batch_of_step(step), error.divergence
    lr = RECIPE.lr * (1 if step < 5 else 0.5)
    assert (divergence.part, divergence.step, divergence.epoch) == ("loss", step, 1 + step // 5)
    assert divergence.lr == pytest.approx(lr)
    assert list(divergence.samples) == batch
    assert math.isnan(divergence.value) if math.isnan(value) else divergence.value > 1e15
    first = ", ".join(map(str, batch[:5]))
    assert f"step {step} " in str(error)
    assert re.search(rf"{text} training samples {first} and 11 more; lower lr", str(error))
    checkpoints = {path.name for path in tmp_path.iterdir()} & {BEST, LAST}
    assert checkpoints == (set() if step < 5 else {BEST, LAST})
    for name in checkpoints:  # written at the validation before
        assert all(value.isfinite().all() for value in load_weights(tmp_path, name).values())
    if checkpoints:
        assert torch.load(tmp_path / LAST, weights_only=True)["global_step"] == STEPS_PER_EPOCH


def test_nan_ranksim_term_is_distinguished_from_loss(tmp_path, monkeypatch):
    forward, calls = RankSimLoss.forward, []

    def fail_third(self, features, labels):
        calls.append(0)
        return forward(self, features, labels) * (math.nan if len(calls) == 3 else 1)

    monkeypatch.setattr(RankSimLoss, "forward", fail_third)
    with pytest.raises(DivergedError, match=r"step 3 .*: the RankSim term is nan on"):
        train(tmp_path)


def test_nan_validation_score_is_divergence(tmp_path):
    """Lightning's early stopping would treat it as the regular end of the training."""

    class SpoilLastStep(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.global_step == 8:
                nn.init.constant_(pl_module.model.head.bias, math.nan)

    with pytest.raises(DivergedError, match=r"step 8 \(epoch 2, .*validation MSE is nan") as error:
        train(tmp_path, Technique(), callbacks=[SpoilLastStep()])
    assert torch.load(tmp_path / LAST, weights_only=True)["global_step"] == STEPS_PER_EPOCH
    assert error.value.divergence.samples == ()


def test_infinite_gradients_of_grad_scaler_are_not_divergence(tmp_path, monkeypatch):
    """A scaler starts too high on purpose, skips these steps and halves its scale."""
    scaler = torch.amp.GradScaler("cpu")
    original = trainer.trainer_arguments

    def with_scaler(config, **settings):
        arguments = original(config, **settings)
        del arguments["precision"]
        return arguments | {"plugins": [MixedPrecision("16-mixed", "cpu", scaler=scaler)]}

    class Overflow(L.Callback):
        def on_after_backward(self, trainer, pl_module):
            if trainer.fit_loop.total_batch_idx < 2:
                pl_module.model.head.bias.grad.fill_(math.inf)

    monkeypatch.setattr("ranksim.training.lightning.loop.trainer_arguments", with_scaler)
    draw = torch.Generator().manual_seed(0)
    splits = [
        VectorDataset(torch.randn(64, 3, generator=draw).numpy(), np.arange(64) % 5 * 1.0)
        for _ in range(3)
    ]
    task = dataclasses.replace(
        make_task(),
        **dict(zip(("train", "val", "test"), splits, strict=True)),
        build_model=lambda: Regressor(MLPEncoder(3, hidden=4, layers=1, dropout=0.0)),
    )
    options = make_options(limits=TrainingLimits(epochs=2), callbacks=[Overflow()])
    result = fit(task, make_recipe(max_grad_norm=0.0), Technique(), tmp_path, options)
    assert result.epochs == 2
    assert scaler.get_scale() == 2.0**14  # halved twice


def test_monitor_does_not_change_training(tmp_path, monkeypatch):
    monitored = train(tmp_path / "monitored")
    monkeypatch.setattr(DivergenceMonitor, "check", lambda *_: None)
    assert same_result(monitored, train(tmp_path / "unmonitored"))


class SetBiasInSecondProcess(SetBias):
    def on_train_batch_start(self, trainer, *args):
        if trainer.global_rank == 1:
            super().on_train_batch_start(trainer, *args)


def diverge_on_two_devices(folder):
    trainer._START_METHOD = "fork"  # starts faster
    ids = SampleIds(np.arange(64) + 2, "line", "homes.csv")
    task = dataclasses.replace(make_task(), sample_ids=ids)
    options = make_options(
        trainer_config=TrainerConfig("cpu", "2"), callbacks=[SetBiasInSecondProcess(2, math.nan)]
    )
    try:
        fit(task, make_recipe(batch_size=8), Technique(), folder, options)
    except DivergedError as error:
        return dataclasses.asdict(error.divergence), str(error)
    return None


@pytest.mark.slow
@pytest.mark.distributed
def test_all_processes_stop_and_report_the_diverged_batch(tmp_path):
    divergence, message = Process(diverge_on_two_devices, tmp_path).result(timeout=60)
    batch = batch_of_step(2)[8:]  # the share of the second process
    assert (divergence["step"], divergence["samples"]) == (2, batch)
    assert divergence["numbers"] == [row + 2 for row in batch]
    first = ", ".join(str(row + 2) for row in batch[:5])
    assert f"nan on lines {first} and 3 more of homes.csv" in message


def largest_loss(loss, labels, weights, pred):
    error = np.abs(labels - pred)
    values = {
        L1Loss: error,
        MSELoss: error**2,
        HuberLoss: np.where(error <= 1, error**2 / 2, error - 0.5),
        FocalRLoss: error**2 * np.tanh(0.1 * error),
    }[type(loss)]
    return (values * weights).max()


@pytest.mark.parametrize("loss", [L1Loss(), MSELoss(), HuberLoss(), FocalRLoss()])
@pytest.mark.parametrize("weighted", [False, True])
def test_explosion_threshold_matches_its_equation(loss, weighted):
    draw = np.random.default_rng(0)
    labels = draw.pareto(1.0, 200)  # heavy-tailed
    weights = draw.uniform(0.1, 2, 200).astype(np.float32) if weighted else np.ones(200)
    tensor = torch.from_numpy(weights) if weighted else None
    threshold = explosion_threshold(loss, torch.from_numpy(labels), tensor, 30.0)
    expected = max(largest_loss(loss, labels, weights, pred) for pred in (labels.mean(), 30.0))
    assert threshold == pytest.approx(EXPLOSION_FACTOR * expected, rel=1e-6)
    assert loss.reduction == "mean"


def test_explosion_threshold_of_equal_labels_is_infinite():
    assert explosion_threshold(MSELoss(), torch.ones(3).double(), None, 1.0) == math.inf


@pytest.mark.parametrize(("count", "text"), [(1, "sample 0;"), (5, "samples 0, 1, 2, 3, 4;")])
def test_message_and_record_name_samples(count, text):
    divergence = Divergence("loss", math.inf, 1, 1, 0.1, list(range(count)))
    assert f" on training {text}" in divergence.message()
    ids = SampleIds(np.arange(9) * 10 + 2, "row", "a.csv")
    divergence = divergence.with_sample_ids(ids)
    assert f" on row{'s' * (count > 1)} 2" in divergence.message()
    entry = json.loads(json.dumps(divergence.to_dict(), allow_nan=False))
    assert entry["rows"] == [10 * k + 2 for k in range(count)]
    assert entry["samples"] == list(range(count))
    assert (entry["value"], entry["limit"]) == ("inf", "inf")


def test_error_survives_pickle_and_traceback():
    error = DivergedError(Divergence("loss", 1e9, 3, 1, 0.1, [1, 2], 1e4, True))
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.divergence, str(copy)) == (error.divergence, str(error))
    kind = f"{DivergedError.__module__}.{DivergedError.__qualname__}"
    lines = [f"{kind}: {error}", json.dumps(dataclasses.asdict(error.divergence))]
    assert str(DivergedError.from_traceback(lines)) == str(error)
    assert DivergedError.from_traceback(["ValueError: no", "{}"]) is None
    assert DivergedError.from_traceback(["x"]) is None


class FakeEvent:
    """Stands for torch.cuda.Event."""

    def record(self):
        pass

    def synchronize(self):
        pass


@pytest.mark.parametrize("step", [6, 8])
def test_asynchronous_device_is_checked_one_step_later(tmp_path, monkeypatch, step):
    """But before the validation: step 8 ends an epoch."""
    synchronous = diverge(tmp_path / "synchronous", step, math.nan)
    started = []

    class RecordSteps(L.Callback):
        def on_train_batch_start(self, trainer, *_):
            started.append(trainer.global_step + 1)

    monkeypatch.setattr("ranksim.training.divergence._is_asynchronous", lambda device: True)
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    with pytest.raises(DivergedError) as raised:
        train(tmp_path / "late", callbacks=[RecordSteps(), SetBias(step, math.nan)])
    assert started[-1] == (step if step % STEPS_PER_EPOCH == 0 else step + 1)
    assert str(raised.value) == str(synchronous)
    assert raised.value.divergence.samples == synchronous.divergence.samples
    assert torch.load(tmp_path / "late" / LAST, weights_only=True)["global_step"] == 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("step", [1, 6, 8])
def test_gpu_names_the_diverged_step(tmp_path, step):
    error = diverge(tmp_path, step, math.nan, trainer_config=TrainerConfig("gpu"))
    assert error.divergence.step == step
    assert list(error.divergence.samples) == batch_of_step(step)
    if step > STEPS_PER_EPOCH:
        assert torch.load(tmp_path / LAST, weights_only=True)["global_step"] == STEPS_PER_EPOCH
