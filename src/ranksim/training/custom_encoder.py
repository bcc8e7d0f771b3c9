"""The feature extractor of the user as an encoder of a regressor."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ranksim._utils.checks import describe_value
from ranksim.data.batch import BatchDataset
from ranksim.exceptions import UsageError
from ranksim.models import Regressor
from ranksim.training.custom_network import MODEL, CustomNetwork, describe_error
from ranksim.training.feature_readers import FeatureReader, TextReader
from ranksim.training.recipe import IMAGES, TEXT, TEXTS

_EXAMPLES = 8  # samples in the example batch


class CustomEncoder(nn.Module):
    """A network of the user over inputs in a form that is usual for their kind.

    Args:
        network: maps a batch to features ``(N, D)``.
        convert: converts the inputs that ranksim has.
    """

    def __init__(self, network: nn.Module, convert: nn.Module) -> None:
        super().__init__()
        self.network, self.convert = network, convert
        self.width = 0  # known after a forward pass

    def forward(self, *inputs: Tensor) -> Tensor:
        """Map the inputs of N samples to features ``(N, D)``."""
        features: Tensor = self.network(*self.convert(*inputs))
        return features


class _Keep(nn.Module):
    """Keeps all inputs."""

    def forward(self, *inputs: Tensor) -> Sequence[Tensor]:
        return inputs


class _ConvertImages(nn.Module):
    """Converts uint8 images ``(N, H, W, 3)`` to numbers in [0, 1], ``(N, 3, H, W)``."""

    def forward(self, images: Tensor) -> Sequence[Tensor]:
        return (images.permute(0, 3, 1, 2).contiguous().float() / 255,)


class _LookUpWords(nn.Module):
    """Converts token ids ``(texts, N, T)`` to word vectors; one text has no first dimension."""

    vectors: Tensor

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        # not saved: word vectors are available elsewhere and never change
        self.register_buffer("vectors", vectors.float(), persistent=False)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Sequence[Tensor]:
        words = nn.functional.embedding(tokens, self.vectors)
        return (words[0], lengths[0]) if len(tokens) == 1 else (words, lengths)


def make_factory(
    custom: CustomNetwork, samples: BatchDataset, kind: str, reader: FeatureReader | None
) -> Callable[[], Regressor]:
    """Return a function that builds a new network with a head, for samples of a kind."""
    inputs = samples.get_inputs(torch.arange(min(len(samples), _EXAMPLES)))
    return lambda: Regressor(make_encoder(custom, inputs, kind, reader))


def check_custom_network(
    custom: CustomNetwork, samples: BatchDataset, kind: str, reader: FeatureReader | None
) -> None:
    """Raise a UsageError if two calls do not build two networks that can be trained."""
    factory = make_factory(custom, samples, kind, reader)
    networks = [factory().encoder for _ in range(2)]
    first, second = ({p.data_ptr() for p in network.parameters()} for network in networks)
    if first & second:
        raise UsageError(
            f"{MODEL} {custom.name} returns the same network, or shared layers, at each call, so "
            "that runs would share weights: create all layers inside of it."
        )


def make_encoder(
    custom: CustomNetwork, inputs: Sequence[Tensor], kind: str, reader: FeatureReader | None
) -> CustomEncoder:
    """Build a network of the user, and find the width of its features by a forward pass.

    Args:
        custom: builds the network.
        inputs: of a few samples, as ranksim has them.
        kind: of data.
        reader: of texts, whose word vectors the network reads.

    Raises:
        UsageError: the network cannot be trained as a feature extractor.
    """
    convert: nn.Module = _Keep()
    if kind in IMAGES:
        convert = _ConvertImages()
    elif kind in (TEXT, *TEXTS) and isinstance(reader, TextReader):
        convert = _LookUpWords(reader.vectors)
    example = convert(*inputs)
    encoder = CustomEncoder(custom.build_network(example), convert)
    encoder.eval()
    try:
        # dropout and lazy layers must not change the random state of the training
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            features = encoder(*inputs)
    except Exception as error:  # of the user's code
        raise UsageError(
            f"The network of {MODEL} {custom.name} could not read a batch "
            f"({describe_error(error)}): correct it."
        ) from error
    encoder.train()
    count = inputs[0].shape[0 if isinstance(convert, _Keep | _ConvertImages) else 1]
    _check_features(custom, features, count)
    if not any(parameter.requires_grad for parameter in encoder.parameters()):
        raise UsageError(
            f"The network of {MODEL} {custom.name} has no parameters that can be trained: add a "
            "layer, or set requires_grad."
        )
    encoder.width = features.shape[1]
    return encoder


def _check_features(custom: CustomNetwork, features: object, count: int) -> None:
    """Raise a UsageError unless features are finite numbers ``(N, D)``."""
    label = f"The network of {MODEL} {custom.name} must return features (N, D)"
    if not isinstance(features, Tensor):
        raise UsageError(f"{label}, a tensor, got {describe_value(features)}.")
    if features.ndim != 2 or len(features) != count or not features.shape[1]:
        raise UsageError(f"{label}, here ({count}, D), got shape {tuple(features.shape)}.")
    if not features.is_floating_point():
        raise UsageError(f"{label} of floating-point numbers, got {features.dtype}.")
    if not features.isfinite().all():
        raise UsageError(f"{label} that are finite, got values that are not.")
