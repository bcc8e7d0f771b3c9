"""What a run knows beside its weights: random states, its best score, the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from ranksim.losses import RankSimLoss

Progress = Callable[[int, float], None]
BEST, LAST = "best.ckpt", "last.ckpt"


class RunState(Callback):
    """Random states and the clock, kept in checkpoints; tells of each validation."""

    def __init__(
        self, stopping: EarlyStopping, kept: ModelCheckpoint, on_validation: Progress | None
    ) -> None:
        self.stopping, self.kept, self.on_validation = stopping, kept, on_validation
        self.epochs, self.best_epoch, self.best = 0, 0, float("inf")
        self.before = 0.0  # seconds spent before the training was interrupted
        self.since = time.perf_counter()
        self.random: dict[str, Any] | None = None

    @property
    def state_key(self) -> str:
        return type(self).__qualname__

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.since = time.perf_counter()
        if self.random is not None:
            self._know_the_best()
            torch.set_rng_state(self.random["torch"])
            if (generator := _generator(pl_module)) is not None:
                generator.set_state(self.random["ranksim"])
        if self.stopping.wait_count >= self.stopping.patience:
            trainer.should_stop = True  # it had ended before it was interrupted

    def _know_the_best(self) -> None:
        """Lightning forgets the best score where the folder was moved since."""
        path = str(Path(self.kept.dirpath or "") / BEST)
        if self.best_epoch and Path(path).is_file():
            score = torch.tensor(self.best)
            self.kept.best_model_path = self.kept.kth_best_model_path = path
            self.kept.best_model_score = self.kept.kth_value = score
            self.kept.best_k_models = {path: score}

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        score = float(trainer.callback_metrics["val_mse"])
        self.epochs = trainer.current_epoch + 1
        if score < self.best:
            self.best, self.best_epoch = score, self.epochs
        if self.on_validation is not None and trainer.is_global_zero:
            self.on_validation(self.epochs, score)

    def state_dict(self) -> dict[str, Any]:
        return {
            "epochs": self.epochs,
            "best_epoch": self.best_epoch,
            "best": self.best,
            "seconds": self.before + time.perf_counter() - self.since,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epochs, self.best_epoch = state_dict["epochs"], state_dict["best_epoch"]
        self.best, self.before = state_dict["best"], state_dict["seconds"]

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        generator = _generator(pl_module)
        checkpoint["random"] = {
            "torch": torch.get_rng_state(),
            "ranksim": None if generator is None else generator.get_state(),
        }

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.random = checkpoint.get("random")


def _generator(module: L.LightningModule) -> torch.Generator | None:
    """The generator of the module's RankSim, where it has one."""
    return module.ranksim.generator if isinstance(module.ranksim, RankSimLoss) else None
