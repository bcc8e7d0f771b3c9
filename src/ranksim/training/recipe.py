"""The settings of one training, as data."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Self

from ranksim._utils.formatting import format_value
from ranksim.exceptions import UsageError
from ranksim.functional.ranking import TIES
from ranksim.imbalance import KERNELS, SCHEMES
from ranksim.imbalance.fds import EMPTY
from ranksim.training.config_fields import check, coerce, field_any, field_choice, number, require

LOSSES = ("mse", "l1", "huber")
MONITORS = ("mse", "mae")
ACTIVATIONS = ("sigmoid", "tanh")
SERIES = ("gru", "conv")
# beyond these nothing is gained, and memory or precision breaks
_BINS, _FDS_BINS, _SIZE, _SIGMA, _MEMORY = 100_000, 2_000, 9_999, 1_000, 65_536


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides what a training does, except data, network, method and seed.

    Args:
        label_scale: the network predicts label / label_scale; 0: the standard deviation of the
            training labels.
        label_step: last digit of the labels, in their unit; RankSim compares whole steps, so that
            equidistant neighbours tie exactly. 0: found in the training labels.
        lr, weight_decay: of Adam.
        lr_drops, lr_factor: at the start of these epochs, counted from 0, lr is multiplied by this.
        batch_size: samples of a batch, on each device.
        accumulate: batches whose gradients are averaged for one step; those at the end of an epoch
            that fill no step, and there a smaller batch, are left out of it.
        clip: largest norm of the gradient; 0: not clipped.
        monitor: the validation score that chooses the best weights, ``mse`` or ``mae``.
        validate_every: steps between two validations; 0: once an epoch.
        max_validations: the end, if early stopping has not come before.
        patience: validations without a better score before training stops; 0: it does not stop.
        gamma, lambda_, strength, ties: RankSim (see :func:`ranksim.functional.ranksim_loss`).
        unique_labels: one sample per distinct label: true, false, or a bin width in the label's
            unit.
        memory: samples of earlier batches that RankSim ranks beside a batch's own; 0: none.
        loss: the plain loss, ``mse``, ``l1`` or ``huber``, of label / label_scale.
        huber_delta: where Huber turns linear, in that unit.
        focal_beta, focal_gamma, focal_activation: Focal-R, in that unit (see
            :func:`ranksim.functional.focal_r_loss`).
        bins: equal bins over the range of labels, for weights and LDS; 0: those of the data set.
        weighting: what LDS and RRT weigh by where a method's name does not say.
        count_low, count_high: with weights 1/n, counts are clipped to these; 0: not.
        lds_kernel, lds_size, lds_sigma: LDS (see :class:`ranksim.imbalance.LDS`).
        fds_bins: the same for FDS.
        fds_start, fds_end: the labels that the bins of FDS cover, labels beyond belonging to the
            first or last; 0 and 0: all.
        fds_kernel, fds_size, fds_sigma, fds_momentum, fds_low, fds_high, fds_empty, fds_published:
            FDS (see :class:`ranksim.imbalance.FDS`).
        rrt_published: the encoder's BatchNorm and dropout stay in training mode in stage two.
    """

    label_scale: float = number(at_least=0)
    label_step: float = number(at_least=0)
    lr: float = number(above=0)
    weight_decay: float = number(at_least=0)
    lr_drops: tuple[int, ...] = number(at_least=1)
    lr_factor: float = number(above=0)
    batch_size: int = number(at_least=1)
    accumulate: int = number(at_least=1)
    clip: float = number(at_least=0)
    monitor: str = field_choice(MONITORS)
    validate_every: int = number(at_least=0)
    max_validations: int = number(at_least=1)
    patience: int = number(at_least=0)
    gamma: float = number(at_least=0)
    lambda_: float = number(above=0)
    strength: float = number(at_least=0)
    ties: str = field_choice(TIES)
    unique_labels: bool | float = field_any()
    memory: int = number(at_least=0, at_most=_MEMORY, default=0)
    loss: str = field_choice(LOSSES)
    huber_delta: float = number(above=0)
    focal_beta: float = number(above=0)
    focal_gamma: float = number(at_least=0)
    focal_activation: str = field_choice(ACTIVATIONS)
    bins: int = number(at_least=0, at_most=_BINS)
    weighting: str = field_choice(SCHEMES)
    count_low: float = number(at_least=0)
    count_high: float = number(at_least=0)
    lds_kernel: str = field_choice(KERNELS)
    lds_size: int = number(at_least=1, at_most=_SIZE, odd=True)
    lds_sigma: float = number(above=0, at_most=_SIGMA)
    fds_bins: int = number(at_least=0, at_most=_FDS_BINS)
    fds_start: float = field_any()
    fds_end: float = field_any()
    fds_kernel: str = field_choice(KERNELS)
    fds_size: int = number(at_least=1, at_most=_SIZE, odd=True)
    fds_sigma: float = number(above=0, at_most=_SIGMA)
    fds_momentum: float = number(at_least=0, below=1)
    fds_low: float = number(above=0, at_most=1)
    fds_high: float = number(at_least=1)
    fds_empty: str = field_choice(EMPTY)
    fds_published: bool = field_any()
    rrt_published: bool = field_any()

    def __post_init__(self) -> None:
        for item in fields(self):
            check(item, getattr(self, item.name))
        high = self.count_high or math.inf
        require(self.count_low <= high, "count_low", f"at most {high}", self.count_low)
        if self.unique_labels is not False:
            require(self.unique_labels > 0, "unique_labels", "above 0", self.unique_labels)
        if self.fds_start or self.fds_end:
            above = f"above fds_start {self.fds_start:g}"
            require(self.fds_end > self.fds_start, "fds_end", above, self.fds_end)
            require(self.fds_bins > 0, "fds_bins", "above 0 with fds_start", self.fds_bins)

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """A recipe from a table of its fields, each one there and of the right type.

        Fields that have a default came later: what was saved before lacks them.
        """
        known = {item.name: str(item.type) for item in fields(cls)}
        for name in table:
            if name not in known:
                raise UsageError(
                    f"A recipe has no field {format_value(name)}: it has {', '.join(known)}."
                )
        missing = [name for name in known if name not in {*table, *cls.later()}]
        if missing:
            raise UsageError(f"The recipe lacks {', '.join(missing)}: give each field a value.")
        return cls(**{name: coerce(name, value, known[name]) for name, value in table.items()})

    @classmethod
    def later(cls) -> dict[str, Any]:
        """The fields that earlier recipes did not have, at what these did."""
        return {item.name: item.default for item in fields(cls) if item.default is not MISSING}


