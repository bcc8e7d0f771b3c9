"""What a run knows beside its weights: random states, its scores so far, the clock."""

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

from ranksim._utils.storage import atomic_write
from ranksim.exceptions import RankSimError
from ranksim.losses import RankSimLoss
from ranksim.training.module import RegressionModule
from ranksim.training.trainer_config import silence_lightning

Progress = Callable[[int, float], None]
BEST, LAST = "best.ckpt", "last.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that replace their predecessors at once: a kill leaves the old one or the new.

    Lightning writes to the folder for temporary files, which may be another file system: what
    comes from there arrives in pieces.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        with atomic_write(Path(path)) as aside, aside.open("wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # of closing an archive that could not be written
                raise error.__context__ or error from error


class ResumeCallback(Callback):
    """Random states, curves and the clock, kept in checkpoints; tells of each validation.

    ``curves`` holds for each validation the epochs trained (a fraction where one is under way),
    its score, and the means of the loss and of RankSim's term over the steps since the last.
    """

    def __init__(
        self, stopping: EarlyStopping, kept: ModelCheckpoint, on_validation: Progress | None
    ) -> None:
        self.stopping, self.kept, self.on_validation = stopping, kept, on_validation
        self.monitor = stopping.monitor
        self.epochs, self.best_epoch, self.best = 0, 0, float("inf")
        self.curves: dict[str, list[float]] = {}
        self.before = 0.0  # seconds spent before the training was interrupted
        self.since = time.perf_counter()
        self.random: list[dict[str, Any]] | None = None  # of each process that trains
        self.threads = torch.get_num_threads()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        silence_lightning()  # in the process that trains too

    @property
    def state_key(self) -> str:
        return type(self).__qualname__

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        torch.set_num_threads(self.threads)  # in another process too
        # nothing here reads memory before it is written: filling it would take a tenth of a step
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.since = time.perf_counter()
        self._agree(trainer)
        if self.random is not None:
            self._know_the_best()
            random = self.random[trainer.global_rank]
            torch.set_rng_state(random["torch"])
            ranksim = _ranksim(pl_module)
            if ranksim is not None and ranksim.generator is not None:
                ranksim.generator.set_state(random["ranksim"])
            if ranksim is not None and ranksim.feature_bank is not None and "memory" in random:
                ranksim.feature_bank.set_extra_state(random["memory"])
        if self.stopping.wait_count >= self.stopping.patience:
            trainer.should_stop = True  # it had ended before it was interrupted

    def _agree(self, trainer: L.Trainer) -> None:
        """Nodes that went on from different checkpoints would train nonsense together."""
        own = ("/".join(Path(self.kept.dirpath or "").parts[-2:]), trainer.global_step)
        first = trainer.strategy.broadcast(own)
        if own != first:
            raise RankSimError(
                f"The nodes would not train the same: {first[0]} stands at step {first[1]} on the "
                f"first one, and {own[0]} at step {own[1]} on this one; start the command again "
                "on each."
            )

    def _know_the_best(self) -> None:
        """Lightning forgets the best score where the folder was moved since."""
        path = str(Path(self.kept.dirpath or "") / BEST)
        if self.best_epoch and Path(path).is_file():
            score = torch.tensor(self.best)
            self.kept.best_model_path = self.kept.kth_best_model_path = path
            self.kept.best_model_score = self.kept.kth_value = score
            self.kept.best_k_models = {path: score}

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        score = float(trainer.callback_metrics[self.monitor])
        self.epochs = trainer.current_epoch + 1
        if score < self.best:
            self.best, self.best_epoch = score, self.epochs
        assert isinstance(pl_module, RegressionModule)
        steps = trainer.num_training_batches / trainer.accumulate_grad_batches
        point = {"epoch": trainer.global_step / steps, "val": score, **pl_module.means}
        for name, value in point.items():
            self.curves.setdefault(name, []).append(value)
        if self.on_validation is not None and trainer.is_global_zero:
            self.on_validation(self.epochs, score)

    def state_dict(self) -> dict[str, Any]:
        return {
            "epochs": self.epochs,
            "best_epoch": self.best_epoch,
            "best": self.best,
            "curves": self.curves,
            "seconds": self.before + time.perf_counter() - self.since,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epochs, self.best_epoch = state_dict["epochs"], state_dict["best_epoch"]
        self.best, self.before = state_dict["best"], state_dict["seconds"]
        self.curves = state_dict["curves"]

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        ranksim = _ranksim(pl_module)
        generator = None if ranksim is None else ranksim.generator
        own: dict[str, Any] = {
            "torch": torch.get_rng_state(),
            "ranksim": None if generator is None else generator.get_state(),
        }
        every = [own] * trainer.world_size
        if trainer.world_size > 1:
            # the module's own state is that of the first process, whose samples may be others
            if ranksim is not None and ranksim.feature_bank is not None and not ranksim.gather_across_devices:
                own["memory"] = ranksim.feature_bank.get_extra_state()
            dist.all_gather_object(every, own)
        checkpoint["random"] = every

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.random = checkpoint.get("random")


def _ranksim(module: L.LightningModule) -> RankSimLoss | None:
    return module.ranksim if isinstance(module.ranksim, RankSimLoss) else None
