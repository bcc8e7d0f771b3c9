"""Label distances as integers, so that one sort of integers ranks them."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim.functional._kernels.cpu.ranks import RANK_BLOCK, bit_length, dense_codes
from ranksim.functional._kernels.inputs import RankSimInputs
from ranksim.functional.similarity import pairwise_similarity

_SCALES = 1.0, 2.0**30  # for integer labels, and for float32 labels that are not tiny


class LabelCodes:
    """Integer codes of the label distances from anchors to all samples; smaller is closer.

    Args:
        inputs: labels ``(M, K)``, or a ``target`` that replaces their similarities.
        similarity: ``"neg_l1"``, ``"neg_l2"`` or ``"cosine"``.

    Attributes:
        finite: True if all labels, or all of ``target``, are finite.
    """

    def __init__(self, inputs: RankSimInputs, similarity: str) -> None:
        self.labels = inputs.labels.detach().double()
        self.target, self.similarity, self.anchors = inputs.target, similarity, inputs.anchors
        values = (self.labels if self.target is None else self.target).numpy()
        self.smallest = float(values.min(initial=np.inf))
        self.largest = float(values.max(initial=-np.inf))
        self.finite = math.isfinite(self.largest - self.smallest) or not values.size
        self.integers = self._to_integers() if self.target is None and self.finite else None

    def has_order(self) -> bool:
        """Return True if any two similarities differ; otherwise there is no order to learn."""
        if self.target is not None or self.integers is not None:
            return self.smallest != self.largest
        if self.similarity != "cosine":
            return bool((self.labels != self.labels[:1]).any())
        rows = max(RANK_BLOCK // max(len(self.labels), 1), 1)
        first = pairwise_similarity(self.labels[:1], self.labels[:1], self.similarity).numpy()
        return any(
            (self._similarities(slice(i, min(i + rows, self.anchors))) != first).any()
            for i in range(0, self.anchors, rows)
        )

    def rows(self, part: slice) -> NDArray[Any]:
        """Return new non-negative codes ``(R, M)`` for some of the anchors."""
        if self.integers is None:
            return dense_codes(-self._similarities(part))
        codes: NDArray[Any] = np.subtract(self.integers[part, None], self.integers)
        np.abs(codes, out=codes)
        return codes

    def _similarities(self, part: slice) -> NDArray[Any]:
        """Return float64 similarities ``(R, M)`` for some of the anchors."""
        if self.target is not None:
            return self.target[part].double().numpy()
        return pairwise_similarity(self.labels[part], self.labels, self.similarity).numpy()

    def _to_integers(self) -> NDArray[Any] | None:
        """Return integer labels with the same distances, or ``None`` if that is not exact."""
        if self.labels.shape[1] != 1 or self.similarity == "cosine":
            return None
        labels: NDArray[Any] = self.labels.numpy()[:, 0]
        index_bits = bit_length(max(RANK_BLOCK, len(labels)))  # a code shares its word with these
        magnitude, span = max(self.largest, -self.smallest), self.largest - self.smallest
        for scale in _SCALES:
            scaled = labels * scale
            exact = magnitude * scale < 2.0**53 and np.array_equal(np.rint(scaled), scaled)
            if exact and span * scale < 2.0 ** (62 - index_bits):
                scaled -= self.smallest * scale
                small = span * scale < 2.0 ** (31 - index_bits)
                integers: NDArray[Any] = scaled.astype(np.int32 if small else np.int64)
                return integers
        return None
