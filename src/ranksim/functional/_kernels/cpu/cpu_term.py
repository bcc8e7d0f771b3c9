"""RankSim on a CPU: float32 products, ranks by sorts of words, exact where it matters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranksim.functional._kernels import reference
from ranksim.functional._kernels.cpu.cosine import Block, Cosine, TooCloseError
from ranksim.functional._kernels.cpu.label_codes import LabelCodes
from ranksim.functional._kernels.cpu.matmul import product
from ranksim.functional._kernels.cpu.ranks import COUNTED, RANKED, Floats, ranks_of
from ranksim.functional.ranking import Ties

AT_ONCE = 2**20  # similarities of one product, 8 MiB
_FEW = COUNTED**2  # so few similarities are made faster in float64 than settled
_ALIKE = 0.99  # from this similarity on a float32 gradient is a difference of much larger numbers
_EVEN = 1e-9, 1e9  # lengths of features whose products float32 holds


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
    """The same as :func:`ranksim.functional._kernels.reference.compute_term`, in rows of anchors at a time.

    Beside the features and their gradient it holds two bytes for each pair of samples (four where
    M > 32,768; 16,384 with mean ranks) and a few blocks of 8 MiB, for more than 2²⁰ pairs the
    features in float64, and with ``per_anchor`` eight bytes a pair.
    """
    given = (features, labels, keep, target, anchors, gamma, lambda_)
    rest = (ties, similarity, per_anchor, gradient)
    samples, own = len(features), anchors
    kept = None
    if keep is not None and not bool(keep.all()):
        kept = keep.nonzero().squeeze(1)
        features, labels = features.index_select(0, kept), labels.index_select(0, kept)
        anchors = int(keep[:anchors].sum())
        if target is not None:
            target = target[kept[:anchors]][:, kept]
    if features.dtype not in (torch.float32, torch.float64):
        features = features.float()
    features = features.detach().contiguous()
    norms = torch.linalg.vector_norm(features, dim=1, dtype=torch.float64).numpy()
    codes = LabelCodes(labels, target, similarity, anchors)
    least, most = norms.min(initial=np.inf), norms.max(initial=0.0)
    if not (math.isfinite(most) and codes.finite):
        return reference.compute_term(*given, *rest)  # NaN, where the equations have it
    outer = None
    tiny = torch.finfo(given[0].dtype).tiny
    if least > max(_EVEN[0], tiny) and most < _EVEN[1]:
        inverse = 1.0 / norms
    else:
        exists = norms > tiny
        if most >= _EVEN[1] or norms[exists].min(initial=np.inf) <= _EVEN[0]:
            exponents = np.where(exists, -np.frexp(norms)[1], 0)
            powers = np.where(exists, np.ldexp(1.0, exponents), 0.0)  # exact factors
            outer, norms = torch.from_numpy(powers).unsqueeze(1), norms * powers
            features = (features.double() * outer).to(features.dtype)
        inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=exists)

    loss = _Loss(features, inverse, codes, anchors, gamma, lambda_, ties, gradient)
    found = loss.values if per_anchor else loss.values.sum(keepdims=True)
    value = torch.from_numpy(found).to(torch.promote_types(given[0].dtype, torch.float32))
    if not per_anchor:
        value = value.squeeze(0)
    if kept is not None and per_anchor:
        value = value.new_zeros(own).index_copy_(0, kept[:anchors], value)
    if not gradient:
        return value, value.new_empty(0)
    if per_anchor:
        slope = loss.slopes()
        if kept is None:
            return value, slope
        whole = slope.new_zeros(own, samples)
        whole[kept[:anchors].unsqueeze(1), kept] = slope
        return value, whole
    spread = loss.gradient().to(value.dtype)
    if outer is not None:
        spread = (spread.double() * outer[:anchors]).to(spread.dtype)
    if kept is not None:
        spread = spread.new_zeros(own, spread.shape[1]).index_copy_(0, kept[:anchors], spread)
    return value, spread


class _Loss:
    """γ · L_RankSim of A anchors among M samples, and its slopes by their similarities.

    Slopes are whole numbers, differences of ranks, until ``unit`` makes them what they are.
    """

    def __init__(
        self,
        features: Tensor,
        inverse: Floats,
        codes: LabelCodes,
        anchors: int,
        gamma: float,
        lambda_: float,
        ties: str,
        gradient: bool,
    ) -> None:
        size = max(len(features), 1)
        steps = size * (2 if ties == "average" else 1)  # ranks are multiples of 1 / steps
        self.features, self.anchors = features, anchors
        self.inverse = inverse
        self.values = np.zeros(anchors)
        self.unit = 1.0 / (lambda_ * steps)
        small = steps <= np.iinfo(np.int16).max + 1
        self.moves = np.zeros((anchors, len(features)), dtype=np.int16 if small else np.int32)
        self.along = np.zeros(len(features))
        self.steps, self.gamma, self.lambda_, self.ties = steps, gamma, lambda_, ties
        self.codes, self.wanted = codes, gradient
        if len(features) and codes.ordered:
            if anchors * size <= _FEW:
                self.features = features.double()
            try:
                self._rank_all(self.features if anchors * size <= AT_ONCE else features.double())
            except TooCloseError:
                self.features = features.double()
                self._rank_all(self.features)

    def _rank_all(self, features: Tensor) -> None:
        size = len(features)
        self.along[:] = 0
        for rows in parts(slice(0, self.anchors), AT_ONCE // size):
            cosine = Cosine(features, self.inverse, rows)
            for part in parts(rows, RANKED // size):
                self.along += self._rank(cosine.block(part))
        if features.dtype != self.features.dtype and self._alike(features):
            self.features = features

    def _alike(self, features: Tensor) -> bool:
        """Whether the first anchor is much like most samples."""
        cosine = Cosine(features, self.inverse, slice(0, 1))
        return bool(np.median(cosine.block(slice(0, 1)).values) > _ALIKE)

    def _rank(self, block: Block) -> Floats | float:
        """Values and moves of some anchors, and what they give others to ``along``."""
        part, size = block.part, len(self.features)
        before = block.ranks(self.ties)
        difference = before - ranks_of(self.codes.rows(part), self.ties)
        shift = difference.astype(np.float64)
        self.values[part] = np.einsum("ij,ij->i", shift, shift) * (
            self.gamma / size / self.steps**2
        )
        if not self.wanted:
            return 0.0
        reach = 2 * self.gamma * self.lambda_ / size
        shift *= reach / self.steps
        moves = block.ranks(self.ties, shift, reach) - before
        self.moves[part] = moves
        pull = np.multiply(moves, block.values, out=shift)
        given: Floats = pull.sum(axis=0)
        given[part] += pull.sum(axis=1)
        return given

    def slopes(self) -> Tensor:
        """Gradient by the similarities, float64, shape ``(A, M)``."""
        return torch.from_numpy(self.moves * self.unit)

    def gradient(self) -> Tensor:
        """Gradient by the features, shape ``(A, D)``: one product, the rest is of M × M.

        With A = slope + slopeᵀ it is (A − diag(AS)) Ẑ / ‖z‖, and Ẑ is Z with columns of A divided.
        """
        dtype = np.float64 if self.features.dtype == torch.float64 else np.float32
        scale = (self.inverse * self.unit).astype(dtype)
        inverse = self.inverse[: self.anchors].astype(dtype)
        products = []
        for part in parts(slice(0, self.anchors), AT_ONCE // max(len(scale), 1)):
            both: NDArray[Any] = self.moves[part].astype(dtype)
            both[:, : self.anchors] += self.moves[:, part].T
            index = np.arange(len(both))
            both[index, part.start + index] -= self.along[part].astype(dtype)
            both *= scale
            both *= inverse[part, None]
            products.append(product(torch.from_numpy(both), self.features))
        if len(products) == 1:
            return products[0]
        return torch.cat(products or [self.features[:0]])


def parts(rows: slice, count: int) -> list[slice]:
    """``rows`` by at most ``count`` at a time, one at least."""
    count = max(count, 1)
    starts = range(rows.start, rows.stop, count)
    return [slice(start, min(start + count, rows.stop)) for start in starts]
