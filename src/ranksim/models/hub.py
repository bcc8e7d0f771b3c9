"""Pretrained models of the Hugging Face hub or a local folder, loaded without output or code."""

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

_NO_CONVERSION = "DISABLE_SAFETENSORS_CONVERSION"


@dataclass(frozen=True)
class HubModel:
    """A pretrained model, given by its name."""

    name: str  # a local folder, or a model of the hub
    kind: str  # expected kind of model, for error messages
    alternatives: str  # names to use instead, for error messages
    extra: str  # extra of ranksim that installs the libraries

    @property
    def source(self) -> str:
        """The name with ``~`` expanded."""
        return str(Path(self.name).expanduser())

    @property
    def transformers(self) -> ModuleType:
        return require_optional("transformers", self.extra)

    @contextlib.contextmanager
    def read_errors(self) -> Iterator[None]:
        """Translate errors of reading the model's description to ``UsageError``."""
        try:
            yield
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{self.name} could not be read as a {self.kind}: name {self.alternatives}, and "
                "check the connection."
            ) from error

    def load_config(self) -> Any:
        """Load the configuration, without running code of the model."""
        return self.transformers.AutoConfig.from_pretrained(self.source, trust_remote_code=False)

    def main_input(self, config: Any) -> str | None:
        """Return the name of the model's main input, or None for an unknown model class."""
        model_class = self.transformers.MODEL_MAPPING.get(type(config), None)
        return getattr(model_class, "main_input_name", None)

    def load(self, config: Any) -> nn.Module:
        """Load the model in float32 from complete safetensors weights; drop an untrained pooler."""
        safetensors = require_optional("safetensors", self.extra)
        errors = (OSError, ValueError, RuntimeError, ImportError, safetensors.SafetensorError)
        model: Any
        try:
            model, info = self.transformers.AutoModel.from_pretrained(
                self.source,
                config=config,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
            )
        except errors as error:
            raise UsageError(
                f"The weights of {self.name} could not be loaded: name a model with complete "
                "weights in safetensors format, and check the connection."
            ) from error
        missing = sorted(info["missing_keys"])
        if any(name.startswith("pooler.") for name in missing):
            model.pooler = None  # it has random weights
        optional = ("mask_token", "num_batches_tracked")
        missing = [n for n in missing if not (n.startswith("pooler.") or n.endswith(optional))]
        if missing:
            raise UsageError(
                f"{self.name} has no weights for {', '.join(missing[:3])} ({len(missing)} in "
                "total): name a model with complete weights."
            )
        loaded: nn.Module = model
        return loaded

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Silence progress bars and logs, and disable requests to convert weights on the hub."""
        loggers = [self.transformers.utils.logging]
        loggers.append(require_optional("huggingface_hub", self.extra).utils.logging)
        levels, bars = (
            [log.get_verbosity() for log in loggers],
            loggers[0].is_progress_bar_enabled(),
        )
        for log in loggers:
            log.set_verbosity(log.CRITICAL)
        loggers[0].disable_progress_bar()
        conversion = os.environ.get(_NO_CONVERSION)
        os.environ[_NO_CONVERSION] = "1"
        try:
            yield
        finally:
            del os.environ[_NO_CONVERSION]
            if conversion is not None:
                os.environ[_NO_CONVERSION] = conversion
            for log, level in zip(loggers, levels, strict=True):
                log.set_verbosity(level)
            if bars:
                loggers[0].enable_progress_bar()
