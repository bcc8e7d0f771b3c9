"""Updates of real trainings with every method under every condition, compared with the oracle.

Adam divides a gradient by its size, which would hide a wrong factor, so these trainings use plain
gradient descent. Each update is compared from the weights before it.
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
from ranksim.training.factory import resolve_defaults
from ranksim.training.feature_parts import make_srl
from ranksim.training.fit import fit, retrain_head
from ranksim.training.lightning import loop
from ranksim.training.lightning.trainer import make_eval_trainer, trainer_arguments
from ranksim.training.part_modules import PartContext, make_head
from ranksim.training.resume import LAST
from ranksim.training.task import TrainingOptions
from ranksim.training.trainer_config import TrainerConfig
from tests.oracles import training as oracle
from tests.reliability.drift_cells import BATCH, BINS, EPOCHS, RATE, SEED, network, recipe_of, task


class Descent(torch.optim.SGD):
    """Gradient descent that stores weights, gradients and number of batches of each step."""

    def __init__(self, model, rows):
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        super().__init__(trained, lr=RATE)
        self.model, self.rows, self.steps = model, rows, []

    def step(self, closure=None):
        state = _clone(self.model.state_dict())
        loss = None if closure is None else closure()
        gradients = {
            name: weight.grad.clone()
            for name, weight in self.model.named_parameters()
            if weight.grad is not None
        }
        super().step()
        self.steps.append({"state": state, "gradients": gradients, "batches": len(self.rows)})
        return loss


class DescentCallback(L.Callback):
    """Replaces Adam by gradient descent and saves its steps and the samples of each batch."""

    def __init__(self, path):
        self.path, self.rows = path, []

    def on_train_start(self, trainer, pl_module):
        self.descent = Descent(pl_module.model, self.rows)
        trainer.strategy.optimizers = [self.descent]

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.rows.append((trainer.current_epoch, batch["index"].tolist()))

    def on_train_end(self, trainer, pl_module):
        rows = [self.rows]
        if trainer.world_size > 1:
            rows *= trainer.world_size
            dist.all_gather_object(rows, self.rows)
        if trainer.is_global_zero:
            end = _clone(pl_module.model.state_dict())
            torch.save({"rows": rows, "steps": self.descent.steps, "end": end}, self.path)


@contextmanager
def one_thread():
    """Use one thread, so that sums have the same order on every machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _clone(state):
    return {name: value.clone() for name, value in state.items()}


@contextmanager
def use_loss_scale(scale):
    """Use 16-mixed with a scaler on the CPU, which Lightning offers on CUDA only."""

    def scaled_arguments(config, **options):
        arguments = trainer_arguments(config, **options)
        if arguments["precision"] != "16-mixed":
            return arguments
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        plugins = [*arguments.get("plugins", []), MixedPrecision("16-mixed", "cpu", scaler)]
        return arguments | {"precision": None, "plugins": plugins}

    def scaled_eval_trainer(config):
        if config.precision != "16-mixed":
            return make_eval_trainer(config)
        trainer = make_eval_trainer(dataclasses.replace(config, precision="32-true"))
        trainer.strategy.precision_plugin = MixedPrecision("16-mixed", "cpu")
        return trainer

    with (
        mock.patch.object(loop, "trainer_arguments", scaled_arguments),
        mock.patch.object(loop, "make_eval_trainer", scaled_eval_trainer),
    ):
        yield


def train(row, condition, folder):
    """Train, in the second stage for a two-stage method, and return the saved steps."""
    recipe = recipe_of(row, condition)
    training_task = task(recipe, condition.images)
    callback, settings = DescentCallback(folder / "steps.pt"), {"seed": SEED, "write_logs": False}
    with ExitStack() as stack:
        stack.enter_context(use_loss_scale(condition.scale))
        if row.technique.two_stage:
            first = folder / "first"
            fit(
                training_task,
                dataclasses.replace(recipe, batch_size=BATCH, accumulate_grad_batches=1),
                row.technique.stage_one,
                first,
                TrainingOptions(trainer_config=TrainerConfig("cpu"), **settings),
            )
            stage = retrain_head, row.technique, folder / "second", first / LAST
        else:
            stage = fit, row.technique, folder / "run"
        train_stage, *arguments = stage
        settings |= {"trainer_config": condition.hardware, "callbacks": [callback]}
        train_stage(training_task, recipe, *arguments, TrainingOptions(**settings))
    return _load(callback.path)


def _load(path):
    return torch.load(path, weights_only=True)


