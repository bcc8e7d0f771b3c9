"""Choice of the implementation by device, and its integration into autograd and compilers."""

import functools
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ranksim.functional._kernels import reference
from ranksim.functional._kernels.cpu import cpu_term
from ranksim.functional._kernels.reference import RankSimInputs, RankSimParams
from ranksim.functional.similarity import working_dtype

Path = Callable[[RankSimInputs, RankSimParams, bool], tuple[Tensor, Tensor]]
_log = logging.getLogger("ranksim")
_SCHEMA = (
    "(Tensor features, Tensor labels, Tensor? keep, Tensor? target, SymInt anchors, float gamma, "
    "float lambda_, str ties, str similarity, bool per_anchor, bool with_gradient)"
    " -> (Tensor, Tensor)"
)


def ranksim_term(inputs: RankSimInputs, params: RankSimParams) -> Tensor:
    """Compute γ · L_RankSim, differentiable with respect to the features of the anchors."""
    features = inputs.features
    with_gradient = features.requires_grad and torch.is_grad_enabled()
    value: Tensor
    if type(features) in (Tensor, torch.nn.Parameter) and not torch.compiler.is_compiling():
        value, _ = _RankSim.apply(features, inputs, params, with_gradient)  # type: ignore[no-untyped-call]
    else:
        with torch.autocast(features.device.type, enabled=False):
            value, _ = _operator(
                *(features, inputs.labels, inputs.keep, inputs.target, inputs.anchors),
                *(params.gamma, params.lambda_, params.ties, params.similarity),
                *(params.per_anchor, with_gradient),
            )
    return value


def _save_for_backward(
    ctx: Any, inputs: RankSimInputs, params: RankSimParams, output: tuple[Tensor, Tensor]
) -> None:
    """Save the gradient, which the forward pass has computed."""
    features = inputs.features
    ctx.per_anchor, ctx.dtype, ctx.num_samples = params.per_anchor, features.dtype, len(features)
    ctx.mark_non_differentiable(output[1])
    if params.per_anchor:
        ctx.save_for_backward(output[1], features.detach().clone(), inputs.keep)
    else:
        ctx.save_for_backward(output[1])


def _backward(ctx: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    """Multiply the saved gradient by the upstream one; only features get a gradient."""
    if ctx.per_anchor:
        slope, features, keep = ctx.saved_tensors
        weighted = slope * upstream.to(slope.dtype).unsqueeze(1)
        gradient = reference.feature_gradient(weighted, *reference.unit_features(features, keep))
    else:
        (gradient,) = ctx.saved_tensors
        gradient = gradient * upstream
    gradient = gradient.to(ctx.dtype)
    if gradient.shape[0] < ctx.num_samples:  # references get no gradient
        zeros = gradient.new_zeros(ctx.num_samples - gradient.shape[0], gradient.shape[1])
        gradient = torch.cat([gradient, zeros])
    return gradient, *(None for _ in ctx.needs_input_grad[1:])


class _RankSim(torch.autograd.Function):
    """The term for eager autograd, 50 µs faster than the operator."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, inputs: RankSimInputs, params: RankSimParams, gradient: bool
    ) -> tuple[Tensor, Tensor]:
        device, path = features.device, path_for(features.device)
        if torch.is_autocast_enabled(device.type):
            with torch.autocast(device.type, enabled=False):
                output = path(inputs, params, gradient)
        else:
            output = path(inputs, params, gradient)
        _save_for_backward(ctx, inputs, params, output)
        return output

    backward = staticmethod(once_differentiable(_backward))  # type: ignore[assignment]


@torch.library.custom_op("ranksim::term", mutates_args=(), schema=_SCHEMA)
def _operator(*arguments: Any) -> tuple[Tensor, Tensor]:
    """The term as an operator for ``torch.compile`` and tensor subclasses."""
    inputs, params = _to_dataclasses(arguments)
    return path_for(inputs.features.device)(inputs, params, arguments[-1])


@_operator.register_fake
def _fake_operator(*arguments: Any) -> tuple[Tensor, Tensor]:
    """Return empty tensors of the operator's shapes and dtypes."""
    inputs, params = _to_dataclasses(arguments)
    features, dtype, anchors = inputs.features, inputs.out_dtype, inputs.anchors
    value = features.new_empty(anchors if params.per_anchor else (), dtype=dtype)
    if not arguments[-1]:
        return value, features.new_empty(0, dtype=dtype)
    if params.per_anchor:
        slope_dtype = working_dtype(features.device)
        return value, features.new_empty(anchors, features.shape[0], dtype=slope_dtype)
    return value, features.new_empty(anchors, features.shape[1], dtype=dtype)


_operator.register_autograd(
    _backward,
    setup_context=lambda ctx, inputs, output: _save_for_backward(
        ctx, *_to_dataclasses(inputs), output
    ),
)


def _to_dataclasses(arguments: tuple[Any, ...]) -> tuple[RankSimInputs, RankSimParams]:
    """Build inputs and settings from all but the last argument of the operator."""
    return RankSimInputs(*arguments[:5]), RankSimParams(*arguments[5:-1])


@functools.cache  # so that a missing Triton is searched for and logged only once
def path_for(device: torch.device) -> Path:
    """Return the implementation for a device; log why if it is only the reference."""
    if device.type == "cpu":
        return cpu_term.compute_term
    reason = "it has no implementation of its own"
    if device.type == "cuda":
        try:
            from ranksim.functional._kernels import triton_term
        except ImportError:
            reason = "Triton is not installed"
        else:
            reason = triton_term.unsupported_reason(device)
            if not reason:
                return triton_term.compute_term
    _log.info("RankSim runs as plain PyTorch on %s: %s", device, reason)
    return reference.compute_term
