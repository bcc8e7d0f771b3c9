"""Modules that lower precision leaves as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn


class PreciseModule(nn.Module):
    """A module whose tensors are never rounded: float64 stays, and half precision is float32."""

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """Move or cast the module, but keep its tensors in float32 at least, float64 as it is."""

        def keep_precision(tensor: Tensor) -> Tensor:
            wide = tensor.dtype == torch.float64
            moved: Tensor = fn(tensor.float() if wide else tensor)
            if wide:
                has_float64 = moved.device.type != "mps"
                return tensor.to(moved.device, torch.float64 if has_float64 else torch.float32)
            half = moved.dtype in (torch.float16, torch.bfloat16)
            return tensor.to(moved.device) if half else moved

        super()._apply(keep_precision, recurse)  # type: ignore[no-untyped-call]
        return self
