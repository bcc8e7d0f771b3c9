"""Types of the batches and data sets that a training reads."""

from __future__ import annotations

from typing import Protocol, TypedDict

from torch import Tensor


class Batch(TypedDict):
    """A batch: encoder inputs, labels ``(N,)``, and positions in the data set ``(N,)``."""

    inputs: tuple[Tensor, ...]
    label: Tensor
    index: Tensor


class Samples(Protocol):
    """A data set that returns whole batches."""

    labels: Tensor  # (N,), float64

    def __len__(self) -> int: ...
    def __getitem__(self, row: int, /) -> Batch: ...
    def __getitems__(self, rows: list[int], /) -> Batch: ...

    def length_order(self) -> Tensor:
        """Return all positions, sorted so that neighboring samples have similar lengths."""
        ...
