"""RankSim: deep regression where the labels that matter are rare."""

import importlib
from typing import TYPE_CHECKING, Any

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

_BALANCE = {"FDS", "LDS", "DensityWeights", "LabelBins", "density_weights"}


def __getattr__(name: str) -> Any:
    # torch and numpy are imported when a name is used, so that the command line answers at once
    if name == "functional":
        return importlib.import_module("ranksim.functional")
    if name == "load_model":
        importlib.import_module("ranksim.exceptions").needs("lightning", "train")
        return importlib.import_module("ranksim.inference").load_model
    if name in __all__:
        part = "ranksim.imbalance" if name in _BALANCE else "ranksim.losses"
        return getattr(importlib.import_module(part), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
