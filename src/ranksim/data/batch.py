"""Batch type and data sets that return whole batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ranksim._utils.arrays import copy_to_numpy


class Batch(TypedDict):
    """A batch: encoder inputs, labels ``(N,)``, and positions ``(N,)`` within the data set."""

    inputs: tuple[Tensor, ...]
    label: Tensor
    index: Tensor


class BatchDataset(Dataset[Batch]):
    """A base class for data sets that return whole batches; subclasses must set ``labels``."""

    labels: Tensor  # (N,), float64
    on_disk = False  # whether a batch is read from a file

    def get_inputs(self, index: Tensor) -> tuple[Tensor, ...]:
        """Return the encoder inputs of the samples at positions ``index``, int64 ``(N,)``."""
        raise NotImplementedError

    def get_raw_inputs(self, index: Tensor) -> tuple[Tensor, ...]:
        """Return the inputs of estimators: those of networks, or columns before their encoding."""
        return self.get_inputs(index)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> Batch:
        return self.__getitems__([row])

    def __getitems__(self, rows: list[int]) -> Batch:
        return self.get_batch(torch.as_tensor(rows, dtype=torch.int64))

    def get_batch(self, index: Tensor) -> Batch:
        """Return the samples at positions ``index``, int64 ``(N,)``."""
        return {"inputs": self.get_inputs(index), "label": self.labels[index], "index": index}

    def length_order(self) -> Tensor:
        """Return the positions of all samples, sorted so that neighbors have similar lengths."""
        return torch.arange(len(self))


class VectorDataset(BatchDataset):
    """A data set of feature vectors, float32 ``(N, F)``, and labels, float64 ``(N,)``."""

    def __init__(self, features: ArrayLike | Tensor, labels: ArrayLike | Tensor) -> None:
        self.features = torch.as_tensor(features, dtype=torch.float32)
        self.labels = torch.as_tensor(labels, dtype=torch.float64)

    def get_inputs(self, index: Tensor) -> tuple[Tensor, ...]:
        return (self.features.index_select(0, index),)


class TableRows(BatchDataset):
    """A data set of rows of a table whose columns and features several data sets share.

    Args:
        columns: of all rows of the table, float64 ``(M, D)``; data sets share them.
        rows: of the samples ``(N,)``.
        labels: of the samples ``(N,)``.
        encode: converts columns ``(B, D)`` to features, float32 ``(B, F)``.
        features: of all rows ``(M, F)``; None: a batch is encoded when it is read.
    """

    def __init__(
        self,
        columns: NDArray[np.float64],
        rows: NDArray[np.int64],
        labels: ArrayLike,
        encode: Callable[[NDArray[np.float64]], NDArray[np.float32]],
        features: NDArray[np.float32] | None = None,
    ) -> None:
        self.columns = torch.from_numpy(columns)
        self.rows = torch.from_numpy(rows)
        self.labels = torch.as_tensor(labels, dtype=torch.float64)
        self.encode = encode
        self.features = None if features is None else torch.from_numpy(features)

    def get_inputs(self, index: Tensor) -> tuple[Tensor, ...]:
        if self.features is not None:
            return (self.features.index_select(0, self.rows[index]),)
        columns = copy_to_numpy(self.get_raw_inputs(index)[0])
        return (torch.from_numpy(self.encode(columns)),)

    def get_raw_inputs(self, index: Tensor) -> tuple[Tensor, ...]:
        """Return the columns ``(B, D)`` of the samples at positions ``index`` ``(B,)``."""
        return (self.columns.index_select(0, self.rows[index]),)


class TableDataset(VectorDataset):
    """A data set of feature vectors with the columns, float64 ``(N, D)``, that they encode."""

    def __init__(
        self, features: ArrayLike | Tensor, columns: ArrayLike, labels: ArrayLike | Tensor
    ) -> None:
        super().__init__(features, labels)
        self.columns = torch.as_tensor(columns, dtype=torch.float64)

    def get_raw_inputs(self, index: Tensor) -> tuple[Tensor, ...]:
        """Return the columns ``(B, D)`` of the samples at positions ``index`` ``(B,)``."""
        return (self.columns.index_select(0, index),)
