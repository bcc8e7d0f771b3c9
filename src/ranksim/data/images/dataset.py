"""Images of a table, and batches of them read from the store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranksim.data.batch import BatchDataset
from ranksim.data.images.pixel_cache import PixelCache

_NAMED = 5  # broken images that a message names


@dataclass(frozen=True)
class ImageSamples:
    """Image files and a real label each.

    Args:
        root: folder that the paths are relative to.
        paths: the files.
        labels: float64 ``(N,)``, in the unit of the data.
    """

    root: Path
    paths: tuple[str, ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


class ImageDataset(BatchDataset):
    """Pixels in the store; a batch is gathered at once. Its input is uint8 ``(N, S, S, 3)``."""

    on_disk = True

    def __init__(self, store: PixelCache, rows: NDArray[np.int64], labels: np.ndarray) -> None:
        self.store = store
        self.rows = torch.from_numpy(rows)  # (N,), where in the store
        self.labels = torch.from_numpy(labels)  # (N,), float64
        self._images: Tensor | None = None

    def get_inputs(self, index: Tensor) -> tuple[Tensor, ...]:
        if self._images is None:
            self._images = self.store.images()
        return (self._images.index_select(0, self.rows[index]),)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_images": None}  # another process maps the file itself

    def length_order(self) -> Tensor:
        """All positions, in the order of the disk."""
        return self.rows.argsort(stable=True)


def describe_broken(broken: dict[str, str], total: int) -> str:
    """How many images cannot be used, and the first of them."""
    first = ", ".join(f"{path} {why}" for path, why in list(broken.items())[:_NAMED])
    more = ", …" if len(broken) > _NAMED else ""
    return f"{len(broken):,} of {total:,} images cannot be used: {first}{more}"
