"""Losses as modules."""

from ranksim.losses.ranksim import RankSimLoss

__all__ = ["RankSimLoss"]
