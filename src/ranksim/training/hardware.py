"""Checks of the hardware before a training, and the memory that it uses."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import torch

from ranksim.exceptions import UsageError
from ranksim.training.trainer_config import NODE_RANK, TrainerConfig, node_rank

_MB = 2**20


def check_trainer_config(config: TrainerConfig, jobs: int = 1) -> None:
    """Raise UsageError if the hardware cannot train like this, or ``jobs`` runs at once."""
    if config.num_nodes > 1:
        # without these variables, nodes would wait for each other forever
        address, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT", "")
        ranked = any(os.environ.get(name, "").isdigit() for name in NODE_RANK)
        if not (address and port.isdigit() and ranked):
            raise UsageError(
                f"--num-nodes {config.num_nodes} needs the environment variables MASTER_ADDR, "
                "MASTER_PORT and NODE_RANK: set them on each node and run the same command there."
            )
        if node_rank() >= config.num_nodes:
            raise UsageError(
                f"--num-nodes {config.num_nodes} needs a NODE_RANK from 0 to "
                f"{config.num_nodes - 1}, got {node_rank()}."
            )
    if config.gather_across_devices and not config.is_distributed:
        raise UsageError(
            "--gather-across-devices needs several devices: give --devices or --num-nodes too."
        )
    if jobs > 1 and config.is_distributed:
        raise UsageError(
            f"--jobs {jobs} trains several runs at once on one device each and cannot be combined "
            "with --devices or --num-nodes: leave one of them out."
        )
    if not config.needs_lightning:
        return
    from ranksim.training.lightning.trainer import check_hardware

    check_hardware(config)


def reset_peak_memory(config: TrainerConfig) -> None:
    """Reset the measurement of peak memory, if the system supports it."""
    if config.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_mb(config: TrainerConfig) -> float | None:
    """Return the peak memory since the reset of the GPU or else of the process, in 2²⁰ bytes.

    ``None`` for distributed training or if the system does not report it.
    """
    if config.is_distributed:
        return None
    if config.on_gpu:
        return torch.cuda.max_memory_allocated() / _MB
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    with contextlib.suppress(ImportError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (_MB if sys.platform == "darwin" else 1024)
    return None