def make_oracle(row, condition, folder, autocast_dtype):
    """Return the oracle of a training."""
    recipe = recipe_of(row, condition)
    training_task = task(recipe, condition.images)
    train = training_task.train
    model = network(condition.images, channels_last=False)
    head = make_head(recipe, row.technique, model.width)
    model.head = head or model.head
    (inputs,) = train.__getitems__(list(range(len(train))))["inputs"]
    technique, smoothing = row.technique, None
    if technique.two_stage:
        state = _load(folder / "first" / LAST)["state_dict"]
        technique = technique.stage_two
        if technique.fds:
            smoothing = _restore_fds(state, recipe, model.width)
        state = {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")}
        model.load_state_dict(state)
        if recipe.rrt_paper_compat:
            model = Regressor(FrozenEncoder(model.encoder, paper_compat=True))
        else:
            inputs = _compute_features(model, inputs, autocast_dtype)
            model = Regressor(PrecomputedFeatures(model.width))
        model.head = make_head(recipe, technique, model.width) or model.head
    return oracle.Training(
        model,
        inputs,
        train.labels.numpy(),
        resolve_defaults(recipe, train.labels.numpy()),
        technique,
        BINS.edges,
        BINS.edges,
        autocast_dtype,
        condition.scale if autocast_dtype == torch.float16 else 1.0,
        smoothing,
        SEED,
        _read_points(technique, training_task, recipe, model.width),
    )


def _read_points(technique, training_task, recipe, width):
    """Return the random points of SRL as numbers; their draw is not part of its equation."""
    if "srl" not in technique.parts:
        return None
    labels = training_task.train.labels.numpy()
    context = PartContext(recipe, technique, labels, BINS, width, SEED)
    return make_srl(context).term.points.double().tolist()


def _compute_features(model, inputs, dtype):
    """Return the features of the frozen encoder."""
    model = (model.double() if dtype is None else model.float()).eval()
    with torch.no_grad(), torch.autocast("cpu", dtype or torch.bfloat16, enabled=bool(dtype)):
        features = model.encoder(inputs)
    return features if dtype is None else features.float()


def _restore_fds(state, recipe, width):
    """Return FDS with the statistics of the first stage."""
    smoothing = oracle.make_fds(recipe, BINS.edges, width)
    smoothing.mean = state["fds.mean"].double().numpy()
    smoothing.var = state["fds.var"].double().numpy()
    smoothing.observed = state["fds.observed"].tolist()
    smoothing.tabulate()
    return smoothing


def deviation(gradients, expected):
    """Return ‖gradients − expected‖ / ‖expected‖ over all weights; infinite if not finite."""
    if gradients.keys() != expected.keys():
        return float("inf")
    squared = sum(float((gradients[k].double() - expected[k]).square().sum()) for k in expected)
    size = sum(float(expected[k].square().sum()) for k in expected)
    return (squared / size) ** 0.5 if np.isfinite(squared) else float("inf")


def cell(row, condition, folder):
    """Return the largest deviation of an update from float64 and, if rounded, from equal rounding.

    Infinite if updates are missing or used other samples than the order of samples says.
    """
    record = train(row, condition, folder)
    deviations = [_compare(row, condition, folder, record, None)]
    if condition.rounded is not None:
        deviations.append(_compare(row, condition, folder, record, condition.dtype))
    return deviations


def _compare(row, condition, folder, record, autocast_dtype):
    training = make_oracle(row, condition, folder, autocast_dtype)
    layout = {"accumulate": condition.accumulate, "processes": condition.processes}
    batch_size = BATCH // (condition.accumulate * condition.processes)
    size = len(training.labels)
    planned = [
        (epoch, number, parts)
        for epoch in range(EPOCHS)
        for number, parts in enumerate(oracle.split_steps(size, SEED, epoch, batch_size, **layout))
    ]
    rows = [(epoch, sorted(itertools.chain(*parts))) for epoch, _, parts in planned]
    steps = {step["batches"] // condition.accumulate - 1: step for step in record["steps"]}
    # a step whose loss overflows is skipped: the next one starts from the same weights
    complete = len(steps) == len(rows)
    if rows != _rows_of_steps(record["rows"], condition) or complete == condition.overflows:
        return float("inf")
    updates_fds = row.technique.fds and (
        not row.technique.two_stage or training.recipe.rrt_paper_compat
    )
    largest, states = 0.0, [record["end"]]
    together = 1 if condition.gather else condition.processes
    for place in reversed(range(len(rows))):
        states.append(steps[place]["state"] if place in steps else states[-1])
    states.reverse()
    for place, (epoch, number, parts) in enumerate(planned):
        if updates_fds and epoch and number == 0:
            training.update_fds(states[place])
        ranked = [list(itertools.chain(*parts))] if condition.gather else parts
        if place not in steps:
            training.gradients(states[place], ranked, epoch, together)  # moves centroids
        if place in steps:
            gradients = steps[place]["gradients"]
            expected = training.gradients(states[place], ranked, epoch, together)
            largest = max(largest, deviation(gradients, expected))
            for name, gradient in gradients.items():
                weight = states[place][name] - RATE * gradient
                torch.testing.assert_close(states[place + 1][name], weight)
    return largest


def _rows_of_steps(rows, condition):
    """Return the samples of each step, over all processes and accumulated batches."""
    steps = []
    for i in range(0, len(rows[0]), condition.accumulate):
        batches = [batch for process in rows for batch in process[i : i + condition.accumulate]]
        steps.append((batches[0][0], sorted(row for _, batch in batches for row in batch)))
    return steps
