"""One training from a seed to its test scores, resumable after each validation."""

from __future__ import annotations

import logging
import pickle
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from ranksim.data.text import Batch, TokenDataset
from ranksim.errors import RankSimError, UsageError
from ranksim.losses import RankSimLoss
from ranksim.metrics.regions import Regions
from ranksim.metrics.scores import Scores
from ranksim.models import Regressor, TextEncoder
from ranksim.training.module import RegressionModule
from ranksim.training.recipe import Recipe


@dataclass(frozen=True)
class Hardware:
    """What Lightning's Trainer is told about the machine."""

    accelerator: str = "auto"
    devices: str = "1"
    precision: str = "32-true"


@dataclass(frozen=True)
class Limits:
    """Cuts a training short, for tests and demonstrations; ``None`` is the recipe's own end."""

    steps: int | None = None
    epochs: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What a training came to: scores by region, test predictions, and what it took."""

    val: dict[str, Scores]
    test: dict[str, Scores]
    rows: np.ndarray
    prediction: np.ndarray
    epochs: int
    best_epoch: int
    steps: int
    seconds: float


class DivergedError(RankSimError):
    """The validation score stopped being a number."""


Progress = Callable[[int, float], None]
BEST, LAST = "best.ckpt", "last.ckpt"


def fit(
    datasets: tuple[TokenDataset, TokenDataset, TokenDataset],
    vectors: Tensor,
    recipe: Recipe,
    regions: Regions,
    folder: Path,
    *,
    seed: int,
    ranksim: bool,
    gm_guard: float = 0.0,
    hardware: Hardware | None = None,
    limits: Limits | None = None,
    progress_bar: bool = False,
    on_validation: Progress | None = None,
) -> Outcome:
    """Train, keep the best validation MSE, and score that on validation and test.

    Args:
        datasets: training, validation and test samples.
        vectors: word vectors ``(V, E)``.
        recipe: the settings.
        regions: regions to report.
        folder: takes ``best.ckpt``, ``last.ckpt`` and logs. With a ``last.ckpt`` there, training
            goes on from it, to the same result as if it had never stopped.
        seed: fixes initial weights, order of samples, dropout and RankSim's draws.
        ranksim: whether RankSim is added to the loss.
        gm_guard: see :func:`ranksim.metrics.regression_scores`.
        hardware: for Lightning's Trainer.
        limits: an earlier end.
        progress_bar: show Lightning's.
        on_validation: called with the epoch and its validation MSE.

    Raises:
        DivergedError: the validation MSE became NaN or infinite before any was finite.
    """
    hardware, limits = hardware or Hardware(), limits or Limits()
    quiet()
    L.seed_everything(seed, verbose=False)
    training, validation, test = datasets
    model = Regressor(
        TextEncoder(
            vectors,
            texts=len(training.tokens),
            hidden=recipe.hidden,
            layers=recipe.layers,
            dropout=recipe.dropout,
        )
    )
    module = RegressionModule(
        model,
        recipe,
        regions,
        ranksim=_regulariser(recipe, seed) if ranksim else None,
        gm_guard=gm_guard,
    )
    best = ModelCheckpoint(
        folder, "best", monitor="val_mse", save_weights_only=True, enable_version_counter=False
    )
    last = ModelCheckpoint(folder, "last", save_top_k=1, enable_version_counter=False)
    stopping = EarlyStopping("val_mse", patience=recipe.patience, min_delta=0.0)
    several = hardware.devices != "1"
    if several:  # training runs in processes of its own, which are handed the data
        torch.multiprocessing.set_sharing_strategy("file_system")  # type: ignore[no-untyped-call]
    every, checks = recipe.validate_every, limits.epochs or recipe.max_validations
    resume = folder / LAST
    reached = _read_or_drop(resume)
    order = _SeededOrder(len(training), seed)
    loader = _loader(training, recipe.batch_size, order)
    if reached is not None:
        order.start = reached["global_step"] % len(loader) * recipe.batch_size
    trainer = L.Trainer(
        accelerator=hardware.accelerator,
        devices=_devices(hardware),
        strategy="ddp_spawn" if several else "auto",
        precision=hardware.precision,  # type: ignore[arg-type]
        max_epochs=-1 if every else checks,
        max_steps=limits.steps or (every * checks if every else -1),
        # an epoch longer than the limit would never be validated
        limit_train_batches=min(limits.steps, len(loader)) if limits.steps else None,
        val_check_interval=min(every, limits.steps or every) or None,
        check_val_every_n_epoch=None if every else 1,
        gradient_clip_val=recipe.clip,
        # the last checkpoint comes last: it holds what the others know after the same validation
        callbacks=[stopping, _RunState(stopping, best, on_validation), best, last],
        logger=[CSVLogger(folder, "logs"), TensorBoardLogger(folder, "logs")],
        enable_progress_bar=progress_bar,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        deterministic="warn",
        log_every_n_steps=50,
    )
    try:
        trainer.fit(
            module,
            loader,
            _loader(validation, 100),
            ckpt_path=None if reached is None else resume,
            weights_only=True,
        )
    except SystemExit as error:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from error
    # read back from disk: with several devices, training ran in other processes
    reached = _read(resume)
    state = reached["callbacks"][_RunState.__qualname__]
    if state["best_epoch"] == 0:
        raise DivergedError(
            "Training diverged: no validation MSE was a finite number; lower lr or strength."
        )
    module.load_state_dict(_read(folder / BEST)["state_dict"])
    judge = L.Trainer(
        accelerator=hardware.accelerator,
        devices=1,
        precision=hardware.precision,  # type: ignore[arg-type]
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    judge.validate(module, _loader(validation, 100), verbose=False)
    val_scores = module.scores
    judge.test(module, _loader(test, 100), verbose=False)
    assert module.predictions is not None
    rows, prediction, _ = module.predictions
    return Outcome(
        val=val_scores,
        test=module.scores,
        rows=rows,
        prediction=prediction.numpy(),
        epochs=state["epochs"],
        best_epoch=state["best_epoch"],
        steps=reached["global_step"],
        seconds=state["seconds"],
    )


def _read_or_drop(checkpoint: Path) -> dict[str, Any] | None:
    """The checkpoint to go on from; a damaged one is removed, and training starts afresh."""
    if not checkpoint.is_file():
        return None
    try:
        return _read(checkpoint)
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError, KeyError):
        checkpoint.unlink()
        return None


def _read(checkpoint: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    return content


def check_hardware(hardware: Hardware) -> None:
    """Refuse what Lightning would refuse, before anything is read or written."""
    try:
        L.Trainer(
            accelerator=hardware.accelerator,
            devices=_devices(hardware),
            precision=hardware.precision,  # type: ignore[arg-type]
            logger=False,
            enable_checkpointing=False,
        )
    except (ValueError, TypeError, RuntimeError, MisconfigurationException) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise UsageError(
            f"Lightning cannot use --accelerator {hardware.accelerator} --devices "
            f"{hardware.devices} --precision {hardware.precision}: {reason}."
        ) from error


def _devices(hardware: Hardware) -> int | str:
    return int(hardware.devices) if hardware.devices.isdigit() else hardware.devices


def quiet() -> None:
    """Lightning's advice on loaders, loggers and hardware is noise in a sweep."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")


