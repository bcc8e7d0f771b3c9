"""Implementations of the RankSim term: PyTorch on any device, NumPy on a CPU, Triton on CUDA."""

from ranksim.functional._kernels.dispatch import ranksim_term
from ranksim.functional._kernels.reference import RankSimInputs, RankSimParams

__all__ = ["RankSimInputs", "RankSimParams", "ranksim_term"]
