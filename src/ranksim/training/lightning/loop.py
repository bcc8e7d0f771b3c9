"""Training and prediction of a network with Lightning's Trainer."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor, nn

from ranksim.data.batch import BatchDataset
from ranksim.training.data_loader import EVAL_BATCH_SIZE, SeededSampler, make_loader
from ranksim.training.lightning.callbacks import (
    LIGHTNING,
    AtomicCheckpointIO,
    ResumeCallback,
    StepCallback,
)
from ranksim.training.lightning.module import LightningRegressionModule
from ranksim.training.lightning.trainer import (
    ValidationForwarder,
    make_eval_trainer,
    restore_process_errors,
    silence_lightning,
    trainer_arguments,
    translate_keyboard_interrupt,
    world_size,
)
from ranksim.training.parts import min_batch
from ranksim.training.recipe import NetworkRecipe
from ranksim.training.resume import LAST, read_resumable_checkpoint
from ranksim.training.schedule import Schedule
from ranksim.training.task import TrainingOptions, TrainingTask
from ranksim.training.trainer_config import TrainerConfig, ValidationCallback

_NEVER = 10**9  # validations


def train(
    module: LightningRegressionModule,
    task: TrainingTask,
    folder: Path,
    options: TrainingOptions,
) -> None:
    """Train or resume, and write checkpoints into the folder."""
    silence_lightning()
    config, recipe = options.trainer_config, module.recipe
    if config.is_distributed:
        os.environ["PL_GLOBAL_SEED"] = str(options.seed)  # seeds the training processes
        # the data is sent to the training processes
        torch.multiprocessing.set_sharing_strategy("file_system")  # type: ignore[no-untyped-call]
    sampler = SeededSampler(len(task.train), options.seed, recipe.batch_size)
    processes = world_size(config)
    samples, least = sampler.samples_per_process(processes), min_batch(module.technique.parts)
    schedule = Schedule.plan(recipe, options.limits, samples, min_batch=least)
    checkpoint = read_resumable_checkpoint(folder, LIGHTNING)
    if checkpoint is not None:
        completed = checkpoint["global_step"] % schedule.steps_per_epoch
        sampler.start_index = completed * schedule.accumulate * recipe.batch_size * processes
    forwarder, on_validation = None, options.on_validation
    if config.is_distributed and on_validation is not None:
        forwarder = ValidationForwarder(on_validation)
        on_validation = forwarder.send
    callbacks = _checkpoint_callbacks(folder, recipe, on_validation, keep_last=options.keep_last)
    callbacks += options.callbacks
    if options.on_step is not None and not config.is_distributed:
        callbacks.append(StepCallback(options.on_step))
    unused_weights = getattr(module.model.encoder, "may_have_unused", False)
    arguments = trainer_arguments(config, unused_weights=unused_weights)
    arguments["plugins"] = [*arguments.get("plugins", []), AtomicCheckpointIO()]
    trainer = L.Trainer(
        **arguments,
        **_trainer_schedule(recipe, schedule),
        callbacks=callbacks,
        logger=[CSVLogger(folder, "logs"), TensorBoardLogger(folder, "logs")] * options.write_logs,
        enable_progress_bar=options.progress_bar,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        deterministic="warn",
        log_every_n_steps=50,
    )
    # Lightning converts only after it has loaded a checkpoint, which would round the loaded values
    trainer.precision_plugin.convert_module(module)
    with (
        translate_keyboard_interrupt(),
        restore_process_errors(),
        forwarder.listening(trainer) if forwarder else nullcontext(),
    ):
        trainer.fit(
            module,
            make_loader(task.train, recipe.batch_size, sampler, on_gpu=config.on_gpu),
            make_loader(task.val, EVAL_BATCH_SIZE, on_gpu=config.on_gpu),
            ckpt_path=None if checkpoint is None else folder / LAST,
            weights_only=True,
        )


def _trainer_schedule(recipe: NetworkRecipe, schedule: Schedule) -> dict[str, Any]:
    """Return the arguments of Lightning's Trainer for its length, validation and gradients."""
    every, accumulate = schedule.validate_every, schedule.accumulate
    return {
        "max_epochs": schedule.max_epochs or -1,
        "max_steps": schedule.max_steps or -1,
        "limit_train_batches": schedule.steps_per_epoch * accumulate,
        "val_check_interval": every and every * accumulate,
        "check_val_every_n_epoch": None if every else 1,
        "accumulate_grad_batches": accumulate,
        "gradient_clip_val": recipe.max_grad_norm or None,
    }


def _checkpoint_callbacks(
    folder: Path,
    recipe: NetworkRecipe,
    on_validation: ValidationCallback | None,
    *,
    keep_last: bool,
) -> list[L.Callback]:
    """Return the callbacks for early stopping and checkpoints, in the order their states need."""
    monitor = f"val_{recipe.monitor}"
    stopping = EarlyStopping(monitor, patience=recipe.patience or _NEVER, min_delta=0.0)
    kind = _LastWeights if keep_last else ModelCheckpoint
    best = kind(
        folder,
        "best",
        monitor=None if keep_last else monitor,
        save_weights_only=True,
        enable_version_counter=False,
    )
    last = ModelCheckpoint(folder, "last", save_top_k=1, enable_version_counter=False)
    return [
        stopping,
        ResumeCallback(stopping, best, on_validation, keep_last=keep_last),
        best,
        last,
    ]


class _LastWeights(ModelCheckpoint):
    """Saves the last weights; Lightning tells two checkpoints without a monitor by their class."""


class _Mapper(L.LightningModule):
    """A function of a module, for Lightning's ``Trainer.predict``."""

    def __init__(self, module: nn.Module, compute: Callable[[tuple[Tensor, ...]], Tensor]) -> None:
        super().__init__()
        self.module, self.compute = module, compute

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return {"inputs": batch["inputs"]}  # labels may be missing

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.compute(batch["inputs"]).cpu()


def map_samples(
    module: nn.Module,
    compute: Callable[[tuple[Tensor, ...]], Tensor],
    samples: BatchDataset,
    rows: Tensor,
    batch_size: int,
    config: TrainerConfig,
) -> Tensor:
    """Apply a function of a module in evaluation mode to the inputs of samples, on one device."""
    loader = make_loader(samples, batch_size, rows.tolist(), on_gpu=config.on_gpu)
    with translate_keyboard_interrupt():
        batches = make_eval_trainer(config).predict(_Mapper(module, compute), loader)
    assert batches is not None
    return torch.cat(batches)  # type: ignore[arg-type]
