"""Builders of the losses on predictions, see :data:`ranksim.training.parts.PARTS`."""

from __future__ import annotations

from torch import nn

from ranksim.losses import CCCLoss, GARLoss
from ranksim.training.part_modules import PartContext


def make_ccc(context: PartContext) -> nn.Module:
    """Return the concordance term."""
    return CCCLoss(**context.settings("ccc"))


def make_gar(context: PartContext) -> nn.Module:
    """Return Gradient Aligned Regression, in units of the labels' standard deviation."""
    return GARLoss(**context.settings("gar"), label_std=context.label_std)
