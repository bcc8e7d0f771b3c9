"""A memory of recent batches, whose samples are neighbours of the next one's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ranksim.functional._validation import as_matrices


class FeatureBank(nn.Module):
    """The features and labels of the latest samples, a ring buffer: new ones replace the oldest.

    They are copies without gradients, of the dtype of the first batch that was remembered; labels
    widen where later ones need it. Until it is full the memory grows with each batch, and with it
    the shapes of what reads it. From then on it is written in place, no shape changes and the host
    never waits: a CUDA graph is captured once it is full.

    A row of features that is not finite, as an overflow of float16 leaves one, is remembered as
    zero, which is similar to nothing: else every loss would be NaN until the row is replaced.

    It is part of ``state_dict()``, which is saved and loaded without pickle.

    Args:
        capacity: samples that it holds, at least 1.

    Raises:
        TypeError: a capacity that is not a whole number.
        ValueError: a capacity below 1; when loaded, a state of another capacity.

    Example:
        >>> memory = FeatureBank(3)
        >>> memory.remember(torch.zeros(2, 4), torch.tensor([20, 21]))
        >>> memory.remember(torch.ones(2, 4), torch.tensor([30, 31]))  # 31 in the place of 20
        >>> features, labels = memory.recall(torch.device("cpu"))
        >>> labels.flatten().tolist()
        [31, 21, 30]

    Source: Wang et al., "Cross-Batch Memory for Embedding Learning" (CVPR 2020).
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()
        if not isinstance(capacity, int) or isinstance(capacity, bool):
            raise TypeError(f"memory must be a whole number of samples, got {capacity!r}")
        if capacity < 1:
            raise ValueError(f"memory must hold at least 1 sample, got {capacity!r}")
        self.capacity = capacity
        self.clear()

    def clear(self) -> None:
        """Forget all samples."""
        # features (F, D), labels (F, K), and the row to replace next, on the device for CUDA graphs
        self._held: tuple[Tensor, Tensor, Tensor] | None = None

    def recall(self, device: torch.device) -> tuple[Tensor, Tensor] | None:
        """Features ``(F, D)`` and labels ``(F, K)`` of all F samples, ``None`` where none are.

        They are the memory itself, which :meth:`remember` writes over, not copies.
        """
        if self._held is None:
            return None
        features, labels, row = self._held
        self._held = features.to(device), labels.to(device), row.to(device)
        return self._held[:2]

    @torch.no_grad()
    def remember(self, features: Tensor, labels: Tensor) -> None:
        """Take features ``(N, ...)`` and labels ``(N,)`` or ``(N, K)``, the last that fit in."""
        features, labels = as_matrices(features, labels)
        features, labels = features[-self.capacity :], labels[-self.capacity :]
        features = features.where(features.isfinite().all(dim=1, keepdim=True), 0.0)
        if self.recall(features.device) is None:
            first = torch.zeros((), dtype=torch.int64, device=features.device)
            self._held = features[:0], labels[:0], first
        assert self._held is not None
        past, known, row = self._held
        features, known = features.to(past.dtype), known.to(_wider(known, labels))
        labels = labels.to(known.dtype)
        if room := self.capacity - len(past):
            past = torch.cat([past, features[:room]])
            known = torch.cat([known, labels[:room]])
        features, labels = features[room:], labels[room:]
        rows = (row + torch.arange(len(features), device=row.device)) % self.capacity
        past[rows], known[rows] = features, labels
        row.add_(len(features)).remainder_(self.capacity)
        self._held = past, known, row

    def get_extra_state(self) -> dict[str, Any]:
        """What ``state_dict()`` holds: the capacity and tensors."""
        return {"capacity": self.capacity, "held": self._held}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on from what was saved, with a copy of it."""
        if state["capacity"] != self.capacity:
            raise ValueError(
                f"memory is {self.capacity}, and the saved one was {state['capacity']}: make the "
                "loss with the same"
            )
        held = state["held"]
        self._held = held and tuple(each.clone() for each in held)

    def extra_repr(self) -> str:
        return str(self.capacity)


def _wider(first: Tensor, second: Tensor) -> torch.dtype:
    return torch.promote_types(first.dtype, second.dtype)
