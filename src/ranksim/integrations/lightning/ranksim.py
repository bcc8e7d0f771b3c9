"""RankSim for any LightningModule."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from ranksim._utils.checks import describe_value
from ranksim.integrations.lightning.fds import FDSCallback
from ranksim.integrations.lightning.gradients import (
    explain_missing_gradient,
    find_trained_parameters,
    reaches_parameter,
)
from ranksim.integrations.lightning.layer import (
    LabelsFn,
    LayerCallback,
    check_features,
    check_ran_once,
    extract_labels,
    find_layer,
    get_labels,
)
from ranksim.losses import RankSimLoss


class RankSimCallback(LayerCallback):
    """Adds RankSim to the loss that ``training_step`` returns, and logs it as ``train_ranksim``.

    With an :class:`FDSCallback` on the same layer, in either order, RankSim uses the features
    before FDS, or after it if ``fds.paper_compat``. The loss's generator and feature bank are saved
    with the callback. A loss without a generator draws from torch's, which changes later draws of
    dropout and shuffling. If RankSim's gradient reaches no parameter in the first step of a
    ``fit``, a warning says why.

    Args:
        loss: the RankSim loss; its ``weight`` is relative to the module's loss.
        layer: dotted name of the layer, which must run once per training step.
        labels_fn: returns the labels of a batch. Labels with decimals should become integers, for
            example by ``lambda batch: (batch["label"] * 10).round()``.

    Example:
        >>> import torch
        >>> ranksim = RankSimLoss(weight=0.1, generator=torch.Generator().manual_seed(0))
        >>> trainer = L.Trainer(callbacks=[RankSimCallback(ranksim, "encoder")], logger=False)

    References:
        Gong, Mori, Tung, "RankSim" (ICML 2022), section 3; see :class:`ranksim.RankSimLoss` for the
        equations.
    """

    def __init__(self, loss: RankSimLoss, layer: str, *, labels_fn: LabelsFn = get_labels) -> None:
        super().__init__(layer, labels_fn)
        if not isinstance(loss, RankSimLoss):
            raise TypeError(
                f"loss must be a RankSimLoss, got {describe_value(loss)}: pass RankSimLoss()"
            )
        self.loss = loss
        self.layer_outputs: list[Any] | None = None  # during a training step
        self._grad_enabled = True  # when the layer ran
        self._is_checked = False  # whether the gradient reaches a parameter

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        find_layer(pl_module, self.layer, "layer")
        if not pl_module.automatic_optimization:
            raise ValueError(
                "RankSimCallback needs automatic optimization, but "
                f"{type(pl_module).__name__} optimizes manually: add RankSimLoss to its loss "
                "before manual_backward()"
            )

    # FDS registers its hook in on_fit_start, so this hook runs after it, or is prepended
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        layer = find_layer(pl_module, self.layer, "layer")
        raw = any(
            not other.fds.paper_compat and find_layer(pl_module, other.layer, "layer") is layer
            for other in trainer.callbacks  # type: ignore[attr-defined]
            if isinstance(other, FDSCallback)
        )
        self._hook = layer.register_forward_hook(self._store_output, prepend=raw)
        self._is_checked = False
        if not isinstance(pl_module.training_step, _TrainingStep):
            pl_module.training_step = _TrainingStep(pl_module)  # type: ignore[method-assign]
        pl_module.training_step.callbacks.append(self)

    def add_loss(self, module: L.LightningModule, output: Any, batch: Any) -> Any:
        """Return the output of ``training_step`` with RankSim added to its loss."""
        outputs, self.layer_outputs = self.layer_outputs or [], None
        loss = output.get("loss") if isinstance(output, Mapping) else output
        if not isinstance(loss, Tensor):
            return output  # a skipped batch, or an output that Lightning will reject
        check_ran_once(self.layer, len(outputs))
        labels = extract_labels(self.labels_fn, batch)
        features = check_features(outputs[0], self.layer)
        term = self.loss(features, labels)
        if not self._is_checked:
            self._is_checked = True
            self._check_gradient(module, features, loss)
        module.log("train_ranksim", term.detach(), on_step=False, on_epoch=True, batch_size=1)
        return {**output, "loss": loss + term} if isinstance(output, Mapping) else loss + term

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {}
        if self.loss.generator is not None:
            state["generator"] = self.loss.generator.get_state()
        if self.loss.feature_bank is not None:
            state["memory"] = self.loss.feature_bank.get_extra_state()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.loss.generator is not None:
            self.loss.generator.set_state(state_dict["generator"].cpu())
        if self.loss.feature_bank is not None:
            self.loss.feature_bank.set_extra_state(state_dict["memory"])

    def _store_output(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        if self.layer_outputs is not None:
            self.layer_outputs.append(output)
            self._grad_enabled = torch.is_grad_enabled()

    def _check_gradient(self, module: L.LightningModule, features: Tensor, loss: Tensor) -> None:
        """Warn if the gradient of RankSim reaches no parameter, or is always zero."""
        if features[0].numel() == 1:
            rank_zero_warn(
                f"RankSim has no effect: layer {self.layer!r} returns one number for each sample, "
                "whose cosine similarity is 1 or -1; name the layer before the head."
            )
        elif not reaches_parameter(features, find_trained_parameters(module.trainer, module)):
            layer = find_layer(module, self.layer, "layer")
            reason = explain_missing_gradient(
                features, layer, loss, grad_enabled=self._grad_enabled
            )
            rank_zero_warn(
                f"RankSim has no effect: its gradient at layer {self.layer!r} reaches no "
                f"parameter, because {reason}."
            )

    def _remove_hook(self, module: L.LightningModule) -> None:
        super()._remove_hook(module)
        self.layer_outputs = None
        step = module.training_step
        if isinstance(step, _TrainingStep) and self in step.callbacks:
            step.callbacks.remove(self)
            if not step.callbacks:
                step.restore()


class _TrainingStep:
    """Replacement of a module's ``training_step`` that adds RankSim to its loss."""

    def __init__(self, module: L.LightningModule) -> None:
        self.module, self.instance_step = module, vars(module).get("training_step")
        self.original = module.training_step
        self.callbacks: list[RankSimCallback] = []
        functools.update_wrapper(self, self.original)  # Lightning inspects the signature

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for callback in self.callbacks:
            callback.layer_outputs = []
        output = self.original(*args, **kwargs)
        batch = args[0] if args else next(iter(kwargs.values()))
        for callback in self.callbacks:
            output = callback.add_loss(self.module, output, batch)
        return output

    def restore(self) -> None:
        """Undo the replacement."""
        if self.instance_step is None:
            del self.module.training_step
        else:
            self.module.training_step = self.instance_step  # type: ignore[method-assign]
