"""What Lightning is told about the machine, and how it is kept quiet."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as L
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException

from ranksim.exceptions import UsageError

_START = "spawn"  # how the processes of a training are started: no other way allows GPUs
_NODE_RANK = ("NODE_RANK", "GROUP_RANK", "SLURM_NODEID")


@dataclass(frozen=True)
class TrainerConfig:
    """What Lightning's Trainer and the network are told about the machine.

    Args:
        accelerator, devices, precision, num_nodes: Lightning's. With several nodes, each is given
            the same command, with ``NODE_RANK`` (or Slurm's), ``MASTER_ADDR`` and ``MASTER_PORT``.
        compile: the encoder by ``torch.compile``.
        channels_last: images and convolutions with channels as the last, contiguous dimension;
            ``None``: where the CPU trains, which is faster so.
        gather: RankSim ranks the samples of all devices among each other.
    """

    accelerator: str = "auto"
    devices: str = "1"
    precision: str = "32-true"
    num_nodes: int = 1
    compile: bool = False
    channels_last: bool | None = None
    gather: bool = False

    @property
    def several(self) -> bool:
        """Whether a training is spread over processes."""
        return self.devices != "1" or self.num_nodes > 1

    @property
    def puts_channels_last(self) -> bool:
        """What ``channels_last`` comes to on this machine."""
        if self.channels_last is not None:
            return self.channels_last
        usual = self.accelerator == "auto" and not torch.accelerator.is_available()
        return self.accelerator == "cpu" or usual

    @property
    def follows(self) -> bool:
        """Whether this is another node than the first, which alone writes results."""
        return self.num_nodes > 1 and node_rank() > 0

    @property
    def asks_for_gpu(self) -> bool:
        """Whether nothing but an NVIDIA or AMD GPU will do."""
        return self.accelerator in ("gpu", "cuda")

    @property
    def on_gpu(self) -> bool:
        """Whether training happens on an NVIDIA or AMD GPU."""
        may = self.accelerator == "auto" or self.asks_for_gpu
        return may and torch.cuda.is_available()


def node_rank() -> int:
    """This node's number, from 0."""
    for name in _NODE_RANK:
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0


def check_hardware(hardware: TrainerConfig, jobs: int = 1) -> None:
    """Refuse what Lightning would refuse, before anything is read or written.

    Raises:
        UsageError: saying what to give instead.
    """
    if hardware.num_nodes > 1:
        _check_node(hardware.num_nodes)
    if hardware.gather and not hardware.several:
        raise UsageError("--gather joins the samples of several devices: give --devices too.")
    if jobs > 1 and hardware.several:
        raise UsageError(
            f"--jobs {jobs} trains runs side by side, each on one device: leave it out with "
            "--devices or --num-nodes."
        )
    try:
        _without_training(hardware, **trainer_settings(hardware))
    except (ValueError, TypeError, RuntimeError, MisconfigurationException) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise UsageError(
            f"Lightning cannot use --accelerator {hardware.accelerator} --devices "
            f"{hardware.devices} --precision {hardware.precision}: {reason}."
        ) from error


def _check_node(nodes: int) -> None:
    """Without these, nodes would wait for each other in vain."""
    if not (
        os.environ.get("MASTER_ADDR")
        and os.environ.get("MASTER_PORT", "").isdigit()
        and any(os.environ.get(name, "").isdigit() for name in _NODE_RANK)
    ):
        raise UsageError(
            f"--num-nodes {nodes} needs the environment variables MASTER_ADDR, MASTER_PORT and "
            "NODE_RANK: set them on each node and give each the same command."
        )
    if node_rank() >= nodes:
        raise UsageError(
            f"--num-nodes {nodes} needs a NODE_RANK from 0 to {nodes - 1}, got {node_rank()}."
        )


def trainer_settings(hardware: TrainerConfig, *, unused: bool = False) -> dict[str, Any]:
    """What tells Lightning's Trainer how to spread a training over devices and nodes.

    ``unused``: the network has weights that take no part, as pretrained ones may.
    """
    devices = hardware.devices
    settings: dict[str, Any] = {
        "accelerator": hardware.accelerator,
        "devices": int(devices) if devices.isdigit() else devices,
        "precision": hardware.precision,
    }
    if not hardware.several:
        return settings
    # one process a node starts the others, on a Slurm node too
    os.environ.setdefault("NODE_RANK", str(node_rank()))
    return settings | {
        "num_nodes": hardware.num_nodes,
        "strategy": f"ddp_{_START}" + "_find_unused_parameters_true" * unused,
        "plugins": [LightningEnvironment()],
    }


def world_size(hardware: TrainerConfig) -> int:
    """How many processes train together, on all nodes."""
    if not hardware.several:
        return 1
    return _without_training(hardware, **trainer_settings(hardware)).world_size


def silence_lightning() -> None:
    """Lightning's advice on loaders, loggers and hardware is noise in a sweep."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")


def make_eval_trainer(hardware: TrainerConfig) -> L.Trainer:
    """A Trainer that trains nothing: scores and features, on one device."""
    return _without_training(hardware, devices=1, plugins=[LightningEnvironment()])


def _without_training(hardware: TrainerConfig, **settings: Any) -> L.Trainer:
    usual = {"accelerator": hardware.accelerator, "precision": hardware.precision}
    return L.Trainer(
        **usual | settings,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@contextlib.contextmanager
def translate_keyboard_interrupt() -> Iterator[None]:
    """Make Ctrl-C again of what Lightning makes of it."""
    try:
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error
