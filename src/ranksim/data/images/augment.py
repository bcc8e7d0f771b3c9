"""Pad, random crop and flip of a whole batch, on its device, drawn by seed, epoch and sample."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_MIX = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)  # of SplitMix64


_CACHED = 8  # images that stay in a core's cache between two operations


class CropFlip:
    """The published augmentation: a black border, a random crop of the old size, a random mirror.

    What a sample is given depends on ``seed``, its position in the data set and the epoch alone:
    not on batches, devices or what was drawn before, so a resumed run sees what an uninterrupted
    one would.

    Args:
        seed: of the run.
        pad: border on each side, in pixels; offsets 0..2 · pad are equally likely, each way.
        flip: mirror left and right with probability ½.

    Example:
        >>> images = torch.arange(2 * 4 * 4 * 3, dtype=torch.uint8).view(2, 4, 4, 3)
        >>> augment = CropFlip(seed=0, pad=1, flip=True)
        >>> (made,) = augment((images,), torch.tensor([5, 9]), epoch=3)
        >>> made.shape, made.dtype
        (torch.Size([2, 4, 4, 3]), torch.uint8)
    """

    def __init__(self, seed: int, pad: int, flip: bool) -> None:
        self.seed, self.pad, self.flip = seed, pad, flip

    def __call__(self, inputs: tuple[Tensor, ...], index: Tensor, epoch: int) -> tuple[Tensor, ...]:
        """Images uint8 ``(N, H, W, 3)`` of samples ``index`` ``(N,)`` to images of that shape."""
        (images,) = inputs
        down, right, mirrored = self.draw(index.to(images.device), epoch)
        return (crop_flip(images, down, right, mirrored, self.pad),)

    def draw(self, index: Tensor, epoch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Offsets down and right ``(N,)`` in 0..2 · pad, and who is mirrored ``(N,)``."""
        # as a number, so that no device waits for it
        key = int(_mixed(_mixed(torch.tensor(self.seed)) + epoch))
        bits = _mixed(_mixed(key + index) ^ key)
        choices = 2 * self.pad + 1
        # 24 bits times the choices, divided by 2²⁴: even to one in 2²⁴ / choices
        down, right = (((bits >> shift & 0xFFFFFF) * choices) >> 24 for shift in (0, 24))
        mirrored = (bits >> 48 & 1).bool() if self.flip else torch.zeros_like(bits).bool()
        return down, right, mirrored


def crop_flip(images: Tensor, down: Tensor, right: Tensor, mirrored: Tensor, pad: int) -> Tensor:
    """Each image of a batch padded with black, cropped at its own place, then mirrored or not.

    Rows of a crop are contiguous in the padded batch, so one selection of rows makes all crops.

    Args:
        images: uint8 ``(N, H, W, C)``.
        down: upper edge of each crop in its padded image, int64 ``(N,)``.
        right: left edge of each crop there, int64 ``(N,)``.
        mirrored: bool ``(N,)``.
        pad: border on each side, in pixels.
    """
    count, height, width, channels = images.shape
    padded = images.new_empty(count, height + 2 * pad, width + 2 * pad, channels)
    if pad:
        for border in (padded[:, :pad], padded[:, -pad:], padded[:, :, :pad], padded[:, :, -pad:]):
            border.zero_()
    place = _put(padded[:, pad : pad + height, pad : pad + width], images, mirrored)
    # to crop and then mirror is to mirror and then crop as far from the other side
    right = torch.where(mirrored, 2 * pad - right, right)
    first = place * (height + 2 * pad) + down
    lines = first.unsqueeze(1) + torch.arange(height, device=images.device)
    starts = lines * (width + 2 * pad) + right.unsqueeze(1)
    pixels = padded.numel() // channels
    rows = padded.as_strided((max(pixels - width + 1, 0), width * channels), (channels, 1))
    return rows.index_select(0, starts.flatten()).view(images.shape)


def _put(target: Tensor, images: Tensor, mirrored: Tensor) -> Tensor:
    """Copy images, mirrored or not, and return the place ``(N,)`` that each has got."""
    places = torch.arange(len(images), device=images.device)
    if images.device.type != "cpu":
        # without a shape that depends on data, so without waiting for the device
        target.copy_(torch.where(mirrored.view(-1, 1, 1, 1), images.flip(2), images))
        return places
    plain, turned = (~mirrored).nonzero().squeeze(1), mirrored.nonzero().squeeze(1)
    for some, put in _parts(plain, target[: len(plain)]):
        put.copy_(images.index_select(0, some))
    for some, put in _parts(turned, target[len(plain) :]):
        put.copy_(images.index_select(0, some).flip(2))
    return torch.empty_like(places).scatter_(0, torch.cat([plain, turned]), places)


def _parts(rows: Tensor, target: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(torch.split(rows, _CACHED), torch.split(target, _CACHED), strict=True)


def _mixed(bits: Tensor) -> Tensor:
    """SplitMix64 on int64 ``(...)``, whose products wrap around."""
    first, second, third = (constant - (1 << 64) for constant in _MIX)
    bits = bits + first
    bits = (bits ^ _shifted(bits, 30)) * second
    bits = (bits ^ _shifted(bits, 27)) * third
    return bits ^ _shifted(bits, 31)


def _shifted(bits: Tensor, count: int) -> Tensor:
    """To the right, filled with zeros: torch's fills with the sign."""
    return (bits >> count) & ((1 << (64 - count)) - 1)
