"""FDS for any LightningModule."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.utilities import CombinedLoader, rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn

from ranksim._utils.checks import check_flag, describe_value
from ranksim.imbalance import FDS
from ranksim.integrations.lightning.gradients import (
    explain_missing_gradient,
    find_trained_parameters,
    reaches_parameter,
)
from ranksim.integrations.lightning.layer import (
    InputsFn,
    LabelsFn,
    LayerCallback,
    LayerEncoder,
    check_features,
    check_function,
    check_ran_once,
    extract_labels,
    find_layer,
    get_inputs,
    get_labels,
)
from ranksim.integrations.lightning.rrt import RetrainHeadCallback


class FDSCallback(LayerCallback):
    """Calibrates the output of a layer by FDS in training steps, and updates its statistics.

    From the second epoch on, each epoch starts with a pass over the training loader that updates
    the statistics with the current weights, without gradients, in evaluation mode (unless
    ``fds.paper_compat``) and with isolated random numbers. Several loaders are combined by
    Lightning's default. Validation, test and prediction are not changed. The state of FDS is saved
    with the callback, so resumed training equals uninterrupted training. If no gradient of the
    calibrated features reaches a parameter in the first step of a ``fit``, a warning says why,
    except with a :class:`RetrainHeadCallback`, which freezes the encoder.

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
        if not isinstance(fds, FDS):
            raise TypeError(
                f"fds must be an FDS, got {describe_value(fds)}: pass FDS(num_features, bins)"
            )
        check_function("inputs_fn", inputs_fn, "a batch to the inputs of the module")
        check_flag("update_statistics", update_statistics)
        self.fds, self.inputs_fn, self.update_statistics = fds, inputs_fn, update_statistics
        self._last_update = 0  # the last epoch that started with an update
        self._labels: Tensor | None = None  # of the current training step
        self._runs = 0
        self._step = _FirstStep()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._last_update = 0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.fds.to(pl_module.device, pl_module.dtype)  # type: ignore[arg-type]
        layer = find_layer(pl_module, self.layer, "layer")
        self._hook = layer.register_forward_hook(self._calibrate)
        freezes = any(isinstance(other, RetrainHeadCallback) for other in trainer.callbacks)  # type: ignore[attr-defined]
        self._step = _FirstStep(is_checked=freezes or not self.update_statistics)

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
        if not self._step.is_checked:
            self._step.trained = find_trained_parameters(trainer, pl_module)

    def on_before_backward(
        self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor
    ) -> None:
        if pl_module.automatic_optimization:  # a manual step may call backward several times
            check_ran_once(self.layer, self._runs)
        self._runs = 0
        if not self._step.is_checked:
            self._step.loss = loss

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        self._labels = None
        step = self._step
        if step.is_checked or step.loss is None or step.output is None:
            return  # checked before, or a batch without a loss
        self._step = _FirstStep(is_checked=True)
        if step.has_gradient:
            return
        layer = find_layer(pl_module, self.layer, "layer")
        reason = step.explain(layer)
        rank_zero_warn(
            f"FDS does not train the encoder: no gradient of the calibrated output of layer "
            f"{self.layer!r} reaches a parameter, because {reason}."
        )

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
        calibrated = self.fds.calibrate(check_features(output, self.layer), self._labels)
        if not self._step.is_checked:
            self._step.observe(output, calibrated)
        return calibrated

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


class _FirstStep:
    """The gradient of calibrated features in the first training step of a fit."""

    def __init__(self, *, is_checked: bool = False) -> None:
        self.is_checked = is_checked
        self.loss: Tensor | None = None
        self.output: Tensor | None = None  # of the layer, when it ran first
        self.grad_enabled = True
        self.trained: set[int] | None = None  # ids of parameters; None: all
        self.can_reach = False  # a parameter
        self.has_gradient = False

    def observe(self, output: Tensor, calibrated: Tensor) -> None:
        """Watch for a gradient; a re-entrant checkpoint runs the layer again with one."""
        if self.output is None:
            self.output, self.grad_enabled = output, torch.is_grad_enabled()
        if calibrated.requires_grad and reaches_parameter(calibrated, self.trained):
            self.can_reach = True
            calibrated.register_hook(self._set_gradient)  # type: ignore[no-untyped-call]

    def _set_gradient(self, gradient: Tensor) -> None:
        self.has_gradient = True

    def explain(self, layer: nn.Module) -> str:
        """Explain why no gradient reached a parameter."""
        assert self.output is not None
        assert self.loss is not None
        if self.can_reach:
            return "the loss does not depend on it; remove detach() after the layer"
        return explain_missing_gradient(
            self.output, layer, self.loss, grad_enabled=self.grad_enabled
        )


def _fresh_loader(loader: Any) -> Any:
    """Return a loader that does not share persistent workers with the training."""
    if getattr(loader, "persistent_workers", False):
        loader = copy.copy(loader)
        loader._iterator = None
    return loader
