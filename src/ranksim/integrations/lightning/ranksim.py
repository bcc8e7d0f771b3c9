"""RankSim for any LightningModule."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as L
from torch import Tensor, nn

from ranksim.integrations.lightning.batches import Labels, found_labels, labels_of
from ranksim.integrations.lightning.fds import FDSCallback
from ranksim.integrations.lightning.layer import (
    LayerCallback,
    check_ran_once,
    features_of,
    find_layer,
)
from ranksim.losses import RankSimLoss


class RankSimCallback(LayerCallback):
    """Adds RankSim to the loss that ``training_step`` returns, and logs it as ``train_ranksim``.

    With an :class:`FDSCallback` on the same layer RankSim sees the features before FDS, or after
    it where ``fds.published``; the order of the two callbacks does not matter. The state of the
    loss's generator, and its memory, are saved with the callback. A loss without a generator draws
    from torch's, and so moves the numbers that dropout and the order of samples draw.

    Args:
        loss: the term; its ``weight`` is its weight beside the module's own loss.
        layer: dotted name of the layer, which runs once in a training step.
        labels: from a batch to its labels. Labels with decimals should become whole steps of their
            last digit, for example ``lambda batch: (batch["label"] * 10).round()``.

    Raises (when training):
        ValueError: no such layer, a layer that does not run exactly once, or a module with manual
            optimisation.
        TypeError: a batch or an output that is not understood.

    Example:
        >>> import torch
        >>> ranksim = RankSimLoss(weight=0.1, generator=torch.Generator().manual_seed(0))
        >>> trainer = L.Trainer(callbacks=[RankSimCallback(ranksim, "encoder")], logger=False)

    Source: Gong, Mori, Tung (ICML 2022), section 3.
    """

    def __init__(self, loss: RankSimLoss, layer: str, *, labels: Labels = labels_of) -> None:
        super().__init__(layer, labels)
        self.loss = loss
        self._outputs: list[Any] | None = None  # of the layer, while training_step runs

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        find_layer(pl_module, self.layer, "layer")
        if not pl_module.automatic_optimization:
            raise ValueError(
                "RankSimCallback adds to the loss that training_step returns, but "
                f"{type(pl_module).__name__} optimises manually: add RankSimLoss to its own loss "
                "before manual_backward() instead"
            )

    # FDS has its hook since on_fit_start: this one comes after it, or in front of all
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        layer = find_layer(pl_module, self.layer, "layer")
        raw = any(
            not other.fds.published and find_layer(pl_module, other.layer, "layer") is layer
            for other in trainer.callbacks  # type: ignore[attr-defined]
            if isinstance(other, FDSCallback)
        )
        self._hook = layer.register_forward_hook(self._seen, prepend=raw)
        if not isinstance(pl_module.training_step, _Step):
            pl_module.training_step = _Step(pl_module)  # type: ignore[method-assign]
        pl_module.training_step.terms.append(self)

    def begin(self) -> None:
        """A training step is about to run."""
        self._outputs = []

    def added(self, module: L.LightningModule, output: Any, batch: Any) -> Any:
        """What ``training_step`` returned, with the term in its loss."""
        outputs, self._outputs = self._outputs or [], None
        loss = output.get("loss") if isinstance(output, Mapping) else output
        if not isinstance(loss, Tensor):
            return output  # a skipped batch, or what Lightning has its own words for
        check_ran_once(self.layer, len(outputs))
        term = self.loss(features_of(outputs[0], self.layer), found_labels(self.labels, batch))
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

    def _seen(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        if self._outputs is not None:
            self._outputs.append(output)

    def _take_out(self, module: L.LightningModule) -> None:
        super()._take_out(module)
        self._outputs = None
        step = module.training_step
        if isinstance(step, _Step) and self in step.terms:
            step.terms.remove(self)
            if not step.terms:
                step.give_back()


class _Step:
    """A module's ``training_step`` with terms added to its loss."""

    def __init__(self, module: L.LightningModule) -> None:
        self.module, self.own = module, vars(module).get("training_step")
        self.inner = module.training_step
        self.terms: list[RankSimCallback] = []
        functools.update_wrapper(self, self.inner)  # Lightning asks for its signature

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for term in self.terms:
            term.begin()
        output = self.inner(*args, **kwargs)
        batch = args[0] if args else next(iter(kwargs.values()))
        for term in self.terms:
            output = term.added(self.module, output, batch)
        return output

    def give_back(self) -> None:
        if self.own is None:
            del self.module.training_step
        else:
            self.module.training_step = self.own  # type: ignore[method-assign]
