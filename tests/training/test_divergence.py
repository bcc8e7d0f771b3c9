"""A training that diverges ends at that step, and says where."""

import dataclasses
import functools
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

from ranksim.data.features import VectorDataset
from ranksim.losses import FocalRLoss, HuberLoss, L1Loss, MSELoss
from ranksim.models import MLPEncoder, Regressor
from ranksim.training import trainer_config as hardware_module
from ranksim.training.data_loader import SeededSampler
from ranksim.training.divergence import (
    EXPLOSION_FACTOR,
    DivergedError,
    Divergence,
    DivergenceMonitor,
    SampleIds,
    explosion_threshold,
)
from ranksim.training.fit import TrainingLimits, fit
from ranksim.training.method import Technique
from ranksim.training.resume import BEST, LAST
from ranksim.training.trainer_config import TrainerConfig
from tests.helpers.trained_models import Process
from tests.training.test_fit import RECIPE, changed, run, same, small_task

ONCE = changed(RECIPE, {"batch_size": 16, "accumulate_grad_batches": 1})  # 4 steps an epoch


class Spoil(L.Callback):
    """Makes the network's bias another number before a step, counted from 1."""

    def __init__(self, step, value):
        self.step, self.value = step, value

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step + 1 == self.step:
            nn.init.constant_(pl_module.model.head.bias, self.value)


def spoilt(folder, step, value, recipe=ONCE, **settings):
    with pytest.raises(DivergedError) as raised:
        run(folder, recipe=recipe, callbacks=[Spoil(step, value)], **settings)
    return raised.value


