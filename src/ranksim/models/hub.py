"""Pretrained models of the Hugging Face hub or a folder: read quietly, refused in one sentence."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ranksim.exceptions import UsageError, require_optional


@dataclass(frozen=True)
class HubModel:
    """A pretrained model by its name, before any of it is read.

    Args:
        name: a local folder, or a model of the hub.
        kind: what it should be, for messages.
        instead: what else may be named, for messages.
        extra: of ranksim, which brings the libraries.
    """

    name: str
    kind: str
    instead: str
    extra: str

    @property
    def source(self) -> str:
        """As the libraries take it."""
        return str(Path(self.name).expanduser())

    @property
    def transformers(self) -> ModuleType:
        return require_optional("transformers", self.extra)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Turns what goes wrong while its description is read into one sentence."""
        try:
            yield
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{self.name} is no {self.kind} that can be read; name {self.instead}, and check "
                "the connection."
            ) from error

    def config(self) -> Any:
        """Its configuration; no code that comes with it is run."""
        return self.transformers.AutoConfig.from_pretrained(self.source, trust_remote_code=False)

    def takes(self, config: Any) -> str | None:
        """The main input of such a model, where it is a known one."""
        kind = self.transformers.MODEL_MAPPING.get(type(config), None)
        return getattr(kind, "main_input_name", None)

    def load(self, config: Any) -> nn.Module:
        """The model in float32, from weights in safetensors format that are all there.

        A pooler that nobody trained is left out.

        Raises:
            UsageError: weights cannot be loaded, or some are missing.
        """
        safetensors = require_optional("safetensors", self.extra)
        try:
            model, told = self.transformers.AutoModel.from_pretrained(
                self.source,
                config=config,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
            )
        except (
            OSError,
            ValueError,
            RuntimeError,
            ImportError,
            safetensors.SafetensorError,
        ) as error:
            raise UsageError(
                f"The weights of {self.name} cannot be loaded; name a model that has them whole "
                "and in safetensors format, and check the connection."
            ) from error
        missing = sorted(told["missing_keys"])
        if any(name.startswith("pooler.") for name in missing):
            model.pooler = None  # it would pool by weights that nobody trained
        unneeded = ("mask_token", "num_batches_tracked")
        needed = [n for n in missing if not (n.startswith("pooler.") or n.endswith(unneeded))]
        if needed:
            raise UsageError(
                f"{self.name} has no weights for {', '.join(needed[:3])} ({len(needed)} in all); "
                "name a model that was saved whole."
            )
        found: nn.Module = model
        return found

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """No progress bars or log lines, and nobody asked to convert weights on a user's behalf."""
        ours = self.transformers.utils.logging
        hub = require_optional("huggingface_hub", self.extra).utils.logging
        levels, bars = (ours.get_verbosity(), hub.get_verbosity()), ours.is_progress_bar_enabled()
        converting = os.environ.get("DISABLE_SAFETENSORS_CONVERSION")
        os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
        ours.set_verbosity(ours.CRITICAL)
        hub.set_verbosity(hub.CRITICAL)
        ours.disable_progress_bar()
        try:
            yield
        finally:
            ours.set_verbosity(levels[0])
            hub.set_verbosity(levels[1])
            if bars:
                ours.enable_progress_bar()
            if converting is None:
                del os.environ["DISABLE_SAFETENSORS_CONVERSION"]
            else:
                os.environ["DISABLE_SAFETENSORS_CONVERSION"] = converting
