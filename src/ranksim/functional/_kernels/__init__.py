"""One term, three paths: plain PyTorch everywhere, NumPy's sorts on a CPU, Triton on CUDA."""

from ranksim.functional._kernels.dispatch import ranksim_term

__all__ = ["ranksim_term"]
