"""Label bins, density weights, LDS (NumPy only) and FDS (PyTorch)."""

from typing import TYPE_CHECKING

from ranksim._utils.lazy import lazy_attributes
from ranksim.imbalance.bins import LabelBins
from ranksim.imbalance.density import (
    BinnedDensity,
    KernelDensity,
    LabelDensity,
    silverman_bandwidth,
)
from ranksim.imbalance.smoothing import (
    BOUNDARIES,
    KERNELS,
    LDS,
    Boundary,
    Kernel,
    kernel_window,
    smooth,
)
from ranksim.imbalance.weights import SCHEMES, DensityWeights, Scheme, density_weights

if TYPE_CHECKING:
    from ranksim.imbalance.fds import FDS

__all__ = [
    "BOUNDARIES",
    "FDS",
    "KERNELS",
    "LDS",
    "SCHEMES",
    "BinnedDensity",
    "Boundary",
    "DensityWeights",
    "Kernel",
    "KernelDensity",
    "LabelBins",
    "LabelDensity",
    "Scheme",
    "density_weights",
    "kernel_window",
    "silverman_bandwidth",
    "smooth",
]

__getattr__, __dir__ = lazy_attributes(__name__, {"FDS": "ranksim.imbalance.fds"})
