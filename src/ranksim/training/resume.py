"""Checkpoints from which an interrupted training resumes to the same result."""

from __future__ import annotations

import time
import zipfile
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from ranksim._utils.storage import atomic_write, is_transient_io_error
from ranksim.exceptions import DataError, RankSimError
from ranksim.losses import RankSimLoss
from ranksim.training.module import RegressionModule
from ranksim.training.trainer_config import ValidationCallback, silence_lightning

BEST, LAST = "best.ckpt", "last.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Replaces checkpoints atomically, which Lightning does not across file systems."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        with atomic_write(Path(path)) as temporary, temporary.open("wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # raised when torch closes a file it could not write
                raise error.__context__ or error from error


def read_training_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint to the CPU without executing anything in it; reject a damaged file."""
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                archive.read(name)  # verifies the checksum, which torch.load does not
        return torch.load(path, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]
    except Exception as error:  # torch and zipfile do not document what damaged files raise
        if is_transient_io_error(error):
            raise
        raise DataError(
            f"Checkpoint {path} is damaged: delete the folder {path.parent} and run the command "
            "again to train it anew."
        ) from error


def read_resumable_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Load the last checkpoint of a run; if one is damaged, delete all and return None."""
    last, best = folder / LAST, folder / BEST
    if not last.is_file():
        return None
    try:
        checkpoint = read_training_checkpoint(last)
        if checkpoint["callbacks"][ResumeCallback.__qualname__]["best_epoch"]:
            read_training_checkpoint(best)
    except (DataError, KeyError, FileNotFoundError):
        last.unlink()
        best.unlink(missing_ok=True)
        return None
    return checkpoint


class ResumeCallback(Callback):
    """Saves random states, learning curves and elapsed time, and reports each validation.

    ``curves`` holds per validation: epochs so far, score, and mean loss and RankSim term since the
    last one.
    """

    def __init__(
        self,
        stopping: EarlyStopping,
        best: ModelCheckpoint,
        on_validation: ValidationCallback | None,
    ) -> None:
        self.stopping, self.best, self.on_validation = stopping, best, on_validation
        self.epochs, self.best_epoch, self.best_score = 0, 0, float("inf")
        self.curves: dict[str, list[float]] = {}
        self.earlier_seconds = 0.0  # before the training was interrupted
        self.start_time = time.perf_counter()
        self.random_states: list[dict[str, Any]] | None = None  # one per training process
        self.threads = torch.get_num_threads()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        silence_lightning()  # in the training process too

    @property
    def state_key(self) -> str:
        return type(self).__qualname__

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        torch.set_num_threads(self.threads)  # in another process too
        # nothing reads uninitialized memory, and filling it would take a tenth of a step
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.start_time = time.perf_counter()
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
            state = self.random_states[trainer.global_rank]
            torch.set_rng_state(state["torch"])
            ranksim = pl_module.ranksim
            if isinstance(ranksim, RankSimLoss):
                if ranksim.generator is not None:
                    ranksim.generator.set_state(state["ranksim"])
                if ranksim.feature_bank is not None and "memory" in state:
                    ranksim.feature_bank.set_extra_state(state["memory"])
        if self.stopping.wait_count >= self.stopping.patience:
            trainer.should_stop = True  # the training was complete before it was interrupted

    def _restore_best_checkpoint(self) -> None:
        """Point to the best checkpoint, whose score Lightning forgets if the folder was moved."""
        path = str(Path(self.best.dirpath or "") / BEST)
        if self.best_epoch and Path(path).is_file():
            score = torch.tensor(self.best_score)
            self.best.best_model_path = self.best.kth_best_model_path = path
            self.best.best_model_score = self.best.kth_value = score
            self.best.best_k_models = {path: score}

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        score = float(trainer.callback_metrics[self.stopping.monitor])
        self.epochs = trainer.current_epoch + 1
        if score < self.best_score:
            self.best_score, self.best_epoch = score, self.epochs
        assert isinstance(pl_module, RegressionModule)
        steps = trainer.num_training_batches / trainer.accumulate_grad_batches
        point = {"epoch": trainer.global_step / steps, "val": score, **pl_module.loss_means}
        for name, value in point.items():
            self.curves.setdefault(name, []).append(value)
        if self.on_validation is not None and trainer.is_global_zero:
            self.on_validation(self.epochs, score)

    def state_dict(self) -> dict[str, Any]:
        return {
            "epochs": self.epochs,
            "best_epoch": self.best_epoch,
            "best": self.best_score,
            "curves": self.curves,
            "seconds": self.earlier_seconds + time.perf_counter() - self.start_time,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epochs, self.best_epoch = state_dict["epochs"], state_dict["best_epoch"]
        self.best_score, self.earlier_seconds = state_dict["best"], state_dict["seconds"]
        self.curves = state_dict["curves"]

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        state: dict[str, Any] = {"torch": torch.get_rng_state(), "ranksim": None}
        ranksim = pl_module.ranksim
        if isinstance(ranksim, RankSimLoss):
            if ranksim.generator is not None:
                state["ranksim"] = ranksim.generator.get_state()
            separate_banks = trainer.world_size > 1 and not ranksim.gather_across_devices
            if separate_banks and ranksim.feature_bank is not None:
                # the module's state dict holds the feature bank of the first process only
                state["memory"] = ranksim.feature_bank.get_extra_state()
        states = [state] * trainer.world_size
        if trainer.world_size > 1:
            dist.all_gather_object(states, state)
        checkpoint["random"] = states

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.random_states = checkpoint.get("random")
