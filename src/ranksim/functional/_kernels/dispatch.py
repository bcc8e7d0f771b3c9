"""Which path makes the term, and how autograd, ``torch.compile`` and CUDA graphs see it."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ranksim.functional._kernels import reference
from ranksim.functional._kernels.cpu import cpu_term
from ranksim.functional.similarity import normalize_rows, working_dtype

Path = Callable[..., tuple[Tensor, Tensor]]
_log = logging.getLogger("ranksim")


def ranksim_term(
    features: Tensor,
    labels: Tensor,
    keep: Tensor | None,
    target: Tensor | None,
    anchors: int,
    gamma: float,
    lambda_: float,
    ties: str,
    similarity: str,
    per_anchor: bool,
) -> Tensor:
    """γ · L_RankSim, differentiable by the features of the anchors.

    Arguments are those of :func:`ranksim.functional._kernels.reference.compute_term`; neighbours that are no
    anchors get a gradient of zero.
    """
    gradient = features.requires_grad and torch.is_grad_enabled()
    given = (features, labels, keep, target, anchors, gamma, lambda_, ties, similarity, per_anchor)
    plain = type(features) in (Tensor, torch.nn.Parameter) and not torch.compiler.is_compiling()
    value: Tensor
    if plain:
        value, _ = _RankSim.apply(*given, gradient)  # type: ignore[no-untyped-call]
    else:
        with torch.autocast(features.device.type, enabled=False):
            value, _ = _operator(*given, gradient)
    return value


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    """Keep what backward needs: the gradient, which forward has made."""
    features, _, keep, *_ = inputs
    ctx.per_anchor, ctx.dtype, ctx.samples = inputs[9], features.dtype, features.shape[0]
    ctx.mark_non_differentiable(output[1])
    if ctx.per_anchor:
        ctx.save_for_backward(output[1], features.detach().clone(), keep)
    else:
        ctx.save_for_backward(output[1])


def _backward(ctx: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    if ctx.per_anchor:
        slope, features, keep = ctx.saved_tensors
        work = features.to(working_dtype(features.device))
        if keep is not None:
            work = work.masked_fill(~keep.unsqueeze(1), 0.0)
        unit, norm = normalize_rows(work, torch.finfo(features.dtype).tiny)
        weighted = slope * upstream.to(slope.dtype).unsqueeze(1)
        gradient = reference.feature_gradient(weighted, unit, norm)
    else:
        (gradient,) = ctx.saved_tensors
        gradient = gradient * upstream
    gradient = gradient.to(ctx.dtype)
    if gradient.shape[0] < ctx.samples:  # neighbours stand still
        still = gradient.new_zeros(ctx.samples - gradient.shape[0], gradient.shape[1])
        gradient = torch.cat([gradient, still])
    return gradient, *[None] * 10


class _RankSim(torch.autograd.Function):
    """The term for autograd alone, 50 µs faster than as an operator."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
        device, path = features.device, path_for(features.device)
        if torch.is_autocast_enabled(device.type):
            with torch.autocast(device.type, enabled=False):
                output = path(features, *rest)
        else:
            output = path(features, *rest)
        _remember(ctx, (features, *rest), output)
        return output

    backward = staticmethod(once_differentiable(_backward))  # type: ignore[assignment]


@torch.library.custom_op("ranksim::term", mutates_args=())
def _operator(
    features: Tensor,
    labels: Tensor,
    keep: Tensor | None,
    target: Tensor | None,
    anchors: int,
    gamma: float,
    lambda_: float,
    ties: str,
    similarity: str,
    per_anchor: bool,
    gradient: bool,
) -> tuple[Tensor, Tensor]:
    return path_for(features.device)(
        features,
        labels,
        keep,
        target,
        anchors,
        gamma,
        lambda_,
        ties,
        similarity,
        per_anchor,
        gradient,
    )


@_operator.register_fake
def _shapes(
    features: Tensor,
    labels: Tensor,
    keep: Tensor | None,
    target: Tensor | None,
    anchors: int,
    gamma: float,
    lambda_: float,
    ties: str,
    similarity: str,
    per_anchor: bool,
    gradient: bool,
) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(features.dtype, torch.float32)
    value = features.new_empty(anchors if per_anchor else (), dtype=dtype)
    if not gradient:
        return value, features.new_empty(0, dtype=dtype)
    if per_anchor:
        wide = working_dtype(features.device)
        return value, features.new_empty(anchors, features.shape[0], dtype=wide)
    return value, features.new_empty(anchors, features.shape[1], dtype=dtype)


_operator.register_autograd(_backward, setup_context=_remember)


@functools.cache  # a missing Triton is looked for once, and told once
def path_for(device: torch.device) -> Path:
    """The path of a device; where a faster one is missing, the reference and one log line."""
    if device.type == "cpu":
        return cpu_term.compute_term
    missing, path = "it has no path of its own", reference.compute_term
    if device.type == "cuda":
        missing, path = cuda_path(device)
    if missing:
        _log.info("RankSim runs as plain PyTorch on %s: %s", device, missing)
    return path


def cuda_path(device: torch.device) -> tuple[str, Path]:
    """Why there is no kernel for a GPU, or nothing, and the path to take."""
    try:
        from ranksim.functional._kernels.triton import triton_term
    except ImportError:
        return "Triton is not installed", reference.compute_term
    missing = triton_term.missing(device)
    return missing, reference.compute_term if missing else triton_term.compute_term
