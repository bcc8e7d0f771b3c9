"""Batches of a data set, in an order that a resumed run repeats."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, DistributedSampler, Sampler

from ranksim.data.batch import Batch, Samples

_AHEAD = 2  # processes that read batches


def make_loader(
    data: Samples,
    batch_size: int,
    order: Sequence[int] | Sampler[int] | None = None,
    *,
    on_gpu: bool = False,
) -> DataLoader[Batch]:
    """A loader that has the data set make whole batches, in the given order or as they stand.

    While a GPU trains, data that lies on disk is read ahead in processes of their own.
    """
    ahead = on_gpu and getattr(data, "on_disk", False)
    # a generator of its own: each new iterator draws a seed, which must not move dropout's numbers
    return DataLoader(
        data,  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=order,
        collate_fn=_as_it_is,
        generator=torch.Generator(),
        num_workers=_AHEAD if ahead else 0,
        persistent_workers=ahead,
        pin_memory=ahead,
    )


def _as_it_is(batch: Any) -> Any:
    """The data set has made the batch already."""
    return batch


class SeededOrder(DistributedSampler[int]):
    """A permutation that depends on seed and epoch alone, so that a resumed run repeats it.

    Of W processes that train together each is dealt its own consecutive share of every W ·
    ``batch_size`` samples, so that they see what one process sees in one batch of that size. What
    is left at the end of an epoch is filled up with some of its samples until it can be shared.
    Lightning leaves the sampler as it is because of its class.

    Args:
        size: of the data set.
        seed: of the run.
        batch_size: samples of a batch, on each device.
    """

    def __init__(self, size: int, seed: int, batch_size: int = 1) -> None:
        super().__init__(range(size), num_replicas=1, rank=0)  # type: ignore[arg-type]
        self.size, self.seed, self.batch_size = size, seed, batch_size
        self.start = 0  # samples of the first epoch that an interrupted run has seen already

    def __len__(self) -> int:
        return self.share(_processes()[0])

    def share(self, processes: int) -> int:
        """Samples of an epoch that each of so many processes sees."""
        whole, left = divmod(self.size, processes * self.batch_size)
        return whole * self.batch_size + math.ceil(left / processes)

    def __iter__(self) -> Iterator[int]:
        processes, rank = _processes()
        start, self.start = self.start, 0
        permutation = np.random.default_rng((self.seed, self.epoch)).permutation(self.size)
        together = processes * self.batch_size
        for first in range(start, self.size, together):
            batch = permutation[first : first + together]
            share = math.ceil(len(batch) / processes)
            yield from np.resize(batch, (processes, share))[rank].tolist()


def _processes() -> tuple[int, int]:
    """How many train together, and the number of this one."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size(), dist.get_rank()
    return 1, 0
