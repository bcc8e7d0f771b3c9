"""Losses as ``torch.nn.Module`` classes."""

from ranksim.losses.bmse import BalancedMSELoss
from ranksim.losses.bsam import BSAM
from ranksim.losses.ccc import CCCLoss
from ranksim.losses.conr import ConRLoss
from ranksim.losses.dila import DILALoss
from ranksim.losses.dist import DistLoss
from ranksim.losses.distributions import GaussianLoss, LaplaceLoss, QuantileLoss
from ranksim.losses.gar import GARLoss
from ranksim.losses.ordinal_entropy import OrdinalEntropyLoss
from ranksim.losses.ranksim import RankSimLoss
from ranksim.losses.regression import FocalRLoss, HuberLoss, L1Loss, MSELoss
from ranksim.losses.rnc import RnCLoss
from ranksim.losses.sera import SERALoss
from ranksim.losses.srl import SRLLoss
from ranksim.losses.uvote import UVoteLoss

__all__ = [
    "BSAM",
    "BalancedMSELoss",
    "CCCLoss",
    "ConRLoss",
    "DILALoss",
    "DistLoss",
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
    "RnCLoss",
    "SERALoss",
    "SRLLoss",
    "UVoteLoss",
]
