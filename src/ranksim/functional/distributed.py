"""The samples of all processes as one batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from ranksim.functional._validation import as_matrices
from ranksim.functional.unique import unique_mask

Batch = tuple[Tensor, Tensor]

_DTYPES = sorted({kind for kind in vars(torch).values() if isinstance(kind, torch.dtype)}, key=str)
_LENGTH = 67  # of what a process says of its rows: torch works on at most 64 dimensions


def gather_rows(
    rows: Tensor, group: dist.ProcessGroup | None = None, *, name: str = "rows"
) -> Tensor:
    r"""Rows of all processes in the order of their ranks, differentiable.

    .. math::
        x = (x_0; \dots; x_{W-1}), \qquad
        \partial_{x_r} \textstyle\sum_p L_p = \sum_p (\partial_x L_p)_r

    Backward is the exact adjoint: the gradient of the sum of the losses L of all W processes. Where
    they are one loss, that is W times its gradient, and the mean that DistributedDataParallel takes
    gives parameters the gradient of one process with all rows. All processes of the group call it,
    and all of them or none call backward, those whose own rows need no gradient too.

    Args:
        rows: shape ``(N_r, ...)``, any dtype; N_r may differ among processes and be zero.
        group: the process group; ``None`` is the default one.
        name: what errors call the rows.

    Returns:
        Shape ``(ΣN_r, ...)``, the same bits on all processes; ``rows`` itself where there is no
        process group, or one process in it. Gradients of bfloat16 and float16 are summed in
        float32 and rounded once.

    Raises:
        ValueError: trailing shapes or dtypes that differ, or a scalar; on all processes alike.

    Example:
        >>> gather_rows(torch.tensor([[1.0, 2.0]]))  # in a script of one process
        tensor([[1., 2.]])
    """
    processes = _described(rows, group)
    _, first_dtype, first = processes[0]
    for process, (_, dtype, shape) in enumerate(processes):
        if not shape:
            raise ValueError(f"{name} must have shape (N, ...), got a scalar on process {process}")
        if dtype != first_dtype or shape[1:] != first[1:]:
            raise ValueError(
                f"{name} must agree in trailing shape and dtype on all processes, got {first} "
                f"of {first_dtype} on process 0 and {shape} of {dtype} on process {process}"
            )
    if not _several(group):
        return rows
    if any(needed for needed, _, _ in processes) and not rows.requires_grad:
        rows = rows.detach().requires_grad_()
    counts = [shape[0] for _, _, shape in processes]
    gathered: Tensor = _Gather.apply(rows, counts, group)  # type: ignore[no-untyped-call]
    return gathered


def gather_batch(features: Tensor, labels: Tensor) -> Batch:
    """Features ``(N, D)`` and labels ``(N, K)`` of all processes.

    Arguments and errors are those of :func:`ranksim.functional.ranksim_loss`.
    """
    features, labels = as_matrices(features, labels)
    return gather_rows(features, name="features"), gather_rows(labels, name="labels")


def draw_shared_sample(
    batch: Batch,
    neighbours: Batch | None,
    unique_labels: bool | float,
    generator: torch.Generator | None = None,
) -> tuple[Batch, Batch | None]:
    """The draw of ``unique_labels`` from what all processes hold alike, the same on all of them.

    All draw, so that equal generators stay equal, and the draw of the first process counts, because
    torch's default generators differ.
    """
    features, labels = batch
    more = labels[:0] if neighbours is None else neighbours[1]
    width = None if isinstance(unique_labels, (bool, np.bool_)) else float(unique_labels)
    keep = unique_mask(torch.cat([labels, more]), width, generator=generator, first=len(labels))
    if _several() and keep.numel():
        dist.broadcast(keep, src=0)
    own, other = keep.tensor_split([len(labels)])
    past = neighbours and (neighbours[0][other], neighbours[1][other])
    return (features[own], labels[own]), past


class _Gather(torch.autograd.Function):
    """Rows of all processes; gradients summed over processes, each taking its own rows."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, counts: list[int], group: dist.ProcessGroup | None
    ) -> Tensor:
        ctx.counts, ctx.group = counts, group
        most = max(counts)
        sent = rows.new_zeros((most, *rows.shape[1:]))
        sent[: len(rows)] = rows
        received = [torch.empty_like(sent) for _ in counts]
        if sent.numel():
            # as bytes: no backend knows every dtype
            dist.all_gather([_bytes(part) for part in received], _bytes(sent), group)
        return torch.cat([part[:count] for part, count in zip(received, counts, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        # a copy, in one order: the sum is made in place, and what arrives may be shared
        total = gradient.to(
            torch.promote_types(gradient.dtype, torch.float32),
            copy=True,
            memory_format=torch.contiguous_format,
        )
        if total.numel():
            dist.all_reduce(total, group=ctx.group)
        rank = dist.get_rank(ctx.group)
        own = total.narrow(0, sum(ctx.counts[:rank]), ctx.counts[rank])
        return own.to(gradient.dtype), None, None


def _bytes(rows: Tensor) -> Tensor:
    """The memory of contiguous rows, shape ``(bytes,)``."""
    return rows.view(-1).view(torch.uint8)


def _several(group: dist.ProcessGroup | None = None) -> bool:
    """Whether there is a process group of more than one process."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size(group) > 1


def _described(
    rows: Tensor, group: dist.ProcessGroup | None
) -> list[tuple[bool, torch.dtype, tuple[int, ...]]]:
    """Of each process: whether its rows need a gradient, their dtype and their shape."""
    needed = rows.requires_grad and torch.is_grad_enabled()
    said = [int(needed), _DTYPES.index(rows.dtype), rows.ndim, *rows.shape]
    heard = [said]
    if _several(group):
        own = torch.tensor(said + [0] * (_LENGTH - len(said)), device=rows.device)
        others = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
        dist.all_gather(others, own, group)
        heard = torch.stack(others).tolist()  # the host waits here, once
    return [(bool(said[0]), _DTYPES[said[1]], tuple(said[3 : 3 + said[2]])) for said in heard]
