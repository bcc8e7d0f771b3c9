"""How much memory a training took at its height."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import torch

from ranksim.training.trainer_config import TrainerConfig

_MB = 2**20


def forget_peak(hardware: TrainerConfig) -> None:
    """Count from here on, where the system allows that."""
    if hardware.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory(hardware: TrainerConfig) -> float | None:
    """Most memory since :func:`forget_peak`, in MB of 2²⁰ bytes: the GPU's, else the process's.

    ``None`` where trainings are spread over processes of their own, and where the system does not
    say. Where it does not forget, the most since the process began.
    """
    if hardware.several:
        return None
    if hardware.on_gpu:
        return torch.cuda.max_memory_allocated() / _MB
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    with contextlib.suppress(ImportError):
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most / (_MB if sys.platform == "darwin" else 1024)
    return None
