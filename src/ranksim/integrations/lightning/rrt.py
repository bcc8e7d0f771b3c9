"""RRT, the second stage: a new head over a frozen encoder, for any LightningModule."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from ranksim.exceptions import DataError
from ranksim.integrations.lightning.layer import find_layer


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
        encoder = find_layer(pl_module, self.encoder, "encoder")
        head = find_layer(pl_module, self.head, "head")
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
