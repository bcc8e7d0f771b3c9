"""RankSim as a module."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.compiler import is_compiling

from ranksim.functional import ranksim_loss
from ranksim.functional._validation import Reduction, as_matrices, check_arguments
from ranksim.functional.distributed import draw_shared_sample, gather_batch
from ranksim.functional.ranking import Ties
from ranksim.functional.sampling import check_count, sample_positions
from ranksim.functional.similarity import LabelSimilarity
from ranksim.losses.feature_bank import FeatureBank


class RankSimLoss(nn.Module):
    """Ranking-similarity regularisation, to be added to any regression loss.

    Arguments, value, gradient, shapes and errors are those of
    :func:`ranksim.functional.ranksim_loss`, to which this hands on.

    Args (beside those):
        gather: rank the samples of all processes of a distributed training, not those of each
            alone. Shards may differ in size and be empty; all processes take part, in backward
            too. The value is the same on all of them, and with the mean that
            DistributedDataParallel takes the gradient of parameters is that of one process with
            all samples. The draw of the first process counts for ``unique_labels``; the
            ``generator`` of each moves on alike.
        positions: dense targets, features ``(N, D, ...)`` and labels ``(N, K, ...)`` with a label
            for each position: so many are drawn from the batch, and are its samples (see
            :func:`ranksim.functional.sample_positions`). NaN is no label.
        memory: so many samples of earlier batches are neighbours beside the batch's own, as
            ``neighbours`` of :func:`ranksim.functional.ranksim_loss`; 0: none. A batch, with
            ``gather`` those of all processes, is remembered after its loss is made, in training
            mode where gradients are made; otherwise the memory is neither read nor written. Empty
            it with ``loss.memory.clear()`` (see :class:`ranksim.losses.feature_bank.FeatureBank`).

    Raises (beside those):
        ValueError: dense labels without ``positions``, or others with; with ``gather``, features
            or labels that differ among processes in trailing shape or dtype, on all processes.

    Example:
        >>> criterion = RankSimLoss(gamma=100.0, lambda_=2.0)
        >>> features = torch.randn(8, 4, requires_grad=True)
        >>> ages = torch.tensor([21, 22, 22, 25, 31, 40, 68, 80])
        >>> loss = (features.sum(1) - ages).abs().mean() + criterion(features, ages)
        >>> loss.backward()
        >>> features.grad.shape
        torch.Size([8, 4])

    Source: Gong, Mori, Tung (ICML 2022), equations 2 to 7.
    """

    def __init__(
        self,
        gamma: float = 100.0,
        lambda_: float = 2.0,
        *,
        strength: float = 1.0,
        ties: Ties = "min",
        unique_labels: bool | float = True,
        reduction: Reduction = "sum",
        label_similarity: LabelSimilarity = "neg_l1",
        generator: torch.Generator | None = None,
        gather: bool = False,
        positions: int | None = None,
        memory: int = 0,
    ) -> None:
        super().__init__()
        if positions is not None:
            check_count(positions)
        check_arguments(gamma, lambda_, strength, ties, unique_labels, reduction, label_similarity)
        self.gamma = gamma
        self.lambda_ = lambda_
        self.strength = strength
        self.ties: Ties = ties
        self.unique_labels = unique_labels
        self.reduction: Reduction = reduction
        self.label_similarity: LabelSimilarity = label_similarity
        self.generator = generator
        self.gather = gather
        self.positions = positions
        self.memory = FeatureBank(memory) if memory != 0 else None

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Loss of features ``(N, ...)`` and labels ``(N,)``, ``(N, 1)`` or ``(N, K)``, or dense."""
        unique_labels = self.unique_labels
        if self.positions is not None:
            features, labels = sample_positions(
                features, labels, self.positions, generator=self.generator
            )
        elif isinstance(labels, Tensor) and labels.ndim > 2:
            raise ValueError(
                f"labels {tuple(labels.shape)} are dense: say how many positions RankSimLoss is to "
                "draw from a batch, for example positions=256"
            )
        features, labels = (gather_batch if self.gather else as_matrices)(features, labels)
        memory = self.memory if self.training and torch.is_grad_enabled() else None
        own = features, labels
        neighbours = None if memory is None else memory.recall(features.device)
        # where the host need not wait, the draw comes first: no copy of what is not drawn
        ahead = neighbours is not None and features.device.type == "cpu" and not is_compiling()
        if unique_labels and (self.gather or ahead):
            own, neighbours = draw_shared_sample(own, neighbours, unique_labels, self.generator)
            unique_labels = False  # they are by now
        loss = ranksim_loss(
            *own,
            self.gamma,
            self.lambda_,
            strength=self.strength,
            ties=self.ties,
            unique_labels=unique_labels,
            reduction=self.reduction,
            label_similarity=self.label_similarity,
            generator=self.generator,
            neighbours=neighbours,
        )
        if memory is not None:
            memory.remember(features, labels)
        return loss

    def extra_repr(self) -> str:
        return (
            f"gamma={self.gamma}, lambda_={self.lambda_}, strength={self.strength}, "
            f"ties={self.ties!r}, unique_labels={self.unique_labels}, "
            f"reduction={self.reduction!r}, label_similarity={self.label_similarity!r}, "
            f"positions={self.positions}, gather={self.gather}"
        )
