"""The techniques as Lightning callbacks, for any LightningModule as it stands.

A layer is given by its dotted name in the module, for example ``"encoder"`` or
``"model.avgpool"``; its output, of shape ``(N, D)`` or ``(N, D, 1, ...)``, is the feature. What
the callbacks put into a module is taken out again when ``fit`` ends, however it ends.
"""

from __future__ import annotations

import copy
import functools
import itertools
import math
import pickle
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ranksim.balance import DensityWeights
from ranksim.balance.fds import FDS
from ranksim.errors import DataError, needs
from ranksim.losses import RankSimLoss

try:
    import lightning.pytorch as L
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.utilities import CombinedLoader
    from lightning.pytorch.utilities.seed import isolate_rng
except ModuleNotFoundError:
    needs("lightning.pytorch", "bench")  # says which extra brings it
    raise

Labels = Callable[[Any], Tensor]
Inputs = Callable[[Any], Any]


def labels_of(batch: Any) -> Tensor:
    """Labels of a batch ``(x, y)``, or of a dict with ``label``, ``labels`` or ``y``.

    Example:
        >>> labels_of({"image": torch.zeros(2, 3), "label": torch.tensor([20, 31])})
        tensor([20, 31])
    """
    found: Tensor = _part(batch, 1, ("label", "labels", "y"), "labels")
    return found


def inputs_of(batch: Any) -> Any:
    """Inputs of a batch ``(x, y)``, or of a dict with ``inputs``, ``input`` or ``x``."""
    return _part(batch, 0, ("inputs", "input", "x"), "inputs")


class _LayerCallback(Callback):
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