@dataclass(frozen=True)
class TextRecipe(Recipe):
    """A recipe for texts.

    Args:
        vectors: word vectors, ``glove-6b-50d`` or ``glove-840b-300d``.
        max_tokens: a text keeps its first so many tokens.
        hidden, layers, dropout: the BiLSTM (see :class:`ranksim.models.TextEncoder`).
    """

    vectors: str = field_any()
    max_tokens: int = number(at_least=1)
    hidden: int = number(at_least=1)
    layers: int = number(at_least=1)
    dropout: float = number(at_least=0, below=1)


@dataclass(frozen=True)
class ImageRecipe(Recipe):
    """A recipe for images.

    Args:
        encoder: ``resnet18``, ``resnet34`` or ``resnet50`` from scratch, or a pretrained vision
            model of the Hugging Face hub, by name or folder.
        image_size: side of the square that images are resized to, in pixels.
        pad: black border before the random crop of training, in pixels of a 224-pixel image and in
            proportion for others; 0: no crop.
        flip: mirror half of the training images.
    """

    encoder: str = field_any()
    image_size: int = number(at_least=1, at_most=4_096)
    pad: float = number(at_least=0, at_most=224)
    flip: bool = field_any()


@dataclass(frozen=True)
class TableRecipe(Recipe):
    """A recipe for rows of numbers and categories.

    Args:
        hidden, layers, dropout: the MLP (see :class:`ranksim.models.MLPEncoder`).
    """

    hidden: int = number(at_least=1)
    layers: int = number(at_least=1)
    dropout: float = number(at_least=0, below=1)


@dataclass(frozen=True)
class SentenceRecipe(TableRecipe):
    """A recipe for texts that a pretrained encoder reads.

    Args:
        encoder: a text model of the Hugging Face hub, by name or folder.
        max_tokens: a text keeps its first so many tokens.
        frozen: the encoder stays as it is, and an MLP learns from what it gives; else all of it is
            trained, with the linear head alone on top.
    """

    encoder: str = field_any()
    max_tokens: int = number(at_least=1)
    frozen: bool = field_any()


@dataclass(frozen=True)
class SeriesRecipe(Recipe):
    """A recipe for windows of a series.

    Args:
        encoder: ``gru`` or ``conv`` (see :mod:`ranksim.models.series`).
        hidden, layers, dropout: of either.
    """

    encoder: str = field_choice(SERIES)
    hidden: int = number(at_least=1)
    layers: int = number(at_least=1)
    dropout: float = number(at_least=0, below=1)


def parse_change(text: str) -> tuple[str, Any]:
    """``"lr=5e-4"`` to a field and its value, written as in TOML; a bare word is a string."""
    name, sign, value = text.partition("=")
    if not sign or not name.strip() or not value.strip():
        raise UsageError(
            f"--set takes FIELD=VALUE, for example --set lr=5e-4, got {format_value(text)}."
        )
    try:
        return name.strip(), tomllib.loads(f"value = {value.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value.strip()
