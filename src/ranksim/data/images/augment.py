"""Random pad-crop-flip augmentation of image batches, reproducible by seed, epoch and sample."""

from __future__ import annotations

import torch
from torch import Tensor

from ranksim.data.random_bits import splitmix64

_CHUNK = 8  # images that stay in a core's cache between two operations


class CropFlip:
    """The published augmentation: black padding, random crop to the original size, random flip.

    The draws of a sample depend only on ``seed``, its position in the data set and the epoch, not
    on batches, devices or earlier draws, so a resumed run gets the same images.

    Args:
        seed: seed of the run.
        pad: border per side, in pixels; offsets 0..2 · pad are equally likely per axis.
        flip: mirror horizontally with probability ½.
    """

    def __init__(self, seed: int, pad: int, flip: bool) -> None:
        self.seed, self.pad, self.flip = seed, pad, flip

    def __call__(self, inputs: tuple[Tensor, ...], index: Tensor, epoch: int) -> tuple[Tensor, ...]:
        """Augment the images, uint8 ``(N, H, W, 3)``, of the samples ``index`` ``(N,)``."""
        (images,) = inputs
        top, left, flipped = self.draw(index.to(images.device), epoch)
        return (crop_flip(images, top, left, flipped, self.pad),)

    def draw(self, index: Tensor, epoch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draw crop offsets ``top`` and ``left`` in 0..2 · pad, and flip flags, each ``(N,)``."""
        # a Python number, so that the device is not synchronized
        key = int(splitmix64(splitmix64(torch.tensor(self.seed)) + epoch))
        bits = splitmix64(splitmix64(key + index) ^ key)
        choices = 2 * self.pad + 1
        # 24 bits times the choices, divided by 2²⁴: uniform up to choices / 2²⁴
        top, left = (((bits >> shift & 0xFFFFFF) * choices) >> 24 for shift in (0, 24))
        flipped = (bits >> 48 & 1).bool() if self.flip else torch.zeros_like(bits).bool()
        return top, left, flipped


def crop_flip(images: Tensor, top: Tensor, left: Tensor, flipped: Tensor, pad: int) -> Tensor:
    """Pad images uint8 ``(N, H, W, C)`` with black, crop to ``(H, W)``, and flip where ``flipped``.

    ``top`` and ``left`` are int64 ``(N,)`` in the padded image, ``flipped`` is bool ``(N,)``. Rows
    of a crop are contiguous in the padded batch, so one row selection makes all crops.
    """
    count, height, width, channels = images.shape
    padded = images.new_empty(count, height + 2 * pad, width + 2 * pad, channels)
    if pad:
        for border in (padded[:, :pad], padded[:, -pad:], padded[:, :, :pad], padded[:, :, -pad:]):
            border.zero_()
    positions = _copy_flipped(padded[:, pad : pad + height, pad : pad + width], images, flipped)
    # crop then flip equals flip then crop at the same distance from the other side
    left = torch.where(flipped, 2 * pad - left, left)
    first_rows = positions * (height + 2 * pad) + top
    image_rows = first_rows.unsqueeze(1) + torch.arange(height, device=images.device)
    starts = image_rows * (width + 2 * pad) + left.unsqueeze(1)
    pixels = padded.numel() // channels
    rows = padded.as_strided((max(pixels - width + 1, 0), width * channels), (channels, 1))
    return rows.index_select(0, starts.flatten()).view(images.shape)


def _copy_flipped(target: Tensor, images: Tensor, flipped: Tensor) -> Tensor:
    """Copy images into ``target``, some flipped, and return the position of each, ``(N,)``."""
    order = torch.arange(len(images), device=images.device)
    if images.device.type != "cpu":
        # no shape depends on data, so the device is not synchronized
        target.copy_(torch.where(flipped.view(-1, 1, 1, 1), images.flip(2), images))
        return order
    plain, mirrored = (~flipped).nonzero().squeeze(1), flipped.nonzero().squeeze(1)
    rows, split = torch.cat([plain, mirrored]), len(plain)
    for start in (*range(0, split, _CHUNK), *range(split, len(rows), _CHUNK)):
        end = min(start + _CHUNK, split if start < split else len(rows))
        chunk = images.index_select(0, rows[start:end])
        target[start:end].copy_(chunk if start < split else chunk.flip(2))
    return torch.empty_like(order).scatter_(0, rows, order)
