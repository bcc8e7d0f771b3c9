"""RankSim and the methods of deep imbalanced regression, for PyTorch."""

from typing import TYPE_CHECKING

from ranksim._utils.lazy import lazy_attributes

if TYPE_CHECKING:
    from ranksim import functional
    from ranksim.api.comparison import Comparison, compare
    from ranksim.api.drift import Drift
    from ranksim.api.label_report import LabelReport, inspect
    from ranksim.api.model import Evaluation, Model, fit, push_to_hub
    from ranksim.imbalance import FDS, LDS, DensityWeights, LabelBins, density_weights
    from ranksim.inference import load_model
    from ranksim.losses import (
        BSAM,
        BalancedMSELoss,
        CCCLoss,
        ConRLoss,
        DILALoss,
        DistLoss,
        FocalRLoss,
        GARLoss,
        GaussianLoss,
        HuberLoss,
        L1Loss,
        LaplaceLoss,
        MSELoss,
        OrdinalEntropyLoss,
        QuantileLoss,
        RankSimLoss,
        RnCLoss,
        SERALoss,
        SRLLoss,
        UVoteLoss,
    )

__all__ = [
    "BSAM",
    "FDS",
    "LDS",
    "BalancedMSELoss",
    "CCCLoss",
    "Comparison",
    "ConRLoss",
    "DILALoss",
    "DensityWeights",
    "DistLoss",
    "Drift",
    "Evaluation",
    "FocalRLoss",
    "GARLoss",
    "GaussianLoss",
    "HuberLoss",
    "L1Loss",
    "LabelBins",
    "LabelReport",
    "LaplaceLoss",
    "MSELoss",
    "Model",
    "OrdinalEntropyLoss",
    "QuantileLoss",
    "RankSimLoss",
    "RnCLoss",
    "SERALoss",
    "SRLLoss",
    "UVoteLoss",
    "__version__",
    "compare",
    "density_weights",
    "fit",
    "functional",
    "inspect",
    "load_model",
    "push_to_hub",
]

__version__ = "0.2.0"

_LOSSES = (
    "BSAM",
    "BalancedMSELoss",
    "CCCLoss",
    "DILALoss",
    "DistLoss",
    "ConRLoss",
    "FocalRLoss",
    "GARLoss",
    "GaussianLoss",
    "HuberLoss",
    "L1Loss",
    "LaplaceLoss",
    "MSELoss",
    "OrdinalEntropyLoss",
    "QuantileLoss",
    "RankSimLoss",
    "SERALoss",
    "RnCLoss",
    "SRLLoss",
    "UVoteLoss",
)
_IMBALANCE = ("FDS", "LDS", "DensityWeights", "LabelBins", "density_weights")
_INTERFACE = {
    "Comparison": "ranksim.api.comparison",
    "Drift": "ranksim.api.drift",
    "Evaluation": "ranksim.api.model",
    "LabelReport": "ranksim.api.label_report",
    "Model": "ranksim.api.model",
    "compare": "ranksim.api.comparison",
    "fit": "ranksim.api.model",
    "inspect": "ranksim.api.label_report",
    "push_to_hub": "ranksim.api.model",
}
__getattr__, __dir__ = lazy_attributes(
    __name__,
    {
        **dict.fromkeys(_LOSSES, "ranksim.losses"),
        **dict.fromkeys(_IMBALANCE, "ranksim.imbalance"),
        **_INTERFACE,
        "functional": "ranksim.functional",
        "load_model": "ranksim.inference",
    },
    requires={
        "load_model": ("safetensors", "train"),
        **dict.fromkeys(_INTERFACE, ("pyarrow", "train")),
    },
)
