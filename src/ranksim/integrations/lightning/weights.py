"""Weights in the batches of any LightningModule."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback

from ranksim.imbalance import DensityWeights
from ranksim.integrations.lightning.batches import Labels, described, found_labels, labels_of


class WeightsCallback(Callback):
    """Puts the weight of each sample into training batches, for the module's own loss to use.

    A batch must be a dict: ``batch["weight"]`` is float32, of the labels' shape and on their
    device. Only training batches have it, so ``batch.get("weight")`` serves all steps. Labels on
    an accelerator are copied back for it; a data set that holds the weights saves that.

    Positions of dense labels ``(N, 1, ...)`` that are NaN are no samples and get weight 0.

    Args:
        weights: fitted to the training labels.
        labels: from a batch to its labels.
        key: what the weights are called in the batch.

    Raises (when training):
        TypeError: a batch that is no dict, or whose labels are not found.
        ValueError: a batch that has something under the key already, or a label that is not
            finite.

    Example:
        >>> from ranksim.imbalance import DensityWeights, LabelBins
        >>> weights = DensityWeights.fit([20, 20, 31], bins=LabelBins.integers(0, 120))
        >>> trainer = L.Trainer(callbacks=[WeightsCallback(weights)], logger=False)
    """

    def __init__(
        self, weights: DensityWeights, *, labels: Labels = labels_of, key: str = "weight"
    ) -> None:
        self.weights, self.labels, self.key = weights, labels, key

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if not isinstance(batch, MutableMapping):
            raise TypeError(
                f"WeightsCallback needs a dict batch to put {self.key!r} into, got "
                f"{described(batch)}: have the data set return a dict, or call the DensityWeights "
                "in training_step"
            )
        if self.key in batch:
            raise ValueError(
                f"the batch has {self.key!r} already: give WeightsCallback another key="
            )
        labels = found_labels(self.labels, batch)
        values = labels.detach().cpu().double().flatten()
        # of dense labels, positions that are NaN are none
        known = values.isnan().logical_not() if labels.ndim > 2 else torch.ones_like(values).bool()
        weight = torch.zeros(len(values))
        weight[known] = torch.from_numpy(self.weights(values[known].numpy())).float()
        batch[self.key] = weight.reshape(labels.shape).to(labels.device)
