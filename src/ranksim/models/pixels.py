"""Bytes of images to the numbers that a network takes."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_CACHED = 8  # images that stay in a core's cache between two operations


class Pixels(nn.Module):
    """(x / 255 − mean) / std of each colour, on the device of the images, channels first.

    On a CPU most of the time would go into fresh memory for a batch of floats, so two blocks are
    kept, and one is used again once nothing holds what was in it: no tensor, view or graph.

    Args:
        mean: of red, green and blue, in 0..1.
        std: of red, green and blue, in 0..1.
        channels_last: memory format of the result.
        bgr: whether the network takes blue first.
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
        # on the CPU, where the network around it may be made without memory
        scale = 1 / (255 * torch.tensor(std, dtype=torch.float64, device="cpu"))
        shift = 255 * torch.tensor(mean, dtype=torch.float64, device="cpu")
        alike = len(set(mean)) == len(set(std)) == 1
        # of all colours alike, one number is faster
        colours = () if alike else (3,) if channels_last else (3, 1, 1)
        scale, shift = (scale[0], shift[0]) if alike else (scale, shift)
        # constants of the architecture, not weights: in no checkpoint
        self.constants = scale.view(colours), shift.view(colours)
        self.register_buffer("scale", self.constants[0], persistent=False)
        self.register_buffer("shift", self.constants[1], persistent=False)
        self.channels_last, self.bgr = channels_last, bgr
        self.blocks = _Blocks()

    def forward(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        """RGB ``(N, H, W, 3)`` uint8 to ``(N, 3, H, W)`` of ``dtype``; float32 at least between."""
        exact = torch.promote_types(dtype, torch.float32)
        if images.device.type != "cpu" or exact != torch.float32 or _is_traced(images):
            numbers = self._scaled(self._laid_out(images).to(exact))
        else:
            count, height, width, colours = images.shape
            last = (height, width, colours) if self.channels_last else (colours, height, width)
            numbers = self.blocks.take(torch.Size((count, *last)))
            for some, target in zip(
                torch.split(images, _CACHED), torch.split(numbers, _CACHED), strict=True
            ):
                self._scaled(target.copy_(self._laid_out(some)))
        if self.channels_last:
            numbers = numbers.permute(0, 3, 1, 2)
        return numbers.to(dtype)

    def _laid_out(self, images: Tensor) -> Tensor:
        """In the order of the result, while still bytes."""
        pixels = images.flip(-1) if self.bgr else images
        return pixels if self.channels_last else pixels.permute(0, 3, 1, 2).contiguous()

    def _scaled(self, numbers: Tensor) -> Tensor:
        """In place; the difference first: of 127.5 it is exact."""
        shift, scale = self.shift.to(numbers.dtype), self.scale.to(numbers.dtype)
        return numbers.sub_(shift).mul_(scale)

    def _apply(self, fn: Any, recurse: bool = True) -> Pixels:
        """Constants move with the network and keep their digits."""
        self.scale, self.shift = self.scale.float(), self.shift.float()  # no float64 for mps
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        device = self.scale.device
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.scale, self.shift = (kept.to(device, dtype) for kept in self.constants)
        return self


def _is_traced(pixels: Tensor) -> bool:
    """Whether a program is being recorded, of which a block would become a constant."""
    tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return bool(tracing) or torch.compiler.is_compiling() or type(pixels) is not Tensor


class _Blocks:
    """Memory for a tensor, and for another while the last one is still held."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # between threads that ask at the same time
        self.arrays = [np.empty(0, dtype=np.float32) for _ in range(2)]
        self.free = sys.getrefcount(self.arrays[0])

    def take(self, shape: torch.Size) -> Tensor:
        """A tensor of this shape, float32, in a free block if there is one, else in new memory.

        A tensor made from an array holds it for as long as its memory is in use.
        """
        with self.lock:
            for place in range(len(self.arrays)):
                if sys.getrefcount(self.arrays[place]) <= self.free:
                    if self.arrays[place].shape != shape:
                        self.arrays[place] = np.empty(shape, dtype=np.float32)
                    return torch.from_numpy(self.arrays[place])
        return torch.empty(shape)

    def __reduce__(self) -> Any:
        return _Blocks, ()  # a copy has blocks of its own
