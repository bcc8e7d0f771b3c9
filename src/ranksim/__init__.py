"""RankSim and the methods of deep imbalanced regression, for PyTorch."""

from typing import TYPE_CHECKING

from ranksim._utils.lazy import lazy_attributes

if TYPE_CHECKING:
    from ranksim import functional
    from ranksim.imbalance import FDS, LDS, DensityWeights, LabelBins, density_weights
    from ranksim.inference import load_model
    from ranksim.losses import FocalRLoss, HuberLoss, L1Loss, MSELoss, RankSimLoss

__all__ = [
    "FDS",
    "LDS",
    "DensityWeights",
    "FocalRLoss",
    "HuberLoss",
    "L1Loss",
    "LabelBins",
    "MSELoss",
    "RankSimLoss",
    "__version__",
    "density_weights",
    "functional",
    "load_model",
]

__version__ = "0.1.0"

_LOSSES = ("FocalRLoss", "HuberLoss", "L1Loss", "MSELoss", "RankSimLoss")
_IMBALANCE = ("FDS", "LDS", "DensityWeights", "LabelBins", "density_weights")
__getattr__, __dir__ = lazy_attributes(
    __name__,
    {
        **dict.fromkeys(_LOSSES, "ranksim.losses"),
        **dict.fromkeys(_IMBALANCE, "ranksim.imbalance"),
        "functional": "ranksim.functional",
        "load_model": "ranksim.inference",
    },
    requires={"load_model": ("lightning", "train")},
)
