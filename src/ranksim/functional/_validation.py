"""Argument checks shared by the losses; each message names the argument and its value."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from ranksim._utils.checks import check_choice, describe_value

Reduction = Literal["sum", "mean", "none"]
WeightedReduction = Literal["sum", "mean", "none", "weighted_mean"]  # of regression losses
REDUCTIONS: tuple[str, ...] = get_args(Reduction)


def to_matrices(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Reshape features to (N, D) and labels to (N, K), or raise an error naming both shapes."""
    check_tensors(features=features, labels=labels)
    shape, label_shape = tuple(features.shape), tuple(labels.shape)
    problem = ""
    if not shape or len(label_shape) not in (1, 2):
        problem = "features must have shape (N, ...) and labels (N,), (N, 1) or (N, K), {}"
    elif shape[0] != label_shape[0]:
        problem = "features and labels must have the same length N, {}"
    elif len(shape) == 1 and len(label_shape) == 2 and label_shape[1] > 1:
        problem = (
            "features and labels seem to be swapped, {}: pass the features first, of shape "
            "(N, ...), or (N, 1) if they are one number per sample"
        )
    elif label_shape[1:] == (0,):
        problem = "labels must have at least one dimension K, {}"
    if problem:
        raise ValueError(problem.format(f"got features {shape} and labels {label_shape}"))
    if not features.is_floating_point():
        raise TypeError(f"features must be floating point, got {features.dtype}")
    if labels.is_complex():
        raise TypeError(f"labels must be real, got {labels.dtype}")
    if len(shape) != 2:
        features = features.reshape(shape[0], math.prod(shape[1:]))
    return features, labels if len(label_shape) == 2 else labels.unsqueeze(1)


def prepare_regression(
    preds: Tensor,
    target: Tensor,
    sample_weight: Tensor | None,
    reduction: str,
    *,
    weights: str = "sample_weight",
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Check the tensors of a regression loss and cast them to the dtype of its result.

    ``weights`` is the name of the third one in messages.
    """
    check_choice("reduction", reduction, get_args(WeightedReduction))
    factors = {} if sample_weight is None else {weights: sample_weight}
    tensors = {"preds": preds, "target": target, **factors}
    check_tensors(**tensors)
    for name, value in tensors.items():
        if name != "target" and not value.is_floating_point():
            raise TypeError(f"{name} must be floating point, got {value.dtype}")
        if value.is_complex():
            raise TypeError(f"{name} must be real, got {value.dtype}")
        if value.shape != target.shape:  # broadcasting (N, 1) with (N,) would be a silent bug
            raise ValueError(
                f"{name} and target must have the same shape, got {name} {tuple(value.shape)} and "
                f"target {tuple(target.shape)}"
            )
    dtype = torch.promote_types(preds.dtype, torch.float32)
    if sample_weight is not None:
        if sample_weight.requires_grad:
            raise ValueError(f"{weights} must not require gradients, got requires_grad=True")
        sample_weight = sample_weight.to(dtype)
    return preds.to(dtype), target.to(dtype), sample_weight


def check_tensors(**tensors: object) -> None:
    """Raise an error unless all named arguments are tensors on one device."""
    places: dict[str, torch.device] = {}
    for name, value in tensors.items():
        if not isinstance(value, Tensor):
            raise TypeError(
                f"{name} must be a torch.Tensor, got {type(value).__name__}: "
                f"{_suggest_conversion(value)}"
            )
        places[name] = value.device
    if len(set(places.values())) > 1:
        devices = " and ".join(f"{name} on {device}" for name, device in places.items())
        raise ValueError(f"{' and '.join(tensors)} must be on one device, got {devices}")


def check_generator(generator: object) -> None:
    """Raise a TypeError unless the generator is PyTorch's or None."""
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(
            "generator must be a torch.Generator or None, got "
            f"{describe_value(generator)}: pass torch.Generator().manual_seed(0)"
        )


def _suggest_conversion(value: object) -> str:
    """Suggest how to convert a value to a tensor."""
    if isinstance(value, (list, tuple)) and value and all(isinstance(v, Tensor) for v in value):
        return "join these tensors with torch.stack or torch.cat"
    return "convert numbers with torch.as_tensor"
