"""Labels and inputs of batches, and hooks on a layer that is given by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ranksim._utils.checks import describe_value

LabelsFn = Callable[[Any], Tensor]
InputsFn = Callable[[Any], Any]
_MAX_NAMES = 12  # layer names in an error message


class LayerCallback(Callback):
    """Base of callbacks with a forward hook on a layer, which is removed when training ends."""

    def __init__(self, layer: str, labels_fn: LabelsFn) -> None:
        check_layer_name("layer", layer)
        check_function("labels_fn", labels_fn, "a batch to its labels")
        self.layer, self.labels_fn = layer, labels_fn
        self._hook: RemovableHandle | None = None

    @property
    def state_key(self) -> str:
        return self._generate_state_key(layer=self.layer)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._remove_hook(pl_module)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._remove_hook(pl_module)

    def _remove_hook(self, module: L.LightningModule) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None


class LayerEncoder(nn.Module):
    """Runs a module, and returns the output of one of its layers.

    If the module does not define ``forward``, the layer itself is called.
    """

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
        return check_features(outputs[0], self.name)


def check_layer_name(argument: str, name: object) -> None:
    """Raise a TypeError unless the name of a layer is text."""
    if not isinstance(name, str):
        raise TypeError(
            f'{argument} must be the dotted name of a layer, such as "model.encoder", got '
            f"{describe_value(name)}"
        )


def check_function(argument: str, function: object, purpose: str) -> None:
    """Raise a TypeError unless the argument can be called."""
    if not callable(function):
        raise TypeError(
            f"{argument} must be a function from {purpose}, got {describe_value(function)}"
        )


def find_layer(module: nn.Module, name: str, argument: str) -> nn.Module:
    """Return the layer with this dotted name; raise an error that lists the layers otherwise."""
    layers: dict[str, nn.Module] = dict(module.named_modules(remove_duplicate=False))
    del layers[""]
    if name in layers:
        return layers[name]
    names = ", ".join([*list(layers)[:_MAX_NAMES], *(["..."] if len(layers) > _MAX_NAMES else [])])
    raise ValueError(
        f"{argument} must be the dotted name of a layer of {type(module).__name__}, got {name!r}: "
        f"its layers are {names or 'none'}"
    )


def check_features(output: Any, layer: str) -> Tensor:
    """Return the output of a layer; raise an error unless it is a tensor of features."""
    if not isinstance(output, Tensor) or output.ndim < 2:
        actual = tuple(output.shape) if isinstance(output, Tensor) else describe_type(output)
        raise TypeError(f"layer {layer!r} must return features (N, D), got {actual}")
    return output


def check_ran_once(layer: str, runs: int) -> None:
    """Raise an error unless a layer ran exactly once, so that its features are unambiguous."""
    if runs != 1:
        raise ValueError(
            f"layer {layer!r} must run once per batch, but ran {runs} times: name a layer that is "
            "called once, as a module and not through forward()"
        )


def get_labels(batch: Any) -> Tensor:
    """Return the labels of a batch ``(x, y)``, or of a dict with ``label``, ``labels`` or ``y``.

    Example:
        >>> import torch
        >>> get_labels({"image": torch.zeros(2, 3), "label": torch.tensor([20, 31])})
        tensor([20, 31])
    """
    labels: Tensor = _get_part(batch, 1, ("label", "labels", "y"), "labels")
    return labels


def get_inputs(batch: Any) -> Any:
    """Return the inputs of a batch ``(x, y)``, or of a dict with ``inputs``, ``input`` or ``x``."""
    return _get_part(batch, 0, ("inputs", "input", "x"), "inputs")


def extract_labels(labels_fn: LabelsFn, batch: Any) -> Tensor:
    """Return the labels that a user's function extracts; raise an error unless it is a tensor."""
    labels = labels_fn(batch)
    if not isinstance(labels, Tensor):
        raise TypeError(f"the labels of a batch must be a tensor, got {describe_type(labels)}")
    return labels


def describe_type(value: Any) -> str:
    """Describe the type of a batch or an output for an error message."""
    if isinstance(value, Mapping):
        return f"a dict with {', '.join(map(str, value)) or 'no keys'}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


def _get_part(batch: Any, index: int, keys: tuple[str, ...], name: str) -> Any:
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[index]
    if isinstance(batch, Mapping):
        for key in keys:
            if key in batch:
                return batch[key]
    raise TypeError(
        f"a batch must be (x, y) or a dict with {name} under {', '.join(keys)}, got "
        f"{describe_type(batch)}: pass {name}_fn=, a function from the batch to its {name}"
    )
