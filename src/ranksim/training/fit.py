"""One training from a seed to its test scores, resumable after each validation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import lightning.pytorch as L
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, Timer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor, nn

from ranksim.data.batch import Samples
from ranksim.exceptions import RankSimError, UsageError
from ranksim.imbalance import LabelBins
from ranksim.metrics.scores import Scores
from ranksim.metrics.shot_regions import ShotRegions
from ranksim.models import Regressor
from ranksim.training.checkpoints import read_checkpoint, read_or_drop
from ranksim.training.data_loader import SeededOrder, make_loader
from ranksim.training.display_samples import select_display_samples
from ranksim.training.divergence import (
    DivergedError,
    DivergenceMonitor,
    SampleIds,
    explosion_threshold,
)
from ranksim.training.factory import (
    make_fds,
    make_loss,
    make_ranksim,
    make_weights,
    resolve_defaults,
)
from ranksim.training.method import Technique
from ranksim.training.module import Augment, RegressionModule
from ranksim.training.recipe import Recipe
from ranksim.training.resume import BEST, LAST, AtomicCheckpointIO, Progress, ResumeCallback
from ranksim.training.trainer_config import (
    TrainerConfig,
    make_eval_trainer,
    silence_lightning,
    trainer_settings,
    translate_keyboard_interrupt,
    world_size,
)
from ranksim.training.validation_forwarder import ValidationForwarder, raised_here

_STATISTICS = 256  # samples in a batch of which FDS takes statistics alone
JUDGED = 100  # samples in a batch that is scored
_NEVER = 10**9  # validations


@dataclass(frozen=True)
class TrainingLimits:
    """Cuts a training short, to demonstrate or to save time; ``None`` is the recipe's own end.

    ``seconds`` ends it after the epoch in which they are over, so that no two machines end alike.
    """

    steps: int | None = None
    epochs: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class TrainingTask:
    """What is to be learned, the same for every method and seed.

    Args:
        train, val, test: the samples.
        build: makes a new network; its initial weights come from torch's global generator.
        bins: label bins, over whose range weights, LDS and FDS work.
        regions: regions to report.
        gm_guard: see :func:`ranksim.metrics.regression_scores`.
        augment: what happens to the inputs of training batches (see :class:`RegressionModule`).
        start: what the head predicts before it has learned anything, in the unit of the labels.
        factors: on the weight of each training sample ``(N,)``, float64, at least one above 0.
        ids: how the owner of the data counts the training samples; ``None``: by their positions.
    """

    train: Samples
    val: Samples
    test: Samples
    build: Callable[[], Regressor]
    bins: LabelBins
    regions: ShotRegions
    gm_guard: float = 0.0
    augment: Augment | None = None
    start: float = 0.0
    factors: np.ndarray | None = None
    ids: SampleIds | None = None


@dataclass(frozen=True)
class TrainingResult:
    """What a training came to: scores by region, test predictions, and what it took.

    ``curves``: see :class:`ranksim.training.resume.ResumeCallback`; ``features`` ``(P, D)``: those of the
    test samples that :func:`ranksim.training.display_samples.select_display_samples` chooses; ``cut_short``: whether its
    seconds were over before its recipe was through.
    """

    val: dict[str, Scores]
    test: dict[str, Scores]
    rows: np.ndarray
    prediction: np.ndarray
    features: np.ndarray
    curves: dict[str, list[float]]
    epochs: int
    best_epoch: int
    steps: int
    seconds: float
    cut_short: bool = False


class FollowedError(RankSimError):
    """A node other than the first has done its part; results are the first one's."""