class FDSCallback(_LayerCallback):
    """Calibrates the output of a layer by FDS in training steps, and keeps its statistics.

    From the second epoch on, each epoch starts with a pass over the training loader that refreshes
    the statistics with the weights as they are: without gradient, in evaluation mode (unless
    ``fds.published``), on random numbers of its own. With several loaders the pass combines them
    as Lightning does by default. Validation, test and prediction are left alone. The state of FDS
    is saved with the callback, so a resumed training repeats the uninterrupted one.

    Args:
        fds: as many features wide as the layer's output; it moves to the module's device.
        layer: dotted name of the layer, which runs once in a training step.
        labels: from a batch to its labels ``(N,)`` or ``(N, 1)``.
        inputs: from a batch to what the module is called with in the pass: a tuple is several
            arguments, a dict keyword arguments. Where the module has no ``forward`` of its own,
            the layer itself is called.
        refresh: ``False`` keeps statistics that were made before, as the second stage of RRT does.

    Raises (when training):
        ValueError: no such layer, a layer that does not run exactly once, or shapes that FDS
            cannot take.
        TypeError: a batch or an output that is not understood.

    Example:
        >>> from ranksim.balance import LabelBins
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
        layer = _find(pl_module, self.layer, "layer")
        self._hook = layer.register_forward_hook(self._calibrated)

    # Done as an epoch starts and not as one ends: the weights are the same, the last epoch needs
    # it not, and a run resumed from the checkpoint between the two does it.
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self.refresh or trainer.current_epoch <= self._refreshed:
            return
        encoder = _UpTo(pl_module, self.layer)
        with isolate_rng(), trainer.precision_plugin.forward_context():
            self.fds.refresh(encoder, self._samples(trainer, pl_module))
        self._refreshed = trainer.current_epoch

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._now, self._runs = _labels(self.labels, batch), 0

    def on_before_backward(
        self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor
    ) -> None:
        if pl_module.automatic_optimization:  # else a step may have any number of these
            _check_once(self.layer, self._runs)
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
        features = _tensor(output, self.layer)
        return self.fds.smooth(features.flatten(1), self._now).view_as(features)

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
            yield self.inputs(batch), _labels(self.labels, batch)


class RankSimCallback(_LayerCallback):
    """Adds RankSim to the loss that ``training_step`` returns, and logs it as ``train_ranksim``.

    With an :class:`FDSCallback` on the same layer RankSim sees the features before FDS, or after
    it where ``fds.published``; the order of the two callbacks does not matter. The state of the
    loss's generator is saved with the callback. A loss without one draws from torch's generator,
    and so moves the numbers that dropout and the order of samples draw.

    Args:
        loss: the term; its ``strength`` is its weight beside the module's own loss.
        layer: dotted name of the layer, which runs once in a training step.
        labels: from a batch to its labels. Labels with decimals should become whole steps of their
            last digit, for example ``lambda batch: (batch["label"] * 10).round()``.

    Raises (when training):
        ValueError: no such layer, a layer that does not run exactly once, or a module with manual
            optimisation.
        TypeError: a batch or an output that is not understood.

    Example:
        >>> ranksim = RankSimLoss(strength=0.1, generator=torch.Generator().manual_seed(0))
        >>> trainer = L.Trainer(callbacks=[RankSimCallback(ranksim, "encoder")], logger=False)

    Source: Gong, Mori, Tung (ICML 2022), section 3.
    """

    def __init__(self, loss: RankSimLoss, layer: str, *, labels: Labels = labels_of) -> None:
        super().__init__(layer, labels)
        self.loss = loss
        self._outputs: list[Any] | None = None  # of the layer, while training_step runs

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        _find(pl_module, self.layer, "layer")
        if not pl_module.automatic_optimization:
            raise ValueError(
                "RankSimCallback adds to the loss that training_step returns, but "
                f"{type(pl_module).__name__} optimises manually: add RankSimLoss to its own loss "
                "before manual_backward() instead"
            )

    # FDS has its hook since on_fit_start: this one comes after it, or in front of all
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        layer = _find(pl_module, self.layer, "layer")
        raw = any(
            not other.fds.published and _find(pl_module, other.layer, "layer") is layer
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
        _check_once(self.layer, len(outputs))
        term = self.loss(_tensor(outputs[0], self.layer), _labels(self.labels, batch))
        module.log("train_ranksim", term.detach(), on_step=False, on_epoch=True, batch_size=1)
        return {**output, "loss": loss + term} if isinstance(output, Mapping) else loss + term

    def state_dict(self) -> dict[str, Any]:
        generator = self.loss.generator
        return {} if generator is None else {"generator": generator.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.loss.generator is not None:
            self.loss.generator.set_state(state_dict["generator"].cpu())

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


class WeightsCallback(Callback):
    """Puts the weight of each sample into training batches, for the module's own loss to use.

    A batch must be a dict: ``batch["weight"]`` is float32, of the labels' shape and on their
    device. Only training batches have it, so ``batch.get("weight")`` serves all steps. Labels on
    an accelerator are copied back for it; a data set that holds the weights saves that.

    Args:
        weights: fitted to the training labels.
        labels: from a batch to its labels.
        key: what the weights are called in the batch.

    Raises (when training):
        TypeError: a batch that is no dict, or whose labels are not found.
        ValueError: a batch that has something under the key already.

    Example:
        >>> from ranksim.balance import LabelBins
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
                f"{_described(batch)}: have the data set return a dict, or call the DensityWeights "
                "in training_step"
            )
        if self.key in batch:
            raise ValueError(
                f"the batch has {self.key!r} already: give WeightsCallback another key="
            )
        labels = _labels(self.labels, batch)
        found = self.weights(labels.detach().cpu().double().flatten().numpy())
        weight = torch.from_numpy(found).float()
        batch[self.key] = weight.reshape(labels.shape).to(labels.device)


class RetrainHeadCallback(Callback):
    """The second stage of RRT: a new head over the frozen encoder of the first stage.

    As ``fit`` sets up, the encoder gets its weights from the checkpoint and is frozen, and the
    head's parameters are drawn anew; weights are up to the loss, see :class:`WeightsCallback`. The
    head may be a part of the encoder, as ``"model.fc"`` is of ``"model"``.

    Args:
        encoder: dotted name of the layer that stays.
        head: dotted name of the layer that is trained again.
        checkpoint: the best of stage one, by Lightning or ``torch.save(module.state_dict())``;
            nothing in it is executed.
        published: BatchNorm and dropout in the encoder go on as in training, as in the published
            code; by default the encoder is in evaluation mode.

    Raises (when training):
        ValueError: no such layer, or a head whose parameters cannot be drawn anew.
        DataError: the checkpoint is missing, cannot be read, or does not fit.

    Example:
        >>> stage_two = RetrainHeadCallback("encoder", "head", "stage-one/best.ckpt")
        >>> trainer = L.Trainer(callbacks=[stage_two], logger=False)

    Source: Kang et al. (ICLR 2020), decoupled training; Yang et al. (ICML 2021) for regression.
    """

    def __init__(
        self, encoder: str, head: str, checkpoint: str | Path, *, published: bool = False
    ) -> None:
        self.encoder, self.head = encoder, head
        self.checkpoint, self.published = Path(checkpoint), published

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        encoder = _find(pl_module, self.encoder, "encoder")
        head = _find(pl_module, self.head, "head")
        _load(encoder, self.encoder, self.checkpoint)
        encoder.requires_grad_(False)
        head.requires_grad_(True)
        _draw_anew(head, self.head)

    # at each batch, so that no hook at the start of an epoch can undo it
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if not self.published:
            pl_module.get_submodule(self.encoder).eval()
            pl_module.get_submodule(self.head).train()


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


