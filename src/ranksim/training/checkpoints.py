"""Checkpoints, read once their checksums are right."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from ranksim._utils.storage import is_transient_io_error
from ranksim.exceptions import DataError
from ranksim.training.resume import BEST, LAST, ResumeCallback


def read_checkpoint(checkpoint: Path) -> dict[str, Any]:
    """A checkpoint on the CPU; nothing in it is executed.

    Raises:
        DataError: it is damaged.
    """
    try:
        with zipfile.ZipFile(checkpoint) as parts:  # PyTorch does not look at its checksums
            damaged = parts.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(damaged)
        content: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # PyTorch and zip promise no list of what damage makes them raise
        if is_transient_io_error(error):
            raise
        raise DataError(
            f"{checkpoint} is damaged: delete the folder {checkpoint.parent} and start the command "
            "again, to have it trained anew."
        ) from error
    return content


def read_or_drop(folder: Path) -> dict[str, Any] | None:
    """The checkpoint to go on from; where one of a run is damaged, it starts afresh."""
    last, best = folder / LAST, folder / BEST
    if not last.is_file():
        return None
    try:
        reached = read_checkpoint(last)
        if reached["callbacks"][ResumeCallback.__qualname__]["best_epoch"]:
            read_checkpoint(best)
    except (DataError, KeyError, FileNotFoundError):
        last.unlink()
        best.unlink(missing_ok=True)
        return None
    return reached
