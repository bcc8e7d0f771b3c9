"""What a batch holds: its labels and its inputs, found where most loaders put them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

Labels = Callable[[Any], Tensor]
Inputs = Callable[[Any], Any]


def labels_of(batch: Any) -> Tensor:
    """Labels of a batch ``(x, y)``, or of a dict with ``label``, ``labels`` or ``y``.

    Example:
        >>> import torch
        >>> labels_of({"image": torch.zeros(2, 3), "label": torch.tensor([20, 31])})
        tensor([20, 31])
    """
    found: Tensor = _part(batch, 1, ("label", "labels", "y"), "labels")
    return found


def inputs_of(batch: Any) -> Any:
    """Inputs of a batch ``(x, y)``, or of a dict with ``inputs``, ``input`` or ``x``."""
    return _part(batch, 0, ("inputs", "input", "x"), "inputs")


def found_labels(find: Labels, batch: Any) -> Tensor:
    """Labels that a user's function finds, or an error where they are no tensor."""
    found = find(batch)
    if not isinstance(found, Tensor):
        raise TypeError(f"the labels of a batch must be a tensor, got {described(found)}")
    return found


def described(batch: Any) -> str:
    """What came instead of what was asked for, in a few words."""
    if isinstance(batch, Mapping):
        return f"a dict with {', '.join(map(str, batch)) or 'nothing'}"
    if isinstance(batch, tuple | list):
        return f"a {type(batch).__name__} of {len(batch)}"
    return f"a {type(batch).__name__}"


def _part(batch: Any, place: int, keys: tuple[str, ...], what: str) -> Any:
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[place]
    if isinstance(batch, Mapping):
        for key in keys:
            if key in batch:
                return batch[key]
    raise TypeError(
        f"the {what} of a batch are found in (x, y) or in a dict under {', '.join(keys)}, got "
        f"{described(batch)}: pass {what}=, a function from the batch to its {what}"
    )
