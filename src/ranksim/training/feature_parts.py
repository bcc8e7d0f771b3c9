"""Builders of the terms on features, see :data:`ranksim.training.parts.PARTS`."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor, nn

from ranksim.exceptions import UsageError
from ranksim.functional.distributed import gather_rows
from ranksim.losses import ConRLoss, OrdinalEntropyLoss, RnCLoss, SRLLoss
from ranksim.training.factory import fit_weights
from ranksim.training.part_modules import BatchOutputs, PartContext

_DIGITS = 4  # of a width in label steps; edges of bins are float32


class FeatureTerm(nn.Module):
    """A term of features and labels, called with :class:`BatchOutputs`.

    Labels are whole numbers of ``label_step``, so that equal labels and distances tie.
    """

    def __init__(self, term: nn.Module, context: PartContext) -> None:
        super().__init__()
        self.term = term
        self.label_step = context.recipe.label_step
        self.gathers = context.gather_across_devices

    def forward(self, outputs: BatchOutputs) -> Tensor:
        term: Tensor = self.term(*self.gather(outputs.features, self.count_steps(outputs)))
        return term

    def count_steps(self, outputs: BatchOutputs) -> Tensor:
        """Return the labels ``(N,)`` in steps."""
        return (outputs.labels / self.label_step).round()

    def gather(self, *rows: Tensor) -> tuple[Tensor, ...]:
        """Return the rows of all processes if the terms compare them together."""
        return tuple(map(gather_rows, rows)) if self.gathers else rows


class CentroidTerm(FeatureTerm):
    """SRL, which only collects centroids during the first epoch."""

    def forward(self, outputs: BatchOutputs) -> Tensor:
        features, labels = self.gather(outputs.features, outputs.labels)
        if outputs.epoch == 0:
            assert isinstance(self.term, SRLLoss)
            self.term.update(features, labels)
            return features.new_zeros((), dtype=torch.float32)
        term: Tensor = self.term(features, labels)
        return term


class TwoViewTerm(FeatureTerm):
    """Rank-N-Contrast over both views of the samples."""

    def forward(self, outputs: BatchOutputs) -> Tensor:
        assert outputs.features_2 is not None
        rows = (outputs.features, self.count_steps(outputs), outputs.features_2)
        term: Tensor = self.term(*self.gather(*rows))
        return term


class PredictionTerm(FeatureTerm):
    """ConR over both views of the samples, whose density weights are those of 1/n."""

    density: Tensor

    def __init__(self, term: nn.Module, context: PartContext) -> None:
        super().__init__(term, context)
        technique = dataclasses.replace(context.technique, weighting="inverse")
        labels = context.targets * context.recipe.label_scale
        density = fit_weights(context.recipe, technique, context.bins, labels)(labels)
        self.register_buffer("density", torch.from_numpy(density).float(), persistent=False)
        self.steps_per_unit = context.recipe.label_scale / self.label_step

    def forward(self, outputs: BatchOutputs) -> Tensor:
        assert outputs.features_2 is not None
        assert outputs.preds_2 is not None
        features, labels, preds, weight, features_2, preds_2 = self.gather(
            outputs.features,
            self.count_steps(outputs),
            outputs.preds.detach() * self.steps_per_unit,
            self.density[outputs.index],
            outputs.features_2,
            outputs.preds_2 * self.steps_per_unit,
        )
        term: Tensor = self.term(features, labels, preds, weight, (features_2, preds_2))
        return term


def make_oe(context: PartContext) -> nn.Module:
    """Return ordinal entropy, for the range of the training labels."""
    steps = np.ptp(context.targets) * context.recipe.label_scale / context.recipe.label_step
    settings = context.settings("oe")
    return FeatureTerm(OrdinalEntropyLoss(**settings, label_range=float(steps) or None), context)


def make_srl(context: PartContext) -> nn.Module:
    """Return SRL with centroids of the label bins."""
    settings = context.settings("srl")
    names = ("homogeneity", "enveloping", "contrast")
    term = SRLLoss(
        context.width,
        context.bins.edges,
        weights=tuple(settings.pop(name) for name in names),
        **settings,
        label_std=context.label_std * context.recipe.label_scale,
        seed=context.seed,
    )
    return CentroidTerm(term, context)


def make_rnc(context: PartContext) -> nn.Module:
    """Return Rank-N-Contrast."""
    return TwoViewTerm(RnCLoss(**context.settings("rnc")), context)


def make_conr(context: PartContext) -> nn.Module:
    """Return ConR; without a width, labels of different bins are different."""
    settings, step = context.settings("conr"), context.recipe.label_step
    chosen = settings.pop("width")
    width = (chosen or float(np.median(np.diff(context.bins.edges)))) / step
    std = context.label_std * context.recipe.label_scale / step
    # a bin of 0.1 is one step of 0.1, in spite of rounding
    rounded = round(width, _DIGITS)
    if chosen and not rounded:
        raise UsageError(
            f"conr_width must not be far below the label step of {step:g}, as no predictions lie "
            f"that near each other, got {chosen:g}: set conr_width to {step:g} or more, or to 0 "
            "for the width of a label bin."
        )
    return PredictionTerm(ConRLoss(rounded or width, **settings, label_std=std), context)
