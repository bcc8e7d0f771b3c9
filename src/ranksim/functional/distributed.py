"""Gathering the samples of all processes into one batch."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

_DTYPES = sorted(
    {dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)}, key=str
)
_HEADER_LENGTH = 67  # three fields and up to 64 dimensions, as many as torch supports


def gather_rows(
    rows: Tensor, group: dist.ProcessGroup | None = None, *, name: str = "rows"
) -> Tensor:
    r"""Gather the rows ``(N_r, ...)`` of all processes in rank order, with gradients.

    .. math::
        x = (x_0; \dots; x_{W-1}), \qquad
        \partial_{x_r} \textstyle\sum_p L_p = \sum_p (\partial_x L_p)_r

    The backward pass is the exact adjoint: the gradient of the sum of the losses of all W
    processes. If all compute the same loss, that is W times its gradient, which the averaging of
    DistributedDataParallel cancels. All processes of the group must call this function, and either
    all or none must call backward, even those whose rows need no gradient.

    N_r may be zero. The result is identical on all processes; with one process it is ``rows``
    itself. Gradients of bfloat16 and float16 are summed in float32 and rounded once. If trailing
    shapes or dtypes differ, all processes raise a ValueError that calls the rows ``name``.
    """
    headers = _exchange_headers(rows, group)
    _, first_dtype, first_shape = headers[0]
    for process, (_, dtype, shape) in enumerate(headers):
        if not shape:
            raise ValueError(f"{name} must have shape (N, ...), got a scalar on process {process}")
        if dtype != first_dtype or shape[1:] != first_shape[1:]:
            raise ValueError(
                f"{name} must agree in trailing shape and dtype on all processes, got "
                f"{first_shape} of {first_dtype} on process 0 and {shape} of {dtype} on process "
                f"{process}"
            )
    if not _is_distributed(group):
        return rows
    if any(needs_grad for needs_grad, _, _ in headers) and not rows.requires_grad:
        rows = rows.detach().requires_grad_()
    counts = [shape[0] for _, _, shape in headers]
    gathered: Tensor = _Gather.apply(rows, counts, group)  # type: ignore[no-untyped-call]
    return gathered


def share_first(values: Tensor) -> Tensor:
    """Replace the values of every process, in place, by those of process 0."""
    if _is_distributed() and values.numel():
        dist.broadcast(values, src=0)
    return values


class _Gather(torch.autograd.Function):
    """Gather rows; the backward pass sums gradients and returns each process its part."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, counts: list[int], group: dist.ProcessGroup | None
    ) -> Tensor:
        ctx.counts, ctx.group = counts, group
        padded = rows.new_zeros((max(counts), *rows.shape[1:]))
        padded[: len(rows)] = rows
        received = [torch.empty_like(padded) for _ in counts]
        if padded.numel():
            # sent as bytes, because no backend supports every dtype
            sent, *parts = (part.view(-1).view(torch.uint8) for part in (padded, *received))
            dist.all_gather(parts, sent, group)
        return torch.cat([part[:count] for part, count in zip(received, counts, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        # a contiguous copy: the sum is in place, and the upstream gradient may be shared
        dtype = torch.promote_types(upstream.dtype, torch.float32)
        total = upstream.to(dtype, copy=True, memory_format=torch.contiguous_format)
        if total.numel():
            dist.all_reduce(total, group=ctx.group)
        process = dist.get_rank(ctx.group)
        part = total.narrow(0, sum(ctx.counts[:process]), ctx.counts[process])
        return part.to(upstream.dtype), None, None


def _is_distributed(group: dist.ProcessGroup | None = None) -> bool:
    """Return True if there is a process group of more than one process."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size(group) > 1


def _exchange_headers(
    rows: Tensor, group: dist.ProcessGroup | None
) -> list[tuple[bool, torch.dtype, tuple[int, ...]]]:
    """All-gather a header (needs gradient, dtype, shape) from each process, in rank order."""
    needs_grad = rows.requires_grad and torch.is_grad_enabled()
    if not _is_distributed(group):
        return [(needs_grad, rows.dtype, tuple(rows.shape))]
    code = [int(needs_grad), _DTYPES.index(rows.dtype), rows.ndim, *rows.shape]
    sent = torch.tensor(code + [0] * (_HEADER_LENGTH - len(code)), device=rows.device)
    received = [torch.empty_like(sent) for _ in range(dist.get_world_size(group))]
    dist.all_gather(received, sent, group)
    codes = torch.stack(received).tolist()  # the host waits for the device here, once
    return [
        (bool(grad), _DTYPES[dtype], tuple(shape[:ndim])) for grad, dtype, ndim, *shape in codes
    ]
