"""A layer of any module by its name: its output, and a hook on it that is taken out again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ranksim.integrations.lightning.batches import Labels, described


class LayerCallback(Callback):
    """What a forward hook on a layer needs, and its removal."""

    def __init__(self, layer: str, labels: Labels) -> None:
        self.layer, self.labels = layer, labels
        self._hook: RemovableHandle | None = None

    @property
    def state_key(self) -> str:
        return self._generate_state_key(layer=self.layer)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._take_out(pl_module)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._take_out(pl_module)

    def _take_out(self, module: L.LightningModule) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None


class UpTo(nn.Module):
    """A module as the encoder that gives what one of its layers gives."""

    def __init__(self, module: L.LightningModule, name: str) -> None:
        super().__init__()
        self.name, self.layer = name, find_layer(module, name, "layer")
        has_forward = type(module).forward is not L.LightningModule.forward
        self.network = module if has_forward else self.layer

    def forward(self, inputs: Any) -> Tensor:
        outputs: list[Any] = []
        hook = self.layer.register_forward_hook(lambda *call: outputs.append(call[-1]))
        try:
            if isinstance(inputs, Mapping):
                self.network(**inputs)
            else:
                self.network(*(inputs if isinstance(inputs, tuple | list) else (inputs,)))
        finally:
            hook.remove()
        check_ran_once(self.name, len(outputs))
        return features_of(outputs[0], self.name)


def find_layer(module: nn.Module, name: str, argument: str) -> nn.Module:
    """The layer of this dotted name, or an error that lists those there are."""
    try:
        if name:
            return module.get_submodule(name)
    except AttributeError:
        pass
    names = [known for known, _ in module.named_modules() if known]
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    raise ValueError(
        f"{argument} must be the dotted name of a layer of {type(module).__name__}, got {name!r}: "
        f"it has {shown or 'none'}"
    )


def features_of(output: Any, layer: str) -> Tensor:
    """What a layer gave, or an error where that is no tensor of features."""
    if not isinstance(output, Tensor) or output.ndim < 2:
        got = tuple(output.shape) if isinstance(output, Tensor) else described(output)
        raise TypeError(f"layer {layer!r} must give a tensor of features (N, D), got {got}")
    return output


def check_ran_once(layer: str, runs: int) -> None:
    """Refuse a layer that ran more or less than once: which output is the feature?"""
    if runs != 1:
        raise ValueError(
            f"layer {layer!r} must run once for a batch, it ran {runs} times: name one that is "
            "called once, as a module and not by its forward()"
        )
