"""RankSim as a module, and its bank of samples of earlier batches."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.compiler import is_compiling

from ranksim._utils.checks import check_flag, check_size
from ranksim.functional import ranksim_loss, sample_positions
from ranksim.functional._validation import Reduction, check_generator, to_matrices
from ranksim.functional.distributed import gather_rows, share_first
from ranksim.functional.ranksim import check_settings, check_unique_labels
from ranksim.functional.sampling import unique_mask
from ranksim.functional.similarity import LabelSimilarity, Ties

_TERM = ("gamma", "lambda_", "weight", "ties", "reduction", "label_similarity")  # of ranksim_loss
_SETTINGS = (*_TERM, "unique_labels", "label_width", "gather_across_devices", "num_positions")


class RankSimLoss(nn.Module):
    r"""RankSim regularizer: samples should rank alike by features and by labels.

    .. math::
        \text{weight} \cdot \gamma \sum_i \frac{1}{M} \sum_j
        \bigl( r(S^z_{i:})_j - r(S^y_{i:})_j \bigr)^2

    where :math:`S^z` are the cosine similarities of the features, :math:`S^y` the label
    similarities and :math:`r` the ranks divided by the number of samples M. Add it to any
    regression loss. ``forward(features, labels)`` takes features ``(N, ...)`` and labels ``(N,)``,
    ``(N, 1)`` or ``(N, K)``, with ``num_positions`` dense ones, and returns a scalar, or one value
    per remaining sample for ``reduction="none"``; float64 for float64 features, else float32.
    Gradient and special cases: :func:`ranksim.functional.ranksim_loss`.

    Args:
        gamma: γ ≥ 0, weight of the term inside the perturbation of the ranks.
        lambda_: λ > 0, interpolation strength of the perturbation. γ·λ sets its size.
        weight: factor on value and gradient; tune this one. 1 is the published algorithm.
        ties: rule for equal similarities, ``"min"``, ``"average"`` or ``"ordinal"`` (see
            :func:`ranksim.functional.rank`).
        unique_labels: first reduce the batch to one random sample per distinct label.
        label_width: bin width, in units of the label, in which ``unique_labels`` counts labels as
            equal; ``None``: labels are equal if their values are.
        reduction: ``"sum"`` over samples (published), ``"mean"``, or ``"none"``.
        label_similarity: ``"neg_l1"``, ``"neg_l2"``, ``"cosine"`` or a callable from labels
            ``(M, K)`` to similarities ``(M, M)``.
        generator: random generator of ``unique_labels`` and ``num_positions``; ``None`` is
            PyTorch's default one.
        gather_across_devices: rank the samples of all processes together. Their batches may differ
            in size or be empty; all processes must take part, in the backward pass too. The value
            is the same on all processes, and with the averaging of DistributedDataParallel the
            parameter gradients are those of one process with all samples. The draw of process 0
            counts for ``unique_labels``.
        num_positions: for dense targets, features ``(N, D, ...)`` and labels ``(N, K, ...)``: the
            number of positions to draw from the batch as samples (see
            :func:`ranksim.functional.sample_positions`). NaN means no label.
        memory_size: number of samples of earlier batches to rank along (``ref_features`` of
            :func:`ranksim.functional.ranksim_loss`); 0: none. The bank is used in training mode
            with gradients enabled only, and stores each batch (with ``gather_across_devices``
            that of all processes) after its loss. ``loss.feature_bank.clear()`` empties it.

    Raises:
        ValueError: if an argument is outside its range; in ``forward``, if shapes do not match,
            labels are dense without ``num_positions`` or the other way round, or trailing shapes
            or dtypes differ between gathered processes.
        TypeError: if features are not floating point, or an argument has a wrong type.

    Example:
        >>> criterion = RankSimLoss(gamma=100.0, lambda_=2.0)
        >>> features = torch.randn(8, 4, requires_grad=True)
        >>> ages = torch.tensor([21, 22, 22, 25, 31, 40, 68, 80])
        >>> loss = (features.sum(1) - ages).abs().mean() + criterion(features, ages)
        >>> loss.backward()
        >>> features.grad.shape
        torch.Size([8, 4])

    References:
        Gong, Mori, Tung, "RankSim: Ranking Similarity Regularization for Deep Imbalanced
        Regression" (ICML 2022), equations 2 to 7.
    """

    def __init__(
        self,
        gamma: float = 100.0,
        lambda_: float = 2.0,
        *,
        weight: float = 1.0,
        ties: Ties = "min",
        unique_labels: bool = True,
        label_width: float | None = None,
        reduction: Reduction = "sum",
        label_similarity: LabelSimilarity = "neg_l1",
        generator: torch.Generator | None = None,
        gather_across_devices: bool = False,
        num_positions: int | None = None,
        memory_size: int = 0,
    ) -> None:
        super().__init__()
        gamma, lambda_, weight = check_settings(
            gamma, lambda_, weight, ties, reduction, label_similarity
        )
        label_width = check_unique_labels(unique_labels, label_width)
        check_generator(generator)
        check_flag("gather_across_devices", gather_across_devices)
        if num_positions is not None:
            num_positions = check_size("num_positions", num_positions, "positions")
        self.gamma, self.lambda_, self.weight = gamma, lambda_, weight
        self.unique_labels, self.label_width, self.generator = unique_labels, label_width, generator
        self.ties, self.reduction, self.label_similarity = ties, reduction, label_similarity
        self.gather_across_devices, self.num_positions = gather_across_devices, num_positions
        is_none = isinstance(memory_size, (int, np.integer)) and memory_size == 0
        self.feature_bank = None if is_none else FeatureBank(memory_size)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        if self.num_positions is not None:
            features, labels = sample_positions(
                features, labels, self.num_positions, generator=self.generator
            )
        elif isinstance(labels, Tensor) and labels.ndim > 2:
            raise ValueError(
                f"labels {tuple(labels.shape)} are dense: give RankSimLoss the number of positions "
                "to draw from a batch, for example num_positions=256"
            )
        if self.feature_bank is None and not self.gather_across_devices:
            return self._rank(features, labels)
        features, labels = to_matrices(features, labels)
        if self.gather_across_devices:
            features = gather_rows(features, name="features")
            labels = gather_rows(labels, name="labels")
        bank = self.feature_bank if self.training and torch.is_grad_enabled() else None
        if bank is not None:
            bank.check_widths(features, labels)
        refs = None if bank is None else bank.get_samples(features.device)
        loss = self._rank(features, labels, refs)
        if bank is not None:
            bank.enqueue(features, labels)
        return loss

    def _rank(
        self, features: Tensor, labels: Tensor, refs: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Compute the loss, drawing one sample per label first if that saves copies."""
        ref_features, ref_labels = refs or (None, None)
        settings: dict[str, Any] = {name: getattr(self, name) for name in _TERM}
        # if the host need not wait, drawing first saves copying what is not drawn
        draw_first = ref_labels is not None and labels.is_cpu and not is_compiling()
        draw_first = self.unique_labels and (self.gather_across_devices or draw_first)
        if draw_first:
            count = len(labels)
            both = labels if ref_labels is None else torch.cat([labels, ref_labels])
            # all processes draw, so that their generators stay in step
            mask = share_first(
                unique_mask(both, self.label_width, generator=self.generator, num_preferred=count)
            )
            features, labels = features[mask[:count]], labels[mask[:count]]
            if ref_features is not None and ref_labels is not None:
                ref_features, ref_labels = ref_features[mask[count:]], ref_labels[mask[count:]]
        elif self.unique_labels:
            settings |= {"label_width": self.label_width, "generator": self.generator}
        settings |= {"ref_features": ref_features, "ref_labels": ref_labels}
        unique_labels = self.unique_labels and not draw_first
        return ranksim_loss(features, labels, unique_labels=unique_labels, **settings)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in _SETTINGS)


