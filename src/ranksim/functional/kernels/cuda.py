"""RankSim on CUDA, by Triton."""

from __future__ import annotations

import torch

from ranksim.functional.kernels import eager

term = eager.term


def missing(device: torch.device) -> str:
    """Why this path cannot run on a device; empty where it can."""
    return "its kernels are not built yet"
