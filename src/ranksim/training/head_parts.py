"""Builders of the heads and of their losses, see :data:`ranksim.training.parts.PARTS`."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from ranksim.losses import GaussianLoss, LaplaceLoss, QuantileLoss, UVoteLoss
from ranksim.models import Head, QuantileHead, ScaleHead, UVoteHead
from ranksim.training.factory import fit_weights
from ranksim.training.part_modules import PartContext
from ranksim.training.parts import parse_levels
from ranksim.training.recipe import NetworkRecipe


def make_uvote(context: PartContext) -> nn.Module:
    """Return the loss of uncertainty voting, with the density of the label bins."""
    technique = dataclasses.replace(context.technique, weighting="inverse")
    labels = context.targets * context.recipe.label_scale
    density = 1 / fit_weights(context.recipe, technique, context.bins, labels)(labels)
    tables = torch.from_numpy(context.targets), torch.from_numpy(density)
    return UVoteLoss(*tables, **context.settings("uvote"), label_std=context.label_std)


def make_uvote_head(recipe: NetworkRecipe, width: int, unit: float) -> Head:
    """Return the heads of uncertainty voting."""
    return UVoteHead(width, recipe.uvote_heads, unit)


def make_gaussian(context: PartContext) -> nn.Module:
    """Return the weighted likelihood of a Gaussian."""
    return GaussianLoss(**context.settings("gaussian"), label_std=context.label_std)


def make_gaussian_head(recipe: NetworkRecipe, width: int, unit: float) -> Head:
    """Return a head with a mean and a standard deviation."""
    return ScaleHead(width, "gaussian", unit)


def make_laplace(context: PartContext) -> nn.Module:
    """Return the weighted likelihood of a Laplace distribution."""
    return LaplaceLoss(**context.settings("laplace"), label_std=context.label_std)


def make_laplace_head(recipe: NetworkRecipe, width: int, unit: float) -> Head:
    """Return a head with a median and a mean absolute deviation."""
    return ScaleHead(width, "laplace", unit)


def make_quantile(context: PartContext) -> nn.Module:
    """Return the pinball losses of quantiles."""
    return QuantileLoss(parse_levels(context.recipe.quantile_levels))


def make_quantile_head(recipe: NetworkRecipe, width: int, unit: float) -> Head:
    """Return a head with quantiles."""
    return QuantileHead(width, parse_levels(recipe.quantile_levels))
