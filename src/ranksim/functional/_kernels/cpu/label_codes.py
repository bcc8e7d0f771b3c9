"""Distances between labels as whole numbers, so that they are ranked by one sort of words."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ranksim.functional._kernels.cpu.ranks import RANKED, bits_of, codes_of
from ranksim.functional.similarity import pairwise_similarity

_SCALES = 1.0, 2.0**30  # whole labels; what float32 holds of labels that are not tiny


class LabelCodes:
    """Codes of the distances from anchors to all samples: the smaller, the closer.

    Args:
        labels: shape ``(M, K)``.
        target: similarities ``(A, M)`` in the place of theirs, or ``None``.
        similarity: ``"neg_l1"``, ``"neg_l2"`` or ``"cosine"``.
        anchors: A.

    Attributes:
        finite: whether all labels, or all of ``target``, are finite.
    """

    def __init__(
        self, labels: Tensor, target: Tensor | None, similarity: str, anchors: int
    ) -> None:
        self.labels = labels.detach().double()
        self.target, self.similarity, self.anchors = target, similarity, anchors
        given = (self.labels if target is None else target).numpy()
        self.least = float(given.min(initial=np.inf))
        self.most = float(given.max(initial=-np.inf))
        self.finite = math.isfinite(self.most - self.least) or not given.size
        self.whole = self._whole() if target is None and self.finite else None

    @property
    def ordered(self) -> bool:
        """Whether any two similarities differ: where none do there is no order to learn."""
        if self.target is not None or self.whole is not None:
            return bool(self.least != self.most)
        if self.similarity != "cosine":
            return bool((self.labels != self.labels[:1]).any())
        rows = max(RANKED // max(len(self.labels), 1), 1)
        first = pairwise_similarity(self.labels[:1], self.labels[:1], self.similarity)
        return any(
            bool((self._similarity(slice(at, min(at + rows, self.anchors))) != first).any())
            for at in range(0, self.anchors, rows)
        )

    def rows(self, part: slice) -> NDArray[Any]:
        """Codes of some anchors, shape ``(R, M)``, whole and not negative; the caller's own."""
        if self.whole is None:
            return codes_of(-self._similarity(part).numpy())
        labels = self.whole
        codes: NDArray[Any] = np.subtract(labels[part, None], labels)
        np.abs(codes, out=codes)
        return codes

    def _similarity(self, part: slice) -> Tensor:
        if self.target is not None:
            return self.target[part].double()
        return pairwise_similarity(self.labels[part], self.labels, self.similarity)

    def _whole(self) -> NDArray[Any] | None:
        """One-dimensional labels as whole numbers with the same distances, in words, or None."""
        if self.labels.shape[1] != 1 or self.similarity == "cosine":
            return None
        labels: NDArray[Any] = self.labels.numpy()[:, 0]
        bits = bits_of(max(RANKED, len(labels)))  # of the places in what is ranked at a time
        largest, reach = max(self.most, -self.least), self.most - self.least
        for scale in _SCALES:
            scaled = labels * scale
            exact = largest * scale < 2.0**53 and np.array_equal(np.rint(scaled), scaled)
            if exact and reach * scale < 2.0 ** (62 - bits):
                scaled -= self.least * scale
                small = reach * scale < 2.0 ** (31 - bits)
                whole: NDArray[Any] = scaled.astype(np.int32 if small else np.int64)
                return whole
        return None
