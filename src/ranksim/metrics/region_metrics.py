"""Regression metrics per shot region that merge over batches and devices."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ranksim._utils.checks import check_positive, describe_value, reject_masked
from ranksim.exceptions import require_optional
from ranksim.functional._validation import check_tensors
from ranksim.functional.similarity import working_dtype
from ranksim.metrics.scores import Scores
from ranksim.metrics.shot_regions import ShotRegions

torchmetrics = require_optional("torchmetrics", "train")

Flat = Literal["omit", "nan"]


class RegionMetrics(torchmetrics.Metric):  # type: ignore[misc, name-defined]
    """All scores of :func:`regression_scores` per region, as one ``torchmetrics.Metric``.

    Predictions and targets are stored in float64 until ``compute``, so the result is exactly that
    of the union of all batches and devices. A device may have no samples.

    With ``flat``, ``compute`` returns numbers under names such as ``few_mae``, for ``log_dict``, a
    ``MetricCollection`` or the ``compute_metrics`` of a Hugging Face Trainer.

    Args:
        regions: regions of the label axis.
        gmean_epsilon: replaces errors of exactly zero in the geometric mean.
        flat: None for nested scores, in which an undefined score is None; ``"omit"`` for flat names
            without undefined scores and without regions that have no samples; ``"nan"`` for flat
            names, always the same, with NaN for undefined scores.
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
        >>> flat = RegionMetrics(regions, flat="omit")
        >>> flat.update(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 1.5]))
        >>> flat.compute()["zero_mae"]
        0.5
    """

    full_state_update = False
    higher_is_better = None
    is_differentiable = False

    def __init__(
        self,
        regions: ShotRegions,
        *,
        gmean_epsilon: float = 0.0,
        flat: Flat | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(regions, ShotRegions):
            raise TypeError(
                f"regions must be ShotRegions, got {describe_value(regions)}: create them with "
                "ShotRegions.from_counts(bins, training_labels)"
            )
        if flat is not None and flat not in get_args(Flat):
            raise ValueError(f"flat must be 'omit', 'nan' or None, got {describe_value(flat)}")
        self.regions, self.flat = regions, flat
        self.gmean_epsilon = check_positive("gmean_epsilon", gmean_epsilon, or_zero=True)
        for name in ("preds", "target", "index"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, preds: Any, target: Any, index: Any = None) -> None:
        """Add a batch of tensors or NumPy arrays.

        Args:
            preds: predictions ``(N,)`` or ``(N, 1)``, or dense ``(N, 1, ...)``.
            target: labels of the same shape; dense positions with a NaN label are ignored.
            index: position of each sample in its dataset, ``(N,)``. A sample that occurs twice,
                as distributed samplers pad uneven shards, counts once. Pass it always or never.
        """
        reject_masked("preds", preds)
        reject_masked("target", target)
        preds, target, index = map(_to_tensor, (preds, target, index))
        check_tensors(preds=preds, target=target)
        if index is not None:  # on any device
            check_tensors(index=index)
        preds, target = _drop_axis(preds), _drop_axis(target)
        dense = preds.ndim > 2 and preds.shape[1] == 1
        if preds.shape != target.shape or not (preds.ndim == 1 or dense):
            raise ValueError(
                "preds and target must both have shape (N,) or (N, 1), or (N, 1, ...) if "
                f"dense, got {tuple(preds.shape)} and {tuple(target.shape)}"
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

    def compute(self) -> Any:
        """Return ``{region: {metric: float or None}}``, in the order of ``ShotRegions.masks``.

        With ``flat``, return ``{"region_metric": float}``.
        """
        _, preds, target = self.samples()
        scores = self.regions.scores(preds, target, gmean_epsilon=self.gmean_epsilon)
        return scores if self.flat is None else _flatten(scores, self.flat)


def _flatten(scores: dict[str, Scores], flat: Flat) -> dict[str, float]:
    """Return the scores of all regions under names such as ``few_mae``."""
    names = {f"{region}_{name}": (region, name) for region in scores for name in scores[region]}
    flattened: dict[str, float] = {}
    for key, (region, name) in names.items():
        value = scores[region][name]
        if flat == "nan":
            flattened[key] = math.nan if value is None else value
        elif value is not None and scores[region]["n"]:
            flattened[key] = value
    return flattened


def _to_tensor(values: Any) -> Any:
    """Convert a NumPy array to a tensor; return anything else unchanged."""
    if not isinstance(values, np.ndarray):
        return values
    return torch.from_numpy(values.astype(values.dtype.newbyteorder("=")))  # a copy


def _drop_axis(values: Tensor) -> Tensor:
    """Return predictions or labels ``(N, 1)``, as a linear head returns them, as ``(N,)``."""
    return values.squeeze(1) if values.ndim == 2 and values.shape[1] == 1 else values


def _concatenate(state: list[Tensor] | Tensor) -> Tensor:
    """Concatenate a list state, which is a tensor after synchronization."""
    parts = [state] if isinstance(state, Tensor) else list(state)
    return torch.cat(parts).cpu() if parts else torch.empty(0, dtype=torch.float64)
