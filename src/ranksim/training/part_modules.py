"""Modules of the parts of a method: what a part is built from, and how its loss is composed."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ranksim.exceptions import UsageError
from ranksim.imbalance import LabelBins
from ranksim.losses import MSELoss
from ranksim.models import Head
from ranksim.training.divergence import EXPLOSION_FACTOR, explosion_threshold
from ranksim.training.method import Technique
from ranksim.training.parts import PARTS, part_fields
from ranksim.training.recipe import NetworkRecipe

Locate = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class PartContext:
    """What the builder of a part may use.

    Args:
        recipe: with a label scale above 0.
        technique: of the stage that is trained.
        targets: training labels in the unit of the network's predictions, float64 ``(N,)``.
        bins: label bins, in the unit of the labels.
        width: number of features of a sample.
        seed: of the training.
        gather_across_devices: whether terms rank the samples of all processes together.
    """

    recipe: NetworkRecipe
    technique: Technique
    targets: NDArray[np.float64]
    bins: LabelBins
    width: int
    seed: int = 0
    gather_across_devices: bool = False

    @property
    def label_std(self) -> float:
        """The standard deviation of the training labels, 1 if all are equal."""
        return float(self.targets.std()) or 1.0

    @property
    def edges(self) -> NDArray[np.float64]:
        """The edges of the label bins, in the unit of the network's predictions."""
        return self.bins.edges.astype(np.float64) / self.recipe.label_scale

    def settings(self, name: str) -> dict[str, Any]:
        """Return the recipe fields of a part, without its name: ``{"weight": 1.0}``."""
        return {
            each.removeprefix(f"{name}_"): getattr(self.recipe, each) for each in part_fields(name)
        }


@dataclass(frozen=True, eq=False)
class BatchOutputs:
    """What a feature term gets of a training batch of N samples.

    Args:
        features: of the encoder ``(N, D)``, before FDS.
        preds: predictions ``(N,)`` in the unit of the targets.
        target: labels ``(N,)`` divided by ``label_scale`` of the recipe.
        labels: labels ``(N,)`` in their own unit.
        sample_weight: weights ``(N,)`` of mean 1, or None.
        index: positions in the training split ``(N,)``.
        epoch: counted from 0.
        features_2: of a second view of the samples, if a part needs one.
        preds_2: predictions of the second view, without a gradient.
    """

    features: Tensor
    preds: Tensor
    target: Tensor
    labels: Tensor
    sample_weight: Tensor | None
    index: Tensor
    epoch: int
    features_2: Tensor | None = None
    preds_2: Tensor | None = None


class JoinedLoss(nn.Module):
    """The sum of a base loss and loss terms, each called with predictions, targets and weights.

    The base loss is called with the outputs of the head, and the terms with the predictions that
    ``locate`` makes of them; without it, the outputs are the predictions.
    """

    def __init__(
        self, base: nn.Module, terms: Mapping[str, nn.Module], locate: Locate | None = None
    ) -> None:
        super().__init__()
        self.base, self.terms, self.locate = base, nn.ModuleDict(terms), locate

    def forward(
        self, outputs: Tensor, target: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        total: Tensor = self.base(outputs, target, sample_weight)
        preds = outputs if self.locate is None else self.locate(outputs)
        for term in self.terms.values():
            total = total + term(preds, target, sample_weight)
        return total


def join_losses(base: nn.Module, context: PartContext, locate: Locate | None = None) -> nn.Module:
    """Return the training loss of a technique.

    Args:
        base: its base loss without parts.
        context: of the parts.
        locate: turns the outputs of the head into predictions.
    """
    losses = _build(context, "loss") | _build(context, "heads")
    terms = _build(context, "loss term")
    base = next(iter(losses.values()), base)
    return JoinedLoss(base, terms, locate) if terms else base


def make_head(
    recipe: NetworkRecipe, technique: Technique, width: int, unit: float = 1.0
) -> Head | None:
    """Return the head of a technique; None if it is the plain one.

    Args:
        recipe: with the fields of the part.
        technique: of the stage that is trained.
        width: number of features of a sample.
        unit: the standard deviation of the training labels; it is stored with the weights.
    """
    for name in technique.parts:
        if PARTS[name].head:
            head: Head = _find_function(PARTS[name].head)(recipe, width, unit)
            return head
    return None


def make_feature_terms(context: PartContext) -> dict[str, nn.Module]:
    """Return the feature terms of a technique, called with :class:`BatchOutputs`, by name."""
    return _build(context, "feature term")


def explosion_limit(
    base: nn.Module, context: PartContext, targets: Tensor, weights: Tensor | None, pred: float
) -> float:
    """Return the batch loss above which a training counts as exploded.

    Losses of parts depend on the batch, so their bound is that of the base loss, and the squared
    error in standard deviations of the labels, plus one for terms such as a correlation.
    """
    limit = explosion_threshold(base, targets, weights, pred)
    kinds = ("loss", "loss term", "heads")
    if not any(PARTS[name].kind in kinds for name in context.technique.parts):
        return limit
    std = context.label_std
    squared = explosion_threshold(MSELoss(), targets / std, weights, pred / std)
    return limit + squared + EXPLOSION_FACTOR


def check_part_modules(context: PartContext) -> None:
    """Raise a UsageError if a part of a technique cannot be trained on these labels."""
    for name in context.technique.parts:
        least = PARTS[name].min_batch
        if len(context.targets) < least:
            raise UsageError(
                f"{name} compares the samples of a batch and needs at least {least} training "
                f"samples, got {len(context.targets)}: leave it out."
            )
    for kind in ("loss", "loss term", "feature term", "heads"):
        _build(context, kind)


def _build(context: PartContext, kind: str) -> dict[str, nn.Module]:
    """Build the modules of a technique's parts of one kind, by name."""
    modules = {}
    for name in context.technique.parts:
        part = PARTS[name]
        if part.kind == kind:
            modules[name] = cast(nn.Module, _find_function(part.builder)(context))
    return modules


def _find_function(name: str) -> Callable[..., Any]:
    """Return the function that a row of the table names, ``module:function``."""
    module, _, function = name.partition(":")
    result: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return result
