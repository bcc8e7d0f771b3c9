"""Gathering the samples of all processes into one batch."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from ranksim.functional.sampling import unique_mask

_DTYPES = sorted(
    {dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)}, key=str
)
_HEADER_LENGTH = 67  # three fields and up to 64 dimensions, as many as torch supports


class _Header(NamedTuple):
    """Description of the rows of one process."""

    needs_grad: bool
    dtype: torch.dtype
    shape: tuple[int, ...]


def gather_rows(
    rows: Tensor, group: dist.ProcessGroup | None = None, *, name: str = "rows"
) -> Tensor:
    r"""Gather the rows of all processes in rank order, with gradients.

    .. math::
        x = (x_0; \dots; x_{W-1}), \qquad
        \partial_{x_r} \textstyle\sum_p L_p = \sum_p (\partial_x L_p)_r

    The backward pass is the exact adjoint: the gradient of the sum of the losses of all W
    processes. If all compute the same loss, that is W times its gradient, which the averaging of
    DistributedDataParallel cancels. All processes of the group must call this function, and either
    all or none must call backward, even those whose rows need no gradient.

    Args:
        rows: shape ``(N_r, ...)``, any dtype; N_r may differ between processes and be zero.
        group: process group; ``None`` is the default one.
        name: name of the rows in error messages.

    Returns:
        Shape ``(ΣN_r, ...)``, identical on all processes; ``rows`` itself if there is only one
        process. Gradients of bfloat16 and float16 are summed in float32 and rounded once.

    Raises:
        ValueError: on all processes, if trailing shapes or dtypes differ, or rows are a scalar.

    Example:
        >>> gather_rows(torch.tensor([[1.0, 2.0]]))  # one process
        tensor([[1., 2.]])
    """
    headers = _exchange_headers(rows, group)
    for process, (_, dtype, shape) in enumerate(headers):
        if not shape:
            raise ValueError(f"{name} must have shape (N, ...), got a scalar on process {process}")
        if dtype != headers[0].dtype or shape[1:] != headers[0].shape[1:]:
            raise ValueError(
                f"{name} must agree in trailing shape and dtype on all processes, got "
                f"{headers[0].shape} of {headers[0].dtype} on process 0 and {shape} of {dtype} "
                f"on process {process}"
            )
    if not _is_distributed(group):
        return rows
    if any(header.needs_grad for header in headers) and not rows.requires_grad:
        rows = rows.detach().requires_grad_()
    counts = [header.shape[0] for header in headers]
    gathered: Tensor = _Gather.apply(rows, counts, group)  # type: ignore[no-untyped-call]
    return gathered


def draw_shared_mask(
    labels: Tensor,
    label_width: float | None,
    generator: torch.Generator | None = None,
    num_preferred: int | None = None,
) -> Tensor:
    """Draw one sample per distinct label, the same on all processes, as a mask ``(N,)``.

    All processes draw, so that their generators stay in step, and the draw of process 0 counts.
    """
    mask = unique_mask(labels, label_width, generator=generator, num_preferred=num_preferred)
    if _is_distributed() and mask.numel():
        dist.broadcast(mask, src=0)
    return mask


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
            dist.all_gather([_as_bytes(part) for part in received], _as_bytes(padded), group)
        return torch.cat([part[:count] for part, count in zip(received, counts, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        # a contiguous copy: the sum is in place, and the upstream gradient may be shared
        total = upstream.to(
            torch.promote_types(upstream.dtype, torch.float32),
            copy=True,
            memory_format=torch.contiguous_format,
        )
        if total.numel():
            dist.all_reduce(total, group=ctx.group)
        process = dist.get_rank(ctx.group)
        part = total.narrow(0, sum(ctx.counts[:process]), ctx.counts[process])
        return part.to(upstream.dtype), None, None


def _as_bytes(rows: Tensor) -> Tensor:
    """View contiguous rows as bytes of shape ``(num_bytes,)``."""
    return rows.view(-1).view(torch.uint8)


def _is_distributed(group: dist.ProcessGroup | None = None) -> bool:
    """Return True if there is a process group of more than one process."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size(group) > 1


def _exchange_headers(rows: Tensor, group: dist.ProcessGroup | None) -> list[_Header]:
    """Return the headers of all processes in rank order."""
    needs_grad = rows.requires_grad and torch.is_grad_enabled()
    header = _Header(needs_grad, rows.dtype, tuple(rows.shape))
    if not _is_distributed(group):
        return [header]
    code = [int(needs_grad), _DTYPES.index(rows.dtype), rows.ndim, *rows.shape]
    sent = torch.tensor(code + [0] * (_HEADER_LENGTH - len(code)), device=rows.device)
    received = [torch.empty_like(sent) for _ in range(dist.get_world_size(group))]
    dist.all_gather(received, sent, group)
    codes = torch.stack(received).tolist()  # the host waits for the device here, once
    return [
        _Header(bool(grad), _DTYPES[dtype], tuple(shape[:ndim]))
        for grad, dtype, ndim, *shape in codes
    ]
