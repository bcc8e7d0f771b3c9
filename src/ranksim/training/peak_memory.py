"""Peak memory of a training run."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import torch

from ranksim.training.trainer_config import TrainerConfig

_MB = 2**20


def reset_peak_memory(config: TrainerConfig) -> None:
    """Restart the measurement, if the system supports it."""
    if config.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_mb(config: TrainerConfig) -> float | None:
    """Return the peak memory since :func:`reset_peak_memory`, of the GPU or else of the process.

    Returns:
        Units of 2²⁰ bytes. Since the start of the process on systems that cannot restart the
        measurement; ``None`` for distributed training or if the system does not report it.
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
