"""Losses as ``torch.nn.Module`` classes."""

from ranksim.losses.bmse import BalancedMSELoss
from ranksim.losses.bsam import BSAM
from ranksim.losses.ccc import CCCLoss
from ranksim.losses.conr import ConRLoss
from ranksim.losses.dila import DILALoss
from ranksim.losses.dist import DistLoss
from ranksim.losses.gar import GARLoss
from ranksim.losses.ordinal_entropy import OrdinalEntropyLoss
from ranksim.losses.ranksim import RankSimLoss
from ranksim.losses.regression import FocalRLoss, HuberLoss, L1Loss, MSELoss
from ranksim.losses.rnc import RnCLoss
from ranksim.losses.sera import SERALoss
from ranksim.losses.srl import SRLLoss

__all__ = [
    "BSAM",
    "BalancedMSELoss",
    "CCCLoss",
    "ConRLoss",
    "DILALoss",
    "DistLoss",
    "FocalRLoss",
    "GARLoss",
    "HuberLoss",
    "L1Loss",
    "MSELoss",
    "OrdinalEntropyLoss",
    "RankSimLoss",
    "RnCLoss",
    "SERALoss",
    "SRLLoss",
]
