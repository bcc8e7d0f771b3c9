"""Copies of tensors as NumPy arrays that outlive them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
