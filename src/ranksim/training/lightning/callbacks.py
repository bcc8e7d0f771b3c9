"""Lightning's checkpoints with what an exact continuation needs besides."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from ranksim.exceptions import RankSimError
from ranksim.losses import RankSimLoss
from ranksim.training.lightning.module import LightningRegressionModule
from ranksim.training.lightning.trainer import silence_lightning
from ranksim.training.resume import (
    BEST,
    LOOP,
    Progress,
    random_state,
    restore_random_state,
    save_checkpoint,
)
from ranksim.training.trainer_config import ValidationCallback

LIGHTNING = "lightning"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Replaces checkpoints atomically, which Lightning does not across file systems."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        save_checkpoint(checkpoint, Path(path))


class StepCallback(Callback):
    """Calls a function after each optimizer step."""

    def __init__(self, on_step: Callable[[], None]) -> None:
        self.on_step = on_step

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if (trainer.fit_loop.epoch_loop.batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self.on_step()


class ResumeCallback(Callback):
    """Saves random states and progress, and reports each validation."""

    def __init__(
        self,
        stopping: EarlyStopping,
        best: ModelCheckpoint,
        on_validation: ValidationCallback | None,
        *,
        keep_last: bool = False,
    ) -> None:
        self.stopping, self.best, self.on_validation = stopping, best, on_validation
        self.progress = Progress(keep_last=keep_last)
        self.start_time = time.perf_counter()
        self.random_states: list[dict[str, Any]] | None = None  # one per training process
        self.threads = torch.get_num_threads()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        silence_lightning()  # in the training process too

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        torch.set_num_threads(self.threads)  # in another process too
        # nothing reads uninitialized memory, and filling it would take a tenth of a step
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # the clock of a resumed training goes on
        self.start_time = time.perf_counter() - self.progress.seconds
        local = ("/".join(Path(self.best.dirpath or "").parts[-2:]), trainer.global_step)
        first = trainer.strategy.broadcast(local)
        if local != first:
            raise RankSimError(
                f"The nodes resume from different checkpoints: {first[0]} is at step {first[1]} on "
                f"the first node, {local[0]} at step {local[1]} on this one; start the command "
                "again on each node."
            )
        if self.random_states is not None:
            self._restore_best_checkpoint()
            assert isinstance(pl_module, LightningRegressionModule)
            restore_random_state(pl_module, self.random_states[trainer.global_rank])
        if self.stopping.wait_count >= self.stopping.patience:
            trainer.should_stop = True  # the training was complete before it was interrupted

    def _restore_best_checkpoint(self) -> None:
        """Point to the best checkpoint, whose score Lightning forgets if the folder was moved."""
        path = str(Path(self.best.dirpath or "") / BEST)
        if self.progress.keep_last:
            self.best.best_model_path = path
        elif self.progress.best_epoch and Path(path).is_file():
            score = torch.tensor(self.progress.best_score)
            self.best.best_model_path = self.best.kth_best_model_path = path
            self.best.best_model_score = self.best.kth_value = score
            self.best.best_k_models = {path: score}

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, LightningRegressionModule)
        score = float(trainer.callback_metrics[self.stopping.monitor])
        epoch = trainer.current_epoch + 1
        steps = trainer.num_training_batches / trainer.accumulate_grad_batches
        point = {"epoch": trainer.global_step / steps, "val": score, **pl_module.loss_means}
        self.progress.add(epoch, score, point)
        if self.on_validation is not None and trainer.is_global_zero:
            self.on_validation(epoch, score)

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        assert isinstance(pl_module, LightningRegressionModule)
        ranksim = pl_module.ranksim
        gathers = isinstance(ranksim, RankSimLoss) and ranksim.gather_across_devices
        state = random_state(pl_module, separate_banks=trainer.world_size > 1 and not gathers)
        states = [state] * trainer.world_size
        if trainer.world_size > 1:
            dist.all_gather_object(states, state)
        self.progress.seconds = time.perf_counter() - self.start_time
        checkpoint |= {LOOP: LIGHTNING, "random": states, "progress": self.progress.to_dict()}

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.random_states = checkpoint["random"]
        self.progress = Progress.from_checkpoint(checkpoint)