@pytest.mark.parametrize(
    ("value", "told"),
    [(math.nan, "is nan on"), (math.inf, "is inf on"), (1e9, r"is 1e\+18, beyond \d[\d.e+]*, on")],
)
@pytest.mark.parametrize("step", [1, 6])
def test_it_ends_at_its_step_with_the_samples_of_its_batch(tmp_path, value, told, step):
    recipe = changed(ONCE, {"lr_milestones": [1], "lr_factor": 0.5})
    error = spoilt(tmp_path, step, value, recipe)
    order = SeededSampler(64, 0, 16)
    order.set_epoch((step - 1) // 4)
    batch = list(order)[(step - 1) % 4 * 16 :][:16]
    found, lr = error.found, RECIPE.lr * (1 if step < 5 else 0.5)
    assert (found.part, found.step, found.epoch) == ("loss", step, 1 + (step - 1) // 4)
    assert found.lr == pytest.approx(lr)
    assert list(found.samples) == batch
    assert math.isnan(found.value) if math.isnan(value) else found.value > 1e15
    first = ", ".join(map(str, batch[:5]))
    pattern = rf"^Training diverged at step {step} \(epoch \d, lr {lr:g}\): the loss "
    pattern += told + rf" training samples {first} and 11 more; lower lr or ranksim_weight\.$"
    assert re.match(pattern, str(error))
    kept = {path.name for path in tmp_path.iterdir()} & {BEST, LAST}
    assert kept == (set() if step < 5 else {BEST, LAST})
    if kept:  # those of the validation before
        for name in kept:
            state = torch.load(tmp_path / name, weights_only=True)
            assert all(v.isfinite().all() for k, v in state["state_dict"].items())
        assert torch.load(tmp_path / LAST, weights_only=True)["global_step"] == 4


def test_ranksims_term_is_told_from_the_loss(tmp_path, monkeypatch):
    from ranksim.losses import RankSimLoss

    forward, steps = RankSimLoss.forward, []

    def fails_once(self, features, labels):
        steps.append(0)
        return forward(self, features, labels) * (math.nan if len(steps) == 3 else 1)

    monkeypatch.setattr(RankSimLoss, "forward", fails_once)
    with pytest.raises(DivergedError, match=r"step 3 .*: the RankSim term is nan on") as raised:
        run(tmp_path, recipe=ONCE)
    assert raised.value.found.part == "RankSim term"


def test_a_validation_that_is_no_number_is_no_end_as_if_it_were_done(tmp_path):
    """After good ones: the last step before it spoils the network."""

    class SpoilAtTheEnd(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.global_step == 8:
                nn.init.constant_(pl_module.model.head.bias, math.nan)

    with pytest.raises(DivergedError, match=r"^Training diverged at step 8 \(epoch 2, lr ") as told:
        run(tmp_path, recipe=ONCE, callbacks=[SpoilAtTheEnd()], ranksim=False)
    assert told.match(r": the validation MSE is nan; lower lr\.$")
    assert torch.load(tmp_path / LAST, weights_only=True)["global_step"] == 4
    assert told.value.found.samples == ()


def test_infinite_gradients_under_a_scaler_are_no_divergence(tmp_path, monkeypatch):
    """A scaler begins too high on purpose, skips these steps and halves."""
    scaler = torch.amp.GradScaler("cpu")
    made = hardware_module.trainer_arguments

    def scaled(hardware, **more):
        settings = made(hardware, **more)
        del settings["precision"]
        return settings | {"plugins": [MixedPrecision("16-mixed", "cpu", scaler=scaler)]}

    class Overflow(L.Callback):
        def on_after_backward(self, trainer, pl_module):
            if trainer.fit_loop.total_batch_idx < 2:
                pl_module.model.head.bias.grad.fill_(math.inf)

    monkeypatch.setattr("ranksim.training.fit.trainer_settings", scaled)
    draw = torch.Generator().manual_seed(0)
    parts = [
        VectorDataset(torch.randn(64, 3, generator=draw).numpy(), np.arange(64) % 5 * 1.0)
        for _ in range(3)
    ]
    task = dataclasses.replace(
        small_task(ONCE),
        **dict(zip(("train", "val", "test"), parts, strict=True)),
        build=lambda: Regressor(MLPEncoder(3, hidden=4, layers=1, dropout=0.0)),
    )
    recipe = changed(ONCE, {"max_grad_norm": 0.0})
    limits, hardware = TrainingLimits(epochs=2), TrainerConfig("cpu")
    outcome = fit(
        *(task, recipe, Technique(), tmp_path),
        seed=0,
        limits=limits,
        hardware=hardware,
        callbacks=[Overflow()],
    )
    assert outcome.epochs == 2
    assert scaler.get_scale() == 2.0**14  # halved twice


def test_what_is_watched_trains_as_what_is_not(tmp_path, monkeypatch):
    watched = run(tmp_path / "watched", recipe=ONCE)
    monkeypatch.setattr(DivergenceMonitor, "look", lambda *_: None)
    assert same(watched, run(tmp_path / "not", recipe=ONCE))


class SpoilTheSecond(Spoil):
    """In the second process alone, whose samples then are the ones to name."""

    def on_train_batch_start(self, trainer, *given):
        if trainer.global_rank == 1:
            super().on_train_batch_start(trainer, *given)


def train_two(folder):
    """In processes that start in a moment."""
    hardware_module._START = "fork"
    task = dataclasses.replace(
        small_task(ONCE), ids=SampleIds(np.arange(64) + 2, "line", "homes.csv")
    )
    try:
        fit(
            task,
            changed(ONCE, {"batch_size": 8}),
            Technique(),
            folder,
            seed=0,
            hardware=TrainerConfig("cpu", "2"),
            limits=TrainingLimits(epochs=2),
            callbacks=[SpoilTheSecond(2, math.nan)],
        )
    except DivergedError as error:
        return dataclasses.asdict(error.found), str(error)
    return None


def test_several_processes_stop_together_and_say_whose_batch_it_was(tmp_path):
    found, told = Process(train_two, tmp_path).result(timeout=60)
    batch = list(SeededSampler(64, 0, 16))[24:32]  # of step 2, the second process has the last 8
    assert (found["step"], found["samples"]) == (2, batch)
    assert found["numbers"] == [row + 2 for row in batch]
    first = ", ".join(str(row + 2) for row in batch[:5])
    assert f"nan on lines {first} and 3 more of homes.csv; lower lr." in told


def oracle(loss, labels, weights, guess):
    error = np.abs(labels - guess)
    values = {
        L1Loss: error,
        MSELoss: error**2,
        HuberLoss: np.where(error <= 1, error**2 / 2, error - 0.5),
        FocalRLoss: error**2 * np.tanh(0.1 * error),
    }[type(loss)]
    return (values * weights).max()


@pytest.mark.parametrize("loss", [L1Loss(), MSELoss(), HuberLoss(), FocalRLoss()])
@pytest.mark.parametrize("weighed", [False, True])
def test_the_limit_is_that_of_guessing_the_mean(loss, weighed):
    draw = np.random.default_rng(0)
    labels = draw.pareto(1.0, 200)  # of heavy tail
    weights = draw.uniform(0.1, 2, 200).astype(np.float32) if weighed else np.ones(200)
    given = torch.from_numpy(weights) if weighed else None
    found = explosion_threshold(loss, torch.from_numpy(labels), given, 30.0)
    expected = max(oracle(loss, labels, weights, guess) for guess in (labels.mean(), 30.0))
    assert found == pytest.approx(EXPLOSION_FACTOR * expected, rel=1e-6)
    assert loss.reduction == "mean"


def test_equal_labels_set_no_limit():
    assert explosion_threshold(MSELoss(), torch.ones(3).double(), None, 1.0) == math.inf


@pytest.mark.parametrize(("count", "told"), [(1, "sample 0;"), (5, "samples 0, 1, 2, 3, 4;")])
def test_few_samples_are_all_named(count, told):
    found = Divergence("loss", math.inf, 1, 1, 0.1, list(range(count)))
    assert f" on training {told} lower lr." in found.told()
    ids = SampleIds(np.arange(9) * 10 + 2, "row", "a.csv")
    named = found.counted_by(ids)
    assert f" on row{'s' * (count > 1)} 2" in named.told()
    recorded = json.loads(json.dumps(named.recorded(), allow_nan=False))
    assert recorded["rows"] == [10 * k + 2 for k in range(count)]
    assert recorded["samples"] == list(range(count))
    assert (recorded["value"], recorded["limit"]) == ("inf", "inf")


def test_the_error_travels():
    error = DivergedError(Divergence("loss", 1e9, 3, 1, 0.1, [1, 2], 1e4, True))
    again = pickle.loads(pickle.dumps(error))
    assert (again.found, str(again)) == (error.found, str(error))
    kind = f"{DivergedError.__module__}.{DivergedError.__qualname__}"
    lines = [f"{kind}: {error}", json.dumps(dataclasses.asdict(error.found))]
    assert str(DivergedError.from_traceback(lines)) == str(error)
    assert DivergedError.from_traceback(["ValueError: no", "{}"]) is None
    assert DivergedError.from_traceback(["x"]) is None


class FakeEvent:
    """Of a device that is done only once somebody waits."""

    waited = 0

    def record(self):
        pass

    def synchronize(self):
        FakeEvent.waited += 1


@pytest.mark.parametrize("step", [1, 6, 8])
def test_a_device_is_looked_at_one_step_late_and_the_right_step_is_named(
    tmp_path, monkeypatch, step
):
    """Never later than the validation that follows: step 8 ends an epoch."""
    plain = spoilt(tmp_path / "plain", step, math.nan)
    begun = []

    class Count(L.Callback):
        def on_train_batch_start(self, trainer, *_):
            begun.append(trainer.global_step + 1)

    monkeypatch.setattr("ranksim.training.divergence._waits", lambda device: True)
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    with pytest.raises(DivergedError) as late:
        run(tmp_path / "late", recipe=ONCE, callbacks=[Count(), Spoil(step, math.nan)])
    assert begun[-1] == (step if step % 4 == 0 else step + 1)
    assert str(late.value) == str(plain)
    assert list(late.value.found.samples) == list(plain.found.samples)
    last = tmp_path / "late" / LAST
    assert not last.exists() or torch.load(last, weights_only=True)["global_step"] == 4


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@needs_cuda
@pytest.mark.parametrize("step", [1, 6, 8])
def test_a_gpu_ends_one_step_later_and_names_the_right_one(tmp_path, step):
    error = spoilt(tmp_path, step, math.nan, hardware=TrainerConfig("gpu"))
    assert error.found.step == step
    if step > 4:
        assert torch.load(tmp_path / LAST, weights_only=True)["global_step"] == 4
    partial = functools.partial(spoilt, tmp_path / "cpu", step, math.nan)
    assert list(error.found.samples) == list(partial().found.samples)
