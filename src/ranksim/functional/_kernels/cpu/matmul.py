"""Matrix products in float32 by the faster of the two libraries that PyTorch brings on a CPU."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

_FEW = 24  # rows: so few take longer to hand over than to multiply


def product(left: Tensor, right: Tensor) -> Tensor:
    """``left @ right``: by oneDNN for float32 where it is there, else as PyTorch does.

    oneDNN uses all vector units of every x86 processor; the BLAS behind ``@`` half of those of
    some.
    """
    few = len(left) <= _FEW or left.dtype != torch.float32
    linear = None if few else _onednn()
    if linear is None or not torch.backends.mkldnn.enabled:
        return left @ right
    out: Tensor = linear(left, right.T, None, "none", [], "")
    return out


@functools.cache
def _onednn() -> Any:
    """The operator that compiled models call for a linear layer, or None where it is missing."""
    try:
        linear = torch.ops.mkldnn._linear_pointwise.default
        probe = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
        right = linear(probe, probe, None, "none", [], "").equal(probe @ probe.T)
    except (AttributeError, NotImplementedError, RuntimeError):
        return None
    return linear if right else None
