"""Losses as ``torch.nn.Module`` classes."""

from ranksim.losses.bmse import BalancedMSELoss
from ranksim.losses.ccc import CCCLoss
from ranksim.losses.dila import DILALoss
from ranksim.losses.dist import DistLoss
from ranksim.losses.gar import GARLoss
from ranksim.losses.ranksim import RankSimLoss
from ranksim.losses.regression import FocalRLoss, HuberLoss, L1Loss, MSELoss
from ranksim.losses.sera import SERALoss

__all__ = [
    "BalancedMSELoss",
    "CCCLoss",
    "DILALoss",
    "DistLoss",
    "FocalRLoss",
    "GARLoss",
    "HuberLoss",
    "L1Loss",
    "MSELoss",
    "RankSimLoss",
    "SERALoss",
]
