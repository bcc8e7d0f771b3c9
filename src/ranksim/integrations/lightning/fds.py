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
from ranksim.integrations.lightning.batches import (
    Inputs,
    Labels,
    found_labels,
    inputs_of,
    labels_of,
)
from ranksim.integrations.lightning.layer import (
    LayerCallback,
    UpTo,
    check_ran_once,
    features_of,
    find_layer,
)


class FDSCallback(LayerCallback):
    """Calibrates the output of a layer by FDS in training steps, and keeps its statistics.

    From the second epoch on, each epoch starts with a pass over the training loader that refreshes
    the statistics with the weights as they are: without gradient, in evaluation mode (unless
    ``fds.published``), on random numbers of its own. With several loaders the pass combines them
    as Lightning does by default. Validation, test and prediction are left alone. The state of FDS
    is saved with the callback, so a resumed training repeats the uninterrupted one.

    Args:
        fds: as many features wide as the layer's output; it moves to the module's device.
        layer: dotted name of the layer, which runs once in a training step.
        labels: from a batch to its labels ``(N,)`` or ``(N, 1)``, or dense ones ``(N, 1, ...)``.
        inputs: from a batch to what the module is called with in the pass: a tuple is several
            arguments, a dict keyword arguments. Where the module has no ``forward`` of its own,
            the layer itself is called.
        refresh: ``False`` keeps statistics that were made before, as the second stage of RRT does.

    Raises (when training):
        ValueError: no such layer, a layer that does not run exactly once, or shapes that FDS
            cannot take.
        TypeError: a batch or an output that is not understood.

    Example:
        >>> from ranksim.imbalance import FDS, LabelBins
        >>> callback = FDSCallback(FDS(64, LabelBins.integers(0, 120)), "encoder")
        >>> trainer = L.Trainer(callbacks=[callback], logger=False)
    """

    def __init__(
        self,
        fds: FDS,
        layer: str,
        *,
        labels: Labels = labels_of,
        inputs: Inputs = inputs_of,
        refresh: bool = True,
    ) -> None:
        super().__init__(layer, labels)
        self.fds, self.inputs, self.refresh = fds, inputs, refresh
        self._refreshed = 0  # the epoch whose start last saw new statistics
        self._now: Tensor | None = None  # labels of the batch, while a training step runs
        self._runs = 0

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._refreshed = 0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.fds.to(pl_module.device, pl_module.dtype)  # type: ignore[arg-type]
        layer = find_layer(pl_module, self.layer, "layer")
        self._hook = layer.register_forward_hook(self._calibrated)

    # Done as an epoch starts and not as one ends: the weights are the same, the last epoch needs
    # it not, and a run resumed from the checkpoint between the two does it.
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self.refresh or trainer.current_epoch <= self._refreshed:
            return
        encoder = UpTo(pl_module, self.layer)
        with isolate_rng(), trainer.precision_plugin.forward_context():
            self.fds.refresh(encoder, self._samples(trainer, pl_module))
        self._refreshed = trainer.current_epoch

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._now, self._runs = found_labels(self.labels, batch), 0

    def on_before_backward(
        self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor
    ) -> None:
        if pl_module.automatic_optimization:  # else a step may have any number of these
            check_ran_once(self.layer, self._runs)
        self._runs = 0

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._now = None

    def state_dict(self) -> dict[str, Any]:
        return {"refreshed": self._refreshed, "fds": self.fds.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._refreshed = state_dict["refreshed"]
        self.fds.load_state_dict(state_dict["fds"])

    def _take_out(self, module: L.LightningModule) -> None:
        super()._take_out(module)
        self._now = None

    def _calibrated(self, layer: nn.Module, inputs: Any, output: Any) -> Tensor | None:
        if self._now is None:
            return None
        self._runs += 1
        return self.fds.smooth(features_of(output, self.layer), self._now)

    def _samples(
        self, trainer: L.Trainer, module: L.LightningModule
    ) -> Iterator[tuple[Any, Tensor]]:
        """Inputs and labels of what this process trains on in an epoch, on its device."""
        loaders = CombinedLoader(trainer.train_dataloader, "max_size_cycle")
        loaders.flattened = [_anew(loader) for loader in loaders.flattened]
        count = trainer.num_training_batches
        for batch, _, _ in itertools.islice(loaders, None if math.isinf(count) else int(count)):
            batch = trainer.precision_plugin.convert_input(batch)
            batch = module._on_before_batch_transfer(batch, dataloader_idx=0)
            batch = trainer.strategy.batch_to_device(batch, dataloader_idx=0)
            yield self.inputs(batch), found_labels(self.labels, batch)


def _anew(loader: Any) -> Any:
    """A loader whose persistent workers are not those that the training reads from."""
    if getattr(loader, "persistent_workers", False):
        loader = copy.copy(loader)
        loader._iterator = None
    return loader
