"""Data sets of images in the pixel cache."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranksim.data.batch import BatchDataset
from ranksim.data.images.pixel_cache import PixelCache

_MAX_LISTED = 5  # broken images in a message


class ImageDataset(BatchDataset):
    """Images from the pixel cache, uint8 ``(N, S, S, 3)`` per batch, gathered in one operation.

    Args:
        cache: the pixel cache.
        rows: rows in it, int64 ``(N,)``.
        labels: float64 ``(N,)``.
    """

    on_disk = True

    def __init__(self, cache: PixelCache, rows: NDArray[np.int64], labels: np.ndarray) -> None:
        self.cache = cache
        self.rows = torch.from_numpy(rows)
        self.labels = torch.from_numpy(labels)
        self._pixels: Tensor | None = None

    def get_inputs(self, index: Tensor) -> tuple[Tensor, ...]:
        """Return the images of the samples ``index`` ``(N,)``."""
        if self._pixels is None:
            self._pixels = self.cache.map_pixels()
        return (self._pixels.index_select(0, self.rows[index]),)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pixels": None}  # each process maps the file itself

    def length_order(self) -> Tensor:
        """Return all positions in the order of the rows on disk."""
        return self.rows.argsort(stable=True)


def describe_broken(broken: dict[str, str], total: int) -> str:
    """Return the number of broken images and the first five with reasons."""
    first = ", ".join(f"{path} {reason}" for path, reason in list(broken.items())[:_MAX_LISTED])
    more = ", …" if len(broken) > _MAX_LISTED else ""
    return f"{len(broken):,} of {total:,} images cannot be used: {first}{more}"
