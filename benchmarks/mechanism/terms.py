"""RankSim's term and its variants, in plain PyTorch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ranksim.functional import draw_unique, rank

LAMBDA = 2.0
Control = Literal["", "permuted labels", "random ranks", "noise"]


@dataclass(frozen=True)
class Term:
    """A variant of the term.

    Args:
        weight: factor on the gradient.
        perturbation: γ·λ; if ``relative``, in deviations of the anchor's similarities per unit of
            normalized rank.
        relative: fit the perturbation to each row.
        annealed: lower the perturbation linearly to a tenth over the training.
        control: what replaces the label ranks, or the gradient.
        centered: subtract the batch mean from the features before their cosines.
        before_relu: rank features before the last ReLU.
    """

    weight: float
    perturbation: float = LAMBDA
    relative: bool = False
    annealed: bool = False
    control: Control = ""
    centered: bool = False
    before_relu: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def ranking_penalty(
    features: Tensor, labels: Tensor, term: Term, generator: torch.Generator, progress: float
) -> Tensor:
    """Return a scalar whose gradient is that of the term; its value means nothing.

    Args:
        features: of a batch, ``(N, D)``.
        labels: of the batch, ``(N,)``.
        term: the variant.
        generator: draws one sample per label, permutations and noise.
        progress: share of the training, from 0 to 1.
    """
    rows = draw_unique(labels, generator=generator)
    chosen, values = features[rows], labels[rows]
    if term.control == "permuted labels":
        values = values[torch.randperm(len(values), generator=generator)]
    if term.centered:
        chosen = chosen - chosen.mean(0)
    unit = normalize(chosen)
    similarity = unit @ unit.T
    slope = _slope(similarity.detach().double(), values, term, generator, progress)
    penalty = term.weight * (slope.to(similarity.dtype) * similarity).sum()
    if term.control != "noise":
        return penalty
    (gradient,) = torch.autograd.grad(penalty, chosen, retain_graph=True)
    noise = torch.randn(gradient.shape, generator=generator)
    return (noise * (gradient.norm() / noise.norm()) * chosen).sum()


def _slope(
    similarity: Tensor, labels: Tensor, term: Term, generator: torch.Generator, progress: float
) -> Tensor:
    """Return the gradient of the similarities ``(M, M)``, by blackbox differentiation."""
    count = len(similarity)
    ranks = rank(similarity, ties="ordinal", normalize=True)
    targets = -(labels.unsqueeze(1) - labels).abs()
    if term.control == "random ranks":
        targets = torch.rand(targets.shape, generator=generator, dtype=torch.float64)
    difference = ranks - rank(targets, ties="ordinal", normalize=True)
    if term.relative:
        # per unit of rank
        size = term.perturbation * similarity.std(dim=1, correction=0, keepdim=True)
        step = size * count / 2  # λ of the row, with γ = 1
    else:
        size = torch.full((count, 1), 2 * term.perturbation / count, dtype=torch.float64)
        step = torch.full_like(size, LAMBDA)
    if term.annealed:
        size, step = size * (1 - 0.9 * progress), step * (1 - 0.9 * progress)
    moved = rank(similarity + size * difference, ties="ordinal", normalize=True)
    return -(ranks - moved) / step.clamp(min=1e-9)
