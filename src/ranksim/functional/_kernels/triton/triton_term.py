"""The RankSim term on CUDA: ranks by counting in Triton up to ``MAX_SAMPLES``, by sorting beyond.

cuBLAS computes the products in float64; reading all features per anchor in a kernel would take ten
times as long. Counting takes M³ steps, about 0.3 ms of instructions on an H100 at M = 1,024.
"""

import functools
import math
import os
import shutil

import torch
import triton  # type: ignore[import-untyped]
from torch import Tensor

from ranksim.functional._kernels import reference
from ranksim.functional._kernels.inputs import RankSimInputs, RankSimParams
from ranksim.functional._kernels.triton.kernels import anchor_rows, anchor_weights
from ranksim.functional.similarity import pairwise_similarity

MAX_SAMPLES = 1024
_GPU_TILES = 256  # tiles of a product that occupy a whole GPU, about
_INTERPRETED_ROWS = 32  # anchors per program in Triton's interpreter, where programs are slow


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
        value = (values if params.per_anchor else values.sum()).to(inputs.out_dtype)
        if slopes is None:
            return value, value.new_empty(0)
        if params.per_anchor:
            return value, slopes
        weights = torch.empty_like(slopes)
        anchor_weights[grid](
            *(slopes, products, norms, weights, anchors, samples, tiny),
            ROWS=rows,
            BLOCK=block,
        )
    return value, (weights @ features).to(inputs.out_dtype)


def _has_order(target: Tensor, keep: Tensor | None) -> Tensor:
    """Return whether any label similarities differ; if none do, there is no order to learn."""
    if keep is None:
        return (target != target[:1, :1]).any()
    pairs = keep[: len(target)].unsqueeze(1) & keep
    smallest = target.masked_fill(~pairs, torch.inf).amin()
    return smallest != target.masked_fill(~pairs, -torch.inf).amax()


def _partial_products(features: Tensor, anchors: int) -> Tensor:
    """Multiply anchors by all samples: parts ``(P, A, N)`` over D, to be summed.

    Splitting D lets a small batch occupy the whole GPU.
    """
    samples, width = features.shape
    tiles = triton.cdiv(anchors, 64) * triton.cdiv(samples, 64)
    parts = triton.next_power_of_2(max(min(_GPU_TILES // tiles, width // 64), 1))
    split = features.reshape(samples, math.gcd(width, parts), -1).transpose(0, 1)
    return torch.bmm(split[:, :anchors], split.mT)
