"""Checkpoints from which an interrupted training resumes to the same result."""

from __future__ import annotations

import dataclasses
import math
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch

from ranksim._utils.storage import atomic_write, is_transient_io_error
from ranksim.exceptions import DataError
from ranksim.losses import RankSimLoss
from ranksim.training.module import RegressionModule

BEST, LAST = "best.ckpt", "last.ckpt"
LOOP = "loop"
"""Key of a checkpoint's training loop, which alone can resume from it."""


@dataclass
class Progress:
    """Validations of a training so far.

    ``curves`` holds per validation: epochs so far, score, and mean loss and RankSim term since the
    last one.
    """

    epochs: int = 0
    best_epoch: int = 0
    best_score: float = math.inf
    stale: int = 0  # validations since the best one
    seconds: float = 0.0
    curves: dict[str, list[float]] = field(default_factory=dict)
    keep_last: bool = False  # the last weights count as the best ones

    def add(self, epoch: int, score: float, point: dict[str, float]) -> bool:
        """Record a validation during ``epoch``, from 1; return True if its score is the best."""
        self.epochs = epoch
        for name, value in point.items():
            self.curves.setdefault(name, []).append(value)
        improved = self.keep_last or score < self.best_score
        if improved:
            self.best_score, self.best_epoch, self.stale = score, epoch, 0
        else:
            self.stale += 1
        return improved

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of a checkpoint."""
        return dataclasses.asdict(self)

    @classmethod
    def from_checkpoint(cls, checkpoint: dict[str, Any]) -> Self:
        """Read the progress of a checkpoint; raise KeyError if it has none."""
        return cls(**checkpoint["progress"])


def save_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint, or leave the file as it was."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
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


def read_resumable_checkpoint(folder: Path, loop: str) -> dict[str, Any] | None:
    """Load the last checkpoint of a training loop.

    If a checkpoint is damaged or another loop has written it, delete all and return None.
    """
    last, best = folder / LAST, folder / BEST
    if not last.is_file():
        return None
    try:
        checkpoint = read_training_checkpoint(last)
        usable = checkpoint[LOOP] == loop
        if usable and Progress.from_checkpoint(checkpoint).best_epoch:
            read_training_checkpoint(best)
    except (DataError, KeyError, TypeError, FileNotFoundError):
        usable = False
    if not usable:
        last.unlink()
        best.unlink(missing_ok=True)
        return None
    return checkpoint


def random_state(module: RegressionModule, *, separate_banks: bool = False) -> dict[str, Any]:
    """Return the states of the random generators of a training.

    ``separate_banks``: also RankSim's feature bank, of which the state of the module holds the one
    of the first process only.
    """
    state: dict[str, Any] = {"torch": torch.get_rng_state(), "ranksim": None}
    ranksim = module.ranksim
    if isinstance(ranksim, RankSimLoss):
        if ranksim.generator is not None:
            state["ranksim"] = ranksim.generator.get_state()
        if separate_banks and ranksim.feature_bank is not None:
            state["memory"] = ranksim.feature_bank.get_extra_state()
    return state


def restore_random_state(module: RegressionModule, state: dict[str, Any]) -> None:
    """Set the random generators, and RankSim's feature bank, to a state of ``random_state``."""
    torch.set_rng_state(state["torch"])
    ranksim = module.ranksim
    if isinstance(ranksim, RankSimLoss):
        if ranksim.generator is not None:
            ranksim.generator.set_state(state["ranksim"])
        if ranksim.feature_bank is not None and "memory" in state:
            ranksim.feature_bank.set_extra_state(state["memory"])