class _UpTo(nn.Module):
    """A module as the encoder that gives what one of its layers gives."""

    def __init__(self, module: L.LightningModule, name: str) -> None:
        super().__init__()
        self.name, self.layer = name, _find(module, name, "layer")
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
        _check_once(self.name, len(outputs))
        return _tensor(outputs[0], self.name).flatten(1)


def _part(batch: Any, place: int, keys: tuple[str, ...], what: str) -> Any:
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[place]
    if isinstance(batch, Mapping):
        for key in keys:
            if key in batch:
                return batch[key]
    raise TypeError(
        f"the {what} of a batch are found in (x, y) or in a dict under {', '.join(keys)}, got "
        f"{_described(batch)}: pass {what}=, a function from the batch to its {what}"
    )


def _described(batch: Any) -> str:
    if isinstance(batch, Mapping):
        return f"a dict with {', '.join(map(str, batch)) or 'nothing'}"
    if isinstance(batch, tuple | list):
        return f"a {type(batch).__name__} of {len(batch)}"
    return f"a {type(batch).__name__}"


def _labels(find: Labels, batch: Any) -> Tensor:
    found = find(batch)
    if not isinstance(found, Tensor):
        raise TypeError(f"the labels of a batch must be a tensor, got {_described(found)}")
    return found


def _tensor(output: Any, layer: str) -> Tensor:
    if not isinstance(output, Tensor) or output.ndim < 2:
        got = tuple(output.shape) if isinstance(output, Tensor) else _described(output)
        raise TypeError(f"layer {layer!r} must give a tensor of features (N, D), got {got}")
    return output


def _check_once(layer: str, runs: int) -> None:
    if runs != 1:
        raise ValueError(
            f"layer {layer!r} must run once for a batch, it ran {runs} times: name one that is "
            "called once, as a module and not by its forward()"
        )


def _find(module: nn.Module, name: str, argument: str) -> nn.Module:
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


def _anew(loader: Any) -> Any:
    """A loader whose persistent workers are not those that the training reads from."""
    if getattr(loader, "persistent_workers", False):
        loader = copy.copy(loader)
        loader._iterator = None
    return loader


def _load(encoder: nn.Module, name: str, checkpoint: Path) -> None:
    if not checkpoint.is_file():
        raise DataError(f"There is no checkpoint {checkpoint}: give the best one of stage one.")
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        state = content.get("state_dict", content)
        part = {k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")}
    except (RuntimeError, OSError, EOFError, AttributeError, pickle.UnpicklingError) as error:
        raise DataError(
            f"{checkpoint} cannot be read as weights alone: give a Lightning checkpoint without "
            "objects of your own, or what torch.save(module.state_dict(), path) writes."
        ) from error
    if not part:
        raise DataError(
            f"{checkpoint} holds no weights of {name!r}, its first is "
            f"{next(iter(state), None)!r}: name the encoder as stage one did."
        )
    try:
        encoder.load_state_dict(part)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{checkpoint} does not fit the encoder {name!r}: {reason}") from error


def _draw_anew(head: nn.Module, name: str) -> None:
    for part in head.modules():
        reset = getattr(part, "reset_parameters", None)
        if callable(reset):
            reset()
        elif next(part.parameters(recurse=False), None) is not None:
            raise ValueError(
                f"head {name!r} must have parameters that can be drawn anew, but its "
                f"{type(part).__name__} has no reset_parameters()"
            )
