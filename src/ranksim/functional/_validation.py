"""Argument checks shared by the losses; each message names the argument and its value."""

import math
import numbers
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ranksim._utils.arrays import unwrap_scalar

Reduction = Literal["sum", "mean", "none"]
_MAX_TEXT = 40  # characters of a value in an error message


def to_matrices(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Reshape features to (N, D) and labels to (N, K), or raise an error naming both shapes."""
    check_tensors(features=features, labels=labels)
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
    features = features.reshape(features.shape[0], math.prod(features.shape[1:]))
    return features, labels if labels.ndim == 2 else labels.unsqueeze(1)


def prepare_regression(
    preds: Tensor, target: Tensor, sample_weight: Tensor | None, reduction: str
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Check the tensors of a regression loss and cast them to the dtype of its result."""
    check_choice("reduction", reduction, get_args(Reduction))
    weights = {} if sample_weight is None else {"sample_weight": sample_weight}
    tensors = {"preds": preds, "target": target, **weights}
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
            raise ValueError("sample_weight must not require gradients, got requires_grad=True")
        sample_weight = sample_weight.to(dtype)
    return preds.to(dtype), target.to(dtype), sample_weight


def check_tensors(**tensors: object) -> None:
    """Raise an error unless all named arguments are tensors on one device."""
    places = {}
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


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise a ValueError if the value is not one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {describe_value(value)}")


def check_flag(name: str, value: object) -> bool:
    """Return the value as a bool; raise a TypeError if it is not True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {describe_value(value)}")
    return bool(value)


def check_size(name: str, value: object, unit: str) -> int:
    """Return the value as an int; raise an error if it is not a whole number of at least 1."""
    if not isinstance(value, (int, numbers.Integral)) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number of {unit}, got {describe_value(value)}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value!r}")
    return int(value)


def check_positive(name: str, value: object, or_zero: bool = False) -> float:
    """Return the value as a Python number; raise an error unless it is finite and above 0.

    With ``or_zero``, it may be 0.
    """
    # Real last: its check is slow; a tuple, because PyTorch 2.8 does not compile a union
    finite = isinstance(value, (float, int, numbers.Real)) and math.isfinite(value)
    if not finite or value < 0 or (value == 0 and not or_zero):  # type: ignore[operator]
        bound = "of at least 0" if or_zero else "above 0"
        raise ValueError(f"{name} must be a finite number {bound}, got {describe_value(value)}")
    number: float = unwrap_scalar(value)
    return number


def check_generator(generator: object) -> None:
    """Raise a TypeError unless the generator is PyTorch's or None."""
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(
            "generator must be a torch.Generator or None, got "
            f"{describe_value(generator)}: pass torch.Generator().manual_seed(0)"
        )


def describe_value(value: object) -> str:
    """Describe a wrong argument for an error message: the type, and the value if it is short."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} of shape {value.shape}"
    text = repr(value)
    return text if len(text) <= _MAX_TEXT and "\n" not in text else f"a {type(value).__name__}"


def _suggest_conversion(value: object) -> str:
    """Suggest how to convert a value to a tensor."""
    if isinstance(value, (list, tuple)) and value and all(isinstance(v, Tensor) for v in value):
        return "join these tensors with torch.stack or torch.cat"
    return "convert numbers with torch.as_tensor"
