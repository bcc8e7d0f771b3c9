"""FDS for any LightningModule."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.utilities import CombinedLoader
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn

from ranksim.imbalance import FDS
from ranksim.integrations.lightning.layer import (
    InputsFn,
    LabelsFn,
    LayerCallback,
    LayerEncoder,
    check_features,
    check_ran_once,
    extract_labels,
    find_layer,
    get_inputs,
    get_labels,
)


class FDSCallback(LayerCallback):
    """Calibrates the output of a layer by FDS in training steps, and updates its statistics.

    From the second epoch on, each epoch starts with a pass over the training loader that updates
    the statistics with the current weights, without gradients, in evaluation mode (unless
    ``fds.paper_compat``) and with isolated random numbers. Several loaders are combined by
    Lightning's default. Validation, test and prediction are not changed. The state of FDS is saved
    with the callback, so resumed training equals uninterrupted training.

    Args:
        fds: FDS with as many features as the layer; it is moved to the module's device.
        layer: dotted name of the layer, which must run once per training step.
        labels_fn: returns the labels ``(N,)``, ``(N, 1)`` or, dense, ``(N, 1, ...)`` of a batch.
        inputs_fn: returns the module's arguments for a batch: a tuple of several, or a dict of
            keyword arguments. If the module does not define ``forward``, the layer is called.
        update_statistics: False keeps existing statistics, as in the second stage of RRT.

    Example:
        >>> from ranksim.imbalance import FDS, LabelBins
        >>> callback = FDSCallback(FDS(64, LabelBins.integers(0, 120)), "encoder")
        >>> trainer = L.Trainer(callbacks=[callback], logger=False)

    References:
        Yang et al., "Delving into Deep Imbalanced Regression" (ICML 2021), section 3.2; see
        :class:`ranksim.FDS` for the equations.
    """

    def __init__(
        self,
        fds: FDS,
        layer: str,
        *,
        labels_fn: LabelsFn = get_labels,
        inputs_fn: InputsFn = get_inputs,
        update_statistics: bool = True,
    ) -> None:
        super().__init__(layer, labels_fn)
        self.fds, self.inputs_fn, self.update_statistics = fds, inputs_fn, update_statistics
        self._last_update = 0  # the last epoch that started with an update
        self._labels: Tensor | None = None  # of the current training step
        self._runs = 0

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._last_update = 0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.fds.to(pl_module.device, pl_module.dtype)  # type: ignore[arg-type]
        layer = find_layer(pl_module, self.layer, "layer")
        self._hook = layer.register_forward_hook(self._calibrate)

    # at the start of an epoch, not at the end of the previous one: the weights are the same, the
    # last epoch does not need it, and a run resumed from a checkpoint between the two does it
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self.update_statistics or trainer.current_epoch <= self._last_update:
            return
        encoder = LayerEncoder(pl_module, self.layer)
        with isolate_rng(), trainer.precision_plugin.forward_context():
            self.fds.fit_epoch(encoder, self._samples(trainer, pl_module))
        self._last_update = trainer.current_epoch

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._labels, self._runs = extract_labels(self.labels_fn, batch), 0

    def on_before_backward(
        self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor
    ) -> None:
        if pl_module.automatic_optimization:  # a manual step may call backward several times
            check_ran_once(self.layer, self._runs)
        self._runs = 0

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self._labels = None

    def state_dict(self) -> dict[str, Any]:
        return {"refreshed": self._last_update, "fds": self.fds.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._last_update = state_dict["refreshed"]
        self.fds.load_state_dict(state_dict["fds"])

    def _remove_hook(self, module: L.LightningModule) -> None:
        super()._remove_hook(module)
        self._labels = None

    def _calibrate(self, layer: nn.Module, inputs: Any, output: Any) -> Tensor | None:
        if self._labels is None:
            return None
        self._runs += 1
        return self.fds.calibrate(check_features(output, self.layer), self._labels)

    def _samples(
        self, trainer: L.Trainer, module: L.LightningModule
    ) -> Iterator[tuple[Any, Tensor]]:
        """Yield inputs and labels of this process's training batches, on its device."""
        loaders = CombinedLoader(trainer.train_dataloader, "max_size_cycle")
        loaders.flattened = [_fresh_loader(loader) for loader in loaders.flattened]
        count = trainer.num_training_batches
        for batch, _, _ in itertools.islice(loaders, None if math.isinf(count) else int(count)):
            batch = trainer.precision_plugin.convert_input(batch)
            batch = module._on_before_batch_transfer(batch, dataloader_idx=0)
            batch = trainer.strategy.batch_to_device(batch, dataloader_idx=0)
            yield self.inputs_fn(batch), extract_labels(self.labels_fn, batch)


def _fresh_loader(loader: Any) -> Any:
    """Return a loader that does not share persistent workers with the training."""
    if getattr(loader, "persistent_workers", False):
        loader = copy.copy(loader)
        loader._iterator = None
    return loader
