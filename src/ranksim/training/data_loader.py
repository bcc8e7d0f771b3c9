"""Data loaders with a reproducible order, and selection of the samples that are plotted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, Sampler

from ranksim.data.batch import Batch, BatchDataset
from ranksim.imbalance import LabelBins

EVAL_BATCH_SIZE = 100
MAX_GROUPS, MAX_SAMPLES = 24, 500  # that are plotted
_WORKERS = 2


def make_loader(
    data: BatchDataset,
    batch_size: int,
    order: Sequence[int] | Sampler[int] | None = None,
    *,
    on_gpu: bool = False,
) -> DataLoader[Batch]:
    """Return a loader of batches; while a GPU trains, other processes prefetch data on disk."""
    prefetch = on_gpu and getattr(data, "on_disk", False)
    return DataLoader(
        data,
        batch_size=batch_size,
        sampler=order,
        collate_fn=_identity,
        # each iterator draws a seed, which must not change the random numbers of dropout
        generator=torch.Generator(),
        num_workers=_WORKERS if prefetch else 0,
        persistent_workers=prefetch,
        pin_memory=prefetch,
    )


@dataclass(frozen=True, eq=False)
class BatchSequence:
    """Batches of samples, read in this process, without the seeds of a DataLoader's iterators.

    Args:
        samples: the data.
        rows: positions of the samples in their order, int64 ``(N,)``.
        batch_size: samples of a batch; the last one may be smaller.
    """

    samples: BatchDataset
    rows: Tensor
    batch_size: int

    def __iter__(self) -> Iterator[Batch]:
        for index in torch.split(self.rows, self.batch_size):
            yield self.samples.get_batch(index)


def _identity(batch: Any) -> Any:
    return batch


def permute_samples(size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the order of training samples in an epoch, a permutation ``(N,)``."""
    return np.random.default_rng((seed, epoch)).permutation(size)


class SeededSampler(DistributedSampler[int]):
    """A permutation determined by seed and epoch, so that a resumed run repeats it.

    Every W · ``batch_size`` consecutive samples are split evenly over W training processes, so that
    together they see the batch of a single process with that batch size. The incomplete rest of an
    epoch is padded with some of its samples until it can be split evenly. Lightning does not
    replace a ``DistributedSampler``.
    """

    def __init__(self, size: int, seed: int, batch_size: int = 1) -> None:
        super().__init__(range(size), num_replicas=1, rank=0)  # type: ignore[arg-type]
        self.size, self.seed, self.batch_size = size, seed, batch_size
        self.start_index = 0  # samples of the first epoch that an interrupted run has used

    def __len__(self) -> int:
        return self.samples_per_process(_world()[0])

    def samples_per_process(self, world_size: int) -> int:
        """Return the number of samples that each process sees per epoch."""
        batches, rest = divmod(self.size, world_size * self.batch_size)
        return batches * self.batch_size + math.ceil(rest / world_size)

    def __iter__(self) -> Iterator[int]:
        world_size, rank = _world()
        start, self.start_index = self.start_index, 0
        permutation = permute_samples(self.size, self.seed, self.epoch)
        total = world_size * self.batch_size
        for first in range(start, self.size, total):
            batch = permutation[first : first + total]
            count = math.ceil(len(batch) / world_size)
            yield from np.resize(batch, (world_size, count))[rank].tolist()


def _world() -> tuple[int, int]:
    """Return the number of training processes and the rank of this one."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size(), dist.get_rank()
    return 1, 0


@dataclass(frozen=True, eq=False)
class DisplaySamples:
    """Test samples whose features are plotted, the same for all methods and seeds.

    A group of label bins without test samples is merged into the one below.
    """

    rows: NDArray[np.int64]  # their indices in the test split, sorted, (P,)
    group: NDArray[np.int64]  # index of each sample's group, from 0 to B − 1, (P,)
    edges: NDArray[np.float64]  # group boundaries (B + 1,)


def select_display_samples(bins: LabelBins, labels: np.ndarray) -> DisplaySamples:
    """Select at most 500 test samples by their labels ``(N,)``, evenly over groups of label bins.

    All groups have the same quota; smaller groups are taken completely. Within a group, the samples
    are spread evenly over its sorted labels.
    """
    index = bins.digitize(labels)
    first, last = int(index.min()), int(index.max())
    width = math.ceil((last - first + 1) / MAX_GROUPS)
    nonempty, group = np.unique((index - first) // width, return_inverse=True)
    lower = bins.edges[first + width * nonempty]
    upper = bins.edges[min(first + width * (int(nonempty[-1]) + 1), len(bins))]
    members = np.split(np.lexsort((labels, group)), np.cumsum(np.bincount(group))[:-1])
    sizes = np.array([len(rows) for rows in members])
    quota = max(n for n in range(1, MAX_SAMPLES + 1) if np.minimum(sizes, n).sum() <= MAX_SAMPLES)
    counts = sizes.clip(max=quota)
    spread = [r[np.arange(n) * len(r) // n] for r, n in zip(members, counts, strict=True)]
    rows = np.sort(np.concatenate(spread))
    return DisplaySamples(rows, group[rows], np.append(lower, upper).astype(np.float64))