def _regulariser(recipe: Recipe, seed: int) -> RankSimLoss:
    unique = recipe.unique_labels
    return RankSimLoss(
        recipe.gamma,
        recipe.lambda_,
        strength=recipe.strength,
        ties=recipe.ties,  # type: ignore[arg-type]
        unique_labels=unique if isinstance(unique, bool) else unique / recipe.label_step,
        # its own generator: with and without RankSim, dropout draws the same numbers
        generator=torch.Generator().manual_seed(seed),
    )


def _loader(
    data: TokenDataset, batch_size: int, order: _SeededOrder | None = None
) -> DataLoader[Batch]:
    # a generator of its own: each new iterator draws a seed, which must not move dropout's numbers
    return DataLoader(
        data,
        batch_size=batch_size,
        sampler=order,
        collate_fn=_as_it_is,
        generator=torch.Generator(),
    )


def _as_it_is(batch: Any) -> Any:
    """The data set has made the batch already."""
    return batch


class _SeededOrder(Sampler[int]):
    """A permutation that depends on seed and epoch alone, so that a resumed run repeats it."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed, self.epoch = size, seed, 0
        self.start = 0  # samples of the first epoch that an interrupted run has seen already

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        draw = np.random.default_rng((self.seed, self.epoch))
        start, self.start = self.start, 0
        return iter(draw.permutation(self.size)[start:].tolist())

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of each epoch."""
        self.epoch = epoch


class _RunState(Callback):
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
