"""Sample weights in the batches of any LightningModule."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback

from ranksim._utils.arrays import copy_to_numpy
from ranksim._utils.checks import describe_value
from ranksim.imbalance import DensityWeights
from ranksim.integrations.lightning.layer import (
    LabelsFn,
    check_function,
    describe_type,
    extract_labels,
    get_labels,
)


class WeightsCallback(Callback):
    """Adds the weight of each sample to training batches, for the module's own loss.

    Batches must be dicts; ``batch["weight"]`` is float32, with the shape and device of the labels.
    Only training batches have it, so use ``batch.get("weight")``. Labels on an accelerator are
    copied to the CPU. Positions of dense labels ``(N, 1, ...)`` that are NaN get weight 0.

    Args:
        weights: weights fitted to the training labels.
        labels_fn: returns the labels of a batch.
        key: key of the weights in the batch.

    Example:
        >>> from ranksim.imbalance import DensityWeights, LabelBins
        >>> weights = DensityWeights.fit([20, 20, 31], bins=LabelBins.integers(0, 120))
        >>> trainer = L.Trainer(callbacks=[WeightsCallback(weights)], logger=False)

    References:
        Yang et al., "Delving into Deep Imbalanced Regression" (ICML 2021); see
        :class:`ranksim.DensityWeights` for the equations.
    """

    def __init__(
        self, weights: DensityWeights, *, labels_fn: LabelsFn = get_labels, key: str = "weight"
    ) -> None:
        if not callable(weights):
            raise TypeError(
                f"weights must be DensityWeights, got {describe_value(weights)}: fit them with "
                "DensityWeights.fit(training_labels, bins=bins)"
            )
        check_function("labels_fn", labels_fn, "a batch to its labels")
        if not isinstance(key, str):
            raise TypeError(f"key must be text, a key of the batch, got {describe_value(key)}")
        self.weights, self.labels_fn, self.key = weights, labels_fn, key

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if not isinstance(batch, MutableMapping):
            raise TypeError(
                f"WeightsCallback needs a dict batch to store {self.key!r}, got "
                f"{describe_type(batch)}: return a dict from the dataset, or call DensityWeights "
                "in training_step"
            )
        if self.key in batch:
            raise ValueError(f"the batch already has {self.key!r}: pass another key=")
        labels = extract_labels(self.labels_fn, batch)
        values = labels.detach().cpu().double().flatten()
        # NaN marks missing positions of dense labels only
        known = values.isnan().logical_not() if labels.ndim > 2 else torch.ones_like(values).bool()
        weight = torch.zeros(len(values))
        weight[known] = torch.from_numpy(self.weights(copy_to_numpy(values[known]))).float()
        batch[self.key] = weight.reshape(labels.shape).to(labels.device)
