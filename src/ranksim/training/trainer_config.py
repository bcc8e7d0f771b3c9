"""Hardware settings of a training."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

ValidationCallback = Callable[[int, float], None]
"""Called with epoch and validation score."""
_FLOAT32 = ("32-true", "32")
NODE_RANK = ("NODE_RANK", "GROUP_RANK", "SLURM_NODEID")


@dataclass(frozen=True)
class TrainerConfig:
    """Hardware settings of a training and of the network.

    On the CPU, in one process and in float32, a loop of ranksim trains; otherwise Lightning's
    Trainer.

    With several nodes, run the same command on each, with the environment variables ``NODE_RANK``
    (or Slurm's), ``MASTER_ADDR`` and ``MASTER_PORT``.
    """

    accelerator: str = "auto"  # this and the next three are arguments of lightning.Trainer
    devices: str = "1"
    precision: str = "32-true"
    num_nodes: int = 1
    compile: bool = False  # compile the encoder with torch.compile
    channels_last: bool | None = None  # of images; None: on the CPU, where it is faster
    gather_across_devices: bool = False  # RankSim ranks the samples of all devices together

    @property
    def is_distributed(self) -> bool:
        """Return True if training runs in several processes."""
        return self.devices != "1" or self.num_nodes > 1

    @property
    def on_cpu(self) -> bool:
        """Return True if training runs on the CPU."""
        import torch

        has_accelerator = torch.accelerator.is_available()
        return self.accelerator == "cpu" or (self.accelerator == "auto" and not has_accelerator)

    @property
    def needs_lightning(self) -> bool:
        """Return True unless training runs in float32 in one process on the CPU."""
        return not self.on_cpu or self.is_distributed or self.precision not in _FLOAT32

    @property
    def uses_channels_last(self) -> bool:
        """Return ``channels_last`` with its default for this machine."""
        if self.channels_last is not None:
            return self.channels_last
        return self.on_cpu

    @property
    def is_follower_node(self) -> bool:
        """Return True on every node but the first, which writes the results."""
        return self.num_nodes > 1 and node_rank() > 0

    @property
    def requires_gpu(self) -> bool:
        """Return True if the accelerator must be an NVIDIA or AMD GPU."""
        return self.accelerator in ("gpu", "cuda")

    @property
    def on_gpu(self) -> bool:
        """Return True if training runs on an NVIDIA or AMD GPU."""
        import torch

        return (self.accelerator == "auto" or self.requires_gpu) and torch.cuda.is_available()


def node_rank() -> int:
    """Return the index of this node, from 0."""
    for name in NODE_RANK:
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0
