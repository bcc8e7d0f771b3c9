"""The settings of one training, as data."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ranksim.errors import UsageError
from ranksim.functional.ranking import TIES


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

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if isinstance(value, float):
                _require(math.isfinite(value), name, "a finite number", value)
        for name in ("max_tokens", "hidden", "layers", "batch_size", "max_validations", "patience"):
            _require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        for name in ("label_scale", "label_step", "lr", "clip", "lambda_"):
            _require(getattr(self, name) > 0, name, "above 0", getattr(self, name))
        for name in ("weight_decay", "validate_every", "gamma", "strength"):
            _require(getattr(self, name) >= 0, name, "at least 0", getattr(self, name))
        _require(0 <= self.dropout < 1, "dropout", "in [0, 1)", self.dropout)
        _require(self.ties in TIES, "ties", f"one of {', '.join(TIES)}", self.ties)
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

    def replaced(self, changes: Mapping[str, Any]) -> Recipe:
        """The same recipe with other values for some fields."""
        return self.from_table(dataclasses.asdict(self) | dict(changes))


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
