"""Arguments of the RankSim term, the same for every implementation."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ranksim.functional.ranking import Ties


@dataclass(frozen=True)
class RankSimInputs:
    """The samples of a batch; the first A are anchors, the others are only ranked.

    Attributes:
        features: shape ``(N, D)``, floating point.
        labels: shape ``(N, K)``, real or integer.
        keep: boolean mask ``(N,)`` of the M samples that count; ``None``: all. The others add
            nothing and get no gradient.
        target: label similarities ``(A, N)`` to use instead of those of the labels, or ``None``.
        anchors: A ≤ N.
    """

    features: Tensor
    labels: Tensor
    keep: Tensor | None
    target: Tensor | None
    anchors: int

    @property
    def out_dtype(self) -> torch.dtype:
        """Return float64 for float64 features, else float32."""
        return torch.promote_types(self.features.dtype, torch.float32)


@dataclass(frozen=True)
class RankSimParams:
    """Settings of the term, see :func:`ranksim.functional.ranksim_loss`.

    Attributes:
        gamma: γ.
        lambda_: λ.
        ties: rule for equal similarities.
        similarity: ``"neg_l1"``, ``"neg_l2"`` or ``"cosine"`` of labels.
        per_anchor: return one value per anchor instead of their sum.
    """

    gamma: float
    lambda_: float
    ties: Ties
    similarity: str
    per_anchor: bool


def unflatten_arguments(arguments: tuple[Any, ...]) -> tuple[RankSimInputs, RankSimParams]:
    """Build the dataclasses from their fields in order, as the custom operator takes them."""
    return RankSimInputs(*arguments[:5]), RankSimParams(*arguments[5:])
