"""Distances between labels as whole numbers, so that they are ranked by one sort of words."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranksim.functional.kernels.ranks import Ints, bits_of, codes_of
from ranksim.functional.similarity import pairwise_similarity

_EXPONENTS = 0, 30  # whole labels; what float32 holds of labels that are not tiny


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
        self.labels = labels.detach().to(torch.float64)
        self.target, self.similarity, self.anchors = target, similarity, anchors
        given = self.labels if target is None else target
        self.finite = bool(given.isfinite().all())
        self.scale = self._scale() if target is None and self.finite else None

    @property
    def ordered(self) -> bool:
        """Whether any two similarities differ: where none do there is no order to learn."""
        if self.target is not None:
            return bool((self.target != self.target[:1, :1]).any())
        if self.similarity != "cosine":
            return bool((self.labels != self.labels[:1]).any())
        rows = max(2**20 // max(len(self.labels), 1), 1)
        first = pairwise_similarity(self.labels[:1], self.labels[:1], self.similarity)
        return any(
            bool((self._similarity(slice(at, at + rows)) != first).any())
            for at in range(0, self.anchors, rows)
        )

    def rows(self, part: slice) -> Ints:
        """Codes of some anchors, shape ``(R, M)``."""
        if self.scale is None:
            return codes_of(-self._similarity(part).numpy())
        labels = self.labels.numpy()[:, 0]
        codes: NDArray[Any] = np.subtract(labels[part, None], labels)
        np.abs(codes, out=codes)
        if self.scale != 1.0:
            codes *= self.scale
        return codes.astype(np.int64)

    def _similarity(self, part: slice) -> Tensor:
        if self.target is not None:
            return self.target[part].double()
        return pairwise_similarity(self.labels[part], self.labels, self.similarity)

    def _scale(self) -> float | None:
        """What makes all distances of one-dimensional labels whole, or None."""
        if self.labels.shape[1] != 1 or self.similarity == "cosine":
            return None
        labels = self.labels.numpy()
        room = 2.0 ** (62 - bits_of(max(len(labels), 1)))
        reach = float(np.ptp(labels)) if labels.size else 0.0
        for exponent in _EXPONENTS:
            scaled = labels * 2.0**exponent
            if reach * 2.0**exponent < room and np.array_equal(scaled, np.rint(scaled)):
                return 2.0**exponent
        return None
