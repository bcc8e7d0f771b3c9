"""The RankSim term on a CPU: float32 products and exact ranks, in blocks of anchors."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranksim.functional._kernels import reference
from ranksim.functional._kernels.cpu.cosine import Cosine, CosineBlock, TooCloseError, matmul
from ranksim.functional._kernels.cpu.ranks import (
    COUNT_LIMIT,
    RANK_BLOCK,
    Floats,
    LabelCodes,
    rank_codes,
)
from ranksim.functional._kernels.reference import RankSimInputs, RankSimParams

PRODUCT_BLOCK = 2**20  # similarities per product, 8 MiB
_FLOAT64_LIMIT = COUNT_LIMIT**2  # up to this many, float64 is faster than checking float32
_PARALLEL = 0.99  # beyond this similarity, a float32 gradient is a difference of large numbers
_NORM_RANGE = 1e-9, 1e9  # norms whose products float32 can hold


def compute_term(
    inputs: RankSimInputs, params: RankSimParams, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    """Compute the same as ``reference.compute_term``, one block of anchors at a time.

    Besides the features and their gradient it needs two bytes per pair of samples (four for
    M > 32,768, or 16,384 with mean ranks), a few blocks of 8 MiB, beyond 2²⁰ pairs the features in
    float64, and with ``params.per_anchor`` eight bytes per pair.
    """
    if inputs.keep is not None and not bool(inputs.keep.all()):
        return _compute_kept(inputs, inputs.keep, params, with_gradient)
    features = inputs.features
    if features.dtype not in (torch.float32, torch.float64):
        features = features.float()
    features = features.detach().contiguous()
    norms = torch.linalg.vector_norm(features, dim=1, dtype=torch.float64).numpy()
    codes = LabelCodes(inputs, params.similarity)
    if not (math.isfinite(norms.max(initial=0.0)) and codes.finite):
        return reference.compute_term(inputs, params, with_gradient)  # NaN, as the equations say
    tiny = torch.finfo(inputs.features.dtype).tiny
    features, inverse, scale = _normalize_scale(features, norms, tiny)

    term = _CpuTerm(features, inverse, codes, params, with_gradient)
    values = term.values if params.per_anchor else term.values.sum(keepdims=True)
    value = torch.from_numpy(values).to(inputs.out_dtype)
    value = value if params.per_anchor else value.squeeze(0)
    if not with_gradient:
        return value, value.new_empty(0)
    if params.per_anchor:
        return value, torch.from_numpy(term.moves * term.unit)
    gradient = term.gradient().to(value.dtype)
    if scale is not None:
        gradient = (gradient.double() * scale[: inputs.anchors]).to(gradient.dtype)
    return value, gradient


def _compute_kept(
    inputs: RankSimInputs, keep: Tensor, params: RankSimParams, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    """Compute the term of the kept samples alone; the results of all others are zero."""
    index = keep.nonzero().squeeze(1)
    anchors, target = index[: int(keep[: inputs.anchors].sum())], inputs.target
    samples = replace(
        inputs,
        features=inputs.features.index_select(0, index),
        labels=inputs.labels.index_select(0, index),
        keep=None,
        target=None if target is None else target[anchors][:, index],
        anchors=len(anchors),
    )
    value, gradient = compute_term(samples, params, with_gradient)
    if params.per_anchor:
        value = value.new_zeros(inputs.anchors).index_copy_(0, anchors, value)
        if with_gradient:
            columns = gradient.new_zeros(len(anchors), len(inputs.features))
            gradient = columns.index_copy_(1, index, gradient)
    if with_gradient:
        rows = gradient.new_zeros(inputs.anchors, gradient.shape[1])
        gradient = rows.index_copy_(0, anchors, gradient)
    return value, gradient


def _normalize_scale(
    features: Tensor, norms: Floats, tiny: float
) -> tuple[Tensor, Floats, Tensor | None]:
    """Return features within float32's range, 1/‖z‖, and the factors ``(M, 1)`` applied, if any.

    Zero vectors, with norms up to ``tiny``, have an inverse of 0.
    """
    low, high = _NORM_RANGE
    largest = norms.max(initial=0.0)
    if norms.min(initial=np.inf) > max(low, tiny) and largest < high:
        return features, 1.0 / norms, None
    scale, nonzero = None, norms > tiny
    if largest >= high or norms[nonzero].min(initial=np.inf) <= low:
        exponents = np.where(nonzero, -np.frexp(norms)[1], 0)
        powers = np.where(nonzero, np.ldexp(1.0, exponents), 0.0)  # exact: powers of two
        scale, norms = torch.from_numpy(powers).unsqueeze(1), norms * powers
        features = (features.double() * scale).to(features.dtype)
    return features, np.divide(1.0, norms, out=np.zeros_like(norms), where=nonzero), scale


class _CpuTerm:
    """Computation of γ · L_RankSim for A anchors among M samples, and of its similarity gradients.

    ``moves`` are differences of ranks, integers; times ``unit`` they are the slopes.
    """

    def __init__(
        self,
        features: Tensor,
        inverse: Floats,
        codes: LabelCodes,
        params: RankSimParams,
        with_gradient: bool,
    ) -> None:
        size, anchors = max(len(features), 1), codes.anchors
        self.features, self.inverse, self.codes = features, inverse, codes
        self.params, self.with_gradient, self.anchors = params, with_gradient, anchors
        self.steps = size * (2 if params.ties == "average" else 1)  # ranks are multiples of 1/steps
        self.unit = 1.0 / (params.lambda_ * self.steps)
        self.values = np.zeros(anchors)
        small = self.steps <= np.iinfo(np.int16).max + 1
        self.moves = np.zeros((anchors, len(features)), dtype=np.int16 if small else np.int32)
        self.radial = np.zeros(len(features))  # diag(BSᵀ) of the gradient, in units
        if len(features) and codes.has_order():
            if anchors * size <= _FLOAT64_LIMIT:
                self.features = features.double()
            one_product = anchors * size <= PRODUCT_BLOCK
            try:
                self._rank_all(self.features if one_product else features.double())
            except TooCloseError:
                self.features = features.double()
                self._rank_all(self.features)

    def _rank_all(self, features: Tensor) -> None:
        """Compute values and moves of all anchors."""
        size = len(features)
        self.radial[:] = 0
        for rows in _split(slice(0, self.anchors), PRODUCT_BLOCK // size):
            cosine = Cosine(features, self.inverse, rows)
            for part in _split(rows, RANK_BLOCK // size):
                self.radial += self._rank_block(cosine.block(part))
        if features.dtype != self.features.dtype:
            first = Cosine(features, self.inverse, slice(0, 1)).block(slice(0, 1))
            if np.median(first.values) > _PARALLEL:
                self.features = features

    def _rank_block(self, block: CosineBlock) -> Floats | float:
        """Compute values and moves of some anchors; return what they add to ``radial``."""
        part, size = block.part, len(self.features)
        gamma, lambda_, ties = self.params.gamma, self.params.lambda_, self.params.ties
        before = block.ranks(ties)
        difference = before - rank_codes(self.codes.rows(part), ties)
        shift = difference.astype(np.float64)
        self.values[part] = np.einsum("ij,ij->i", shift, shift) * (gamma / size / self.steps**2)
        if not self.with_gradient:
            return 0.0
        max_shift = 2 * gamma * lambda_ / size
        shift *= max_shift / self.steps
        moves = block.ranks(ties, shift, max_shift) - before
        self.moves[part] = moves
        products = np.multiply(moves, block.values, out=shift)
        radial: Floats = products.sum(axis=0)
        radial[part] += products.sum(axis=1)
        return radial

    def gradient(self) -> Tensor:
        """Compute the gradient with respect to the features, ``(A, D)``, by one product.

        With B = slope + slopeᵀ it is (B − diag(BSᵀ)) Ẑ / ‖z‖; the columns of B are divided by the
        norms instead of Z.
        """
        dtype = np.float64 if self.features.dtype == torch.float64 else np.float32
        scale = (self.inverse * self.unit).astype(dtype)
        inverse = self.inverse[: self.anchors].astype(dtype)
        products = []
        for part in _split(slice(0, self.anchors), PRODUCT_BLOCK // max(len(scale), 1)):
            both: NDArray[Any] = self.moves[part].astype(dtype)
            both[:, : self.anchors] += self.moves[:, part].T
            index = np.arange(len(both))
            both[index, part.start + index] -= self.radial[part].astype(dtype)
            both *= scale
            both *= inverse[part, None]
            products.append(matmul(torch.from_numpy(both), self.features))
        if len(products) == 1:
            return products[0]
        return torch.cat(products or [self.features[:0]])


def _split(rows: slice, count: int) -> list[slice]:
    """Split rows into slices of at most ``count`` rows, at least one."""
    count = max(count, 1)
    return [
        slice(start, min(start + count, rows.stop)) for start in range(rows.start, rows.stop, count)
    ]
