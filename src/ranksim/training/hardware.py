"""What Lightning is told about the machine, and how it is kept quiet."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import lightning.pytorch as L
from lightning.fabric.utilities.exceptions import MisconfigurationException

from ranksim.errors import UsageError


@dataclass(frozen=True)
class Hardware:
    """What Lightning's Trainer is told about the machine."""

    accelerator: str = "auto"
    devices: str = "1"
    precision: str = "32-true"


def check_hardware(hardware: Hardware) -> None:
    """Refuse what Lightning would refuse, before anything is read or written."""
    try:
        L.Trainer(
            accelerator=hardware.accelerator,
            devices=devices_of(hardware),
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


def devices_of(hardware: Hardware) -> int | str:
    """A number of devices, or Lightning's words for them."""
    return int(hardware.devices) if hardware.devices.isdigit() else hardware.devices


def quiet() -> None:
    """Lightning's advice on loaders, loggers and hardware is noise in a sweep."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")


def make_judge(hardware: Hardware) -> L.Trainer:
    """A Trainer that trains nothing: scores and features, on one device."""
    return L.Trainer(
        accelerator=hardware.accelerator,
        devices=1,
        precision=hardware.precision,  # type: ignore[arg-type]
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@contextlib.contextmanager
def ctrl_c() -> Iterator[None]:
    """Make Ctrl-C again of what Lightning makes of it."""
    try:
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error