class FeatureBank(nn.Module):
    """A ring buffer of the features and labels of the latest ``memory_size`` samples.

    Samples are stored without gradients, in the dtype of the first batch; the dtype of labels is
    promoted when later labels need it. The bank grows with each batch until it is full; after that
    it is written in place, shapes stay constant and the host never waits for the device, so a CUDA
    graph can be captured. Rows of features that are not finite (an overflow of float16) are stored
    as zeros, which are similar to nothing; otherwise every loss would be NaN until they are
    replaced. The content is part of ``state_dict()`` and loads without pickle.

    References:
        Wang et al., "Cross-Batch Memory for Embedding Learning" (CVPR 2020).
    """

    def __init__(self, memory_size: int) -> None:
        super().__init__()
        self.memory_size = check_size("memory_size", memory_size, "samples")
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

    def check_widths(self, features: Tensor, labels: Tensor) -> None:
        """Raise a ValueError unless a batch has as many features and labels as earlier ones."""
        stored, batch = self._buffers_and_row or (), (features, labels)
        for name, tensor, bank in zip(("features", "labels"), batch, stored, strict=False):
            if tensor.shape[1] != bank.shape[1]:
                raise ValueError(
                    f"{name} have {tensor.shape[1]} columns, those of the batches in memory "
                    f"{bank.shape[1]}: keep one width, or call feature_bank.clear() before the "
                    "batch"
                )

    @torch.no_grad()
    def enqueue(self, features: Tensor, labels: Tensor) -> None:
        """Store features ``(N, ...)`` and labels ``(N,)`` or ``(N, K)``, replacing the oldest."""
        features, labels = to_matrices(features, labels)
        self.check_widths(features, labels)
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
