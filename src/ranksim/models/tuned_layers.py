"""Pretrained text encoders of which only the upper layers are trained."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from ranksim.exceptions import UsageError
from ranksim.models.encoders import MLPEncoder, combine_texts
from ranksim.models.pretrained import SentenceEncoder, pool_states, scale_to_unit

_GROUP = 16  # texts of similar length that pass the layers together
_TOLERANCE = 1e-4  # relative, of the states of a split model


class LowerLayers(nn.Module):
    """Embeddings and lower layers of a text encoder, with fixed weights, in evaluation mode.

    Args:
        encoder: the whole encoder.
        tuned_layers: number of layers above, at least 1.

    Raises:
        UsageError: the encoder does not have so many layers, or cannot be split.
    """

    def __init__(self, encoder: SentenceEncoder, tuned_layers: int) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(encoder.backbone).requires_grad_(False).eval()
        self.position = len(_find_layers(self.backbone, tuned_layers)) - tuned_layers

    def forward(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map token ids ``(N, T)`` and lengths ``(N,)`` to hidden states and means of lower ones.

        Returns:
            States ``(N, T, D)``, and the means ``(N, position, D)`` of those of the layers below.
        """
        mask = torch.arange(tokens.shape[1], device=tokens.device) < lengths.unsqueeze(1)
        with torch.no_grad():
            outputs = self.backbone(
                input_ids=tokens, attention_mask=mask.long(), output_hidden_states=True
            )
        *below, states = outputs.hidden_states[: self.position + 1]
        means = [pool_states(each, mask) for each in below]
        shape = len(states), len(below), states.shape[-1]
        return states, torch.stack(means, dim=1) if means else states.new_empty(shape)


class UpperLayers(nn.Module):
    """Upper layers of a text encoder, mean pooling, and a pair feature: the part that is trained.

    Texts of similar length pass the layers together, so that little time is spent on padding.

    Args:
        encoder: the whole encoder, which gives weights, ``texts``, ``pair_features`` and
            ``pooled_layers``.
        tuned_layers: number of layers, at least 1.

    Raises:
        UsageError: the encoder does not have so many layers, or cannot be split.
    """

    may_have_unused = True  # weights that the features do not depend on

    def __init__(self, encoder: SentenceEncoder, tuned_layers: int) -> None:
        super().__init__()
        self.texts, self.pair_features = encoder.texts, encoder.pair_features
        self.pooled_layers, self.width = encoder.pooled_layers, encoder.width
        self.backbone: Any = copy.deepcopy(encoder.backbone)
        layers = _find_layers(self.backbone, tuned_layers)
        del layers[: len(layers) - tuned_layers]
        self.backbone.embeddings = _GivenStates()

    def forward(self, states: Tensor, lengths: Tensor, means: Tensor) -> Tensor:
        """Map the results of :class:`LowerLayers` to features ``(N, width)``.

        Args:
            states: ``(texts, N, T, D)``.
            lengths: tokens of each text ``(texts, N)``.
            means: of the states of lower layers ``(texts, N, layers, D)``.
        """
        rows, counts = states.flatten(0, 1), lengths.flatten()
        order = counts.argsort(stable=True)
        parts = torch.split(order, _GROUP)
        pooled = torch.cat([self._pool(rows[part], counts[part]) for part in parts])
        pooled = pooled[order.argsort()]
        if self.pooled_layers == "all":
            lower = means.flatten(0, 1)
            if self._is_scaled:
                lower = scale_to_unit(lower)
            pooled = torch.cat([lower.flatten(1), pooled], dim=1)
        return combine_texts(pooled, self.texts, self.pair_features)

    @property
    def _is_scaled(self) -> bool:
        return self.texts == 2 and self.pair_features == "symmetric"

    def _pool(self, states: Tensor, lengths: Tensor) -> Tensor:
        longest = int(lengths.max())
        mask = torch.arange(longest, device=states.device) < lengths.unsqueeze(1)
        layers = self.compute_states(states[:, :longest], mask)
        chosen = layers if self.pooled_layers == "all" else layers[-1:]
        return torch.cat([pool_states(each, mask, scaled=self._is_scaled) for each in chosen], -1)

    def compute_states(self, states: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Return the given hidden states ``(N, T, D)`` and those of each layer above."""
        outputs = self.backbone(
            inputs_embeds=states, attention_mask=mask.long(), output_hidden_states=True
        )
        layers: tuple[Tensor, ...] = outputs.hidden_states
        return layers


class _GivenStates(nn.Module):
    """Stands for the embeddings of a model whose input already are hidden states."""

    def forward(self, *args: Any, **options: Any) -> Tensor:
        """Return the only argument that is a tensor of numbers, whatever its name."""
        values = (*args, *options.values())
        states: Tensor = next(
            value for value in values if isinstance(value, Tensor) and value.is_floating_point()
        )
        return states


class EncoderWithMLP(nn.Module):
    """An encoder and an MLP over its features, the part that is trained from scratch.

    Args:
        encoder: maps a batch to features; its attribute ``width`` is their number.
        mlp: maps these to the features of the network.
    """

    may_have_unused = True

    def __init__(self, encoder: nn.Module, mlp: MLPEncoder) -> None:
        super().__init__()
        self.encoder, self.mlp, self.width = encoder, mlp, mlp.width

    def forward(self, *inputs: Any) -> Tensor:
        """Map a batch to features ``(N, width)``."""
        features: Tensor = self.mlp(self.encoder(*inputs))
        return features


def split_encoder(
    encoder: SentenceEncoder, tuned_layers: int, source: str
) -> tuple[LowerLayers, UpperLayers]:
    """Return the fixed lower layers and the trained upper layers of an encoder.

    Raises:
        UsageError: the encoder does not have so many layers, or cannot be split; ``source`` is its
            name in the message.
    """
    tokens, lengths = torch.ones(2, 3, dtype=torch.long), torch.tensor([3, 2])
    mask = torch.arange(3) < lengths.unsqueeze(1)
    try:
        lower, upper = LowerLayers(encoder, tuned_layers), UpperLayers(encoder, tuned_layers)
        training = encoder.training
        with torch.no_grad():
            outputs = encoder.eval().backbone(input_ids=tokens, attention_mask=mask.long())
            states = upper.eval().compute_states(lower(tokens, lengths)[0], mask)[-1]
        encoder.train(training)
        upper.train()
        expected = outputs.last_hidden_state
        is_equal = torch.allclose(states[mask], expected[mask], rtol=_TOLERANCE, atol=_TOLERANCE)
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise _refuse(source) from error
    if not is_equal:
        raise _refuse(source)
    return lower, upper


def _refuse(source: str) -> UsageError:
    return UsageError(
        f"The upper layers of {source} cannot be trained alone: set tuned_layers to 0, which "
        "trains all of them."
    )


def _find_layers(backbone: nn.Module, tuned_layers: int) -> nn.ModuleList:
    """Return the list of the transformer layers of a model."""
    config: Any = backbone.config
    count = int(config.num_hidden_layers)
    if tuned_layers > count:
        raise UsageError(f"tuned_layers is {tuned_layers}, but the encoder has {count} layers.")
    lists = (module for module in backbone.modules() if isinstance(module, nn.ModuleList))
    layers = next((each for each in lists if len(each) == count), None)
    if layers is None:
        raise ValueError("the model has no list of layers")
    return layers
