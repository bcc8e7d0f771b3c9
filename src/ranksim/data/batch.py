"""Batches, and the base class of data sets that return whole batches."""

from __future__ import annotations

from typing import TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset


class Batch(TypedDict):
    """A batch: encoder inputs, labels ``(N,)``, and positions in the data set ``(N,)``."""

    inputs: tuple[Tensor, ...]
    label: Tensor
    index: Tensor


class BatchDataset(Dataset[Batch]):
    """Base class of data sets that return whole batches; subclasses set ``labels``."""

    labels: Tensor  # (N,), float64
    on_disk = False  # whether a batch is read from a file

    def get_inputs(self, index: Tensor) -> tuple[Tensor, ...]:
        """Return the encoder inputs of the samples at ``index``, int64 ``(N,)``."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> Batch:
        return self.__getitems__([row])

    def __getitems__(self, rows: list[int]) -> Batch:
        index = torch.as_tensor(rows, dtype=torch.int64)
        return {"inputs": self.get_inputs(index), "label": self.labels[index], "index": index}

    def length_order(self) -> Tensor:
        """Return all positions, sorted so that neighboring samples have similar lengths."""
        return torch.arange(len(self))
