"""RankSim as a module."""

import torch
from torch import Tensor, nn
from torch.compiler import is_compiling

from ranksim.functional import ranksim_loss, sample_positions
from ranksim.functional._validation import Reduction, check_size, to_matrices
from ranksim.functional.distributed import draw_shared_mask, gather_rows
from ranksim.functional.ranking import Ties
from ranksim.functional.ranksim import check_settings, check_unique_labels
from ranksim.functional.similarity import LabelSimilarity
from ranksim.losses.feature_bank import FeatureBank

_SETTINGS = (
    *("gamma", "lambda_", "weight", "ties", "unique_labels", "label_width", "reduction"),
    *("label_similarity", "gather_across_devices", "num_positions"),
)


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
        check_settings(gamma, lambda_, weight, ties, reduction, label_similarity)
        check_unique_labels(unique_labels, label_width)
        if num_positions is not None:
            check_size("num_positions", num_positions, "positions")
        self.gamma = gamma
        self.lambda_ = lambda_
        self.weight = weight
        self.ties: Ties = ties
        self.unique_labels = unique_labels
        self.label_width = label_width
        self.reduction: Reduction = reduction
        self.label_similarity: LabelSimilarity = label_similarity
        self.generator = generator
        self.gather_across_devices = gather_across_devices
        self.num_positions = num_positions
        self.feature_bank = FeatureBank(memory_size) if memory_size != 0 else None

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
        features, labels = to_matrices(features, labels)
        if self.gather_across_devices:
            features = gather_rows(features, name="features")
            labels = gather_rows(labels, name="labels")
        bank = self.feature_bank if self.training and torch.is_grad_enabled() else None
        samples = None if bank is None else bank.get_samples(features.device)
        loss = self._rank(features, labels, *(samples or (None, None)))
        if bank is not None:
            bank.enqueue(features, labels)
        return loss

    def _rank(
        self,
        features: Tensor,
        labels: Tensor,
        ref_features: Tensor | None,
        ref_labels: Tensor | None,
    ) -> Tensor:
        """Draw unique labels where that is done here, and compute the loss."""
        unique_labels = self.unique_labels
        # if the host need not wait, drawing first saves copying what is not drawn
        draw_first = ref_labels is not None and labels.is_cpu and not is_compiling()
        if unique_labels and (self.gather_across_devices or draw_first):
            count = len(labels)
            both = labels if ref_labels is None else torch.cat([labels, ref_labels])
            mask = draw_shared_mask(both, self.label_width, self.generator, count)
            features, labels = features[mask[:count]], labels[mask[:count]]
            if ref_features is not None and ref_labels is not None:
                ref_features, ref_labels = ref_features[mask[count:]], ref_labels[mask[count:]]
            unique_labels = False
        return ranksim_loss(
            features,
            labels,
            self.gamma,
            self.lambda_,
            weight=self.weight,
            ties=self.ties,
            unique_labels=unique_labels,
            label_width=self.label_width if unique_labels else None,
            reduction=self.reduction,
            label_similarity=self.label_similarity,
            generator=self.generator,
            ref_features=ref_features,
            ref_labels=ref_labels,
        )

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in _SETTINGS)
