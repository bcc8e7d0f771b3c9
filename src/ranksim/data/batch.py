"""What a data set hands to a training."""

from __future__ import annotations

from typing import Protocol, TypedDict

from torch import Tensor


class Batch(TypedDict):
    """A batch: what the encoder takes, labels ``(N,)``, and positions in the data set ``(N,)``."""

    inputs: tuple[Tensor, ...]
    label: Tensor
    index: Tensor


class Samples(Protocol):
    """A data set that makes whole batches."""

    labels: Tensor  # (N,), float64

    def __len__(self) -> int: ...
    def __getitem__(self, row: int, /) -> Batch: ...
    def __getitems__(self, rows: list[int], /) -> Batch: ...

    def by_size(self) -> Tensor:
        """All positions, in an order in which neighbours cost alike."""
        ...
