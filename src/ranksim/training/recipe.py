"""The settings of one training, as data."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ranksim.balance import KERNELS, SCHEMES
from ranksim.balance.fds import EMPTY
from ranksim.errors import UsageError
from ranksim.functional.ranking import TIES

LOSSES = ("mse", "l1", "huber")
ACTIVATIONS = ("sigmoid", "tanh")
_AT_LEAST_ONE = (
    *("max_tokens", "hidden", "layers", "batch_size", "max_validations", "patience", "bins"),
    *("fds_bins", "lds_size", "fds_size", "fds_high"),
)
_POSITIVE = (
    *("label_scale", "label_step", "lr", "clip", "lambda_", "huber_delta", "focal_beta"),
    *("lds_sigma", "fds_sigma", "fds_low"),
)
_NOT_NEGATIVE = (
    *("weight_decay", "validate_every", "gamma", "strength", "focal_gamma"),
    *("count_low", "count_high"),
)
# beyond these nothing is gained, and memory or precision breaks
_AT_MOST = {
    "bins": 100_000,
    "fds_bins": 2_000,
    **dict.fromkeys(("lds_size", "fds_size"), 9_999),
    **dict.fromkeys(("lds_sigma", "fds_sigma"), 1_000),
}
_CHOICES = {
    "ties": TIES,
    "loss": LOSSES,
    "focal_activation": ACTIVATIONS,
    "weighting": SCHEMES,
    "lds_kernel": KERNELS,
    "fds_kernel": KERNELS,
    "fds_empty": EMPTY,
}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a training does, except data, method and seed.

    Args:
        vectors: word vectors, ``glove-6b-50d`` or ``glove-840b-300d``.
        max_tokens: a text keeps its first so many tokens.
        hidden, layers, dropout: the BiLSTM (see :class:`ranksim.models.TextEncoder`).
        label_scale: the network predicts label / label_scale.
        label_step: last digit of the labels, in their unit; RankSim compares whole steps, so that
            equidistant neighbours tie exactly.
        lr, weight_decay: of Adam.
        batch_size: samples a step.
        clip: largest norm of the gradient.
        validate_every: steps between two validations; 0: once an epoch.
        max_validations: the end, if early stopping has not come before.
        patience: validations without a better MSE before training stops.
        gamma, lambda_, strength, ties: RankSim (see :func:`ranksim.functional.ranksim_loss`).
        unique_labels: one sample per distinct label: true, false, or a bin width in the label's
            unit.
        loss: the plain loss, ``mse``, ``l1`` or ``huber``, of label / label_scale.
        huber_delta: where Huber turns linear, in that unit.
        focal_beta, focal_gamma, focal_activation: Focal-R, in that unit (see
            :func:`ranksim.functional.focal_r_loss`).
        bins: equal bins over the range of labels, for weights and LDS.
        weighting: what LDS and RRT weigh by where a method's name does not say.
        count_low, count_high: counts are clipped to these before they become weights; 0: not.
        lds_kernel, lds_size, lds_sigma: LDS (see :class:`ranksim.balance.LDS`).
        fds_bins: the same for FDS.
        fds_kernel, fds_size, fds_sigma, fds_momentum, fds_low, fds_high, fds_empty, fds_published:
            FDS (see :class:`ranksim.balance.FDS`).
        rrt_published: the encoder's BatchNorm and dropout stay in training mode in stage two.
    """

    vectors: str
    max_tokens: int
    hidden: int
    layers: int
    dropout: float
    label_scale: float
    label_step: float
    lr: float
    weight_decay: float
    batch_size: int
    clip: float
    validate_every: int
    max_validations: int
    patience: int
    gamma: float
    lambda_: float
    strength: float
    ties: str
    unique_labels: bool | float
    loss: str
    huber_delta: float
    focal_beta: float
    focal_gamma: float
    focal_activation: str
    bins: int
    weighting: str
    count_low: float
    count_high: float
    lds_kernel: str
    lds_size: int
    lds_sigma: float
    fds_bins: int
    fds_kernel: str
    fds_size: int
    fds_sigma: float
    fds_momentum: float
    fds_low: float
    fds_high: float
    fds_empty: str
    fds_published: bool
    rrt_published: bool

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if isinstance(value, float):
                _require(math.isfinite(value), name, "a finite number", value)
        for name in _AT_LEAST_ONE:
            _require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        for name in _POSITIVE:
            _require(getattr(self, name) > 0, name, "above 0", getattr(self, name))
        for name in _NOT_NEGATIVE:
            _require(getattr(self, name) >= 0, name, "at least 0", getattr(self, name))
        for name, most in _AT_MOST.items():
            _require(getattr(self, name) <= most, name, f"at most {most:,}", getattr(self, name))
        for name, choices in _CHOICES.items():
            wanted, got = f"one of {', '.join(choices)}", getattr(self, name)
            _require(got in choices, name, wanted, got)
        for name in ("lds_size", "fds_size"):
            _require(getattr(self, name) % 2 == 1, name, "odd", getattr(self, name))
        _require(self.fds_low <= 1, "fds_low", "at most 1", self.fds_low)
        _require(0 <= self.dropout < 1, "dropout", "in [0, 1)", self.dropout)
        _require(0 <= self.fds_momentum < 1, "fds_momentum", "in [0, 1)", self.fds_momentum)
        high = self.count_high or math.inf
        _require(self.count_low <= high, "count_low", f"at most {high}", self.count_low)
        if self.unique_labels is not False:
            _require(self.unique_labels > 0, "unique_labels", "above 0", self.unique_labels)

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Recipe:
        """A recipe from a table of its fields, each one there and of the right type."""
        known = {item.name: str(item.type) for item in fields(cls)}
        for name in table:
            if name not in known:
                raise UsageError(f"A recipe has no field {name!r}: it has {', '.join(known)}.")
        missing = [name for name in known if name not in table]
        if missing:
            raise UsageError(f"The recipe lacks {', '.join(missing)}: give each field a value.")
        return cls(**{name: _typed(name, table[name], known[name]) for name in known})


def parse_change(text: str) -> tuple[str, Any]:
    """``"lr=5e-4"`` to a field and its value, written as in TOML; a bare word is a string."""
    name, sign, value = text.partition("=")
    if not sign or not name.strip() or not value.strip():
        raise UsageError(f"--set takes FIELD=VALUE, for example --set lr=5e-4, got {text!r}.")
    try:
        return name.strip(), tomllib.loads(f"value = {value.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value.strip()


def _typed(name: str, value: Any, kind: str) -> Any:
    """The value as its field's type; whole numbers may stand for real ones."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if kind == "str" and isinstance(value, str):
        return value
    if kind == "int" and whole:
        return value
    if "float" in kind and (whole or isinstance(value, float)):
        return float(value)
    if "bool" in kind and isinstance(value, bool):
        return value
    raise UsageError(f"Recipe field {name} must be of type {kind}, got {value!r}.")


def _require(holds: bool, name: str, wanted: str, got: object) -> None:
    if not holds:
        raise UsageError(f"Recipe field {name} must be {wanted}, got {got!r}.")
