"""Real trainings of every technique under every condition, and their updates beside the oracle's.

Adam divides a gradient by its size, which would hide a wrong factor: these trainings go down the
gradient itself. Each update is compared from the weights that it began with.
"""

import dataclasses
import itertools
from contextlib import ExitStack, contextmanager
from unittest import mock

import lightning.pytorch as L
import numpy as np
import torch
import torch.distributed as dist
from lightning.pytorch.plugins.precision import MixedPrecision

from ranksim.models import FrozenEncoder, PrecomputedFeatures, Regressor
from ranksim.training import fit as fit_module
from ranksim.training import two_stage
from ranksim.training.factory import resolve_defaults
from ranksim.training.fit import TrainingOptions, fit
from ranksim.training.resume import LAST
from ranksim.training.trainer_config import TrainerConfig, make_eval_trainer, trainer_arguments
from tests.oracles import training as oracle
from tests.reliability.drift_cells import BATCH, BINS, EPOCHS, RATE, SEED, network, recipe_of, task


class Descent(torch.optim.SGD):
    """Plain descent that keeps weights and gradients of each step, and after how many batches."""

    def __init__(self, model, rows):
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        super().__init__(trained, lr=RATE)
        self.model, self.rows, self.steps = model, rows, []

    def step(self, closure=None):
        state = _copied(self.model.state_dict())
        loss = None if closure is None else closure()
        gradients = {
            name: weight.grad.clone()
            for name, weight in self.model.named_parameters()
            if weight.grad is not None
        }
        super().step()
        self.steps.append({"state": state, "gradients": gradients, "batches": len(self.rows)})
        return loss


class Watch(L.Callback):
    """Puts plain descent in the place of Adam, and writes down what it did."""

    def __init__(self, path):
        self.path, self.rows = path, []

    def on_train_start(self, trainer, pl_module):
        self.descent = Descent(pl_module.model, self.rows)
        trainer.strategy.optimizers = [self.descent]

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.rows.append((trainer.current_epoch, batch["index"].tolist()))

    def on_train_end(self, trainer, pl_module):
        every = [self.rows]
        if trainer.world_size > 1:
            every *= trainer.world_size
            dist.all_gather_object(every, self.rows)
        if trainer.is_global_zero:
            end = _copied(pl_module.model.state_dict())
            torch.save({"rows": every, "steps": self.descent.steps, "end": end}, self.path)


