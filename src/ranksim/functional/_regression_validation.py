"""What the losses beside RankSim refuse; tensors that pass come back in the dtype of the result."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from ranksim.functional._validation import (
    check_choice,
    check_nonnegative,
    check_positive,
    check_reduction,
)

Base = Literal["mse", "l1"]
Activation = Literal["sigmoid", "tanh"]


def prepare_tensors(
    prediction: Tensor, target: Tensor, weights: Tensor | None, reduction: str
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The tensors in the dtype of the result, or an error; nothing is ever broadcast."""
    check_reduction(reduction)
    named = {"prediction": prediction, "target": target}
    if weights is not None:
        named["weights"] = weights
    for name, value in named.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}")
        if name != "target" and not value.is_floating_point():
            raise TypeError(f"{name} must be floating point, got {value.dtype}")
        if value.is_complex():
            raise TypeError(f"{name} must be real, got {value.dtype}")
    for name, value in named.items():
        if value.shape != target.shape:
            raise ValueError(
                f"{name} and target must have the same shape, got {name} {tuple(value.shape)} and "
                f"target {tuple(target.shape)}"
            )
        if value.device != target.device:
            raise ValueError(
                f"{name} and target must be on one device, got {name} on {value.device} and "
                f"target on {target.device}"
            )
    if weights is not None and weights.requires_grad:
        raise ValueError("weights must not require gradients, got requires_grad=True")
    dtype = torch.promote_types(prediction.dtype, torch.float32)
    return prediction.to(dtype), target.to(dtype), None if weights is None else weights.to(dtype)


def check_focal_r(base: str, activation: str, beta: float, gamma: float) -> None:
    """Refuse settings of Focal-R outside their range."""
    check_choice("base", base, get_args(Base))
    check_choice("activation", activation, get_args(Activation))
    check_positive("beta", beta)
    check_nonnegative("gamma", gamma)
