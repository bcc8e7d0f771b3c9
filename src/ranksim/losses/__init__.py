"""Losses as ``torch.nn.Module`` classes."""

from ranksim.losses.ccc import CCCLoss
from ranksim.losses.gar import GARLoss
from ranksim.losses.ranksim import RankSimLoss
from ranksim.losses.regression import FocalRLoss, HuberLoss, L1Loss, MSELoss

__all__ = [
    "CCCLoss",
    "FocalRLoss",
    "GARLoss",
    "HuberLoss",
    "L1Loss",
    "MSELoss",
    "RankSimLoss",
]
