"""Refusals: each names the argument, what was expected and what came."""

from __future__ import annotations

import math
import numbers
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ranksim.functional.ranking import check_ties
from ranksim.functional.similarity import check_label_similarity

Reduction = Literal["sum", "mean", "none"]
REDUCTIONS: tuple[str, ...] = get_args(Reduction)


def as_matrices(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Features as (N, D), labels as (N, K), or an error that names both shapes."""
    for name, value in (("features", features), ("labels", labels)):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}")
    shapes = f"got features {tuple(features.shape)} and labels {tuple(labels.shape)}"
    if features.ndim == 0 or labels.ndim not in (1, 2):
        raise ValueError(
            f"features must have shape (N, ...) and labels (N,), (N, 1) or (N, K), {shapes}"
        )
    if features.shape[0] != labels.shape[0]:
        raise ValueError(f"features and labels must have the same length N, {shapes}")
    if labels.ndim == 2 and labels.shape[1] == 0:
        raise ValueError(f"labels must have at least one dimension K, {shapes}")
    if not features.is_floating_point():
        raise TypeError(f"features must be floating point, got {features.dtype}")
    if labels.is_complex():
        raise TypeError(f"labels must be real, got {labels.dtype}")
    if features.device != labels.device:
        raise ValueError(
            f"features and labels must be on one device, got features on {features.device} and "
            f"labels on {labels.device}"
        )
    return (
        features.reshape(features.shape[0], math.prod(features.shape[1:])),
        labels if labels.ndim == 2 else labels.unsqueeze(1),
    )


def reject_functorch(*tensors: Tensor) -> None:
    """Refuse tensors of ``torch.func``: a loss over a batch has no meaning sample by sample."""
    if torch.compiler.is_compiling():
        return
    inside = torch._C._functorch
    for tensor in tensors:
        if inside.is_batchedtensor(tensor) or inside.is_gradtrackingtensor(tensor):
            name = "vmap" if inside.is_batchedtensor(tensor) else "grad"
            raise RuntimeError(
                "ranksim_loss ranks the samples of a whole batch and does not work under "
                f"torch.func.{name}: call it once for each batch, with torch.autograd for gradients"
            )


def check_arguments(
    gamma: float,
    lambda_: float,
    strength: float,
    ties: str,
    unique_labels: bool | float,
    reduction: str,
    label_similarity: object,
) -> None:
    """Refuse settings outside their range, each with its name and value."""
    check_nonnegative("gamma", gamma)
    check_positive("lambda_", lambda_)
    check_nonnegative("strength", strength)
    check_ties(ties)
    check_reduction(reduction)
    if not isinstance(unique_labels, (bool, np.bool_)) and not (
        _is_finite(unique_labels) and unique_labels > 0
    ):
        raise ValueError(
            "unique_labels must be True, False or a bin width above 0 in units of the label, "
            f"got {unique_labels!r}"
        )
    check_label_similarity(label_similarity)


def check_reduction(reduction: str) -> None:
    """Refuse an unknown reduction."""
    check_choice("reduction", reduction, REDUCTIONS)


def check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse a name that is not known."""
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")


def check_positive(name: str, value: float) -> None:
    """Refuse what is no finite number above 0."""
    if not (_is_finite(value) and value > 0):
        raise ValueError(f"{name} must be a finite number above 0, got {value!r}")


def check_nonnegative(name: str, value: float) -> None:
    """Refuse what is no finite number of at least 0."""
    if not (_is_finite(value) and value >= 0):
        raise ValueError(f"{name} must be a finite number of at least 0, got {value!r}")


def _is_finite(value: object) -> bool:
    # the last is slow; a tuple, because PyTorch 2.8 does not compile a union
    return isinstance(value, (float, int, numbers.Real)) and math.isfinite(value)