def fit(
    task: TrainingTask,
    recipe: Recipe,
    technique: Technique,
    folder: Path,
    *,
    seed: int,
    hardware: TrainerConfig | None = None,
    limits: TrainingLimits | None = None,
    fds_state: Mapping[str, Tensor] | None = None,
    fds_moves: bool = True,
    progress_bar: bool = False,
    on_validation: Progress | None = None,
    callbacks: Sequence[L.Callback] = (),
    logs: bool = True,
) -> TrainingResult:
    """Train, keep the best validation score, and score that on validation and test.

    Args:
        task: data and network.
        recipe: the settings.
        technique: what is added to the plain loss; one stage.
        folder: takes ``best.ckpt``, ``last.ckpt`` and logs. With a ``last.ckpt`` there, training
            goes on from it, to the same result as if it had never stopped.
        seed: fixes initial weights, order of samples, dropout and RankSim's draws.
        hardware: for Lightning's Trainer.
        limits: an earlier end.
        fds_state: statistics of FDS that were made before.
        fds_moves: whether they go on moving, or stay as they are.
        progress_bar: show Lightning's.
        on_validation: called with the epoch and its validation score.
        callbacks: more of Lightning's.
        logs: whether the folder takes logs.

    Raises:
        DivergedError: a loss or a validation score stopped being a number, or a loss exploded;
            the checkpoints of the last validation before stay.
        FollowedError: on a node other than the first.
    """
    hardware, limits = hardware or TrainerConfig(), limits or TrainingLimits()
    silence_lightning()
    L.seed_everything(seed, verbose=False)
    training, validation, test = task.train, task.val, task.test
    recipe = resolve_defaults(recipe, training.labels.numpy())
    model, ahead = task.build(), hardware.on_gpu
    if task.start:
        nn.init.constant_(model.head.bias, task.start / recipe.label_scale)
    fds = make_fds(recipe, technique, task.bins, model.width)
    if fds is not None and fds_state is not None:
        fds.load_state_dict(fds_state)
        fds.updates.zero_()  # of this training
    loss = make_loss(recipe, technique)
    weights = make_weights(recipe, technique, task.bins, training.labels.numpy(), task.factors)
    targets = training.labels.double() / recipe.label_scale
    module = RegressionModule(
        model,
        recipe,
        task.regions,
        loss=loss,
        weights=weights,
        fds=fds,
        statistics=make_loader(training, _STATISTICS, training.length_order().tolist(), on_gpu=ahead)
        if fds is not None and fds_moves
        else None,
        ranksim=make_ranksim(recipe, technique, seed, gather=hardware.gather),
        augment=task.augment,
        compiled=hardware.compile,
        gm_guard=task.gm_guard,
        watch=DivergenceMonitor(
            explosion_threshold(loss, targets, weights, task.start / recipe.label_scale)
        ),
    )
    monitor = f"val_{recipe.monitor}"
    best = ModelCheckpoint(
        folder, "best", monitor=monitor, save_weights_only=True, enable_version_counter=False
    )
    last = ModelCheckpoint(folder, "last", save_top_k=1, enable_version_counter=False)
    stopping = EarlyStopping(monitor, patience=recipe.patience or _NEVER, min_delta=0.0)
    if hardware.several:  # training runs in processes of its own, which are handed the data
        torch.multiprocessing.set_sharing_strategy("file_system")  # type: ignore[no-untyped-call]
    every, checks = recipe.validate_every, limits.epochs or recipe.max_validations
    resume = folder / LAST
    reached = read_or_drop(folder)
    order = SeededOrder(len(training), seed, recipe.batch_size)
    loader = make_loader(training, recipe.batch_size, order, on_gpu=ahead)
    world = world_size(hardware)
    whole, left = divmod(order.share(world), recipe.batch_size)
    # a mean over batches is one over samples where they are alike: a smaller one is not accumulated
    batches = whole if recipe.accumulate_grad_batches > 1 and whole else whole + (left > 0)
    accumulate = min(recipe.accumulate_grad_batches, batches)
    steps = batches // accumulate  # of an epoch: what does not fill one is left out
    if limits.steps:  # as many epochs as asked for fit in
        steps = min(steps, math.ceil(limits.steps / (limits.epochs or 1)))
    if reached is not None:
        done = reached["global_step"] % steps
        order.start = done * accumulate * recipe.batch_size * world
    timer = None if limits.seconds is None else _timer(limits.seconds)
    relay = (
        ValidationForwarder(on_validation)
        if hardware.several and on_validation is not None
        else None
    )
    unused = getattr(model.encoder, "may_have_unused", False)
    settings = trainer_settings(hardware, unused=unused)
    settings["plugins"] = [*settings.get("plugins", []), AtomicCheckpointIO()]
    trainer = L.Trainer(
        **settings,
        max_epochs=-1 if every else checks,
        max_steps=limits.steps or (every * checks if every else -1),
        limit_train_batches=steps * accumulate,
        val_check_interval=min(every, limits.steps or every) * accumulate or None,
        check_val_every_n_epoch=None if every else 1,
        accumulate_grad_batches=accumulate,
        gradient_clip_val=recipe.max_grad_norm or None,
        # the last checkpoint comes last: it holds what the others know after the same validation
        callbacks=[
            *(stopping, ResumeCallback(stopping, best, relay.tell if relay else on_validation)),
            *(best, last),
            *([] if timer is None else [timer]),
            *callbacks,
        ],
        logger=[CSVLogger(folder, "logs"), TensorBoardLogger(folder, "logs")] if logs else False,
        enable_progress_bar=progress_bar,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        deterministic="warn",
        log_every_n_steps=50,
    )
    # Lightning does so only after it has read a checkpoint into the module, rounding what is there
    trainer.precision_plugin.convert_module(module)
    with (
        translate_keyboard_interrupt(),
        _batch_norm(),
        _counted_by(task.ids),
        raised_here(),
        relay.listening(trainer) if relay else nullcontext(),
    ):
        trainer.fit(
            module,
            loader,
            make_loader(validation, JUDGED, on_gpu=ahead),
            ckpt_path=None if reached is None else resume,
            weights_only=True,
        )
    if hardware.follows:
        raise FollowedError("The first node writes the results.")
    # read back from disk: with several devices, training ran in other processes
    reached = read_checkpoint(resume)
    state = reached["callbacks"][ResumeCallback.__qualname__]
    module.load_state_dict(read_checkpoint(folder / BEST)["state_dict"])
    judge = make_eval_trainer(hardware)
    with translate_keyboard_interrupt():
        judge.validate(module, make_loader(validation, JUDGED, on_gpu=ahead), verbose=False)
        val_scores = module.scores
        module.shown = torch.from_numpy(select_display_samples(task.bins, test.labels.numpy()).rows)
        judge.test(module, make_loader(test, JUDGED, on_gpu=ahead), verbose=False)
    assert module.predictions is not None
    assert module.features is not None
    rows, prediction, _ = module.predictions
    return TrainingResult(
        val=val_scores,
        test=module.scores,
        rows=rows,
        prediction=prediction.numpy(),
        features=module.features.numpy(),
        curves=state["curves"],
        epochs=state["epochs"],
        best_epoch=state["best_epoch"],
        steps=reached["global_step"],
        seconds=state["seconds"],
        # the checkpoint is a moment older than the clock, which stands still in other processes
        cut_short=timer is not None
        and max(timer.time_elapsed(), state["seconds"]) >= (limits.seconds or 0.0),
    )


def _timer(seconds: float) -> Timer:
    return Timer(timedelta(seconds=seconds), interval="epoch", verbose=False)


@contextmanager
def _batch_norm() -> Iterator[None]:
    """Say what to do about a batch of one sample, as may be left at the end of an epoch."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UsageError(
            "A batch of one sample, as the last of an epoch may be, cannot train BatchNorm where "
            "images have shrunk to a pixel: set another batch_size or image_size."
        ) from error


@contextmanager
def _counted_by(ids: SampleIds | None) -> Iterator[None]:
    """Name the samples of a step that diverged as their owner counts them."""
    try:
        yield
    except DivergedError as error:
        raise DivergedError(error.found.counted_by(ids)) from error
