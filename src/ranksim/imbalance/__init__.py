"""Label bins and, built on them, all that balances labels: numpy alone; FDS, which needs torch."""

import importlib
from typing import TYPE_CHECKING, Any

from ranksim.imbalance.bins import LabelBins
from ranksim.imbalance.density import (
    BinnedDensity,
    KernelDensity,
    LabelDensity,
    silverman_bandwidth,
)
from ranksim.imbalance.lds import LDS
from ranksim.imbalance.smoothing import (
    BOUNDARIES,
    KERNELS,
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


def __getattr__(name: str) -> Any:
    # torch is imported when FDS is used: weights need numpy alone
    if name == "FDS":
        return importlib.import_module("ranksim.imbalance.fds").FDS
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
