"""The RankSim term on CUDA: ranks by counting in Triton up to ``MAX_SAMPLES``, by sorting beyond.

cuBLAS computes the products in float64; reading all features per anchor in a kernel would take ten
times as long. Counting takes M³ steps, about 0.3 ms of instructions on an H100 at M = 1,024.
"""

from __future__ import annotations

import functools
import math
import os
import shutil
from collections.abc import Callable
from typing import Any

import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]
from torch import Tensor

from ranksim.functional._kernels import reference
from ranksim.functional._kernels.reference import RankSimInputs, RankSimParams
from ranksim.functional.similarity import pairwise_similarity

jit: Callable[[Callable[..., Any]], Any] = triton.jit
MAX_SAMPLES = 1024
_GPU_TILES = 256  # tiles of a product that occupy a whole GPU, about
_INTERPRETED_ROWS = 32  # anchors per program in Triton's interpreter, where programs are slow
_GRID = tl.constexpr(2.0**40)
_LAST = tl.constexpr(-(2**63))  # code of dropped samples, which rank after all others


@functools.cache
def unsupported_reason(device: torch.device) -> str:
    """Return why Triton cannot be used on a device, or an empty string."""
    if torch.version.hip:
        return "its kernels are for NVIDIA's GPUs"
    major, minor = torch.cuda.get_device_capability(device)
    if major < 8:
        return f"Triton needs a compute capability of 8.0, this GPU has {major}.{minor}"
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "Triton needs a C compiler"
    return ""


