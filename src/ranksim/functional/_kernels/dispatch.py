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
from ranksim.functional._kernels.cpu.library import load_library
from ranksim.functional._kernels.reference import RankSimInputs, RankSimParams
from ranksim.functional.similarity import working_dtype

Path = Callable[[RankSimInputs, RankSimParams, bool], tuple[Tensor, Tensor]]
_SERIAL = 2**15  # up to this many numbers, PyTorch works in one thread
_log = logging.getLogger("ranksim")
_SCHEMA = (
    "(Tensor features, Tensor labels, Tensor? keep, Tensor? target, SymInt anchors, float gamma, "
    "float lambda_, str ties, str similarity, bool per_anchor, float weight, bool with_gradient)"
    " -> (Tensor, Tensor)"
)


def ranksim_term(inputs: RankSimInputs, params: RankSimParams) -> Tensor:
    """Compute weight · γ · L_RankSim, differentiable in the features of the anchors."""
    features = inputs.features
    with_gradient = features.requires_grad and torch.is_grad_enabled()
    value: Tensor
    if type(features) in (Tensor, torch.nn.Parameter) and not torch.compiler.is_compiling():
        value = _RankSim.apply(features, inputs, params, with_gradient)  # type: ignore[no-untyped-call]
    else:
        with torch.autocast(features.device.type, enabled=False):
            value, _ = _operator(
                *(features, inputs.labels, inputs.keep, inputs.target, inputs.anchors),
                *(params.gamma, params.lambda_, params.ties, params.similarity),
                *(params.per_anchor, params.weight, with_gradient),
            )
    return value


def _save_for_backward(
    ctx: Any, inputs: RankSimInputs, params: RankSimParams, derivative: Tensor
) -> None:
    """Save the gradient, which the forward pass has computed."""
    features = inputs.features
    ctx.per_anchor, ctx.dtype = params.per_anchor, features.dtype
    ctx.num_samples = features.shape[0]
    if params.per_anchor:
        ctx.save_for_backward(derivative, features.detach().clone(), inputs.keep)
    else:
        ctx.save_for_backward(derivative)


def _backward(ctx: Any, upstream: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    """Multiply the saved gradient by the upstream one; only features get a gradient."""
    if ctx.per_anchor:
        slope, features, keep = ctx.saved_tensors
        weighted = slope * upstream.to(slope.dtype).unsqueeze(1)
        gradient = reference.feature_gradient(weighted, *reference.unit_features(features, keep))
    else:
        gradient = ctx.saved_tensors[0] * upstream
    return _pad_gradient(ctx, gradient), *(None for _ in ctx.needs_input_grad[1:])


def _backward_eager(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
    """Do the same as ``_backward`` by NumPy on a CPU, which starts no threads."""
    if torch.is_grad_enabled():  # with create_graph; the check alone would take 5 µs
        return _backward_once(ctx, upstream)
    if ctx.per_anchor or not upstream.is_cpu:
        return _backward(ctx, upstream)
    (gradient,) = ctx.saved_tensors
    try:
        factor = upstream.item()
    except RuntimeError:  # several upstream gradients at once, is_grads_batched
        return _backward(ctx, upstream)
    if factor != 1.0 or gradient.numel() > _SERIAL:  # PyTorch would copy it
        gradient = torch.from_numpy(gradient.numpy() * factor)
    return _pad_gradient(ctx, gradient), None, None, None


_backward_once = once_differentiable(_backward)


def _pad_gradient(ctx: Any, gradient: Tensor) -> Tensor:
    """Convert the anchors' gradient to the dtype of features; references get no gradient."""
    if gradient.dtype != ctx.dtype:
        gradient = gradient.to(ctx.dtype)
    if gradient.shape[0] < ctx.num_samples:
        zeros = gradient.new_zeros(ctx.num_samples - gradient.shape[0], gradient.shape[1])
        gradient = torch.cat([gradient, zeros])
    return gradient


class _RankSim(torch.autograd.Function):
    """The term for eager autograd, 50 µs faster than the operator."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, inputs: RankSimInputs, params: RankSimParams, gradient: bool
    ) -> Tensor:
        device, path = features.device, path_for(features.device)
        if torch.is_autocast_enabled(device.type):
            with torch.autocast(device.type, enabled=False):
                value, derivative = path(inputs, params, gradient)
        else:
            value, derivative = path(inputs, params, gradient)
        _save_for_backward(ctx, inputs, params, derivative)
        return value

    backward = staticmethod(_backward_eager)


@torch.library.custom_op("ranksim::term", mutates_args=(), schema=_SCHEMA)
def _operator(*arguments: Any) -> tuple[Tensor, Tensor]:
    """The term as an operator for ``torch.compile`` and tensor subclasses."""
    inputs, params = _to_tuples(arguments)
    return path_for(inputs.features.device)(inputs, params, arguments[-1])


@_operator.register_fake
def _fake_operator(*arguments: Any) -> tuple[Tensor, Tensor]:
    """Return empty tensors of the operator's shapes and dtypes."""
    inputs, params = _to_tuples(arguments)
    features, dtype, anchors = inputs.features, inputs.out_dtype, inputs.anchors
    value = features.new_empty(anchors if params.per_anchor else (), dtype=dtype)
    if not arguments[-1]:
        return value, features.new_empty(0, dtype=dtype)
    if params.per_anchor:
        slope_dtype = working_dtype(features.device)
        return value, features.new_empty(anchors, features.shape[0], dtype=slope_dtype)
    return value, features.new_empty(anchors, features.shape[1], dtype=dtype)


def _set_up_operator(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    """Save what the backward pass of the operator needs."""
    ctx.mark_non_differentiable(output[1])
    _save_for_backward(ctx, *_to_tuples(inputs), output[1])


_operator.register_autograd(_backward, setup_context=_set_up_operator)


def _to_tuples(arguments: tuple[Any, ...]) -> tuple[RankSimInputs, RankSimParams]:
    """Build inputs and settings from all but the last argument of the operator."""
    return RankSimInputs(*arguments[:5]), RankSimParams(*arguments[5:-1])


@functools.cache  # so that a missing Triton is searched for and logged only once
def path_for(device: torch.device) -> Path:
    """Return the implementation for a device; log why if it is only the reference."""
    reason = "it has no implementation of its own"
    if device.type == "cpu":
        try:
            load_library()
        except OSError:
            reason = "the package was built without a C compiler"
        else:
            return cpu_term.compute_term
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
