"""The validation score that selects the best weights, where it is none of the usual scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ranksim._utils.arrays import copy_to_numpy
from ranksim.imbalance import DensityRelevance, LabelBins, PchipRelevance
from ranksim.metrics import METRICS, balanced_errors, concordance, sera
from ranksim.training.loss_parts import fit_sera_relevance


@dataclass(frozen=True, eq=False)
class SelectionScore:
    """A score of validation samples, of which lower values are better.

    Args:
        name: ``balanced_mae``, ``balanced_mse``, ``ccc`` (one minus the concordance) or ``sera``
            (per sample).
        bins: label bins of the balanced errors.
        relevance: of ``sera``, fitted to the training labels.
    """

    name: str
    bins: LabelBins
    relevance: PchipRelevance | DensityRelevance | None = None

    @classmethod
    def make(cls, name: str, bins: LabelBins, labels: NDArray[np.float64]) -> Self | None:
        """Return the score of a recipe's ``monitor`` for training labels ``(N,)``.

        It is None for the scores that every validation has.
        """
        if name in METRICS:
            return None
        return cls(name, bins, fit_sera_relevance(labels, []) if name == "sera" else None)

    def __call__(self, preds: Tensor, target: Tensor) -> float | None:
        """Return the score of predictions and labels ``(N,)``; None without samples."""
        values, labels = copy_to_numpy(preds.double()), copy_to_numpy(target.double())
        if not np.isfinite(values).all():
            return float("nan")  # of a training that diverged
        if not len(labels):
            return None
        if self.name == "ccc":
            agreement = concordance(values, labels)
            return None if agreement is None else 1 - agreement
        if self.relevance is not None:
            area = sera(values, labels, self.relevance)
            return None if area is None else area / len(labels)
        return balanced_errors(values, labels, self.bins)[self.name.removeprefix("balanced_")]
