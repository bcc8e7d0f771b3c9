"""Batches of a data set, in an order that a resumed run repeats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ranksim.data.text import Batch


class Samples(Protocol):
    """A data set that makes whole batches."""

    labels: Tensor  # (N,), float64

    def __len__(self) -> int: ...
    def __getitem__(self, row: int, /) -> Batch: ...
    def __getitems__(self, rows: list[int], /) -> Batch: ...

    def by_size(self) -> Tensor:
        """All positions, in an order in which neighbours cost alike."""
        ...


class FeatureDataset(Dataset[Batch]):
    """Features that an encoder has made, ``(N, D)``, and their labels."""

    def __init__(self, features: Tensor, labels: Tensor) -> None:
        self.features, self.labels = features, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> Batch:
        return self.__getitems__([row])

    def __getitems__(self, rows: list[int]) -> Batch:
        index = torch.as_tensor(rows)
        return {
            "inputs": (self.features[index],),
            "label": self.labels[index],
            "index": index,
        }

    def by_size(self) -> Tensor:
        return torch.arange(len(self))


def make_loader(
    data: Samples, batch_size: int, order: Sequence[int] | Sampler[int] | None = None
) -> DataLoader[Batch]:
    """A loader that has the data set make whole batches, in the given order or as they stand."""
    # a generator of its own: each new iterator draws a seed, which must not move dropout's numbers
    return DataLoader(
        data,  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=order,
        collate_fn=_as_it_is,
        generator=torch.Generator(),
    )


def _as_it_is(batch: Any) -> Any:
    """The data set has made the batch already."""
    return batch


class SeededOrder(Sampler[int]):
    """A permutation that depends on seed and epoch alone, so that a resumed run repeats it."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed, self.epoch = size, seed, 0
        self.start = 0  # samples of the first epoch that an interrupted run has seen already

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        draw = np.random.default_rng((self.seed, self.epoch))
        start, self.start = self.start, 0
        return iter(draw.permutation(self.size)[start:].tolist())

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of each epoch."""
        self.epoch = epoch
