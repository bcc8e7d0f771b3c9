"""Label bins, density weights, LDS, relevance, resampling (NumPy only) and FDS (PyTorch)."""

from typing import TYPE_CHECKING

from ranksim._utils.lazy import lazy_attributes
from ranksim.imbalance.bins import LabelBins
from ranksim.imbalance.density import (
    BinnedDensity,
    KernelDensity,
    LabelDensity,
    silverman_bandwidth,
)
from ranksim.imbalance.relevance import (
    DensityRelevance,
    PchipRelevance,
    RelevanceFunction,
    fit_relevance,
)
from ranksim.imbalance.resampling import (
    RESAMPLERS,
    SMOGN,
    SMOTER,
    WERCS,
    RandomOverSampler,
    RandomUnderSampler,
    Resampler,
    ResamplerName,
    make_resampler,
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
    "RESAMPLERS",
    "SCHEMES",
    "SMOGN",
    "SMOTER",
    "WERCS",
    "BinnedDensity",
    "Boundary",
    "DensityRelevance",
    "DensityWeights",
    "Kernel",
    "KernelDensity",
    "LabelBins",
    "LabelDensity",
    "PchipRelevance",
    "RandomOverSampler",
    "RandomUnderSampler",
    "RelevanceFunction",
    "Resampler",
    "ResamplerName",
    "Scheme",
    "density_weights",
    "fit_relevance",
    "kernel_window",
    "make_resampler",
    "silverman_bandwidth",
    "smooth",
]

__getattr__, __dir__ = lazy_attributes(__name__, {"FDS": "ranksim.imbalance.fds"})
