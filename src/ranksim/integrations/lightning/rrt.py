"""RRT, the second stage: a new head over a frozen encoder, for any LightningModule."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback
from torch import nn

from ranksim._utils.checks import check_flag, describe_value
from ranksim.exceptions import DataError
from ranksim.integrations.lightning.layer import check_layer_name, find_layer
from ranksim.models.checkpoints import load_tensors


class RetrainHeadCallback(Callback):
    """Trains a new head over the frozen encoder of a first stage: the second stage of RRT.

    When ``fit`` starts, the encoder is loaded from the checkpoint and frozen, and the parameters of
    the head are reinitialized. The head may be a part of the encoder, as ``"model.fc"`` is of
    ``"model"``. Weights are up to the loss, see :class:`WeightsCallback`.

    Args:
        encoder: dotted name of the layer to freeze.
        head: dotted name of the layer to retrain.
        checkpoint: best checkpoint of the first stage, saved by Lightning or by
            ``torch.save(module.state_dict(), path)``; no code in it is run.
        paper_compat: keep BatchNorm and dropout of the encoder in training mode, as the published
            code does, instead of evaluation mode.

    Example:
        >>> stage_two = RetrainHeadCallback("encoder", "head", "stage-one/best.ckpt")
        >>> trainer = L.Trainer(callbacks=[stage_two], logger=False)

    References:
        Kang et al., "Decoupling Representation and Classifier" (ICLR 2020); for regression, Yang et
        al., "Delving into Deep Imbalanced Regression" (ICML 2021).
    """

    def __init__(
        self, encoder: str, head: str, checkpoint: str | Path, *, paper_compat: bool = False
    ) -> None:
        check_layer_name("encoder", encoder)
        check_layer_name("head", head)
        check_flag("paper_compat", paper_compat)
        if not isinstance(checkpoint, str | Path):
            raise TypeError(f"checkpoint must be a path, got {describe_value(checkpoint)}")
        self.encoder, self.head = encoder, head
        self.checkpoint, self.paper_compat = Path(checkpoint), paper_compat

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        encoder = find_layer(pl_module, self.encoder, "encoder")
        head = find_layer(pl_module, self.head, "head")
        _load_encoder(encoder, self.encoder, self.checkpoint)
        encoder.requires_grad_(False)
        head.requires_grad_(True)
        _reset_parameters(head, self.head)

    # in each batch, so that no hook at the start of an epoch can undo it
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if not self.paper_compat:
            pl_module.get_submodule(self.encoder).eval()
            pl_module.get_submodule(self.head).train()


def _load_encoder(encoder: nn.Module, name: str, checkpoint: Path) -> None:
    """Load the encoder's weights from a checkpoint of the whole module."""
    content = load_tensors(checkpoint)
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    state = {str(k): v for k, v in state.items()} if isinstance(state, Mapping) else {}
    part = {k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")}
    if not part:
        raise DataError(
            f"{checkpoint} has no weights of {name!r}, its first key is "
            f"{next(iter(state), None)!r}: use the encoder's name of stage one."
        )
    try:
        encoder.load_state_dict(part)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{checkpoint} does not fit the encoder {name!r}: {reason}") from error


def _reset_parameters(head: nn.Module, name: str) -> None:
    """Reinitialize all parameters of the head."""
    for part in head.modules():
        reset = getattr(part, "reset_parameters", None)
        if callable(reset):
            reset()
        elif next(part.parameters(recurse=False), None) is not None:
            raise ValueError(
                f"head {name!r} cannot be reinitialized: its {type(part).__name__} has parameters "
                "but no reset_parameters()"
            )
