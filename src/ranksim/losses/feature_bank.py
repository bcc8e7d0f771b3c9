"""A bank of features and labels of recent batches."""

from typing import Any

import torch
from torch import Tensor, nn

from ranksim.functional._validation import check_size, to_matrices


class FeatureBank(nn.Module):
    """A ring buffer of the features and labels of the latest samples.

    Samples are stored without gradients, in the dtype of the first batch; the dtype of labels is
    promoted when later labels need it. The bank grows with each batch until it is full; after that
    it is written in place, shapes stay constant and the host never waits for the device, so a CUDA
    graph can be captured. Rows of features that are not finite (an overflow of float16) are stored
    as zeros, which are similar to nothing; otherwise every loss would be NaN until they are
    replaced. The content is part of ``state_dict()`` and loads without pickle.

    Args:
        memory_size: maximum number of samples, at least 1.

    Raises:
        TypeError: if ``memory_size`` is not a whole number.
        ValueError: if ``memory_size`` is below 1, or a loaded state has another ``memory_size``.

    Example:
        >>> bank = FeatureBank(3)
        >>> bank.enqueue(torch.zeros(2, 4), torch.tensor([20, 21]))
        >>> bank.enqueue(torch.ones(2, 4), torch.tensor([30, 31]))  # 31 replaces 20
        >>> features, labels = bank.get_samples(torch.device("cpu"))
        >>> labels.flatten().tolist()
        [31, 21, 30]

    References:
        Wang et al., "Cross-Batch Memory for Embedding Learning" (CVPR 2020).
    """

    def __init__(self, memory_size: int) -> None:
        super().__init__()
        check_size("memory_size", memory_size, "samples")
        self.memory_size = memory_size
        self.clear()

    def clear(self) -> None:
        """Remove all samples."""
        # features (R, D), labels (R, K), and the next row to replace, on the device for CUDA graphs
        self._buffers_and_row: tuple[Tensor, Tensor, Tensor] | None = None

    def get_samples(self, device: torch.device) -> tuple[Tensor, Tensor] | None:
        """Return features ``(R, D)`` and labels ``(R, K)``, or ``None`` if the bank is empty.

        The tensors are the buffer itself, not copies: :meth:`enqueue` overwrites them.
        """
        if self._buffers_and_row is None:
            return None
        features, labels, row = self._buffers_and_row
        self._buffers_and_row = features.to(device), labels.to(device), row.to(device)
        return self._buffers_and_row[:2]

    @torch.no_grad()
    def enqueue(self, features: Tensor, labels: Tensor) -> None:
        """Store features ``(N, ...)`` and labels ``(N,)`` or ``(N, K)``, replacing the oldest."""
        features, labels = to_matrices(features, labels)
        features, labels = features[-self.memory_size :], labels[-self.memory_size :]
        features = features.where(features.isfinite().all(dim=1, keepdim=True), 0.0)
        if self.get_samples(features.device) is None:
            row = torch.zeros((), dtype=torch.int64, device=features.device)
            self._buffers_and_row = features[:0], labels[:0], row
        assert self._buffers_and_row is not None
        bank, bank_labels, row = self._buffers_and_row
        bank_labels = bank_labels.to(torch.promote_types(bank_labels.dtype, labels.dtype))
        features, labels = features.to(bank.dtype), labels.to(bank_labels.dtype)
        if room := self.memory_size - len(bank):
            bank = torch.cat([bank, features[:room]])
            bank_labels = torch.cat([bank_labels, labels[:room]])
        features, labels = features[room:], labels[room:]
        rows = (row + torch.arange(len(features), device=row.device)) % self.memory_size
        bank[rows], bank_labels[rows] = features, labels
        row.add_(len(features)).remainder_(self.memory_size)
        self._buffers_and_row = bank, bank_labels, row

    def get_extra_state(self) -> dict[str, Any]:
        """Return the content of the bank for ``state_dict()``."""
        return {"memory_size": self.memory_size, "samples": self._buffers_and_row}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore a copy of a saved content."""
        if state["memory_size"] != self.memory_size:
            raise ValueError(
                f"memory_size is {self.memory_size}, but the saved state has "
                f"{state['memory_size']}: create the loss with the same memory_size"
            )
        samples = state["samples"]
        self._buffers_and_row = samples and tuple(tensor.clone() for tensor in samples)

    def extra_repr(self) -> str:
        return str(self.memory_size)
