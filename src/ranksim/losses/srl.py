"""Surrogate-driven representation learning as a module with the centroids of the label bins."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from ranksim._utils.checks import check_positive, check_size, describe_value
from ranksim._utils.precise_module import PreciseModule
from ranksim.functional._features import prepare_features, propagate_nan
from ranksim.functional._label_bins import find_bins, is_fine_in_float32, read_edges, sum_bins
from ranksim.functional.similarity import normalize_rows
from ranksim.functional.srl import check_weights, srl_loss, update_centroids


class SRLLoss(PreciseModule):
    r"""Surrogate-driven representation learning (SRL): a smooth, wide curve of features.

    .. math::
        \alpha \sum_k \frac{\lVert c_{k+1} - c_k \rVert_2^2}{y_{k+1} - y_k}
        + \beta \operatorname*{mean}_u \Bigl( 1 - \sum_k \sigma_k(u) \langle u, c_k \rangle \Bigr)
        - \gamma \operatorname*{mean}_i \log \operatorname{softmax}_{k(i)}
        (\langle \hat z_i, c_k \rangle / \tau), \qquad
        \sigma_k(u) \propto \exp(\langle u, c_k \rangle / \tau)

    with a unit centroid :math:`c_k` of each label bin, kept with momentum over batches, and P fixed
    random unit vectors u. ``forward(features, labels)`` takes features ``(N, width)`` and labels
    ``(N,)`` or ``(N, 1)``, moves the centroids in training mode (with those of all processes), and
    returns a scalar to add to a regression loss. Call ``update(features, labels)`` instead during
    the first epoch, which only collects centroids. Equation: :func:`ranksim.functional.srl_loss`.

    Samples without a label (NaN) are left out. Features that are not finite give a loss of NaN,
    with a NaN gradient, and do not move the centroids.

    Args:
        width: number of features D.
        edges: of the label bins ``(K + 1,)``, ascending; labels outside go to the outer bins.
        weights: α of homogeneity, β of enveloping and γ of contrast, at least 0.
        temperature: τ > 0.
        momentum: share of a centroid that is kept, in [0, 1).
        points: P, number of random unit vectors.
        label_std: standard deviation of the training labels, the unit of distances of bins.
        seed: of the unit vectors.

    Raises:
        ValueError: if an argument is outside its range; in ``forward``, if shapes do not match.

    Example:
        >>> criterion = SRLLoss(4, edges=range(0, 101, 10), label_std=24.0)
        >>> features, ages = torch.randn(6, 4), torch.tensor([21, 21, 31, 40, 68, 80])
        >>> criterion.update(features, ages)  # during the first epoch
        >>> features.requires_grad_()
        tensor(...)
        >>> criterion(features, ages).backward()

    References:
        "Improve Representation for Imbalanced Regression through Geometric Constraints" (CVPR 2025,
        arXiv 2503.00876). The momentum, which the paper's definition leaves open, is 0.9.
    """

    def __init__(
        self,
        width: int,
        edges: Sequence[float] | np.ndarray | Tensor,
        *,
        weights: tuple[float, float, float] = (0.1, 0.1, 0.1),
        temperature: float = 0.1,
        momentum: float = 0.9,
        points: int = 1024,
        label_std: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        borders = read_edges(edges)
        self.weights = check_weights(weights)
        self.temperature = check_positive("temperature", temperature)
        self.momentum = check_positive("momentum", momentum, or_zero=True)
        if self.momentum >= 1:
            raise ValueError(f"momentum must be below 1, got {momentum!r}")
        width = check_size("width", width, "features")
        points = check_size("points", points, "unit vectors")
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise TypeError(f"seed must be a whole number, got {describe_value(seed)}")
        draws = torch.randn(points, width, generator=torch.Generator().manual_seed(seed))
        centers = (borders[1:] + borders[:-1]) / 2 / check_positive("label_std", label_std)
        self._in_float32 = is_fine_in_float32(borders)
        self.edges = nn.Buffer(borders[1:-1], persistent=False)
        self.positions = nn.Buffer(centers, persistent=False)
        self.points = nn.Buffer(normalize_rows(draws)[0], persistent=False)
        self.centroids = nn.Buffer(torch.zeros(len(centers), width))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        unit, index, dtype = self._prepare(features, labels)
        centroids = self.centroids.to(unit.dtype)
        observed = centroids.ne(0).any(dim=1)
        if self.training:
            sums, counts = sum_bins(unit, index, len(centroids))
            centroids, observed = update_centroids(sums, counts, centroids, self.momentum)
            self._store(sums.detach(), counts)
        terms = (self.positions.to(unit.dtype), self.points.to(unit.dtype))
        arguments = (unit, index, centroids, observed, *terms)
        loss = srl_loss(*arguments, weights=self.weights, temperature=self.temperature)
        return propagate_nan(loss, features).to(dtype)

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor) -> None:
        """Move the centroids with a batch, without a loss.

        Samples whose label is NaN, or whose features are not finite, are left out.
        """
        unit, index, _ = self._prepare(features, labels)
        self._store(*sum_bins(unit, index, len(self.centroids)))

    def _prepare(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, torch.dtype]:
        """Return unit features ``(N, D)``, the label bin of each ``(N,)``, or -1, and the dtype."""
        rows, columns, dtype = prepare_features(features, labels)
        if columns.shape[1] != 1 or rows.shape[1] != self.centroids.shape[1]:
            raise ValueError(
                f"features must have {self.centroids.shape[1]} columns and labels one, got "
                f"features {tuple(features.shape)} and labels {tuple(labels.shape)}"
            )
        index = find_bins(columns[:, 0], self.edges, self._in_float32)
        return normalize_rows(rows)[0], index, dtype

    @torch.no_grad()
    def _store(self, sums: Tensor, counts: Tensor) -> None:
        """Move the centroids with the sums of all processes."""
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            sums, counts = sums.contiguous(), counts.contiguous()
            dist.all_reduce(sums)
            dist.all_reduce(counts)
        stored = self.centroids.to(sums.dtype)
        self.centroids.copy_(update_centroids(sums, counts, stored, self.momentum)[0])

    def extra_repr(self) -> str:
        names = ("weights", "temperature", "momentum")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
