"""Labels and inputs of batches in common formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

LabelsFn = Callable[[Any], Tensor]
InputsFn = Callable[[Any], Any]


def get_labels(batch: Any) -> Tensor:
    """Return the labels of a batch ``(x, y)``, or of a dict with ``label``, ``labels`` or ``y``.

    Example:
        >>> import torch
        >>> get_labels({"image": torch.zeros(2, 3), "label": torch.tensor([20, 31])})
        tensor([20, 31])
    """
    labels: Tensor = _get_part(batch, 1, ("label", "labels", "y"), "labels")
    return labels


def get_inputs(batch: Any) -> Any:
    """Return the inputs of a batch ``(x, y)``, or of a dict with ``inputs``, ``input`` or ``x``."""
    return _get_part(batch, 0, ("inputs", "input", "x"), "inputs")


def extract_labels(labels_fn: LabelsFn, batch: Any) -> Tensor:
    """Return the labels that a user's function extracts; raise an error unless it is a tensor."""
    labels = labels_fn(batch)
    if not isinstance(labels, Tensor):
        raise TypeError(f"the labels of a batch must be a tensor, got {describe_type(labels)}")
    return labels


def describe_type(value: Any) -> str:
    """Describe the type of a batch or an output for an error message."""
    if isinstance(value, Mapping):
        return f"a dict with {', '.join(map(str, value)) or 'no keys'}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


def _get_part(batch: Any, index: int, keys: tuple[str, ...], name: str) -> Any:
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[index]
    if isinstance(batch, Mapping):
        for key in keys:
            if key in batch:
                return batch[key]
    raise TypeError(
        f"a batch must be (x, y) or a dict with {name} under {', '.join(keys)}, got "
        f"{describe_type(batch)}: pass {name}_fn=, a function from the batch to its {name}"
    )
