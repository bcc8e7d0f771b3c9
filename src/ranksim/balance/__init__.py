"""Label bins and, built on them, everything that balances labels. numpy alone."""

from ranksim.balance.bins import LabelBins
from ranksim.balance.density import (
    BinnedDensity,
    KernelDensity,
    LabelDensity,
    silverman_bandwidth,
)
from ranksim.balance.kernels import (
    BOUNDARIES,
    KERNELS,
    Boundary,
    Kernel,
    kernel_window,
    smooth,
)
from ranksim.balance.weights import (
    LDS,
    SCHEMES,
    DensityWeights,
    Scheme,
    density_weights,
)

__all__ = [
    "BOUNDARIES",
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
