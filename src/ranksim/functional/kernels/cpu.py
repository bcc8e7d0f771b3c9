"""RankSim on a CPU: float32 products, ranks by sorts of words, exact where it matters."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranksim.functional.kernels import eager
from ranksim.functional.kernels.cosine import Cosine
from ranksim.functional.kernels.label_codes import LabelCodes
from ranksim.functional.kernels.product import product
from ranksim.functional.kernels.ranks import Floats, Order
from ranksim.functional.ranking import Ties

_BLOCK = 2**20  # similarities that are ranked at a time, 8 MiB a matrix
_EVEN = 1e-9, 1e9  # lengths of features whose products float32 holds


def term(
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
    """The same as :func:`ranksim.functional.kernels.eager.term`, in rows of anchors at a time.

    Beside the features and their gradient it holds a slope of two bytes (four where M > 32,767;
    16,384 with mean ranks) for each pair of samples, and a few blocks of 8 MiB.
    """
    given = (features, labels, keep, target, anchors, gamma, lambda_)
    rest = (ties, similarity, per_anchor, gradient)
    samples, own = len(features), anchors
    kept = None
    if keep is not None:
        kept = keep.nonzero().squeeze(1)
        features, labels = features[kept], labels[kept]
        anchors = int(keep[:anchors].sum())
        if target is not None:
            target = target[kept[:anchors]][:, kept]
    if features.dtype not in (torch.float32, torch.float64):
        features = features.float()
    features = features.detach().contiguous()
    norms = torch.linalg.vector_norm(features, dim=1, dtype=torch.float64).numpy()
    norms = np.where(norms <= torch.finfo(given[0].dtype).tiny, 0.0, norms)
    codes = LabelCodes(labels, target, similarity, anchors)
    if not (np.isfinite(norms).all() and codes.finite):
        return eager.term(*given, *rest)  # NaN, where the equations have it
    lengths = norms[norms > 0]
    outer = None
    if lengths.size and not (_EVEN[0] < lengths.min() and lengths.max() < _EVEN[1]):
        # products of such features would leave float32; unit rows do not
        outer = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
        features = (features.double() * torch.from_numpy(outer).unsqueeze(1)).to(features.dtype)
        norms = (norms > 0).astype(np.float64)

    loss = _Loss(features, norms, codes, anchors, gamma, lambda_, ties, gradient)
    found = loss.values if per_anchor else loss.values.sum(keepdims=True)
    value = torch.from_numpy(found).to(torch.promote_types(given[0].dtype, torch.float32))
    if not per_anchor:
        value = value.squeeze(0)
    if kept is not None and per_anchor:
        value = value.new_zeros(own).index_copy_(0, kept[:anchors], value)
    if not gradient:
        return value, value.new_empty(0)
    if per_anchor:
        slope = loss.slopes(np.float64)
        if kept is None:
            return value, slope
        whole = slope.new_zeros(own, samples)
        whole[kept[:anchors].unsqueeze(1), kept] = slope
        return value, whole
    spread = loss.gradient()
    if outer is not None:
        spread = (spread.double() * torch.from_numpy(outer[:anchors]).unsqueeze(1)).to(spread.dtype)
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
        norms: Floats,
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
        self.inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
        self.values = np.zeros(anchors)
        self.unit = 1.0 / (lambda_ * steps)
        small = steps <= np.iinfo(np.int16).max + 1
        self.moves = np.zeros((anchors, len(features)), dtype=np.int16 if small else np.int32)
        self.along = np.zeros(len(features))
        if not codes.ordered:
            return
        cosine = Cosine(features, self.inverse, exact=anchors * size > _BLOCK)
        rows = max(_BLOCK // size, 1)
        for begin in range(0, anchors, rows):
            part = slice(begin, min(begin + rows, anchors))
            block = cosine.rows(part)
            before = block.ranks(ties)
            difference = before - Order(codes.rows(part)).ranks(ties)
            error = difference.astype(np.float64)
            self.values[part] = np.einsum("ij,ij->i", error, error) * (gamma / size / steps**2)
            if not gradient:
                continue
            error *= lambda_ * 2 * gamma / size / steps
            moves = block.ranks(ties, shift=error) - before
            self.moves[part] = moves
            pull = moves * block.values
            self.along[part] += pull.sum(axis=1)
            self.along += pull.sum(axis=0)

    def slopes(self, dtype: Any) -> Tensor:
        """Gradient by the similarities, shape ``(A, M)``."""
        return torch.from_numpy(self.moves.astype(dtype) * self.unit)

    def gradient(self) -> Tensor:
        """Gradient by the features, shape ``(A, D)``: one product, the rest is of M × M.

        With A = slope + slopeᵀ it is (A − diag(AS)) Ẑ / ‖z‖, and Ẑ is Z with columns of A divided.
        """
        dtype = np.float64 if self.features.dtype == torch.float64 else np.float32
        scale = (self.inverse * self.unit).astype(dtype)
        inverse = self.inverse[: self.anchors].astype(dtype)
        parts = []
        rows = max(_BLOCK // max(len(scale), 1), 1)
        for begin in range(0, self.anchors, rows):
            part = slice(begin, min(begin + rows, self.anchors))
            both: NDArray[Any] = self.moves[part].astype(dtype)
            both[:, : self.anchors] += self.moves[:, part].T
            index = np.arange(len(both))
            both[index, begin + index] -= self.along[part].astype(dtype)
            both *= scale
            both *= inverse[part, None]
            parts.append(product(torch.from_numpy(both), self.features))
        return parts[0] if len(parts) == 1 else torch.cat(parts or [self.features[:0]])
