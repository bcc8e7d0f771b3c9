"""Region-wise regression metrics that merge over batches and devices."""

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
    """All scores of :func:`regression_scores` for every region, as one ``torchmetrics.Metric``.

    Predictions and targets are kept in float64 until ``compute``, so that the result is that of the
    union of all batches and devices, whatever their sizes; Spearman needs them all in any case.
    A device may have none.

    Args:
        regions: the regions of the label axis.
        gm_guard: see :func:`regression_scores`.

    Returns (compute):
        ``{region: {metric: float or None}}`` for all, many, medium, few, zero and seen,
        then the named regions.

    Example:
        >>> import torch
        >>> from ranksim.imbalance import LabelBins
        >>> regions = ShotRegions.by_rule(LabelBins.uniform(0, 2, 2), [0.5] * 200)
        >>> metrics = RegionMetrics(regions)
        >>> metrics.update(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 1.5]))
        >>> scores = metrics.compute()
        >>> scores["zero"]["mae"], scores["medium"]["mae"], scores["medium"]["n"]
        (0.5, None, 0)
    """

    full_state_update = False
    higher_is_better = None
    is_differentiable = False

    def __init__(self, regions: ShotRegions, *, gm_guard: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.regions = regions
        self.gm_guard = gm_guard
        for name in ("prediction", "target", "index"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, prediction: Tensor, target: Tensor, index: Tensor | None = None) -> None:
        """Add predictions ``(N,)`` and targets ``(N,)``, or dense ones, both ``(N, 1, ...)``.

        ``index`` (N,) holds each sample's position in its data set; a sample that comes twice,
        as distributed samplers pad uneven shards, then counts once. Give it always or never.
        Of dense targets each position is a sample, and those that are NaN are left out.
        """
        dense = prediction.ndim > 2 and prediction.shape[1] == 1
        if prediction.shape != target.shape or not (prediction.ndim == 1 or dense):
            raise ValueError(
                "prediction and target must both have shape (N,), got "
                f"{tuple(prediction.shape)} and {tuple(target.shape)}; dense ones (N, 1, ...)"
            )
        if dense:
            known = target.isnan().logical_not()
            if index is not None:  # a number for each position, whatever the size of a sample
                each = torch.arange(target[:1].numel(), device=index.device)
                places = (index.long().unsqueeze(1) << 32) + each
                index = places.view_as(target)[known.to(index.device)]
            prediction, target = prediction[known], target[known]
        dtype = working_dtype(prediction.device)
        self.prediction.append(prediction.detach().to(dtype))
        self.target.append(target.detach().to(dtype))
        if index is not None:
            self.index.append(index.detach().long())

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """As every metric's; a process without samples sends none, of the dtypes of the others."""
        exact = working_dtype(self.device)
        for name, dtype in (("prediction", exact), ("target", exact), ("index", torch.int64)):
            if not len(getattr(self, name)):
                setattr(self, name, [torch.empty(0, dtype=dtype, device=self.device)])
        super().sync(*args, **kwargs)

    def samples(self) -> tuple[np.ndarray, Tensor, Tensor]:
        """Positions, predictions and targets so far, in the order of the data set."""
        prediction, target = _joined(self.prediction), _joined(self.target)
        index = _joined(self.index).long().numpy()
        if len(index) == 0:
            return np.arange(len(target)), prediction, target
        if len(index) != len(target):
            raise ValueError("give index with every update or with none")
        positions, first = np.unique(index, return_index=True)
        chosen = torch.from_numpy(first)
        return positions, prediction[chosen], target[chosen]

    def compute(self) -> dict[str, Scores]:
        """Scores of every region."""
        _, prediction, target = self.samples()
        masks = self.regions.masks(target.numpy()).items()
        own = ((name, torch.from_numpy(mask)) for name, mask in masks)
        return {
            name: regression_scores(prediction[mask], target[mask], gm_guard=self.gm_guard)
            for name, mask in own
        }


def _joined(state: list[Tensor] | Tensor) -> Tensor:
    """A list state is a tensor after it was synchronised over devices."""
    parts = [state] if isinstance(state, Tensor) else list(state)
    return torch.cat(parts).cpu() if parts else torch.empty(0, dtype=torch.float64)
