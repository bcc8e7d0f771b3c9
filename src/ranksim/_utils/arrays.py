"""Copies of tensors as NumPy arrays that outlive them, and Python values of NumPy scalars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


def copy_to_numpy(tensor: Tensor) -> NDArray[Any]:
    """Copy a tensor on any device to a new NumPy array.

    An array of ``Tensor.numpy()`` shares the memory of the tensor. PyTorch moves that memory when
    it hands the tensor to another process, and the array is then left with freed memory.
    """
    array: NDArray[Any] = tensor.detach().cpu().numpy().copy()
    return array


def unwrap_scalar(value: Any) -> Any:
    """Return the Python value of a NumPy scalar, as searches pass them, or the value unchanged."""
    return value.item() if isinstance(value, np.generic) else value