def compute_term(
    inputs: RankSimInputs, params: RankSimParams, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    """Compute the same as ``reference.compute_term`` with two products and two kernels.

    One difference: a feature that is not finite makes the gradients of all anchors NaN, including
    those of samples that are not kept.
    """
    anchors, keep, target = inputs.anchors, inputs.keep, inputs.target
    samples, width = inputs.features.shape
    if samples > MAX_SAMPLES or not (anchors and width):
        return reference.compute_term(inputs, params, with_gradient)
    features, tiny = inputs.features.detach().double(), torch.finfo(inputs.features.dtype).tiny
    labels = inputs.labels.detach().double().contiguous()
    if keep is not None:
        features = features.masked_fill(~keep.unsqueeze(1), 0.0)
    has_order = None
    if target is None and params.similarity == "cosine":
        target = pairwise_similarity(labels[:anchors], labels, params.similarity)
    if target is not None:
        has_order = _has_order(target, keep)
        target = target.detach().double().contiguous()
    norms = torch.linalg.vector_norm(features, dim=1)
    products = _partial_products(features, anchors)

    rows = 1 if features.is_cuda else _INTERPRETED_ROWS
    grid = (triton.cdiv(anchors, rows),)
    block = max(triton.next_power_of_2(samples), 16)
    warps = 4 if block <= 256 else 8
    codes = labels.new_empty(grid[0] * rows, block, dtype=torch.int64)
    values = labels.new_empty(anchors)
    slopes = labels.new_empty(anchors, samples) if with_gradient else None
    with torch.cuda.device_of(features):  # type: ignore[no-untyped-call]
        anchor_rows[grid](
            *(products, norms, labels, target, has_order, keep, codes, values, slopes),
            *(anchors, samples, len(products)),
            *(float(params.gamma), float(params.lambda_), tiny),
            LABELS=labels.shape[1],
            SQUARED=params.similarity == "neg_l2" and labels.shape[1] > 1,
            TIES=params.ties,
            ROWS=rows,
            BLOCK=block,
            CHUNK=min(512 * warps // block, 32, block),
            num_warps=warps,
            enable_fp_fusion=False,  # with a fused square, distances (3, 4) and (4, 3) would differ
        )
        value = params.weight * (values if params.per_anchor else values.sum())
        value = value.to(inputs.out_dtype)
        if slopes is None:
            return value, value.new_empty(0)
        if params.per_anchor:
            return value, params.weight * slopes
        weights = torch.empty_like(slopes)
        anchor_weights[grid](
            *(slopes, products, norms, weights, anchors, samples, tiny), ROWS=rows, BLOCK=block
        )
    return value, (params.weight * (weights @ features)).to(inputs.out_dtype)


def _has_order(target: Tensor, keep: Tensor | None) -> Tensor:
    """Return whether any label similarities differ; if none do, there is no order to learn."""
    if keep is None:
        return (target != target[:1, :1]).any()
    pairs = keep[: len(target)].unsqueeze(1) & keep
    smallest = target.masked_fill(~pairs, torch.inf).amin()
    return smallest != target.masked_fill(~pairs, -torch.inf).amax()


def _partial_products(features: Tensor, anchors: int) -> Tensor:
    """Return partial products of anchors and samples ``(P, A, N)``, to be summed over P.

    Splitting D lets a small batch occupy the whole GPU.
    """
    samples, width = features.shape
    tiles = triton.cdiv(anchors, 64) * triton.cdiv(samples, 64)
    parts = triton.next_power_of_2(max(min(_GPU_TILES // tiles, width // 64), 1))
    split = features.reshape(samples, math.gcd(width, parts), -1).transpose(0, 1)
    return torch.bmm(split[:, :anchors], split.mT)


@jit
def anchor_rows(
    products: tl.tensor,
    norms: tl.tensor,
    labels: tl.tensor,
    target: tl.tensor,
    has_order: tl.tensor,
    keep: tl.tensor,
    codes: tl.tensor,
    values: tl.tensor,
    slopes: tl.tensor,
    anchors: tl.tensor,
    samples: tl.tensor,
    parts: tl.tensor,
    gamma: tl.float64,
    lambda_: tl.float64,
    tiny: tl.float64,
    LABELS: tl.constexpr,  # noqa: N803
    SQUARED: tl.constexpr,  # noqa: N803
    TIES: tl.constexpr,  # noqa: N803
    ROWS: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
    CHUNK: tl.constexpr,  # noqa: N803
) -> None:
    """Compute the values and slopes (gradients with respect to similarities) of ``ROWS`` anchors.

    Inputs: ``products`` ``(parts, A, N)``, to be summed, and ``norms`` ``(N,)`` of features; either
    ``target`` ``(A, N)`` and ``has_order``, or ``labels`` ``(N, LABELS)``. Outputs: ``values``
    ``(A,)``, and unless ``slopes`` is None ``slopes`` ``(A, N)`` and the similarities, in the first
    part of ``products``. All are float64. ``codes`` is int64 scratch memory, ``BLOCK`` per anchor.
    """
    anchor = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    index = tl.arange(0, BLOCK)
    is_anchor, is_sample = anchor < anchors, index < samples
    inside = is_anchor[:, None] & is_sample[None, :]
    row = anchor[:, None] * samples + index[None, :]
    similarity = tl.zeros((ROWS, BLOCK), tl.float64)
    part = 0
    while part < parts:
        similarity += tl.load(products + part * anchors * samples + row, mask=inside, other=0.0)
        part += 1
    similarity *= inverse_norms(norms + index, is_sample, tiny)[None, :]
    similarity *= inverse_norms(norms + anchor, is_anchor, tiny)[:, None]
    if target is not None:
        label_similarity = tl.load(target + row, mask=inside, other=0.0)
    else:
        label_similarity = tl.zeros((ROWS, BLOCK), tl.float64)
        for k in range(LABELS):
            label = tl.load(labels + anchor * LABELS + k, mask=is_anchor, other=0.0)
            other = tl.load(labels + index * LABELS + k, mask=is_sample, other=0.0)
            step = tl.abs(label[:, None] - other[None, :])
            label_similarity -= step * step if SQUARED else step
        if SQUARED:
            label_similarity = -tl.sqrt(-label_similarity)

    live = is_anchor
    if keep is not None:
        live = tl.load(keep + anchor, mask=is_anchor, other=0) != 0
        is_sample = tl.load(keep + index, mask=is_sample, other=0) != 0
    counts = live[:, None] & is_sample[None, :]
    if target is not None:
        differs = tl.load(has_order + anchor * 0, mask=is_anchor, other=0) != 0
    else:  # if no label differs from the anchor's, all labels are equal
        differs = tl.max((counts & (label_similarity != 0.0)).to(tl.int32), axis=1) != 0
    count = tl.maximum(tl.sum(is_sample.to(tl.int32), axis=0), 1).to(tl.float64)
    steps = count * (2.0 if TIES == "average" else 1.0)  # ranks are multiples of 1/steps

    scratch = codes + anchor * BLOCK
    before = ranks(grid_codes(similarity), is_sample, scratch, samples, TIES, CHUNK)
    error = before - ranks(float_codes(label_similarity), is_sample, scratch, samples, TIES, CHUNK)
    error = tl.where(counts & differs[:, None], error, 0).to(tl.float64)
    value = tl.sum(error * error, axis=1) * (gamma / count / (steps * steps))
    is_nan = counts & ((similarity != similarity) | (label_similarity != label_similarity))
    has_nan = tl.max(is_nan.to(tl.int32), axis=1) != 0  # NaN has no rank
    tl.store(values + anchor, tl.where(has_nan, float("nan"), value), mask=is_anchor)
    if slopes is not None:
        moved = similarity + error * (lambda_ * 2.0 * gamma / count / steps)
        moves = ranks(grid_codes(moved), is_sample, scratch, samples, TIES, CHUNK) - before
        slope = tl.where(has_nan[:, None], float("nan"), moves.to(tl.float64) / steps / lambda_)
        tl.store(slopes + row, tl.where(counts, slope, 0.0), mask=inside)
        tl.store(products + row, similarity, mask=inside)


@jit
def anchor_weights(
    slopes: tl.tensor,
    similarities: tl.tensor,
    norms: tl.tensor,
    weights: tl.tensor,
    anchors: tl.tensor,
    samples: tl.tensor,
    tiny: tl.float64,
    ROWS: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
) -> None:
    """Compute the weights ``(A, N)`` of features in the anchors' gradients, by the chain rule.

    With B = slope + slopeᵀ they are (B − diag(BSᵀ)) / (‖zᵢ‖ ‖zⱼ‖).
    """
    anchor = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    index = tl.arange(0, BLOCK)
    is_anchor, is_sample = anchor < anchors, index < samples
    inside = is_anchor[:, None] & is_sample[None, :]
    row = anchor[:, None] * samples + index[None, :]
    column = index[None, :] * samples + anchor[:, None]
    has_transpose = is_anchor[:, None] & (index < anchors)[None, :]
    both = tl.load(slopes + row, mask=inside, other=0.0)
    both += tl.load(slopes + column, mask=has_transpose, other=0.0)
    similarity = tl.load(similarities + row, mask=inside, other=0.0)
    radial = tl.sum(both * similarity, axis=1)
    both = tl.where(index[None, :] == anchor[:, None], both - radial[:, None], both)
    inverse = inverse_norms(norms + anchor, is_anchor, tiny)[:, None]
    weight = both * inverse_norms(norms + index, is_sample, tiny)[None, :] * inverse
    tl.store(weights + row, tl.where(inverse != 0.0, weight, 0.0), mask=inside)


@jit
def ranks(
    code: tl.tensor,
    is_sample: tl.tensor,
    scratch: tl.tensor,
    samples: tl.tensor,
    TIES: tl.constexpr,  # noqa: N803
    CHUNK: tl.constexpr,  # noqa: N803
) -> tl.tensor:
    """Compute ranks by their definition, 1 + |{j : a_j > a_i}|; doubled for ``average``."""
    index = tl.arange(0, code.shape[1])
    code = tl.where(is_sample[None, :], code, _LAST)
    tl.store(scratch[:, None] + index[None, :], code)
    tl.debug_barrier()
    larger = tl.zeros((code.shape[0], code.shape[1], CHUNK), tl.int32)
    one = code[:, :, None]
    start = 0
    while start < samples:
        others = start + tl.arange(0, CHUNK)
        other = tl.load(scratch[:, None] + others[None, :])[:, None, :]
        if TIES == "ordinal":
            larger += (other > one - (others[None, None, :] < index[None, :, None])).to(tl.int32)
        else:
            larger += (other > one).to(tl.int32)
        if TIES == "average":
            larger += (other >= one).to(tl.int32)
        start += CHUNK
    tl.debug_barrier()
    return 1 + tl.sum(larger, axis=2)


@jit
def grid_codes(similarity: tl.tensor) -> tl.tensor:
    """Return integer codes of similarities rounded to 2⁻⁴⁰, so that equal ones tie."""
    return float_codes(tl.floor(similarity * _GRID + 0.5))


@jit
def float_codes(numbers: tl.tensor) -> tl.tensor:
    """Return integers in the order of float64 numbers; they compare fast on every GPU."""
    bits = (numbers + 0.0).to(tl.int64, bitcast=True)  # -0 becomes 0
    return bits ^ ((bits >> 63) & 0x7FFFFFFFFFFFFFFF)


@jit
def inverse_norms(norms: tl.tensor, mask: tl.tensor, tiny: tl.tensor) -> tl.tensor:
    """Return 1/‖z‖, and 0 for norms up to ``tiny``."""
    norm = tl.load(norms, mask=mask, other=0.0)
    return tl.where(norm <= tiny, 0.0, 1.0 / tl.where(norm <= tiny, 1.0, norm))
