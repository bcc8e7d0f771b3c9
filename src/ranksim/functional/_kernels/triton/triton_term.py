"""RankSim on CUDA: up to ``LARGEST`` samples ranked by counting in Triton, beyond that by sorts.

Products are cuBLAS's, in float64: anchors that each read all features would take ten times as
long from the cache. Counting takes M³ steps, by its instructions 0.3 ms of an H100 at M = 1,024.
"""

from __future__ import annotations

import functools
import math
import os
import shutil

import torch
import triton  # type: ignore[import-untyped]
from torch import Tensor

from ranksim.functional._kernels import chunked, reference
from ranksim.functional._kernels.triton.rows import anchor_rows, anchor_weights
from ranksim.functional.ranking import Ties
from ranksim.functional.similarity import pairwise_similarity

LARGEST = 1024
_TILES = 256  # parts of a product that fill a GPU, about
_INTERPRETED = 32  # anchors of a program where Triton is interpreted: each takes its time


@functools.cache
def missing(device: torch.device) -> str:
    """Why this path cannot run on a device; empty where it can."""
    if torch.version.hip:
        return "its kernels are for NVIDIA's GPUs"
    major, minor = torch.cuda.get_device_capability(device)
    if major < 8:
        return f"Triton needs a compute capability of 8.0, this GPU has {major}.{minor}"
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "Triton needs a C compiler"
    return ""


def compute_term(
    features: Tensor,
    labels: Tensor,
    keep: Tensor | None,
    target: Tensor | None,
    anchors: int,
    gamma: float,
    lambda_: float,
    ties: Ties,
    similarity: str,
    per_anchor: bool,
    gradient: bool,
) -> tuple[Tensor, Tensor]:
    """The same as :func:`ranksim.functional._kernels.reference.compute_term`, by two products and two kernels.

    But that a feature that is not finite makes the gradient of all anchors NaN, dropped ones too.
    """
    samples, width = features.shape
    if samples > LARGEST or not (anchors and width):
        settings = gamma, lambda_, ties, similarity, per_anchor, gradient
        return chunked.compute_term(features, labels, keep, target, anchors, *settings)
    out_dtype = torch.promote_types(features.dtype, torch.float32)
    tiny = torch.finfo(features.dtype).tiny
    features, labels = features.detach().double(), labels.detach().double().contiguous()
    if keep is not None:
        features = features.masked_fill(~keep.unsqueeze(1), 0.0)
    ordered = None
    if target is None and similarity == "cosine":
        target = pairwise_similarity(labels[:anchors], labels, similarity)
    if target is not None:
        ordered = reference.ordered(target, keep)
        target = target.detach().double().contiguous()
    norms = torch.linalg.vector_norm(features, dim=1)
    # D in shares, so that a small batch fills a GPU too
    tiles = triton.cdiv(anchors, 64) * triton.cdiv(samples, 64)
    shares = triton.next_power_of_2(max(min(_TILES // tiles, width // 64), 1))
    parts = features.reshape(samples, math.gcd(width, shares), -1).transpose(0, 1)
    products = torch.bmm(parts[:, :anchors], parts.mT)

    rows = 1 if features.is_cuda else _INTERPRETED
    grid = (triton.cdiv(anchors, rows),)
    block = max(triton.next_power_of_2(samples), 16)
    warps = 4 if block <= 256 else 8
    codes = labels.new_empty(grid[0] * rows, block, dtype=torch.int64)
    values, slopes = labels.new_empty(anchors), None
    if gradient:
        slopes = labels.new_empty(anchors, samples)
    with torch.cuda.device_of(features):  # type: ignore[no-untyped-call]
        anchor_rows[grid](
            products,
            norms,
            labels,
            target,
            ordered,
            keep,
            codes,
            values,
            slopes,
            anchors,
            samples,
            len(products),
            float(gamma),
            float(lambda_),
            tiny,
            LABELS=labels.shape[1],
            SQUARED=similarity == "neg_l2" and labels.shape[1] > 1,
            TIES=ties,
            ROWS=rows,
            BLOCK=block,
            CHUNK=min(512 * warps // block, 32, block),
            num_warps=warps,
            enable_fp_fusion=False,  # a fused square would tell (3, 4) from (4, 3)
        )
        value = (values if per_anchor else values.sum()).to(out_dtype)
        if slopes is None:
            return value, value.new_empty(0)
        if per_anchor:
            return value, slopes
        weights = torch.empty_like(slopes)
        anchor_weights[grid](
            slopes, products, norms, weights, anchors, samples, tiny, ROWS=rows, BLOCK=block
        )
    return value, (weights @ features).to(out_dtype)
