"""Conversion of image bytes to normalized network inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Pixels(nn.Module):
    """Normalizes images, (x / 255 − mean) / std per channel, on their device, channels first.

    Args:
        mean: of red, green and blue, in 0..1.
        std: of red, green and blue, in 0..1.
        channels_last: memory format of the result.
        bgr: whether the network expects the channels in the order blue, green, red.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        channels_last: bool = False,
        bgr: bool = False,
    ) -> None:
        super().__init__()
        if bgr:
            mean, std = mean[::-1], std[::-1]
        shape = (3,) if channels_last else (3, 1, 1)
        # on the CPU even if the network is built on the meta device
        scale = 1 / (255 * torch.tensor(std, dtype=torch.float64, device="cpu"))
        shift = 255 * torch.tensor(mean, dtype=torch.float64, device="cpu")
        self.constants = scale.view(shape), shift.view(shape)
        # constants of the architecture, which checkpoints do not contain
        self.register_buffer("scale", self.constants[0], persistent=False)
        self.register_buffer("shift", self.constants[1], persistent=False)
        self.channels_last, self.bgr = channels_last, bgr

    def forward(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        """Convert RGB ``(N, H, W, 3)`` uint8 to ``(N, 3, H, W)`` of ``dtype``.

        Intermediate values have at least float32.
        """
        pixels = images.flip(-1) if self.bgr else images
        if not self.channels_last:
            pixels = pixels.permute(0, 3, 1, 2).contiguous()
        numbers = pixels.to(torch.promote_types(dtype, torch.float32))
        # subtracting first is exact for a mean of 0.5
        numbers = numbers.sub_(self.shift.to(numbers.dtype)).mul_(self.scale.to(numbers.dtype))
        if self.channels_last:
            numbers = numbers.permute(0, 3, 1, 2)
        return numbers.to(dtype)

    def _apply(self, fn: Any, recurse: bool = True) -> Pixels:
        """Move the constants with the network, without rounding them."""
        self.scale, self.shift = self.scale.float(), self.shift.float()  # MPS has no float64
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        device = self.scale.device
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.scale, self.shift = (constant.to(device, dtype) for constant in self.constants)
        return self
