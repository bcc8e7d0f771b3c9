"""One training from a seed to its test scores, resumable after each validation."""

from __future__ import annotations

import logging
import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor

from ranksim.data.text import TokenDataset
from ranksim.errors import RankSimError, UsageError
from ranksim.losses import RankSimLoss
from ranksim.metrics.regions import Regions
from ranksim.metrics.scores import Scores
from ranksim.models import Regressor, TextEncoder
from ranksim.training.loading import SeededOrder, make_loader
from ranksim.training.module import RegressionModule
from ranksim.training.recipe import Recipe
from ranksim.training.state import BEST, LAST, Progress, RunState


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
    order = SeededOrder(len(training), seed)
    loader = make_loader(training, recipe.batch_size, order)
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
        callbacks=[stopping, RunState(stopping, best, on_validation), best, last],
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
            make_loader(validation, 100),
            ckpt_path=None if reached is None else resume,
            weights_only=True,
        )
    except SystemExit as error:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from error
    # read back from disk: with several devices, training ran in other processes
    reached = _read(resume)
    state = reached["callbacks"][RunState.__qualname__]
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
    judge.validate(module, make_loader(validation, 100), verbose=False)
    val_scores = module.scores
    judge.test(module, make_loader(test, 100), verbose=False)
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
