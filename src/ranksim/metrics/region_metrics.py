"""Regression metrics per shot region that merge over batches and devices."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ranksim.exceptions import require_optional
from ranksim.functional.similarity import working_dtype
from ranksim.metrics.scores import Scores, regression_scores
from ranksim.metrics.shot_regions import ShotRegions

torchmetrics = require_optional("torchmetrics", "train")


class RegionMetrics(torchmetrics.Metric):  # type: ignore[misc, name-defined]
    """All scores of :func:`regression_scores` per region, as one ``torchmetrics.Metric``.

    Predictions and targets are stored in float64 until ``compute``, so the result is exactly that
    of the union of all batches and devices. A device may have no samples.

    Args:
        regions: regions of the label axis.
        gmean_epsilon: replaces errors of exactly zero in the geometric mean.
        **kwargs: arguments of ``torchmetrics.Metric``.

    Example:
        >>> import torch
        >>> from ranksim.imbalance import LabelBins
        >>> regions = ShotRegions.from_counts(LabelBins.uniform(0, 2, 2), [0.5] * 200)
        >>> metrics = RegionMetrics(regions)
        >>> metrics.update(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 1.5]))
        >>> scores = metrics.compute()
        >>> scores["zero"]["mae"], scores["medium"]["mae"], scores["medium"]["n"]
        (0.5, None, 0)
    """

    full_state_update = False
    higher_is_better = None
    is_differentiable = False

    def __init__(self, regions: ShotRegions, *, gmean_epsilon: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.regions = regions
        self.gmean_epsilon = gmean_epsilon
        for name in ("preds", "target", "index"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, preds: Tensor, target: Tensor, index: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            preds: predictions ``(N,)``, or dense ``(N, 1, ...)``.
            target: labels of the same shape; dense positions with a NaN label are ignored.
            index: position of each sample in its dataset, ``(N,)``. A sample that occurs twice,
                as distributed samplers pad uneven shards, counts once. Pass it always or never.
        """
        dense = preds.ndim > 2 and preds.shape[1] == 1
        if preds.shape != target.shape or not (preds.ndim == 1 or dense):
            raise ValueError(
                "preds and target must both have shape (N,), or (N, 1, ...) if dense, got "
                f"{tuple(preds.shape)} and {tuple(target.shape)}"
            )
        if dense:
            known = target.isnan().logical_not()
            if index is not None:  # number positions independently of the size of a sample
                positions = torch.arange(target[:1].numel(), device=index.device)
                index = (index.long().unsqueeze(1) << 32) + positions
                index = index.view_as(target)[known.to(index.device)]
            preds, target = preds[known], target[known]
        dtype = working_dtype(preds.device)
        self.preds.append(preds.detach().to(dtype))
        self.target.append(target.detach().to(dtype))
        if index is not None:
            self.index.append(index.detach().long())

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Synchronize over processes; one without samples sends empty tensors of equal dtype."""
        exact = working_dtype(self.device)
        for name, dtype in (("preds", exact), ("target", exact), ("index", torch.int64)):
            if not len(getattr(self, name)):
                setattr(self, name, [torch.empty(0, dtype=dtype, device=self.device)])
        super().sync(*args, **kwargs)

    def samples(self) -> tuple[np.ndarray, Tensor, Tensor]:
        """Return positions, predictions and targets so far, in dataset order."""
        preds, target = _concatenate(self.preds), _concatenate(self.target)
        index = _concatenate(self.index).long().numpy()
        if len(index) == 0:
            return np.arange(len(target)), preds, target
        if len(index) != len(target):
            raise ValueError("index must be passed to every update or to none")
        positions, first = np.unique(index, return_index=True)
        rows = torch.from_numpy(first)
        return positions, preds[rows], target[rows]

    def compute(self) -> dict[str, Scores]:
        """Return ``{region: {metric: float or None}}``, in the order of ``ShotRegions.masks``."""
        _, preds, target = self.samples()
        masks = self.regions.masks(target.numpy())
        return {
            name: regression_scores(preds[mask], target[mask], gmean_epsilon=self.gmean_epsilon)
            for name, mask in masks.items()
        }


def _concatenate(state: list[Tensor] | Tensor) -> Tensor:
    """Concatenate a list state, which is a tensor after synchronization."""
    parts = [state] if isinstance(state, Tensor) else list(state)
    return torch.cat(parts).cpu() if parts else torch.empty(0, dtype=torch.float64)
