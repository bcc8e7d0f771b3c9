"""Losses as ``torch.nn.Module`` classes."""

from ranksim.losses.ranksim import RankSimLoss
from ranksim.losses.regression import FocalRLoss, HuberLoss, L1Loss, MSELoss

__all__ = ["FocalRLoss", "HuberLoss", "L1Loss", "MSELoss", "RankSimLoss"]