@contextmanager
def one_thread():
    """Sums in one order, whatever the machine has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _copied(state):
    return {name: value.clone() for name, value in state.items()}


@contextmanager
def scaled(scale):
    """16-mixed on the CPU, with a scaler, which Lightning gives on CUDA alone."""

    def settings(hardware, **more):
        found = trainer_arguments(hardware, **more)
        if found["precision"] != "16-mixed":
            return found
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        plugins = [*found.get("plugins", []), MixedPrecision("16-mixed", "cpu", scaler)]
        return found | {"precision": None, "plugins": plugins}

    def judge(hardware):
        if hardware.precision != "16-mixed":
            return make_eval_trainer(hardware)
        exact = make_eval_trainer(dataclasses.replace(hardware, precision="32-true"))
        exact.strategy.precision_plugin = MixedPrecision("16-mixed", "cpu")
        return exact

    with (
        mock.patch.object(fit_module, "trainer_arguments", settings),
        mock.patch.object(fit_module, "make_eval_trainer", judge),
        mock.patch.object(two_stage, "make_eval_trainer", judge),
    ):
        yield


def trained(row, condition, folder):
    """What the real code did: a training, or the second stage of one."""
    recipe = recipe_of(row, condition)
    made = task(recipe, condition.images)
    watch, settings = Watch(folder / "watched.pt"), {"seed": SEED, "write_logs": False}
    with ExitStack() as stack:
        stack.enter_context(scaled(condition.scale))
        if row.technique.two_stage:
            first = folder / "first"
            plain = dataclasses.replace(recipe, batch_size=BATCH, accumulate=1)
            fit(
                made,
                plain,
                row.technique.stage_one,
                first,
                TrainingOptions(trainer_config=TrainerConfig("cpu"), **settings),
            )
            stage = two_stage.retrain_head, row.technique, folder / "second", first / LAST
        else:
            stage = fit, row.technique, folder / "run"
        train, *rest = stage
        settings |= {"trainer_config": condition.hardware, "callbacks": [watch]}
        train(made, recipe, *rest, TrainingOptions(**settings))
    return _saved(watch.path)


def _saved(path):
    return torch.load(path, weights_only=True)


def reference(row, condition, folder, rounded):
    """The oracle of a cell."""
    recipe = recipe_of(row, condition)
    made = task(recipe, condition.images)
    model = network(condition.images, channels_last=False)
    (inputs,) = made.train.__getitems__(list(range(len(made.train))))["inputs"]
    technique, calibrates = row.technique, None
    if technique.two_stage:
        state = _saved(folder / "first" / LAST)["state_dict"]
        technique = technique.stage_two
        if technique.fds:
            calibrates = _running(state, recipe, model.width)
        state = {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")}
        model.load_state_dict(state)
        if recipe.rrt_paper_compat:
            model = Regressor(FrozenEncoder(model.encoder, published=True))
        else:
            inputs, model = (
                _features(model, inputs, rounded),
                Regressor(PrecomputedFeatures(model.width)),
            )
    return oracle.Training(
        model,
        inputs,
        made.train.labels.numpy(),
        resolve_defaults(recipe, made.train.labels.numpy()),
        technique,
        BINS.edges,
        BINS.edges,
        rounded,
        condition.scale if rounded == torch.float16 else 1.0,
        calibrates,
    )


def _features(model, inputs, rounded):
    """Made once, by the encoder as it then is."""
    model = (model.double() if rounded is None else model.float()).eval()
    with torch.no_grad(), torch.autocast("cpu", rounded or torch.bfloat16, enabled=bool(rounded)):
        found = model.encoder(inputs)
    return found if rounded is None else found.float()


def _running(state, recipe, width):
    """FDS with the statistics of the first stage."""
    found = oracle.make_fds(recipe, BINS.edges, width)
    found.mean, found.var = (state[f"fds.{name}"].double().numpy() for name in ("mean", "var"))
    found.seen = state["fds.observed"].tolist()
    found.tabulate()
    return found


def deviation(found, expected):
    """Of an update: ‖found − expected‖ / ‖expected‖, over all weights; infinite if not finite."""
    if found.keys() != expected.keys():
        return float("inf")
    apart = sum(float((found[k].double() - expected[k]).square().sum()) for k in expected)
    size = sum(float(expected[k].square().sum()) for k in expected)
    return (apart / size) ** 0.5 if np.isfinite(apart) else float("inf")


def cell(row, condition, folder):
    """The largest deviations of an update, from float64 and from a network that rounds alike.

    Infinite where other samples were trained on than their order says, or updates are missing.
    """
    watched = trained(row, condition, folder)
    found = [_compared(row, condition, folder, watched, None)]
    if condition.rounded is not None:
        found.append(_compared(row, condition, folder, watched, condition.dtype))
    return found


def _compared(row, condition, folder, watched, rounded):
    made = reference(row, condition, folder, rounded)
    layout = {"accumulate_grad_batches": condition.accumulate, "processes": condition.processes}
    batch = BATCH // (condition.accumulate * condition.processes)
    dealt = [
        (epoch, number, parts)
        for epoch in range(EPOCHS)
        for number, parts in enumerate(oracle.dealt(len(made.labels), SEED, epoch, batch, **layout))
    ]
    rows = [(epoch, sorted(itertools.chain(*parts))) for epoch, _, parts in dealt]
    steps = {step["batches"] // condition.accumulate - 1: step for step in watched["steps"]}
    # where the loss overflows, a step is passed over: the next one begins with the same weights
    if rows != _seen(watched["rows"], condition) or (len(steps) < len(rows)) != condition.overflows:
        return float("inf")
    moves = row.technique.fds and (not row.technique.two_stage or made.recipe.rrt_paper_compat)
    largest, states = 0.0, [watched["end"]]
    for place in reversed(range(len(rows))):
        states.append(steps[place]["state"] if place in steps else states[-1])
    states.reverse()
    for place, (epoch, number, parts) in enumerate(dealt):
        if moves and epoch and number == 0:
            made.refresh(states[place])
        if place in steps:
            whole = [list(itertools.chain(*parts))] if condition.gather else parts
            gradients = steps[place]["gradients"]
            largest = max(largest, deviation(gradients, made.update(states[place], whole)))
            for name, gradient in gradients.items():
                expected = states[place][name] - RATE * gradient
                torch.testing.assert_close(states[place + 1][name], expected)
    return largest


def _seen(every, condition):
    """The rows of each step, over all processes and accumulated batches."""
    found = []
    for i in range(0, len(every[0]), condition.accumulate):
        together = [batch for seen in every for batch in seen[i : i + condition.accumulate]]
        found.append((together[0][0], sorted(row for _, rows in together for row in rows)))
    return found
